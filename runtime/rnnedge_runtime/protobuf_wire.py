"""The wire format of protobuf, as far as it takes to read an ONNX file without the onnx package.

https://protobuf.dev/programming-guides/encoding
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Bytes: TypeAlias = "bytes | memoryview"

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_ANY = (VARINT, FIXED64, BYTES, FIXED32)


def read_fields(
    content: Bytes, wires: Mapping[int, tuple[int, ...]] | None = None
) -> Iterator[tuple[int, Bytes]]:
    """Give each field's number and payload; of a number its varint, as in a packed field.

    Args:
        content: A serialized message; payloads of a view are views of it.
        wires: How fields may be encoded, by their numbers; those that are not in it in any way.

    Raises:
        ValueError: When the message is cut off, or a field is encoded otherwise.
    """
    wires = wires or {}
    at = 0
    while at < len(content):
        key, start = _varint(content, at)
        number, wire = key >> 3, key & 7
        if number == 0 or wire not in wires.get(number, _ANY):
            raise ValueError(f"at byte {at}, field {number} is encoded as none of ONNX's")
        if wire == VARINT:
            _, end = _varint(content, start)
        elif wire == BYTES:
            size, start = _varint(content, start)
            end = start + size
        else:
            end = start + (8 if wire == FIXED64 else 4)
        if end > len(content):
            raise ValueError(f"it is cut off in field {number}, which ends at byte {end}")
        yield number, content[start:end]
        at = end


def read_numbers(payloads: Iterable[Bytes]) -> NDArray[np.int64]:
    """Return the varints in all payloads, as int64."""
    found = []
    for payload in payloads:
        at = 0
        while at < len(payload):
            number, at = _varint(payload, at)
            found.append(number)
    return np.array(found, np.uint64).view(np.int64)


def _varint(content: Bytes, at: int) -> tuple[int, int]:
    """Return the number at `at` and where it ends."""
    number = 0
    for shift in range(0, 70, 7):
        if at >= len(content):
            raise ValueError(f"it is cut off at byte {at}, in the middle of a number")
        number |= (content[at] & 0x7F) << shift
        at += 1
        if content[at - 1] < 0x80:
            return number & 2**64 - 1, at
    raise ValueError(f"at byte {at}, a number is longer than 10 bytes")
