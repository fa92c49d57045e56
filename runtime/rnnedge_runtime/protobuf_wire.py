"""Reads the wire format of protobuf, for ONNX files on a device without the onnx package.

https://protobuf.dev/programming-guides/encoding
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Bytes: TypeAlias = "bytes | memoryview"
Message: TypeAlias = "dict[int, list[Bytes]]"
"""Payloads of the fields of a message, by field number."""

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_ANY = (VARINT, FIXED64, BYTES, FIXED32)
_LAST = 0x7F
"""The largest byte that ends a varint."""


def read_fields(
    content: Bytes, wires: Mapping[int, tuple[int, ...]] | None = None
) -> Iterator[tuple[int, Bytes]]:
    """Read the fields of a message.

    Args:
        content: A serialized message; the payloads of a memoryview are views of it.
        wires: The wire types that are allowed, by field number; a field that is not listed may have
            any of them.

    Yields:
        Number and payload of each field; the payload of a varint is its bytes.

    Raises:
        ValueError: If the message is cut off, or a field has another wire type.
    """
    at, most = 0, len(content)
    while at < most:
        # Nearly all keys and sizes are one byte.
        key, start = content[at], at + 1
        if key > _LAST:
            key, start = _varint(content, at)
        number, wire = key >> 3, key & 7
        allowed = wires.get(number, _ANY) if wires else _ANY
        if number == 0 or wire not in allowed:
            raise ValueError(f"field {number} at byte {at} has an encoding that ONNX does not use")
        if wire == BYTES:
            size, start = _varint(content, start)
            end = start + size
        elif wire == VARINT:
            _, end = _varint(content, start)
        else:
            end = start + (8 if wire == FIXED64 else 4)
        if end > most:
            raise ValueError(f"the data is cut off in field {number}, which ends at byte {end}")
        yield number, content[start:end]
        at = end


def read_numbers(payloads: Iterable[Bytes]) -> NDArray[np.int64]:
    """Return the varints of all payloads, as int64."""
    found = array("Q")  # eight bytes for each, where a list has forty
    for payload in payloads:
        found.extend(_varints(payload))
    return np.array(found, np.uint64).view(np.int64)


def read_message(content: Bytes) -> Message:
    """Return the fields of a message.

    Args:
        content: A serialized message.

    Raises:
        ValueError: If it is cut off.
    """
    message: Message = {}
    for number, payload in read_fields(content):
        message.setdefault(number, []).append(payload)
    return message


def text_of(message: Message, number: int) -> str:
    """Return a string field; empty where it is left out."""
    return str(message.get(number, [b""])[-1], "utf-8")


def texts_of(message: Message, number: int) -> list[str]:
    """Return the strings of a repeated field."""
    return [str(payload, "utf-8") for payload in message.get(number, [])]


def integer_of(message: Message, number: int) -> int:
    """Return an integer field; 0 where it is left out."""
    numbers = integers_of(message, number)
    return numbers[-1] if numbers else 0


def integers_of(message: Message, number: int) -> list[int]:
    """Return the integers of a repeated field of few."""
    if number not in message:
        return []
    return [n - (n >> 63 << 64) for payload in message[number] for n in _varints(payload)]


def floats_of(payloads: Iterable[Bytes]) -> NDArray[np.float32]:
    """Return the floats of all payloads, one by one or packed."""
    return np.frombuffer(b"".join(bytes(payload) for payload in payloads), "<f4")


def _varints(payload: Bytes) -> Iterator[int]:
    at = 0
    while at < len(payload):
        number, at = _varint(payload, at)
        yield number


def _varint(content: Bytes, at: int) -> tuple[int, int]:
    """Return the number that starts at byte `at`, and the byte after it."""
    if at < len(content) and content[at] <= _LAST:
        return content[at], at + 1
    number = 0
    for shift in range(0, 70, 7):
        if at >= len(content):
            raise ValueError(f"the data is cut off at byte {at}, in the middle of a number")
        number |= (content[at] & 0x7F) << shift
        at += 1
        if content[at - 1] < 0x80:
            return number & 2**64 - 1, at
    raise ValueError(f"the number before byte {at} is longer than 10 bytes")
