"""One body out of the turns of a loop: what is carried, scanned, collected and written.

An argument is described by a tuple, whose first item says what it is:

    ("op", operation)                   a value from outside of the loop
    ("pick", base, operator, axis, i)   one step of such a value
    ("val", loop, q, turn)              what position q of another loop's body gave in one turn
    ("local", q)                        position q of the same turn
    ("prev", lag, q)                    position q of an earlier turn
    ("int", number)  ("lit", anything)  ("seq", kind, items)

and in a body also by ("carry", n), ("scan", n), ("outer", description) and ("index", a, b), an
integer a * turn + b.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from rnnedge_exporters.errors import MismatchError
from rnnedge_exporters.modules.loops.marks import Key, Site, varying
from rnnedge_exporters.modules.loops.operations import Operation, aten
from rnnedge_exporters.modules.loops.traces import Trace
from rnnedge_exporters.modules.loops.writes import Described as Described
from rnnedge_exporters.modules.loops.writes import Write, find_writes

PICKS = (aten.select.int, aten.slice.Tensor)
PEELS = ((0, 0), (1, 0), (0, 1), (1, 1))
"""How many first and last turns may differ from those between them."""
_FEWEST = 2
_WIDEST = 16
"""Steps of a window that a turn reads."""


@dataclass(slots=True)
class Body:
    """One body for all turns of a loop.

    Attributes:
        key: The loop, by the path to it.
        site: Where it is in the source.
        peeled: How many first and last turns are left outside.
        turns: Turns of the body.
        operations: Those of the first of its turns.
        args: Arguments of each operation, by position and by name, described.
        carries: Of each carried value how many turns back, its position, and what it starts from.
        scans: Of each scanned value its description at turn 0 and a step, as ("pick", …) or
            ("val", …) with an ("index", a, b) in place of the number.
        writes: By position.
    """

    key: tuple[Any, ...]
    site: Site
    peeled: tuple[int, int]
    turns: int
    operations: list[Operation]
    args: list[tuple[Described, Described]] = field(default_factory=list)
    carries: list[tuple[int, int, tuple[Described, ...]]] = field(default_factory=list)
    scans: list[Described] = field(default_factory=list)
    writes: dict[int, Write] = field(default_factory=dict)


class Loops:
    """The loops of one trace whose number of turns is not the same at all sizes.

    Args:
        trace: The trace.
        keys: Those loops, by the path to each.
    """

    def __init__(self, trace: Trace, keys: Sequence[tuple[Any, ...]]) -> None:
        """Sort the operations into turns."""
        self.trace = trace
        self.turns: dict[Key, list[list[Operation]]] = {
            key: [[] for _ in range(trace.turns.counts[key])] for key in keys
        }
        self.bodies: dict[tuple[Any, ...], Body] = {}
        self._place: dict[int, tuple[tuple[Any, ...], int, int]] = {}
        starts = self._picks_of_states()
        for operation in trace.operations:
            found = self._turn_of(operation)
            if found is None or (self._is_pick(operation) and operation.number not in starts):
                continue
            turn = self.turns[found[0]][found[1]]
            self._place[operation.number] = (*found, len(turn))
            turn.append(operation)

    def _turn_of(self, operation: Operation) -> tuple[tuple[Any, ...], int] | None:
        path = operation.path
        for depth, (rank, turn) in enumerate(path):
            key = (*path[:depth], rank)
            if key in self.turns:
                return key, turn
        return None

    def _picks_of_states(self) -> set[int]:
        """Return the picks that are a part of the body: of what a state starts from, and of steps.

        They are not steps of it: the same pick of another turn reads what a turn computed, or
        another step.
        """
        sorts: dict[int, Any] = {}
        steps: dict[Any, set[Any]] = defaultdict(set)
        met: Counter[Any] = Counter()
        inside: set[int] = set()
        for op in self.trace.operations:
            if self._turn_of(op) is None:
                continue
            if op.target in PICKS:
                place = (op.path, op.where, op.target)
                sorts[op.number] = (op.where, op.target, op.args[1], met[place])
                met[place] += 1
                base = op.args[0]
                steps[sorts[op.number]].add(_step_of(base) if base.target in PICKS else None)
                if op.args[0].number not in inside:
                    continue  # of a value from outside, or of a pick of one
            inside.add(op.number)
        states = {sort for number, sort in sorts.items() if number in inside}
        states |= {sort for sort, bases in steps.items() if len(bases) > 1}
        return {number for number, sort in sorts.items() if sort in states}

    def _is_pick(self, operation: Operation) -> bool:
        """Whether an operation is one step of a value from outside of all loops."""
        if operation.target not in PICKS or len(operation.args) > 4:
            return False
        if operation.target is aten.slice.Tensor and operation.args[3] - operation.args[2] != 1:
            return False
        return operation.args[0].number not in self._place

    def place(self, operation: Operation) -> tuple[tuple[Any, ...], int, int] | None:
        """Return the loop, turn and position of an operation that a body has."""
        found = self._place.get(operation.number)
        if found is None or found[0] not in self.bodies:
            return None
        body = self.bodies[found[0]]
        turn = found[1] - body.peeled[0]
        return (found[0], turn, found[2]) if 0 <= turn < body.turns else None

    def describe(self, given: Any) -> Described:
        """Describe an argument outside of the loops."""
        if isinstance(given, Operation):
            found = self.place(given)
            if found is not None:
                return ("val", found[0], found[2], ("int", found[1]))
            if self._is_pick(given):
                target = given.target
                return (
                    "pick",
                    ("op", given.args[0]),
                    target,
                    given.args[1],
                    ("int", given.args[2]),
                )
            return ("op", given)
        return _plain(given, self.describe)

    def _read_windows(self, turns: list[list[Operation]]) -> None:
        """Read a slice of a value from outside, in each turn another, as its steps."""
        for position in range(min(map(len, turns))):
            found = [turn[position] for turn in turns]
            if any(op.target is not aten.slice.Tensor or len(op.args) != 4 for op in found):
                continue
            bases = {op.args[0].number for op in found}
            widths = {op.args[3] - op.args[2] for op in found}
            starts = {op.args[2] for op in found}
            outside = bases.isdisjoint(self._place)
            if outside and len(bases) == len(widths) == 1 < len(starts) and max(widths) <= _WIDEST:
                for turn in turns:
                    turn[position] = _as_steps(turn[position])

    def match(self, key: tuple[Any, ...], peeled: tuple[int, int]) -> Body:
        """Find one body for the turns of a loop.

        Raises:
            MismatchError: When they are not alike.
        """
        every = self.turns[key]
        body = Body(key, self.trace.turns.sites[key], peeled, len(every) - sum(peeled), [])
        if body.turns < _FEWEST:
            raise MismatchError("it has too few turns")
        turns = every[peeled[0] : len(every) - peeled[1]]
        self._read_windows(turns)
        body.operations = turns[0]
        for turn in turns:
            _check_alike(turns[0], turn)
        self.bodies[key] = body
        try:
            matching = _Matching(self, body)
            for position in range(len(turns[0])):
                alike = [turn[position] for turn in turns]
                matching.add(alike)
        except MismatchError:
            del self.bodies[key]
            raise
        body.writes = find_writes(body.operations, body.args, body.carries)
        return body


def _step_of(pick: Operation) -> Any:
    """Return which step of which value a pick gives."""
    return pick.args[0].number, pick.target, pick.args[1:]


def _as_steps(window: Operation) -> Operation:
    """Return a slice of a few steps as those steps, joined."""
    base, axis, start, end = window.args
    steps = [Operation(aten.slice.Tensor, (base, axis, n, n + 1)) for n in range(start, end)]
    return replace(window, target=aten.cat.default, args=(steps, axis))


def _check_alike(first: list[Operation], other: list[Operation]) -> None:
    for one, two in zip(first, other, strict=False):
        if (
            one.target != two.target
            or len(one.args) != len(two.args)
            or one.kwargs.keys() != two.kwargs.keys()
        ):
            raise MismatchError(f"one turn computes {_name(one)}, another {_name(two)}", two.line)
    if len(first) != len(other):
        more = max(first, other, key=len)[min(len(first), len(other))]
        raise MismatchError(f"{_name(more)} is not computed in every turn", more.line)


def _name(operation: Operation) -> str:
    schema = getattr(operation.target, "_schema", None)
    return schema.name.split("::")[-1] if schema else str(operation.target)


def _plain(given: Any, describe: Callable[[Any], Described]) -> Described:
    if isinstance(given, list | tuple):
        return ("seq", type(given).__name__, tuple(map(describe, given)))
    if isinstance(given, int) and not isinstance(given, bool):
        return ("int", given)
    return ("lit", given)


class _Matching:
    """Finds out what the arguments of the turns of one loop have in common."""

    def __init__(self, loops: Loops, body: Body) -> None:
        self._loops, self._body = loops, body
        self._line = ""

    def add(self, alike: list[Operation]) -> None:
        """Add an operation: the same one of each turn."""
        self._line = alike[0].line
        args = [[self._described(a, turn) for a in op.args] for turn, op in enumerate(alike)]
        names = list(alike[0].kwargs)
        named = [
            [self._described(op.kwargs[name], turn) for name in names]
            for turn, op in enumerate(alike)
        ]
        joined = tuple(self._joined([*given]) for given in zip(*args, strict=True))
        others = tuple(self._joined([*given]) for given in zip(*named, strict=True))
        self._body.args.append(
            (("seq", "tuple", joined), ("seq", "dict", tuple(zip(names, others, strict=True))))
        )

    def _described(self, given: Any, turn: int) -> Described:
        if isinstance(given, Operation):
            found = self._loops.place(given)
            if found is not None and found[0] == self._body.key:
                return (
                    ("local", found[2]) if found[1] == turn else ("prev", turn - found[1], found[2])
                )
            return self._loops.describe(given)
        return _plain(given, lambda inner: self._described(inner, turn))

    def _joined(self, given: list[Described]) -> Described:
        first, last = given[0], given[-1]
        if last[0] == "prev":
            return self._carried(given)
        kinds = {one[0] for one in given}
        if kinds == {"seq"} and len({(one[1], len(one[2])) for one in given}) == 1:
            items = zip(*(one[2] for one in given), strict=True)
            return ("seq", first[1], tuple(self._joined([*item]) for item in items))
        if all(_same(one, first) for one in given):
            return first if first[0] in ("local", "int", "lit") else ("outer", first)
        if kinds == {"int"}:
            return self._index([one[1] for one in given], "an integer")
        if kinds in ({"pick"}, {"val"}) and all(_same(one[:-1], first[:-1]) for one in given):
            steps = self._index([one[-1][1] for one in given], "the step that is read")
            return self._scanned((*first[:-1], steps))
        raise MismatchError(_differing(given), self._line)

    def _index(self, numbers: list[int], what: str) -> Described:
        step = numbers[1] - numbers[0]
        if any(n != numbers[0] + step * turn for turn, n in enumerate(numbers)):
            raise MismatchError(f"{what} is not a linear function of the turn", self._line)
        return ("index", step, ("int", numbers[0]))

    def _scanned(self, source: Described) -> Described:
        for number, known in enumerate(self._body.scans):
            if _same(known, source):
                return ("scan", number)
        self._body.scans.append(source)
        return ("scan", len(self._body.scans) - 1)

    def _carried(self, given: list[Described]) -> Described:
        _, lag, position = given[-1]
        if any(one != ("prev", lag, position) for one in given[lag:]):
            raise MismatchError(
                "what it reads from earlier turns is not the same in each", self._line
            )
        start = tuple(given[:lag])
        if any(one[0] in ("prev", "local", "seq") for one in start):
            raise MismatchError(
                "what it reads from earlier turns is not the same in each", self._line
            )
        for number, known in enumerate(self._body.carries):
            if known[:2] == (lag, position) and all(map(_same, known[2], start)):
                return ("carry", number)
        self._body.carries.append((lag, position, start))
        return ("carry", len(self._body.carries) - 1)


def _same(one: Any, two: Any) -> bool:
    """Whether two descriptions are equal: 1 is not 1.0 here, and NaN is NaN."""
    if isinstance(one, tuple) and isinstance(two, tuple):
        return len(one) == len(two) and all(map(_same, one, two))
    if isinstance(one, Operation) or isinstance(two, Operation):
        return one is two
    if isinstance(one, float) and isinstance(two, float) and one != one and two != two:
        return True
    return type(one) is type(two) and bool(one == two)


def _differing(given: list[Described]) -> str:
    numbers = [one[1] for one in given if one[0] == "lit"]
    if len(numbers) == len(given):
        return f"a number is computed in Python from the turn ({numbers[0]}, {numbers[1]}, …)"
    return "what it reads from outside is not one step of a tensor a turn"


def rolled_keys(traces: Sequence[Trace]) -> list[tuple[Any, ...]]:
    """Return the outermost loops whose number of turns is not the same in all traces."""
    found = varying([trace.turns.counts for trace in traces])
    computing = {
        (*op.path[:depth], op.path[depth][0])
        for op in traces[-1].operations
        for depth in range(len(op.path))
        if isinstance(op.target, torch._ops.OpOverload) or op.path
    }
    return [key for key in found if key in computing]
