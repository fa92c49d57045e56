"""Writes small ONNX models without the onnx package: just the protobuf fields that they need.

Field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3
Wire format: https://protobuf.dev/programming-guides/encoding
"""

import struct
from collections.abc import Mapping, Sequence

import numpy as np

DTYPES = {
    "float32": 1,
    "int32": 6,
    "int64": 7,
    "bool": 9,
    "float16": 10,
    "float64": 11,
}
"""TensorProto.DataType by numpy's name."""


def model(
    nodes: Sequence[bytes],
    inputs: Sequence[bytes],
    outputs: Sequence[bytes],
    constants: Mapping[str, np.ndarray],
    *,
    metadata: Mapping[str, str] | None = None,
    opset: int = 17,
    values: Sequence[bytes] = (),
    functions: Sequence[bytes] = (),
    domains: Sequence[str] = (),
) -> bytes:
    """Return a ModelProto whose graph has these parts, as bytes."""
    made = _field(1, 8)  # IR version 8, the one of opset 17
    made += _field(7, graph(nodes, inputs, outputs, constants, values))
    made += b"".join(_field(25, one) for one in functions)
    for domain, version in {"": opset, **dict.fromkeys(domains, 1)}.items():
        made += _field(8, _field(1, domain) + _field(2, version))
    for key, text in (metadata or {}).items():
        made += _field(14, _field(1, key) + _field(2, text))
    return made


def graph(
    nodes: Sequence[bytes],
    inputs: Sequence[bytes],
    outputs: Sequence[bytes],
    constants: Mapping[str, np.ndarray],
    values: Sequence[bytes] = (),
) -> bytes:
    """Return a GraphProto, as a model or a node has it; `values` declare shapes inside."""
    made = b"".join(_field(1, one) for one in nodes)
    made += _field(2, "tiny")
    made += b"".join(_field(5, tensor(array, name)) for name, array in constants.items())
    made += b"".join(_field(11, one) for one in inputs)
    made += b"".join(_field(12, one) for one in outputs)
    return made + b"".join(_field(13, one) for one in values)


def function(
    domain: str,
    name: str,
    inputs: Sequence[str],
    outputs: Sequence[str],
    nodes: Sequence[bytes],
    opset: int = 17,
) -> bytes:
    """Return a FunctionProto."""
    made = _field(1, name)
    made += b"".join(_field(4, one) for one in inputs)
    made += b"".join(_field(5, one) for one in outputs)
    made += b"".join(_field(7, one) for one in nodes)
    made += _field(9, _field(1, "") + _field(2, opset))
    return made + _field(10, domain)


def node(
    op_type: str,
    inputs: Sequence[str],
    outputs: Sequence[str],
    *,
    domain: str = "",
    **attributes: object,
) -> bytes:
    """Return a NodeProto; an input called "" is left out."""
    made = b"".join(_field(1, name) for name in inputs)
    made += b"".join(_field(2, name) for name in outputs)
    made += _field(4, op_type)
    made += _field(7, domain) if domain else b""
    return made + b"".join(_field(5, _attribute(*item)) for item in attributes.items())


def value(name: str, dtype: str, axes: Sequence[int | str | None]) -> bytes:
    """Return a ValueInfoProto for an input or output; an axis of None has no name."""
    dims = b""
    for axis in axes:
        if axis is None:
            dims += _field(1, b"")
        else:
            dims += _field(1, _field(1 if isinstance(axis, int) else 2, axis))
    tensor_type = _field(1, DTYPES[dtype]) + _field(2, dims)
    return _field(1, name) + _field(2, _field(1, tensor_type))


def tensor(array: np.ndarray, name: str = "") -> bytes:
    """Return a TensorProto."""
    made = b"".join(_field(1, size) for size in array.shape)
    made += _field(2, DTYPES[str(array.dtype)])
    return made + _field(8, name) + _field(9, array.astype(array.dtype, order="C").tobytes())


def _attribute(name: str, value: object) -> bytes:
    if isinstance(value, float):
        number, kind, values = 2, 1, [value]
    elif isinstance(value, int):
        number, kind, values = 3, 2, [value]
    elif isinstance(value, str):
        number, kind, values = 4, 3, [value]
    elif isinstance(value, np.ndarray):
        number, kind, values = 5, 4, [tensor(value)]
    elif isinstance(value, bytes):  # a graph
        number, kind, values = 6, 5, [value]
    elif isinstance(value, Sequence) and isinstance(value[0], int):
        number, kind, values = 8, 7, value
    elif isinstance(value, Sequence) and isinstance(value[0], str):
        number, kind, values = 9, 8, value
    else:
        raise TypeError(f"attribute {name}: no encoding for {value!r}")
    return _field(1, name) + b"".join(_field(number, v) for v in values) + _field(20, kind)


def _field(number: int, value: bytes | str | int | float) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    if isinstance(value, float):
        return _varint(number << 3 | 5) + struct.pack("<f", value)
    content = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    number &= 2**64 - 1  # a negative int64 takes ten bytes
    made = bytearray()
    while number > 0x7F:
        made.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*made, number])
