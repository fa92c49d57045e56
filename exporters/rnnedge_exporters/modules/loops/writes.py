"""Tensors that a loop grows, or fills, by one step a turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rnnedge_exporters.modules.loops.operations import Operation, aten

WRITES = (aten.select_scatter.default, aten.slice_scatter.default)

Described = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Write:
    """A tensor that grows, or is filled, by one step a turn, and that nothing in the loop reads.

    Attributes:
        carry: Which carried value it is.
        given: What is written.
        axis: Along which axis.
        index: The step that is written in each turn, ("index", a, b); None for one that grows.
        front: Whether one that grows does so at its front.
    """

    carry: int
    given: Described
    axis: int
    index: Described | None
    front: bool = False


def find_writes(
    operations: Sequence[Operation],
    every: Sequence[tuple[Described, Described]],
    carries: Sequence[tuple[int, int, tuple[Described, ...]]],
) -> dict[int, Write]:
    """Find the tensors that are only written to, one step a turn, by their positions.

    Args:
        operations: The operations of a body.
        every: Arguments of each, by position and by name, described.
        carries: Of each carried value how many turns back, its position, and what it starts from.
    """
    writes: dict[int, Write] = {}
    uses = [
        (position, carry)
        for position, (args, named) in enumerate(every)
        for carry in (*_carries_in(args), *_carries_in(named))
    ]
    for position, (args, _) in enumerate(every):
        operation, given = operations[position], args[2]
        found = _written(operation, given)
        if found is None or carries[found.carry][:2] != (1, position):
            continue
        if [where for where, carry in uses if carry == found.carry] == [position]:
            writes[position] = found
    return writes


def _written(operation: Operation, given: tuple[Described, ...]) -> Write | None:
    if operation.target in WRITES and given[0][0] == "carry" and given[3][0] == "index":
        if operation.target is aten.slice_scatter.default:
            start, end = given[3], given[4]
            if len(given) > 5 or (end[0], end[1]) != ("index", start[1]):
                return None
            if end[2][1] - start[2][1] != 1:
                return None
        if given[3][1] not in (1, -1):
            return None
        return Write(given[0][1], given[1], given[2][1], given[3])
    if operation.target is aten.cat.default and given[0][0] == "seq" and len(given[0][2]) == 2:
        axis = given[1][1] if len(given) > 1 else 0
        axis %= len(operation.shape)
        for front, (old, new) in enumerate((given[0][2], given[0][2][::-1])):
            if old[0] == "carry" and new[0] != "carry":
                return Write(old[1], new, axis, None, bool(front))
    return None


def _carries_in(described: Any) -> list[int]:
    if not isinstance(described, tuple):
        return []
    if described[:1] == ("carry",):
        return [described[1]]
    return [number for item in described for number in _carries_in(item)]
