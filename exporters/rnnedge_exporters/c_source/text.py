"""Pieces of C text: numbers, identifiers, loops, arrays."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from rnnedge_exporters.errors import ExportError

_KEYWORDS = """
    auto break case char const continue default do double else enum extern float for goto if
    inline int long register restrict return short signed sizeof static struct switch typedef
    union unsigned void volatile while _Bool _Complex _Imaginary
    alignas alignof and asm bool catch class constexpr delete explicit export false friend
    mutable namespace new noexcept not nullptr operator or private protected public template
    this thread_local throw true try typeid typename using virtual wchar_t xor
    size_t ptrdiff_t NULL offsetof main
"""
KEYWORDS = frozenset(_KEYWORDS.split())
"""Of C and C++, and names of the headers that every program has."""
_WIDTH = 96
_BREAKS = (" = ", ", ", " : ", " ? ", " + ")
"""Where a long line may be broken, the best place first."""
_C_HEADERS = """
    assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdarg
    stdbool stddef stdint stdio stdlib string tgmath time wchar wctype
"""
_HEADERS = frozenset(_C_HEADERS.split())
"""Names of headers of C, which a header of a program must not hide."""


def is_identifier(text: str) -> bool:
    """Whether a text is a C identifier that a program may define."""
    plain = re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", text) is not None
    return plain and text not in KEYWORDS and not text.endswith("_t")


def identifier(text: str, taken: Iterable[str] = ()) -> str:
    """Return a C identifier that is like a name, and not one of those `taken`, in whatever case."""
    made = re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_") or "value"
    if not made[0].isalpha():
        made = f"x_{made}"
    if not is_identifier(made):
        made += "_value"
    taken, number, candidate = {name.lower() for name in taken}, 2, made
    while candidate.lower() in taken:
        candidate = f"{made}_{number}"
        number += 1
    return candidate


def prefix_of(folder: str) -> str:
    """Return what the names of a program start with, made from the name of its folder."""
    made = identifier(folder)
    return f"{made}_model" if made in _HEADERS or made == "main" else made


def number(value: float) -> str:
    """Return a float literal that reads back as the same float32.

    Raises:
        ExportError: For NaN and infinity, which C has no literals for.
    """
    if not np.isfinite(value):
        raise ExportError(f"the number {value}: C has no literal for it")
    text = f"{float(np.float32(value)):.9g}"
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"


def in_comment(text: str) -> str:
    """Return a text of a model so that it cannot end a comment, nor a line."""
    plain = "".join(letter if letter.isprintable() else "?" for letter in text)
    for mark in ("*/", "/*", "??"):
        plain = plain.replace(mark, f"{mark[0]} {mark[1]}")
    return plain.rstrip("\\")


def whole(value: int) -> str:
    """Return an int64 literal."""
    return "INT64_MIN" if value == -(2**63) else f"INT64_C({value})"


def index(offset: int, terms: Sequence[tuple[str, int]]) -> str:
    """Return the text of offset + sum of variable * step."""
    parts = [name if step == 1 else f"{name} * {step}" for name, step in terms if step]
    if offset or not parts:
        parts.insert(0, str(offset))
    return " + ".join(parts)


def pointer(base: str, offset: str) -> str:
    """Return the text of a pointer and an offset."""
    return base if offset == "0" else f"{base} + {offset}"


def array(declaration: str, values: NDArray[np.generic]) -> str:
    """Return the definition of an array."""
    if values.dtype.kind == "f":
        texts = [number(value) for value in values.reshape(-1).tolist()]
    elif values.dtype == np.int64:
        texts = [whole(value) for value in values.reshape(-1).tolist()]
    else:
        texts = [str(int(value)) for value in values.reshape(-1).tolist()]
    lines, line = [], "  "
    for text in texts or ["0"]:
        if len(line) + len(text) > _WIDTH:
            lines.append(line.rstrip())
            line = "  "
        line += f"{text}, "
    lines.append(line.rstrip().rstrip(","))
    return "\n".join([f"{declaration} = {{", *lines, "};"])


def wrapped(line: str) -> list[str]:
    """Return a line of C as several where it is too long for one."""
    indent = len(line) - len(line.lstrip())
    lines = []
    while len(line) > _WIDTH + 2:
        found = (line.rfind(mark, indent + _WIDTH // 2, _WIDTH) for mark in _BREAKS)
        at = next((place for place in found if place >= 0), -1)
        if at < 0:
            break
        after = at + (line[at] == ",")
        lines.append(line[:after])
        line = " " * (indent + 4) + line[after:].strip()
    return [*lines, line]


class CLines:
    """Lines of C, indented by the blocks that they stand in."""

    def __init__(self, depth: int = 1) -> None:
        """Start at a depth."""
        self.lines: list[str] = []
        self._depth = depth

    def line(self, text: str) -> None:
        """Write one line."""
        self.lines += wrapped("  " * self._depth + text) if text else [""]

    def comment(self, text: str) -> None:
        """Write a comment of one line."""
        self.line(f"/* {in_comment(text)} */")

    def open(self, text: str) -> None:
        """Write the first line of a block."""
        self.line(f"{text} {{".lstrip())
        self._depth += 1

    def close(self, count: int = 1) -> None:
        """End blocks."""
        for _ in range(count):
            self._depth -= 1
            self.line("}")

    def loops(self, sizes: Sequence[int], names: str = "ijklmnpq") -> list[str]:
        """Open a loop for each size; those of 1 have none, and their variable is `0`."""
        variables = []
        free = iter(names)
        for size in sizes:
            if size == 1:
                variables.append("0")
                continue
            variables.append(next(free))
            name = variables[-1]
            self.open(f"for (ptrdiff_t {name} = 0; {name} < {size}; {name}++)")
        return variables


def terms(variables: Sequence[str], steps: Sequence[int]) -> list[tuple[str, int]]:
    """Return pairs of variable and step for `index`, without those of loops that are not there."""
    return [(name, step) for name, step in zip(variables, steps, strict=True) if name != "0"]
