"""What flows between the nodes of a model while its plan is laid out for given shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Dtype: TypeAlias = Literal["float32", "int64", "bool"]

ITEM: dict[Dtype, int] = {"float32": 4, "int64": 8, "bool": 1}
"""Bytes of one element."""
DTYPE_CODE: dict[Dtype, int] = {"float32": 0, "int64": 1, "bool": 2}


@dataclass(eq=False, slots=True)
class Buffer:
    """Memory that calls read and write.

    Attributes:
        home: Where it lies in the end.
        size: Bytes.
        array: The values of a constant.
        index: Its number among those of its home; for the arena its offset in bytes.
        parent: A larger buffer that it is a part of, and the offset in it.
    """

    home: Literal["arena", "constant", "input", "output"]
    size: int
    array: Array | None = None
    index: int = -1
    parent: tuple[Buffer, int] | None = None

    def root(self) -> tuple[Buffer, int]:
        """Return the buffer that holds it, itself where it is not a part, and the offset in it."""
        buffer, offset = self, 0
        while buffer.parent is not None:
            buffer, more = buffer.parent
            offset += more
        return buffer, offset


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor that is known when the plan runs.

    Attributes:
        shape: Its sizes.
        dtype: `float32`, `int64` or `bool`.
        buffer: Where it lies.
        offset: Elements from the start of the buffer.
        strides: Elements from one entry of an axis to the next.
        applied: An activation that it already has, where the graph gives it without: only that
            activation may take it.
    """

    shape: tuple[int, ...]
    dtype: Dtype
    buffer: Buffer
    offset: int
    strides: tuple[int, ...]
    applied: str | None = None

    @property
    def count(self) -> int:
        """Its elements."""
        return prod(self.shape)

    @property
    def is_dense(self) -> bool:
        """Whether its elements lie one after the other in the order of its axes."""
        return is_dense(self.shape, self.strides)

    @property
    def place(self) -> tuple[Buffer, int]:
        """Its buffer and the offset in bytes."""
        return self.buffer, self.offset * ITEM[self.dtype]


@dataclass(frozen=True, slots=True)
class Constant:
    """A value that is known now: a weight, or what follows from the shapes.

    Attributes:
        array: The value.
        static: Whether it is the same at all shapes.
    """

    array: Array
    static: bool


@dataclass(frozen=True, eq=False, slots=True)
class Deferred:
    """A value that no call makes: the nodes that take it, together, become one call.

    Attributes:
        about: What they need to know of it.
        takers: For each operator that may take it, what lays its node out: a function of the
            tracer, the node and the inputs.
    """

    about: Any
    takers: Mapping[str, Callable[..., Sequence[Value]]]


Value: TypeAlias = "Tensor | Constant | Deferred"


@dataclass(eq=False, slots=True)
class Call:
    """One call of a kernel; `_engine.Program` says what its numbers mean for each operation.

    Attributes:
        places: Buffers and offsets in bytes; None for an operand that is left out.
        writes: How many of `places`, counted from the end, it writes.
        node: The node that it is of.
    """

    operation: int
    kind: int
    sizes: Sequence[int]
    places: Sequence[tuple[Buffer, int] | None]
    distances: Sequence[int] = ()
    axes: int = 0
    numbers: tuple[float, float] = (0.0, 0.0)
    packed: object = None
    writes: int = 1
    work: int = 0
    about: dict[str, Any] = field(default_factory=dict)
    node: str = ""

    def read(self) -> list[Buffer]:
        """Return the buffers that it reads."""
        places = self.places[: len(self.places) - self.writes]
        return [place[0] for place in places if place is not None]

    def written(self) -> list[Buffer]:
        """Return the buffers that it writes."""
        places = self.places[len(self.places) - self.writes :]
        return [place[0] for place in places if place is not None]


def dense_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the strides of a tensor whose elements lie in the order of its axes."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


def is_dense(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether these strides are those of `dense_strides`, as far as the sizes can tell."""
    return all(
        size == 1 or stride == dense
        for size, stride, dense in zip(shape, strides, dense_strides(shape), strict=True)
    )


def merged(
    shape: Sequence[int], *strides: Sequence[int]
) -> tuple[list[int], tuple[list[int], ...]]:
    """Join axes that can be walked as one, and drop those of size 1.

    Args:
        shape: The sizes.
        strides: For each operand, its strides.

    Returns:
        The sizes that are left, and the strides of each operand over them.
    """
    sizes: list[int] = []
    kept: tuple[list[int], ...] = tuple([] for _ in strides)
    for axis, size in enumerate(shape):
        if size == 1:
            continue
        if sizes and all(
            left[-1] == own[axis] * size for left, own in zip(kept, strides, strict=True)
        ):
            sizes[-1] *= size
            for left, own in zip(kept, strides, strict=True):
                left[-1] = own[axis]
            continue
        sizes.append(size)
        for left, own in zip(kept, strides, strict=True):
            left.append(own[axis])
    return sizes, kept


def as_float32(array: Array) -> Array:
    """Return an array of floating point as contiguous float32."""
    return np.ascontiguousarray(array, np.float32)
