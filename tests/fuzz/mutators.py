"""Changes files as their formats are built: what a reader meets after its first check too."""

import io
import json
import random
import struct
import zipfile
from collections.abc import Callable
from typing import Any

NUMBERS = (
    *(0, 1, 2, 3, 7, 8, 127, 128, 255, 256, 1 << 15, 1 << 16, (1 << 31) - 1, 1 << 31, 1 << 32),
    *((1 << 53) + 1, (1 << 62), (1 << 63) - 1, 1 << 63, (1 << 64) - 1, -1, -2, -(1 << 31)),
    -(1 << 63),
)
TEXTS = (
    "",
    "\0",
    "\n",
    "\x1b[2J",
    "a" * 5000,
    "é",
    "\ud800",
    "time**99999999",
    "../x",
    "{0}",
    "%s",
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0.5, -0.0, 1e308, float("nan"), float("inf"), [], {}, [[]], [None]),
    *({"a": {}}, "float32", "V1000000000", *NUMBERS, *TEXTS),
)
DEEPEST = 8
"""Messages inside messages that are looked for in a protobuf file."""

Mutate = Callable[[random.Random, bytes], bytes]


def any_bytes(rng: random.Random, content: bytes) -> bytes:
    """Change bytes without a look at the format."""
    data = bytearray(content)
    at = rng.randrange(len(data) + 1)
    some = rng.choice((1, 2, 4, 8, 16, 64))
    way = rng.randrange(7)
    if way == 0 and data:
        data[at % len(data)] ^= 1 << rng.randrange(8)
    elif way == 1:
        data[at : at + some] = rng.randbytes(some)
    elif way == 2:
        del data[at : at + some]
    elif way == 3:
        data[at:at] = data[rng.randrange(len(data) + 1) :][:some]
    elif way == 4:
        del data[at:]
    elif way == 5:
        width = rng.choice("BHIQ")
        most = (1 << 8 * struct.calcsize(width)) - 1
        data[at : at + struct.calcsize(width)] = struct.pack(
            f"<{width}", rng.choice(NUMBERS) & most
        )
    else:
        data[at:at] = rng.choice(TEXTS).encode(errors="surrogatepass")
    return bytes(data)


# --- protobuf -------------------------------------------------------------------------------------


def _varint(content: bytes, at: int) -> tuple[int, int]:
    number = 0
    for shift in range(0, 70, 7):
        byte = content[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
    raise ValueError("a number of more than ten bytes")


def _written(number: int) -> bytes:
    number &= (1 << 64) - 1
    made = bytearray()
    while number > 127:
        made.append(number & 127 | 128)
        number >>= 7
    return bytes([*made, number])


def fields_of(content: bytes) -> list[tuple[int, int, Any]]:
    """Return number, wire type and value of each field; an IndexError or ValueError for others."""
    found, at = [], 0
    while at < len(content):
        key, at = _varint(content, at)
        number, wire = key >> 3, key & 7
        value: Any
        if wire == 0:
            value, at = _varint(content, at)
        elif wire == 2:
            size, at = _varint(content, at)
            if at + size > len(content):
                raise ValueError("cut off")
            value, at = content[at : at + size], at + size
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
            value, at = content[at : at + size], at + size
        else:
            raise ValueError(f"wire type {wire}")
        if not number:
            raise ValueError("field 0")
        found.append((number, wire, value))
    return found


def message_of(fields: list[tuple[int, int, Any]]) -> bytes:
    """Write fields."""
    made = b""
    for number, wire, value in fields:
        made += _written(number << 3 | wire)
        if wire == 0:
            made += _written(value)
        else:
            made += (_written(len(value)) if wire == 2 else b"") + value
    return made


def protobuf(rng: random.Random, content: bytes, depth: int = DEEPEST) -> bytes:
    """Change one field somewhere in a message; the sizes around it fit."""
    try:
        fields = fields_of(content)
    except (IndexError, ValueError):
        return any_bytes(rng, content)
    if not fields:
        return any_bytes(rng, content)
    at = rng.randrange(len(fields))
    number, wire, value = fields[at]
    if wire == 2 and depth and value and rng.random() < 0.8:
        fields[at] = number, wire, protobuf(rng, value, depth - 1)
        return message_of(fields)
    way = rng.randrange(6)
    if way == 0:
        del fields[at]
    elif way == 1:
        fields.insert(rng.randrange(len(fields) + 1), fields[at])
    elif way == 2:
        other = rng.randrange(len(fields))
        fields[at], fields[other] = fields[other], fields[at]
    elif way == 3:
        fields[at] = rng.randrange(1, 27), wire, value
    elif wire == 0:
        fields[at] = number, wire, rng.choice(NUMBERS)
    elif wire == 2:
        text = rng.choice(TEXTS).encode(errors="surrogatepass")
        fields[at] = number, wire, rng.choice((text, any_bytes(rng, value), value * 3))
    else:
        fields[at] = number, wire, rng.randbytes(len(value))
    return message_of(fields)


# --- JSON and TOML --------------------------------------------------------------------------------


def value_of(rng: random.Random, value: Any) -> Any:
    """Change one part of plain data."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        return _changed_dict(rng, dict(value))
    if isinstance(value, list) and value and rng.random() < 0.9:
        return _changed_list(rng, list(value))
    if isinstance(value, str) and rng.random() < 0.5:
        return rng.choice((value + rng.choice(TEXTS), value[:-1], value.upper()))
    if rng.random() < 0.05:
        deep: Any = value
        for _ in range(rng.choice((5, 50, 900))):
            deep = [deep]
        return deep
    return rng.choice(VALUES)


def _changed_dict(rng: random.Random, made: dict[str, Any]) -> dict[str, Any]:
    key = rng.choice(list(made))
    way = rng.randrange(8)
    if way == 0:
        del made[key]
    elif way == 1:
        made[str(rng.choice(TEXTS))] = made.pop(key)
    elif way == 2:
        made[str(rng.choice((*TEXTS, "input_size")))] = rng.choice(VALUES)
    else:
        made[key] = value_of(rng, made[key])
    return made


def _changed_list(rng: random.Random, made: list[Any]) -> list[Any]:
    at = rng.randrange(len(made))
    way = rng.randrange(6)
    if way == 0:
        del made[at]
    elif way == 1:
        made.insert(at, made[at])
    else:
        made[at] = value_of(rng, made[at])
    return made


def json_text(rng: random.Random, content: bytes) -> bytes:
    """Change one part of a JSON document, or its text."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return any_bytes(rng, content)
    way = rng.random()
    if way < 0.15:
        return any_bytes(rng, content)
    text = json.dumps(value_of(rng, value), ensure_ascii=rng.random() < 0.5)
    if way < 0.2 and isinstance(value, dict) and value:  # a key twice
        key = rng.choice(list(value))
        text = "{" + f"{json.dumps(key)}: {json.dumps(rng.choice(VALUES))}, " + text[1:]
    return text.encode(errors="surrogatepass")


def toml_text(rng: random.Random, content: bytes) -> bytes:
    """Change one line of a flat TOML table."""
    lines = content.decode(errors="replace").splitlines()
    if not lines or rng.random() < 0.2:
        return any_bytes(rng, content)
    at = rng.randrange(len(lines))
    key = lines[at].partition("=")[0].strip() or "cell"
    way = rng.randrange(6)
    if way == 0:
        del lines[at]
    elif way == 1:
        lines.insert(at, lines[at])
    elif way == 2:
        lines.insert(at, f"[{'.'.join([key] * rng.choice((1, 3, 700)))}]")
    elif way == 3:
        lines[at] = f"{key} = {'[' * 900 + ']' * 900}"
    else:
        value = rng.choice(VALUES)
        shown = json.dumps(value) if value is not None else "nan"
        lines[at] = f"{key} = {shown.replace('NaN', 'nan').replace('Infinity', 'inf')}"
    return "\n".join(lines).encode(errors="surrogatepass")


# --- arrays and archives --------------------------------------------------------------------------


def npy(rng: random.Random, content: bytes) -> bytes:
    """Change the header of an array, or its bytes."""
    size = int.from_bytes(content[8:10], "little")
    whole = content.startswith(b"\x93NUMPY\x01\x00{'descr': '") and b"(" in content[:size]
    if not whole or b")" not in content[:size] or rng.random() < 0.3:
        return any_bytes(rng, content)
    header, body = content[10 : 10 + size].decode("latin1"), content[10 + size :]
    way = rng.randrange(6)
    if way == 0:
        old = header[header.index("(") : header.rindex(")") + 1]
        sizes = [str(rng.choice(NUMBERS)) for _ in range(rng.choice((0, 1, 2, 3, 40)))]
        header = header.replace(old, f"({', '.join(sizes)}{',' * (len(sizes) == 1)})")
    elif way == 1:
        kinds = ("<f4", ">f8", "|O", "|V1000000", "<U9", "|b1", "<i8", "<M8[s]", "<f2", "<c8", "x")
        start = header.index("'descr': '") + 10
        header = header[:start] + rng.choice(kinds) + header[header.find("'", start) :]
    elif way == 2:
        header = header.replace("False", rng.choice(("True", "None", "0", "[]")))
    elif way == 3:
        body = body[: rng.randrange(len(body) + 1)]
    elif way == 4:
        body += rng.randbytes(rng.choice((1, 8, 100)))
    else:
        header = any_bytes(rng, header.encode("latin1")).decode("latin1")
    made = header.encode("latin1", "replace")
    version = rng.choice((1, 1, 1, 2, 3, 9))
    length = struct.pack("<H" if version == 1 else "<I", len(made) & 0xFFFF)
    return b"\x93NUMPY" + bytes([version, 0]) + length + made + body


def zipped(inner: Mutate) -> Mutate:
    """Return a mutator of zip archives: of a file in one, of its list of files, or of its bytes."""

    def mutate(rng: random.Random, content: bytes) -> bytes:
        try:
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                files = {name: archive.read(name) for name in archive.namelist()}
        except Exception:  # an earlier change has damaged it
            return any_bytes(rng, content)
        way = rng.random()
        if way < 0.15 or not files:
            return any_bytes(rng, content)
        if way < 0.25:  # sizes and kinds in the list of files
            data = bytearray(content)
            at = data.rfind(b"PK\x01\x02")
            place = at + rng.choice((8, 10, 16, 20, 24, 28, 30, 42))
            data[place : place + 4] = struct.pack("<I", rng.choice(NUMBERS) & 0xFFFFFFFF)
            return bytes(data)
        name = rng.choice(list(files))
        way = rng.randrange(8)
        if way == 0:
            del files[name]
        elif way == 1:
            files[rng.choice((*TEXTS[:4], name + "x", f"a/{name}"))] = files.pop(name)
        else:
            files[name] = inner(rng, files[name])
        made = io.BytesIO()
        kind = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
        with zipfile.ZipFile(made, "w", kind) as archive:
            for each, held in files.items():
                archive.writestr(
                    zipfile.ZipInfo(each.encode(errors="replace").decode() or "a"), held
                )
        return made.getvalue()

    return mutate


def arrow(rng: random.Random, content: bytes) -> bytes:
    """Change a number of four or eight bytes, such as an offset or a size, or any bytes."""
    if rng.random() < 0.3 or len(content) < 16:
        return any_bytes(rng, content)
    data = bytearray(content)
    width = rng.choice("iq")
    size = struct.calcsize(width)
    at = rng.randrange(len(data) // size) * size
    (old,) = struct.unpack_from(f"<{width}", data, at)
    half = 1 << 8 * size - 1
    new = rng.choice((old + 1, old - 1, -old, old * 2, rng.choice(NUMBERS)))
    struct.pack_into(f"<{width}", data, at, (new + half) % (2 * half) - half)
    return bytes(data)


def parquet(rng: random.Random, content: bytes) -> bytes:
    """Change the list of columns at the end of a Parquet file, or its pages."""
    size = int.from_bytes(content[-8:-4], "little")
    if rng.random() < 0.4 or not 0 < size < len(content) - 12:
        return any_bytes(rng, content)
    start, end = len(content) - 8 - size, len(content) - 8
    foot = any_bytes(rng, content[start:end])
    return content[:start] + foot + struct.pack("<I", len(foot)) + content[-4:]


def safetensors(rng: random.Random, content: bytes) -> bytes:
    """Change the header of a safetensors file, or its bytes."""
    size = int.from_bytes(content[:8], "little")
    if rng.random() < 0.2 or size > len(content):
        return any_bytes(rng, content)
    header = json_text(rng, content[8 : 8 + size])
    length = len(header) if rng.random() < 0.9 else rng.choice(NUMBERS) & ((1 << 64) - 1)
    return struct.pack("<Q", length) + header + content[8 + size :]


def pickled(rng: random.Random, content: bytes) -> bytes:
    """Change opcodes and numbers of a pickle."""
    data = bytearray(content)
    if not data:
        return b"."
    at = rng.randrange(len(data))
    if rng.random() < 0.5:
        data[at : at + 1] = rng.choice(
            (b"]", b"}", b")", b"(", b"0", b"2", b".", b"R", b"b", b"a", b"u")
        )
        return bytes(data)
    return any_bytes(rng, content)
