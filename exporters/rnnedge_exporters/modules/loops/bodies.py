"""The body of a loop as a module, and what the loop is called with."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from torch import fx, nn

from rnnedge_exporters.errors import MismatchError
from rnnedge_exporters.modules.loops.fits import name_of
from rnnedge_exporters.modules.loops.hoisting import Hoister
from rnnedge_exporters.modules.loops.operations import CONSTANT, INPUT, TO_DTYPE, WEIGHT, aten
from rnnedge_exporters.modules.loops.parts import (
    LoopParts,
    Outer,
    Shape,
    given_dtype,
    given_shape,
    is_last,
    start_of,
    step_shape,
)
from rnnedge_exporters.modules.loops.programs import Merged
from rnnedge_exporters.modules.loops.rolled import LoopShape, MaskedBody, RolledLoop
from rnnedge_exporters.modules.loops.sizes import (
    SizeWriter,
    plain_axis,
    takes_all,
)
from rnnedge_exporters.modules.loops.turns import Described

_NUMBERS = ("Tensor", "number")


class BodyWriter:
    """Writes the body of one loop.

    Args:
        outer: Writes what is around the loop.
        parts: The loop.
        merged: The program.
        root: Has the constants.
        module: Has the weights.
    """

    def __init__(
        self, outer: Outer, parts: LoopParts, merged: Merged, root: nn.Module, module: nn.Module
    ) -> None:
        """Write nothing yet."""
        self._outer, self._parts, self._merged = outer, parts, merged
        self._root, self._module = root, module
        self._graph = fx.Graph()
        self._states: list[tuple[int, int]] = []  # carry, turns back
        self._nodes: dict[int, Any] = {}
        self._held: dict[Any, fx.Node] = {}
        self._shapes: list[tuple[fx.Node, Described]] = []
        self._captured: list[Described] = []
        self._indices: list[Described] = []
        self._hoister = Hoister(outer, parts, merged)
        self._sizes = SizeWriter(self._graph, self._axis_sources, self._sized_item)

    def write(self) -> tuple[RolledLoop, list[fx.Node]]:
        """Return the loop, and the nodes that it is called with."""
        parts = self._parts
        live = [n for n, c in enumerate(parts.carries) if c is not None and not self._writes(n)]
        self._check(live)
        given: list[fx.Node] = []
        shapes: list[Shape] = []
        for number in live:
            lag, source, starts = parts.carries[number]
            for back in range(1, lag + 1):
                self._states.append((number, back))
                shapes.append(parts.shapes[source])
                given.append(start_of(self._outer, parts, starts[lag - back], source))
                self._hold(("state", number, back), parts.shapes[source])
        directions = []
        used = self._scans_used()
        for number in used:
            node, direction = self._hoister.scanned(number)
            given.append(node)
            directions.append(direction)
            shapes.append(step_shape(self._outer, parts.scans[number]))
            self._hold(("scan", number), shapes[-1])
        for position in self._hoister.frontier():
            given.append(self._hoister.value(position))
            directions.append(self._hoister.positions[position])
            shapes.append(parts.shapes[position])
            self._hold(("hoisted", position), shapes[-1])
            self._nodes[position] = self._held["hoisted", position]
        self._collect_arguments()
        if self._indices or not directions:
            for index in self._indices or [("index", 1, ("size", ()))]:
                given.append(self._index(index))
                directions.append(1)
                shapes.append(())
                self._hold(("index", index), ())
        self._give_captured(given, shapes)
        for position in sorted(parts.operations):
            if position not in parts.writes and position not in self._hoister.positions:
                self._nodes[position] = self._operation(position)
        results = self._results()
        self._graph.output(tuple(node for node, _ in results))
        body: nn.Module = fx.GraphModule(self._holder(), self._graph)
        walked = len(self._states) + len(directions)
        parts.padding = parts.missing_turns(self._merged.points)
        if parts.padding:
            steps = given[len(self._states) : walked]
            padded = [
                self._padded(x, shape, way)
                for x, shape, way in zip(
                    steps, shapes[len(self._states) : walked], directions, strict=True
                )
            ]
            given = [*given[: len(self._states)], *padded, self._active(), *given[walked:]]
            body = MaskedBody(body, len(self._states), walked)
            shapes.insert(walked, ())
            directions.append(1)
        told = self._loop_shape(shapes, [s for _, s in results], directions)
        return RolledLoop(body, told), given

    def _give_captured(self, given: list[fx.Node], shapes: list[Shape]) -> None:
        """Hand in what the body reads from outside."""
        for described in self._captured:
            shape = self._outer.shape_of(described)
            given.append(self._outer.value(described))
            shapes.append(shape)
            self._hold(("outer", described), shape)

    def _padded(self, x: fx.Node, shape: Shape, direction: int) -> fx.Node:
        """Return what is scanned with more turns behind the last one."""
        outer = self._outer
        sizes = [self._parts.padding, *map(outer.sizes.write, shape)]
        more = outer.call(aten.new_zeros.default, x, sizes)
        return outer.call(aten.cat.default, [x, more] if direction > 0 else [more, x])

    def _active(self) -> fx.Node:
        """Return of each turn whether it is one of the loop's own."""
        outer = self._outer
        turns = outer.value(self._parts.turns)
        every = outer.call(aten.arange.default, outer.sizes.plus(turns, self._parts.padding))
        return outer.call(aten.lt.Scalar, every, turns)

    def _writes(self, carry: int) -> bool:
        return any(write[4] == carry for write in self._parts.writes.values())

    def _check(self, live: list[int]) -> None:
        for number in live:
            source = self._parts.carries[number][1]
            if any(size == ("size", None) for size in self._parts.shapes[source]):
                raise MismatchError("what it carries changes its shape")

    def _scans_used(self) -> list[int]:
        found: set[int] = set()

        def look(described: Any) -> None:
            if isinstance(described, tuple) and described and described[0] != "lit":
                if described[0] == "scan":
                    found.add(described[1])
                for part in described:
                    look(part)

        for _, args, kwargs in self._own_operations():
            look((args, kwargs))
        return sorted(found)

    def _own_operations(self) -> Iterator[tuple[int, Described, Described]]:
        """Yield position and arguments of what is computed in each turn."""
        for position, (_, args, kwargs, _, _) in sorted(self._parts.operations.items()):
            if position not in self._hoister.positions:
                yield position, args, kwargs

    def _collect_arguments(self) -> None:
        """Find what the body reads from outside, and which functions of the turn."""

        def look(described: Any) -> None:
            if not isinstance(described, tuple) or not described or described[0] == "lit":
                return
            if described[0] == "index":
                _add(self._indices, described)
            elif described[0] != "outer":
                for part in described:
                    look(part)
            elif not self._held_inside(described[1]):
                _add(self._captured, described[1])

        for position, args, kwargs in self._own_operations():
            if position in self._parts.writes:
                look(self._parts.writes[position][1])
            else:
                look((args, kwargs))
        names = {axis for _, *given in self._own_operations() for axis in _axes(tuple(given))}
        known = {axis for _, shape in self._shapes for axis in _plain_axes(shape)}
        known |= {a for d in self._captured for a in _plain_axes(("", "", self._outer.shape_of(d)))}
        for name in sorted(names - known):
            self._captured.append(self._input_with(name))

    def _held_inside(self, described: Described) -> bool:
        """Whether the body has a value itself: a weight or a constant, or no tensor at all."""
        if described[0] != "item":
            return described[0] in ("size", "axis", "lit", "seq")
        return self._merged.program.items[described[1]].what in (WEIGHT, CONSTANT)

    def _input_with(self, axis: str) -> Described:
        for number, item in enumerate(self._merged.program.items):
            if item.what == INPUT and axis in _plain_axes(item.shape):
                return ("item", number)
        raise MismatchError(f"the size of {axis} is not that of an input")

    def _index(self, index: Described) -> fx.Node:
        _, step, first = index
        outer = self._outer
        node = outer.call(aten.arange.default, outer.value(self._parts.turns))
        if step != 1:
            node = outer.call(aten.mul.Tensor, node, step)
        at = outer.value(first)
        return node if isinstance(at, int) and at == 0 else outer.call(aten.add.Tensor, node, at)

    def _hold(self, key: Any, shape: Shape) -> None:
        node = self._graph.placeholder(f"given_{len(self._shapes)}")
        self._held[key] = node
        self._shapes.append((node, ("seq", "tuple", shape)))

    def _axis_sources(self) -> Iterator[tuple[fx.Node, Described]]:
        yield from self._shapes

    def _sized_item(self, number: int) -> fx.Node:
        held = self._held.get(("outer", ("item", number)))
        if held is None:
            raise MismatchError("its body needs a size that it does not have")
        return held

    def _operation(self, position: int) -> fx.Node:
        target, args, kwargs, _, _ = self._parts.operations[position]
        if takes_all(target, args[2], partial(given_shape, self._outer, self._parts)):
            node: fx.Node = self._value(args[2][0])
            return node
        values = [self._value(arg) for arg in args[2]]
        named = {name: self._value(arg) for name, arg in kwargs[2]}
        counted = [n for n, arg in enumerate(args[2]) if arg[0] == "index"]
        if any(_has_index(arg) for arg in args[2] if arg[0] == "seq") or any(
            _has_index(arg) for _, arg in kwargs[2]
        ):
            raise MismatchError("a size in its body depends on the turn")
        if counted:
            schema = target._schema.arguments
            if any(str(schema[n].type) not in _NUMBERS for n in counted):
                raise MismatchError("a size or a position in its body depends on the turn")
            target = target.overloadpacket
        return self._graph.call_function(target, tuple(values), named)

    def _value(self, described: Described) -> Any:
        kind = described[0]
        if kind == "local":
            return self._nodes[described[1]]
        if kind == "carry":
            lag = self._parts.carries[described[1]][0]
            return self._held["state", described[1], lag]
        if kind == "scan":
            node = self._held["scan", described[1]]
            source = self._parts.scans[described[1]]
            if source[0] == "pick" and source[2] is aten.slice.Tensor:
                return self._graph.call_function(aten.unsqueeze.default, (node, source[3]))
            return node
        if kind == "index":
            return self._held["index", described]
        if kind == "outer":
            return self._outside(described[1])
        if kind == "lit":
            return described[1]
        if kind in ("size", "axis"):
            return self._sizes.write(described)
        if kind == "seq":
            items = [self._value(item) for item in described[2]]
            return tuple(items) if described[1] == "tuple" else items
        raise MismatchError("its body reads what no Scan gives")

    def _outside(self, described: Described) -> Any:
        if ("outer", described) in self._held:
            return self._held["outer", described]
        if described[0] != "item":
            return self._value(described)
        item = self._merged.program.items[described[1]]
        name = item.args[0][1]
        return self._graph.get_attr(f"constant_{name}" if item.what == CONSTANT else name)

    def _results(self) -> list[tuple[fx.Node, Shape]]:
        parts = self._parts
        results: list[tuple[fx.Node, Shape]] = []
        for number, back in self._states:
            _, source, _ = parts.carries[number]
            node = self._nodes[source] if back == 1 else self._held["state", number, back - 1]
            if back == 1:
                parts.finals.setdefault(source, len(results))
            results.append((node, parts.shapes[source]))
        for position in sorted({position for position, _ in parts.wanted}):
            turns = [turn for p, turn in parts.wanted if p == position]
            write = parts.writes.get(position)
            if write is not None:
                node = self._value(write[1])
                shape = given_shape(self._outer, parts, write[1])
                parts.given_shapes[position] = shape
                if parts.dtypes[position] != given_dtype(self._outer, parts, write[1]):
                    node = self._graph.call_function(
                        TO_DTYPE, (node,), {"dtype": parts.dtypes[position]}
                    )
            elif position in parts.finals and all(is_last(self._outer, parts, t) for t in turns):
                continue
            else:
                node, shape = self._nodes[position], parts.shapes[position]
                if any(size == ("size", None) for size in shape):
                    raise MismatchError("what it gives changes its shape with the turn")
            parts.collected[position] = len(results)
            results.append((node, shape))
        return results

    def _holder(self) -> nn.Module:
        return self._outer.holder

    def _loop_shape(
        self, given: list[Shape], results: list[Shape], directions: list[int]
    ) -> LoopShape:
        parts, time = self._parts, _axes(self._parts.turns)
        if parts.turns[0] == "axis":
            time = _axes(self._outer.item(parts.turns[1]).shape[2][parts.turns[2]])
        names = [axis for axis in self._merged.points[0] if axis not in time]
        batch = next(
            (
                name
                for shape in (*results, *given)
                for size in shape
                for name in names
                if size == ("size", (((name,), 1),))
            ),
            None,
        )

        def axis(shape: Shape) -> int | None:
            return next(
                (n for n, size in enumerate(shape) if size == ("size", (((batch,), 1),))), None
            )

        return LoopShape(
            states=len(self._states),
            directions=tuple(directions),
            batch=tuple(map(axis, given)),
            results=tuple(map(axis, results)),
            may_be_empty=parts.padding > 0,
            site=self._parts.item.what.site,
        )


def _axes(described: Any) -> set[str]:
    """Return the axes that sizes in a description depend on."""
    if not isinstance(described, tuple) or not described or described[0] == "lit":
        return set()
    if described[0] == "size":
        return {name_of(factor) for axes, _ in described[1] or () for factor in axes}
    return {axis for part in described for axis in _axes(part)}


def _plain_axes(shape: Described) -> set[str]:
    """Return the axes that are the size of an axis of a shape."""
    return set(filter(None, map(plain_axis, shape[2])))


def _has_index(described: Any) -> bool:
    if not isinstance(described, tuple) or not described or described[0] == "lit":
        return False
    return described[0] == "index" or any(map(_has_index, described))


def _add(found: list[Any], item: Any) -> None:
    """Append an item unless it is there."""
    if item not in found:
        found.append(item)
