"""Reads a tensor from its ONNX file, one serialized `TensorProto`, without the onnx package.

Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3
Wire format: https://protobuf.dev/programming-guides/encoding
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rnnedge_runtime.errors import GoldenError

Array: TypeAlias = NDArray[Any]

_DIMS, _DATA_TYPE, _SEGMENT, _NAME, _RAW, _EXTERNAL, _LOCATION = 1, 2, 3, 8, 9, 13, 14
_FLOATS, _INT32S, _STRINGS, _INT64S, _DOUBLES, _UINT64S = 4, 5, 6, 7, 10, 11

_DTYPES = {
    1: ("float32", _FLOATS),
    2: ("uint8", _INT32S),
    3: ("int8", _INT32S),
    4: ("uint16", _INT32S),
    5: ("int16", _INT32S),
    6: ("int32", _INT32S),
    7: ("int64", _INT64S),
    9: ("bool", _INT32S),
    10: ("float16", _INT32S),  # the 16 bits as a number
    11: ("float64", _DOUBLES),
    12: ("uint32", _UINT64S),
    13: ("uint64", _UINT64S),
}
"""TensorProto.DataType to numpy's name, and the field that holds values which are not raw."""
SUPPORTED = tuple(name for name, _ in _DTYPES.values())
"""The dtypes that can be read."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_WIRES = {
    _DIMS: (_VARINT, _BYTES),
    _DATA_TYPE: (_VARINT,),
    _SEGMENT: (_BYTES,),
    _FLOATS: (_FIXED32, _BYTES),
    _INT32S: (_VARINT, _BYTES),
    _STRINGS: (_BYTES,),
    _INT64S: (_VARINT, _BYTES),
    _NAME: (_BYTES,),
    _RAW: (_BYTES,),
    _DOUBLES: (_FIXED64, _BYTES),
    _UINT64S: (_VARINT, _BYTES),
    _EXTERNAL: (_BYTES,),
    _LOCATION: (_VARINT,),
}
"""How each field may be encoded: numbers one by one, or packed as bytes."""
_VALUES = {_FLOATS, _INT32S, _STRINGS, _INT64S, _RAW, _DOUBLES, _UINT64S}
_MOST_AXES = 32
"""What numpy 1 can hold."""


def read_tensor(content: bytes, source: str) -> tuple[str, Array]:
    """Read one tensor.

    Args:
        content: The bytes of a `.pb` file.
        source: What they were read from, for the error message.

    Returns:
        The name, which may be empty, and the values, of any shape and any dtype in `SUPPORTED`.

    Raises:
        GoldenError: When the bytes are cut off or no tensor, or its dtype is not in `SUPPORTED`,
            or its values lie in another file.
    """
    try:
        return _tensor(content)
    except ValueError as error:
        raise GoldenError(
            f"{source} cannot be read as a tensor of ONNX: {error}: write or copy it again"
        ) from error


def _tensor(content: bytes) -> tuple[str, Array]:
    fields: dict[int, list[bytes]] = {}
    for number, payload in _fields(content):
        fields.setdefault(number, []).append(payload)
    if _EXTERNAL in fields or any(_numbers(fields.get(_LOCATION, []))):
        raise ValueError("expected the values in the file itself, found external data")
    if _SEGMENT in fields:
        raise ValueError("expected one whole tensor, found a segment of one")
    kinds = _numbers(fields.get(_DATA_TYPE, [])).tolist()
    if not kinds or kinds[-1] not in _DTYPES:
        raise ValueError(
            f"expected data_type {', '.join(f'{n} ({d})' for n, (d, _) in _DTYPES.items())}, "
            f"got {kinds[-1] if kinds else 'none'}"
        )
    dims = _numbers(fields.get(_DIMS, [])).tolist()
    if len(dims) > _MOST_AXES or any(size < 0 for size in dims):
        raise ValueError(f"expected up to {_MOST_AXES} sizes of 0 or more, got dims {dims[:40]}")
    name, values = fields.get(_NAME, [b""])[-1].decode(), _decode(fields, kinds[-1])
    if values.size != math.prod(dims):
        raise ValueError(f"expected {math.prod(dims)} values for dims {dims}, got {values.size}")
    return name, values.reshape(dims)


def _decode(fields: dict[int, list[bytes]], kind: int) -> Array:
    """Return the values, flat and in this machine's byte order."""
    dtype, home = np.dtype(_DTYPES[kind][0]), _DTYPES[kind][1]
    full = [number for number in sorted(_VALUES) if any(fields.get(number, []))]
    if not full:
        return np.zeros(0, dtype)
    if full not in ([_RAW], [home]):
        raise ValueError(f"expected {dtype} values in field {_RAW} or {home}, got fields {full}")
    payloads = fields[full[0]]
    if full == [_RAW]:
        stored = np.dtype("uint8") if dtype == np.bool_ else dtype
        return _fitting(_little_endian(payloads[-1], stored), dtype)
    if home in (_FLOATS, _DOUBLES):
        return _little_endian(b"".join(payloads), dtype)
    numbers = _numbers(payloads)
    if home == _UINT64S:
        return _fitting(numbers.astype(np.uint64), dtype)
    if home == _INT32S:
        numbers = numbers.astype(np.int32)  # as protobuf does: the lower half of what was sent
    if dtype == np.float16:
        return _fitting(numbers, np.dtype("uint16")).view(np.float16)
    return _fitting(numbers, dtype)


def _little_endian(content: bytes, dtype: np.dtype[Any]) -> Array:
    if len(content) % dtype.itemsize:
        raise ValueError(f"expected {dtype} values, got {len(content)} bytes")
    return np.frombuffer(content, dtype.newbyteorder("<")).astype(dtype)


def _fitting(numbers: Array, dtype: np.dtype[Any]) -> Array:
    """Return `numbers` as `dtype`, which none of them may leave."""
    if dtype == numbers.dtype:
        return numbers
    values = numbers.astype(dtype)
    wrong = values.astype(numbers.dtype) != numbers
    if wrong.any():
        raise ValueError(f"expected {dtype} values, got {numbers[wrong][0]}")
    return values


def _fields(content: bytes) -> Iterator[tuple[int, bytes]]:
    """Give each field's number and payload; of a number its varint, as in a packed field."""
    at = 0
    while at < len(content):
        key, start = _varint(content, at)
        number, wire = key >> 3, key & 7
        if number == 0 or wire not in _WIRES.get(number, (_VARINT, _FIXED64, _BYTES, _FIXED32)):
            raise ValueError(f"at byte {at}, field {number} is encoded as none of ONNX's")
        if wire == _VARINT:
            _, end = _varint(content, start)
        elif wire == _BYTES:
            size, start = _varint(content, start)
            end = start + size
        else:
            end = start + (8 if wire == _FIXED64 else 4)
        if end > len(content):
            raise ValueError(f"it is cut off in field {number}, which ends at byte {end}")
        yield number, content[start:end]
        at = end


def _numbers(payloads: list[bytes]) -> NDArray[np.int64]:
    """Return the varints in all payloads, as int64."""
    numbers = []
    for payload in payloads:
        at = 0
        while at < len(payload):
            number, at = _varint(payload, at)
            numbers.append(number)
    return np.array(numbers, np.uint64).view(np.int64)


def _varint(content: bytes, at: int) -> tuple[int, int]:
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
