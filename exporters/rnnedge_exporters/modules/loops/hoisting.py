"""What a body computes of its scanned values alone is computed of all steps at once, before it.

A product of one step reads the weights anew in every turn; one product over all time does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import fx

from rnnedge_exporters.modules.loops.operations import CONSTANT, WEIGHT, aten
from rnnedge_exporters.modules.loops.parts import LoopParts, Outer
from rnnedge_exporters.modules.loops.programs import Merged
from rnnedge_exporters.modules.loops.turns import Described

_LAST_AXES = (aten.linear.default, aten.layer_norm.default)
"""Operators over the last axes: an axis in front of the others changes nothing."""


class Hoister:
    """Finds what of a body can be computed of all steps at once, and writes it.

    Args:
        outer: Writes what is around the loop.
        parts: The loop.
        merged: The program.

    Attributes:
        positions: What is computed in front of the body, with the direction of its steps.
    """

    def __init__(self, outer: Outer, parts: LoopParts, merged: Merged) -> None:
        """Look at each operation of the body, in order."""
        self._outer, self._parts, self._merged = outer, parts, merged
        self._scans: dict[int, tuple[fx.Node, int]] = {}
        self._made: dict[int, fx.Node] = {}
        self.positions: dict[int, int] = {}
        for position in sorted(parts.operations):
            direction = self._direction(position)
            if direction is not None:
                self.positions[position] = direction
        if not any(parts.operations[p][0] is aten.linear.default for p in self.positions):
            self.positions.clear()  # nothing worth the memory

    def scanned(self, number: int) -> tuple[fx.Node, int]:
        """Return what is scanned [turns, …], and its direction."""
        if number not in self._scans:
            source = self._parts.scans[number]
            self._scans[number] = self._outer.scanned(source, self._parts.turns)
        return self._scans[number]

    def frontier(self) -> list[int]:
        """Return what the rest of the body, or what follows the loop, needs of it."""
        parts = self._parts
        used = {position for position, _ in parts.wanted}
        used |= {carry[1] for carry in parts.carries if carry is not None}
        for position, (_, args, kwargs, _, _) in parts.operations.items():
            if position not in self.positions:
                used |= {number for kind, number in _values((args, kwargs)) if kind == "local"}
        return sorted(used & self.positions.keys())

    def value(self, position: int) -> fx.Node:
        """Return what a position gives in all turns, [turns, …]."""
        if position not in self._made:
            target, args, kwargs, _, _ = self._parts.operations[position]
            values = [self._argument(arg) for arg in args[2]]
            named = {name: self._outer.value(arg) for name, arg in kwargs[2]}
            self._made[position] = self._outer.call(target, *values, **named)
        return self._made[position]

    def _argument(self, described: Described) -> Any:
        if described[0] == "local":
            return self.value(described[1])
        if described[0] == "scan":
            return self.scanned(described[1])[0]
        return self._outer.value(described[1] if described[0] == "outer" else described)

    def _direction(self, position: int) -> int | None:
        """Return the direction of an operation that can be hoisted, else None."""
        target, args, kwargs, shape, _ = self._parts.operations[position]
        pointwise = torch.Tag.pointwise in getattr(target, "tags", ())
        if position in self._parts.writes or not (pointwise or target in _LAST_AXES):
            return None
        rank, found = len(shape[2]), set()
        for kind, number in _values((args, kwargs)):
            direction, own_rank = self._operand(kind, number)
            if own_rank is None or own_rank > rank:
                return None
            if direction:
                found.add(direction if own_rank == rank else 0)
        return found.pop() if len(found) == 1 and 0 not in found else None

    def _operand(self, kind: str, number: Any) -> tuple[int, int | None]:
        """Return direction and axes of an operand; 0 where all turns have the same one.

        None in place of the axes says that it differs in each turn and cannot be had at once.
        """
        if kind == "local" and number in self.positions:
            return self.positions[number], len(self._parts.shapes[number])
        if kind == "scan":
            source = self._parts.scans[number]
            if source[0] == "val" or source[2] is aten.select.int:
                above = source if source[0] == "val" else source[1]
                axes = len(self._outer.shape_of(above)) - (source[0] != "val")
                return source[-1][1], axes
        if kind == "outer" and number[0] == "item":
            item = self._merged.program.items[number[1]]
            if item.what in (WEIGHT, CONSTANT):
                return 0, len(item.shape[2])
        return 0, None


def _values(described: Any) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a description that are not plain numbers."""
    if not isinstance(described, tuple) or not described or described[0] == "lit":
        return
    if described[0] in ("local", "carry", "scan", "outer", "index", "axis"):
        yield described[0], described[1]
    elif described[0] == "size":
        if described[1] is None or any(axes for axes, _ in described[1]):
            yield "axis", None
    else:
        for part in described:
            yield from _values(part)
