"""A tensor of an ONNX file, decoded when it is asked for."""

from __future__ import annotations

import math
from contextlib import suppress
from functools import cached_property

from rnnedge_runtime.binding import Array
from rnnedge_runtime.protobuf_wire import Bytes, integer_of, integers_of, read_message, text_of
from rnnedge_runtime.tensor_file import parse_tensor

_DIMS, _DTYPE, _NAME = 1, 2, 8  # of a TensorProto
_INTEGER_TYPES = (6, 7)  # int32 and int64
_MOST_NUMBERS = 64
"""Elements of an integer tensor whose values are read: axes, positions and shapes have few."""


class LazyTensor:
    """A tensor of a file; its values are decoded when they are asked for.

    Attributes:
        name: Its name, which may be empty.
        dtype: The element type, by ONNX's numbers.
        shape: Its sizes, as they are stated.
    """

    def __init__(self, content: Bytes) -> None:
        """Take a serialized TensorProto."""
        fields = read_message(content)
        self.name = text_of(fields, _NAME)
        self.dtype = integer_of(fields, _DTYPE)
        self.shape = tuple(integers_of(fields, _DIMS))
        self._content = content

    @cached_property
    def array(self) -> Array:
        """The values; a ValueError where they are damaged, or in another file."""
        array = parse_tensor(bytes(self._content))[1]
        self._content = b""  # or the whole file would be kept with it
        return array

    @property
    def integers(self) -> tuple[int, ...] | None:
        """The values of a tensor of a few integers; None of any other, and of a damaged one."""
        if self.dtype not in _INTEGER_TYPES or not 0 <= math.prod(self.shape) <= _MOST_NUMBERS:
            return None
        with suppress(ValueError):
            return tuple(self.array.reshape(-1).tolist())
        return None
