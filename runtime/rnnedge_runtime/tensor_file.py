"""Reads a tensor from a file with one serialized `TensorProto`, without the onnx package.

Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from rnnedge_runtime.binding import Array
from rnnedge_runtime.errors import GoldenError
from rnnedge_runtime.protobuf_wire import BYTES, FIXED32, FIXED64, VARINT, read_fields, read_numbers

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
"""TensorProto.DataType to numpy's name, and the field that holds the values if they are not raw."""
SUPPORTED = tuple(name for name, _ in _DTYPES.values())
"""The dtypes that can be read."""

_WIRES = {
    _DIMS: (VARINT, BYTES),
    _DATA_TYPE: (VARINT,),
    _SEGMENT: (BYTES,),
    _FLOATS: (FIXED32, BYTES),
    _INT32S: (VARINT, BYTES),
    _STRINGS: (BYTES,),
    _INT64S: (VARINT, BYTES),
    _NAME: (BYTES,),
    _RAW: (BYTES,),
    _DOUBLES: (FIXED64, BYTES),
    _UINT64S: (VARINT, BYTES),
    _EXTERNAL: (BYTES,),
    _LOCATION: (VARINT,),
}
"""The wire types of each field: numbers one by one, or packed as bytes."""
_VALUES = {_FLOATS, _INT32S, _STRINGS, _INT64S, _RAW, _DOUBLES, _UINT64S}
_MOST_AXES = 32
"""The limit of numpy 1."""
_MOST_FIELDS = 1 << 20
"""A file that writes each value as a field has few; each takes 60 bytes of memory."""


def dtype_name(kind: int) -> str:
    """Return numpy's name of an element type of ONNX; empty where it cannot be read."""
    return _DTYPES[kind][0] if kind in _DTYPES else ""


def read_tensor(content: bytes, source: str) -> tuple[str, Array]:
    """Read one tensor.

    Args:
        content: The bytes of a `.pb` file.
        source: Where they were read from, for the error message.

    Returns:
        The name, which may be empty, and the values, of any shape and any dtype in `SUPPORTED`.

    Raises:
        GoldenError: If the bytes are cut off or not a tensor, its dtype is not in `SUPPORTED`, or
            its values lie in another file.
    """
    try:
        return parse_tensor(content)
    except ValueError as error:
        raise GoldenError(
            f"{source} cannot be read as an ONNX tensor: {error}: write or copy it again"
        ) from error


def parse_tensor(content: bytes) -> tuple[str, Array]:
    """Read one tensor as `read_tensor` does; raises a `ValueError` that names no file."""
    fields: dict[int, list[bytes]] = {}
    for count, (number, payload) in enumerate(read_fields(content, _WIRES)):
        if count >= _MOST_FIELDS:
            raise ValueError(f"more than {_MOST_FIELDS:,} fields: write its values in raw_data")
        fields.setdefault(number, []).append(bytes(payload))
    if _EXTERNAL in fields or any(read_numbers(fields.get(_LOCATION, []))):
        raise ValueError("expected the values in the file itself, found external data")
    if _SEGMENT in fields:
        raise ValueError("expected one whole tensor, found a segment of one")
    kinds = read_numbers(fields.get(_DATA_TYPE, [])).tolist()
    if not kinds or kinds[-1] not in _DTYPES:
        raise ValueError(
            f"expected data_type {', '.join(f'{n} ({d})' for n, (d, _) in _DTYPES.items())}, "
            f"got {kinds[-1] if kinds else 'none'}"
        )
    dims = read_numbers(fields.get(_DIMS, [])).tolist()
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
    numbers = read_numbers(payloads)
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
    """Return `numbers` as `dtype`, if it holds all of them."""
    if dtype == numbers.dtype:
        return numbers
    values = numbers.astype(dtype)
    wrong = values.astype(numbers.dtype) != numbers
    if wrong.any():
        raise ValueError(f"expected {dtype} values, got {numbers[wrong][0]}")
    return values
