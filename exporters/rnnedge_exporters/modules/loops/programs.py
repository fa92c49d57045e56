"""A trace with a body for each loop, and one program out of the programs of all sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rnnedge_exporters.errors import MismatchError
from rnnedge_exporters.modules.loops.fits import Fit, fit
from rnnedge_exporters.modules.loops.operations import (
    CONSTANT,
    INPUT,
    WEIGHT,
    Operation,
    Pool,
    aten,
    inner_operations,
)
from rnnedge_exporters.modules.loops.turns import Body, Described, Loops


@dataclass(frozen=True, slots=True)
class Item:
    """A step of a program: an operation, or a loop.

    Attributes:
        what: The operator; `INPUT`, `WEIGHT` or `CONSTANT`; or the `Body` of a loop.
        args: Its arguments by position, described; of a loop its body, described.
        kwargs: Its arguments by name, described.
        shape: Sizes of what it gives, described as ("seq", "tuple", (("int", n), …)).
        dtype: Dtype of what it gives.
    """

    what: Any
    args: Described
    kwargs: Described
    shape: Described
    dtype: Any


@dataclass(frozen=True, slots=True)
class Program:
    """What a module computes.

    Attributes:
        items: Its steps, in order; a description ("item", n) is what step n gives.
        results: What it returns, described.
    """

    items: list[Item]
    results: Described


def shape_of(operation: Operation) -> Described:
    """Describe the sizes of what an operation gives."""
    return ("seq", "tuple", tuple(("int", size) for size in operation.shape))


class Builder:
    """Builds the program of one trace.

    Args:
        loops: Its loops, all matched.
        inputs: Names of the inputs, all of which the program keeps.
    """

    def __init__(self, loops: Loops) -> None:
        """Look at nothing yet."""
        self._loops = loops
        self._operations: dict[int, Operation] = {}
        self._used: dict[tuple[Any, ...], set[int]] = {key: set() for key in loops.bodies}
        self._numbers: dict[Any, int] = {}

    def build(self) -> Program:
        """Return the program of what the results need.

        Raises:
            MismatchError: When a loop's value is used in a way that no `Scan` gives.
        """
        results = tuple(self._outer(result) for result in self._loops.trace.results)
        for operation in self._loops.trace.operations:
            if operation.target == INPUT:
                self._need(operation)
        places: list[tuple[bool, int, Any]] = [  # first what is computed from nothing
            (bool(inner_operations(op.args)), op.number, op) for op in self._operations.values()
        ]
        for key, used in self._used.items():
            if used:
                body = self._loops.bodies[key]
                places.append((True, min(op.number for op in body.operations), key))
        places.sort(key=lambda place: place[:2])
        for number, (*_, what) in enumerate(places):
            self._numbers[what.number if isinstance(what, Operation) else what] = number
        items = [self._item(what) for *_, what in places]
        return Program(items, ("seq", "tuple", tuple(map(self._numbered, results))))

    def _need(self, operation: Operation) -> None:
        if operation.number in self._operations:
            return
        self._operations[operation.number] = operation
        for given in (*operation.args, *operation.kwargs.values()):
            self._outer(given)

    def _outer(self, given: Any) -> Described:
        """Describe an argument outside of the loops, and note what it needs."""
        described = _runs(self._loops.describe(given))
        self._note(described)
        return described

    def _note(self, described: Any) -> None:
        if not isinstance(described, tuple) or not described:
            return
        if described[0] == "op":
            self._need(described[1])
        elif described[0] in ("val", "run"):
            self._use(described[1], described[2])
        else:
            for part in described:
                self._note(part)

    def _use(self, key: tuple[Any, ...], position: int) -> None:
        body, used = self._loops.bodies[key], self._used[key]
        if position in used:
            return
        used.add(position)
        args, named = body.args[position]
        for kind, number in (*_parts(args), *_parts(named)):
            if kind == "local":
                self._use(key, number)
            elif kind == "carry":
                _, source, start = body.carries[number]
                self._use(key, source)
                self._note(start)
            elif kind == "scan":
                self._note(body.scans[number])
            else:
                self._note(number)

    def _item(self, what: Any) -> Item:
        if isinstance(what, Operation):
            args = tuple(self._numbered(_runs(self._loops.describe(a))) for a in what.args)
            kwargs = tuple(
                (name, self._numbered(_runs(self._loops.describe(a))))
                for name, a in what.kwargs.items()
            )
            if what.target in (INPUT, WEIGHT, CONSTANT):
                args = (("lit", what.args[0]),)
            return Item(what.target, args, kwargs, shape_of(what), what.dtype)
        return self._loop(what)

    def _loop(self, key: tuple[Any, ...]) -> Item:
        body, used = self._loops.bodies[key], sorted(self._used[key])
        described = (
            ("turns", ("int", body.turns)),
            ("body", tuple(
                (position, body.operations[position].target,
                 *map(self._numbered, body.args[position]),
                 shape_of(body.operations[position]), body.operations[position].dtype)
                for position in used
            )),
            ("carries", tuple(
                (lag, source, self._numbered(start)) if source in used else None
                for lag, source, start in body.carries
            )),
            ("scans", tuple(self._numbered_scan(scan) for scan in body.scans)),
            ("writes", tuple(
                (position, self._numbered(write.given), write.axis, write.front, write.carry,
                 write.index)
                for position, write in sorted(body.writes.items()) if position in used
            )),
        )  # fmt: skip
        return Item(body, described, (), ("seq", "tuple", ()), None)

    def _numbered_scan(self, scan: Described) -> Described:
        try:
            numbered: Described = self._numbered(scan)
            return numbered
        except KeyError:  # what nothing needs
            return ("lit", None)

    def _numbered(self, described: Any) -> Any:
        """Put ("item", n) for each operation, and the number of each loop."""
        if not isinstance(described, tuple) or not described:
            return described
        if described[0] == "op":
            return ("item", self._numbers[described[1].number])
        if described[0] in ("val", "run"):
            return (described[0], self._numbers[described[1]], *described[2:])
        if described[0] == "lit":
            return described
        return tuple(self._numbered(part) for part in described)


def _parts(described: Any) -> Iterator[tuple[str, Any]]:
    if not isinstance(described, tuple) or not described or described[0] == "lit":
        return
    if described[0] in ("local", "carry", "scan", "outer"):
        yield described[0], described[1]
        return
    for part in described:
        yield from _parts(part)


def _runs(described: Described) -> Described:
    """Join what follows in a list turn by turn: ("run", loop, q, first, count, step).

    Steps of a value from outside become ("picks", base, operator, axis, first, count, step).
    """
    if described[0] != "seq":
        return described
    items = [_runs(item) for item in described[2]]
    joined: list[Described] = []
    start = 0
    while start < len(items):
        end, step = _run_from(items, start)
        first = items[start]
        if end - start < 2:
            joined.append(first)
        else:
            name = "run" if first[0] == "val" else "picks"
            joined.append((name, *first[1:], ("int", end - start), ("int", step)))
        start = max(end, start + 1)
    return ("seq", described[1], tuple(joined))


def _run_from(items: Sequence[Described], start: int) -> tuple[int, int]:
    first = items[start]
    if first[0] not in ("val", "pick") or start + 1 == len(items):
        return start + 1, 1
    step = 0
    end = start + 1
    while end < len(items) and items[end][:-1] == first[:-1]:
        moved = items[end][-1][1] - items[end - 1][-1][1]
        if moved not in (1, -1) or step not in (0, moved):
            break
        step, end = moved, end + 1
    return end, step or 1


@dataclass
class Merged:
    """The program of a module at any sizes.

    Attributes:
        program: Its integers are ("size", fit), or ("axis", item, axis, more): a size of an
            earlier step.
        points: Sizes of the axes in each trace.
        programs: The program of each trace.
    """

    program: Program
    points: Sequence[Mapping[str, int]]
    programs: Sequence[Program]


def merge(programs: Sequence[Program], points: Sequence[Mapping[str, int]], pool: Pool) -> Merged:
    """Merge the programs of several sizes.

    Args:
        programs: The program at each of the sizes.
        points: The sizes.
        pool: Has their constants.

    Raises:
        MismatchError: When they are not the same, sizes apart.
    """
    counts = {len(program.items) for program in programs}
    if len(counts) > 1:
        raise MismatchError("what is computed outside of the loop depends on its length")
    merging = _Merging(programs, points)
    items = []
    for number, found in enumerate(zip(*(p.items for p in programs), strict=True)):
        merging.before = number
        alike = _counted(found, pool)
        first = alike[0]
        loop = isinstance(first.what, Body)
        if any(
            (isinstance(i.what, Body) if loop else i.what == first.what) != (loop or True)
            for i in alike
        ):
            raise MismatchError("what is computed outside of the loop depends on its length")
        args, kwargs = (merging.join([getattr(i, n) for i in alike]) for n in ("args", "kwargs"))
        shape = merging.join([i.shape for i in alike], strict=False)
        items.append(Item(first.what, args, kwargs, shape, first.dtype))
    merging.before = len(items)
    results = merging.join([program.results for program in programs])
    return Merged(Program(items, results), points, programs)


def _counted(alike: Sequence[Item], pool: Pool) -> Sequence[Item]:
    """Return constants of other lengths at other sizes as `arange`, where they count steps."""
    numbers = {item.args for item in alike}
    if len(numbers) == 1 or any(item.what != CONSTANT for item in alike):
        return alike
    counts = [_count_of(pool.tensors[item.args[0][1]]) for item in alike]
    if None in counts:
        return alike
    made = []
    for item, count in zip(alike, counts, strict=True):
        args = tuple(("int", n) for n in count or ())
        made.append(Item(aten.arange.start_step, args, (), item.shape, item.dtype))
    return made


def _count_of(tensor: Tensor) -> tuple[int, int, int] | None:
    """Return start, end and step of int64 numbers that are those of an `arange`; else None."""
    if tensor.dtype != torch.int64 or tensor.dim() != 1 or len(tensor) < 2:
        return None
    first, step = int(tensor[0]), int(tensor[1] - tensor[0])
    end = first + step * len(tensor)
    if step == 0 or not torch.equal(tensor, torch.arange(first, end, step)):
        return None
    return first, end, step


class _Merging:
    def __init__(self, programs: Sequence[Program], points: Sequence[Mapping[str, int]]) -> None:
        self._programs, self._points = programs, points
        self.before = 0

    def join(self, parts: list[Any], *, strict: bool = True) -> Any:
        first = parts[0]
        if isinstance(first, tuple):
            if any(not isinstance(p, tuple) or len(p) != len(first) for p in parts):
                raise MismatchError("a list outside of the loop has another length at each size")
            if first[:1] == ("int",) and all(p[:1] == ("int",) for p in parts):
                return self._size([p[1] for p in parts], strict=strict)
            return tuple(self.join([*p], strict=strict) for p in zip(*parts, strict=True))
        if any(type(p) is not type(first) or (p != first and p == p) for p in parts):
            raise MismatchError("what is computed outside of the loop depends on its length")
        return first

    def _size(self, values: list[int], *, strict: bool) -> Described:
        fitted: Fit | None = fit(values, self._points)
        if fitted is not None:
            return ("size", fitted)
        for number in range(self.before):
            shapes = [program.items[number].shape[2] for program in self._programs]
            for axis in range(len(shapes[0])):
                more = {v - s[axis][1] for v, s in zip(values, shapes, strict=True)}
                if len(more) == 1:
                    return ("axis", number, axis, more.pop())
        if strict:
            raise MismatchError(f"a size ({', '.join(map(str, values))}) is not a sum of the axes")
        return ("size", None)
