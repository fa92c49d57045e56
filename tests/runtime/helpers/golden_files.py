"""Writes golden vectors, and tensors in every encoding, without the onnx package."""

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tiny_onnx
from tiny_models import Tiny

DATA_TYPES = {
    "float32": 1,
    "uint8": 2,
    "int8": 3,
    "uint16": 4,
    "int16": 5,
    "int32": 6,
    "int64": 7,
    "bool": 9,
    "float16": 10,
    "float64": 11,
    "uint32": 12,
    "uint64": 13,
}
TYPED = {"float32": 4, "int64": 7, "float64": 10, "uint32": 11, "uint64": 11}
"""Field of the values that are not raw; of all others it is 5, `int32_data`."""


def varint(number: int) -> bytes:
    number &= 2**64 - 1  # a negative number takes ten bytes
    made = bytearray()
    while number > 0x7F:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*made, number])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def content(field: int, value: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(value)) + value


def head(dtype: str, shape: Sequence[int], name: str = "") -> bytes:
    """Return dims, data_type and name; an empty name is left out."""
    made = b"".join(number(1, size) for size in shape) + number(2, DATA_TYPES[dtype])
    return made + (content(8, name.encode()) if name else b"")


def raw(array: np.ndarray, name: str = "") -> bytes:
    stored = array.astype(array.dtype.newbyteorder("<"))
    return head(str(array.dtype), array.shape, name) + content(9, stored.tobytes())


def typed(array: np.ndarray, name: str = "", *, packed: bool) -> bytes:
    """Return a TensorProto with the values in `float_data`, `int32_data` and so on."""
    dtype = str(array.dtype)
    field = TYPED.get(dtype, 5)
    if dtype in ("float32", "float64"):
        form, wire = ("<f", 5) if dtype == "float32" else ("<d", 1)
        values = [struct.pack(form, value) for value in array.ravel().tolist()]
    else:
        bits = array.view(np.uint16) if dtype == "float16" else array
        values, wire = [varint(int(value)) for value in bits.ravel()], 0
    if packed:
        body = content(field, b"".join(values))
    else:
        body = b"".join(varint(field << 3 | wire) + value for value in values)
    return head(dtype, array.shape, name) + body


def write_set(
    folder: Path, inputs: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]
) -> None:
    """Write one set; names that begin with `#` are left out of the files."""
    folder.mkdir(parents=True)
    for kind, tensors in (("input", inputs), ("output", outputs)):
        for index, (name, array) in enumerate(tensors.items()):
            name = "" if name.startswith("#") else name
            (folder / f"{kind}_{index}.pb").write_bytes(raw(array, name))


def record(model: bytes, sets: int, outputs: Sequence[str]) -> dict[str, object]:
    """Return what a `golden.json` holds."""
    return {
        "format": 1,
        "model": "model.onnx",
        "model_sha256": hashlib.sha256(model).hexdigest(),
        "reference": "numpy 2 float64",
        "versions": {"numpy": "2"},
        "sets": [
            {
                "directory": f"test_data_set_{index}",
                "case": f"time {index + 1}, batch 2",
                "allowed": dict.fromkeys(outputs, 1e-6),
            }
            for index in range(sets)
        ],
    }


def write_vectors(folder: Path, tiny: Tiny, sets: int = 2) -> None:
    """Write vectors of `tiny`: set N has N + 1 steps, two rows and a random state."""
    names = [spec.name for spec in tiny.interface.outputs]
    for index in range(sets):
        x, state = tiny.input(index + 1, 2, seed=index), tiny.state(2, seed=index)
        lengths = [index + 1, index] if tiny.lengths else None
        output, finals = tiny.expected(x, state, lengths)
        inputs = {"input": x}
        if lengths is not None:
            inputs["lengths"] = np.array(lengths)
        inputs |= dict(zip((f"{letter}_0" for letter in tiny.letters), state, strict=True))
        answers = [answer.astype(np.float32) for answer in (output, *finals)]
        outputs = dict(zip(names, answers, strict=True))
        write_set(folder / f"test_data_set_{index}", inputs, outputs)
    text = json.dumps(record(tiny.content, sets, names))
    (folder / "golden.json").write_text(text, encoding="utf-8")


def echo(dtype: str, axes: Sequence[int | str] = ("batch", 2)) -> bytes:
    """Return a model that answers its input `x` as `y`."""
    made = tiny_onnx.node("Identity", ["x"], ["y"])
    x, y = (tiny_onnx.value(name, dtype, axes) for name in "xy")
    return tiny_onnx.model([made], [x], [y], {})
