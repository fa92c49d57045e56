"""Described sizes as nodes of a graph."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import fx

from rnnedge_exporters.errors import MismatchError
from rnnedge_exporters.modules.loops.fits import Factor, Fit, Quotient, value_of
from rnnedge_exporters.modules.loops.operations import aten
from rnnedge_exporters.modules.loops.turns import Described

_SIZE = torch.ops.aten.sym_size.int


class SizeWriter:
    """Writes sizes into a graph.

    Args:
        graph: The graph.
        sources: Gives the tensors whose sizes may be read, each with its described shape.
        item: Returns the node of a step of the program.
    """

    def __init__(
        self,
        graph: fx.Graph,
        sources: Callable[[], Iterable[tuple[fx.Node, Described]]],
        item: Callable[[int], fx.Node],
    ) -> None:
        """Write nothing yet."""
        self._graph, self._sources, self._item = graph, sources, item

    def write(self, size: Described) -> int | fx.Node:
        """Return a number, or the node of a size."""
        if size[0] == "int":
            return int(size[1])
        if size[0] == "axis":
            _, number, axis, more = size
            return self.plus(self._call(_SIZE, self._item(number), axis), more)
        total: int | fx.Node = 0
        for axes, coefficient in sorted(_fit(size), key=lambda term: not term[0]):
            term: int | fx.Node = coefficient
            for axis in axes:
                read = self._axis(axis)
                term = read if term == 1 else self._call(operator.mul, read, term)
            total = self.plus(total, term) if total != 0 else term
        return total

    def plus(self, one: int | fx.Node, other: int | fx.Node) -> int | fx.Node:
        """Add two sizes that are written."""
        if isinstance(one, int) and isinstance(other, int):
            return one + other
        if isinstance(other, int) and other == 0:
            return one
        if isinstance(one, int) and one == 0:
            return other
        return self._call(operator.add, one, other)

    def more(self, size: Described, number: int) -> Described:
        """Return a described size that is larger by a number."""
        if size[0] == "axis":
            return ("axis", size[1], size[2], size[3] + number)
        return ("size", _added(_fit(size), (((), number),)))

    def times(self, size: Described, number: int) -> Described:
        """Return a described size, multiplied by a number."""
        return ("size", tuple((axes, c * number) for axes, c in _fit(size)))

    def sum(self, one: Described, other: Described) -> Described:
        """Return the sum of two described sizes."""
        if "axis" in (one[0], other[0]):
            plain, odd = (one, other) if other[0] == "axis" else (other, one)
            if plain[0] == "axis" or any(axes for axes, _ in _fit(plain)):
                raise MismatchError("a position is not a sum of the axes")
            return self.more(odd, sum(c for _, c in _fit(plain)))
        return ("size", _added(_fit(one), _fit(other)))

    def less(self, one: Described, other: Described) -> Described:
        """Return the difference of two described sizes."""
        if one[0] == "axis" and other[0] == "axis" and one[1:3] == other[1:3]:
            return ("size", _added((), (((), one[3] - other[3]),)))
        if "axis" in (one[0], other[0]):
            raise MismatchError("a position is not a sum of the axes")
        return ("size", _added(_fit(one), tuple((axes, -c) for axes, c in _fit(other))))

    def _axis(self, name: Factor) -> fx.Node:
        if isinstance(name, Quotient):
            read = self.plus(self._axis(name.axis), name.more)
            return self._call(operator.floordiv, read, name.by)
        for node, shape in self._sources():
            for axis, size in enumerate(shape[2]):
                if plain_axis(size) == name:
                    return self._call(_SIZE, node, axis)
        raise MismatchError(f"the size of {name} is not that of an input")

    def _call(self, target: Any, *args: Any) -> fx.Node:
        return self._graph.call_function(target, args)


def _fit(size: Described) -> Fit:
    if size[0] == "int":
        return (((), size[1]),) if size[1] else ()
    if size[0] != "size" or size[1] is None:
        raise MismatchError("a size is not a sum of the axes")
    fitted: Fit = size[1]
    return fitted


def _added(one: Fit, other: Fit) -> Fit:
    total: dict[tuple[Factor, ...], int] = {}
    for axes, coefficient in (*one, *other):
        total[axes] = total.get(axes, 0) + coefficient
    return tuple((axes, c) for axes, c in total.items() if c)


def is_number(size: Any, number: int) -> bool:
    """Whether a size, described or plain, is a number."""
    if isinstance(size, int):
        return size == number
    return size in (("int", number), ("size", (((), number),) if number else ()))


def plain_axis(size: Any) -> str | None:
    """Return the name of the axis that a described size is, with nothing added; else None."""
    if size[0] != "size" or not size[1] or len(size[1]) != 1:
        return None
    axes, coefficient = size[1][0]
    if len(axes) != 1 or coefficient != 1 or isinstance(axes[0], Quotient):
        return None
    name: str = axes[0]
    return name


def same_size(one: Any, other: Any) -> bool:
    """Whether two described sizes are the same expression."""
    if one[0] == "axis" or other[0] == "axis":
        return bool(one == other)
    return one[1] is not None and other[1] is not None and dict(_fit(one)) == dict(_fit(other))


def takes_all(target: Any, args: tuple[Any, ...], shape: Callable[[Any], Any]) -> bool:
    """Whether an operator is a slice from the start of an axis to its end.

    Args:
        target: The operator.
        args: Its arguments, described.
        shape: Returns the described sizes of the first of them.
    """
    if target is not aten.slice.Tensor or len(args) != 4 or not is_number(args[2], 0):
        return False
    return same_size(args[3], shape(args[0])[value_of(args[1][1], {})])


def drop_axis(shape: tuple[Any, ...], axis: int) -> tuple[Any, ...]:
    """Return a shape without an axis."""
    return shape[:axis] + shape[axis + 1 :]


def merged_shape(shape: tuple[Any, ...], axis: int) -> tuple[Any, ...]:
    """Return a shape with one entry along an axis."""
    return (*shape[:axis], ("size", (((), 1),)), *shape[axis + 1 :])
