"""A merged program as a module, with a `RolledLoop` for each loop."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import fx, nn

from rnnedge_exporters.errors import MismatchError
from rnnedge_exporters.modules.capture import Layer
from rnnedge_exporters.modules.loops.bodies import BodyWriter
from rnnedge_exporters.modules.loops.cells import write_layers
from rnnedge_exporters.modules.loops.fits import value_of
from rnnedge_exporters.modules.loops.layer_calls import LayerResults, call_layer
from rnnedge_exporters.modules.loops.operations import CONSTANT, INPUT, WEIGHT, Pool, aten
from rnnedge_exporters.modules.loops.parts import LoopParts
from rnnedge_exporters.modules.loops.programs import Item, Merged
from rnnedge_exporters.modules.loops.sizes import (
    SizeWriter,
    drop_axis,
    is_number,
    merged_shape,
    plain_axis,
    same_size,
    takes_all,
)
from rnnedge_exporters.modules.loops.turns import Body, Described

LOOP_NAME = "loop"
_STACKS = (aten.stack.default, aten.cat.default)


def emit(
    module: nn.Module, merged: Merged, pool: Pool, layers: Mapping[str, Layer]
) -> fx.GraphModule:
    """Write a merged program as a module of the same inputs and results.

    Args:
        module: The private copy that was traced; its weights are shared.
        merged: Its program.
        pool: The constants in it.
        layers: Its recurrent layers by path.

    Raises:
        MismatchError: When a value of a loop is used in a way that no `Scan` gives.
    """
    root = nn.Module()
    for number, tensor in enumerate(pool.tensors):
        root.register_buffer(f"constant_{number}", tensor)
    writer = Writer(module, root, merged, layers)
    return writer.write()


class Writer:
    """Writes what is around the loops of a program.

    Args:
        module: Has the weights.
        root: Has the constants.
        merged: The program.
        layers: The recurrent layers by path.
    """

    def __init__(
        self, module: nn.Module, root: nn.Module, merged: Merged, layers: Mapping[str, Layer]
    ) -> None:
        self._module, self._root, self._merged, self._layers = module, root, merged, layers
        self.graph = fx.Graph()
        self._nodes: list[Any] = []
        self._held: dict[str, Any] = {}
        self._loops: dict[int, LoopParts] = {}
        self.sizes = SizeWriter(self.graph, self._axis_sources, self._sized_item)
        self.holder = _holder(module, root)

    def write(self) -> fx.GraphModule:
        """Return the program as a module."""
        items = self._merged.program.items
        for item in items:  # arguments come first, in their order
            if item.what == INPUT:
                self._held[item.args[0][1]] = self.graph.placeholder(item.args[0][1])
        self._tie_sizes()
        for number, item in enumerate(items):
            self._nodes.append(self._item(number, item))
        results = [self.value(result) for result in self._merged.program.results[2]]
        self.graph.output(tuple(results))
        made = fx.GraphModule(self.holder, self.graph)
        type(made).__name__ = type(self._module).__name__
        return made.eval()

    def _tie_sizes(self) -> None:
        """Check that axes of one name have one size, so that torch takes them for one axis."""
        first: dict[str, fx.Node] = {}
        for node, shape in self._axis_sources():
            for axis, size in enumerate(shape[2]):
                name = plain_axis(size)
                if name is None:
                    continue
                read = self.call(aten.sym_size.int, node, axis)
                if name in first:
                    self.call(torch._check, self.call(operator.eq, first[name], read))
                first.setdefault(name, read)

    def _axis_sources(self) -> Iterator[tuple[fx.Node, Described]]:
        for item in self._merged.program.items:
            if item.what == INPUT:
                yield self._held[item.args[0][1]], item.shape

    def _sized_item(self, number: int) -> fx.Node:
        node: fx.Node = self._nodes[number]
        return node

    def call(self, target: Any, *args: Any, **kwargs: Any) -> fx.Node:
        """Add a call of an operator."""
        return self.graph.call_function(target, args, kwargs)

    def _item(self, number: int, item: Item) -> Any:
        if item.what == INPUT:
            return self._held[item.args[0][1]]
        if item.what == WEIGHT:
            return self.graph.get_attr(item.args[0][1])
        if item.what == CONSTANT:
            return self.graph.get_attr(f"constant_{item.args[0][1]}")
        if isinstance(item.what, Body):
            return self._loop(number, item)
        if item.what is operator.getitem:
            source, at = self._nodes[item.args[0][1]], value_of(item.args[1][1], {})
            if isinstance(source, LayerResults):
                return source.nodes[at]
            return self.call(operator.getitem, source, at)
        if str(item.what).startswith("onnx_symbolic"):
            return call_layer(self, item, self._layers)
        return self._operation(item)

    def _operation(self, item: Item) -> fx.Node:
        if item.what in _STACKS and any(p[0] in ("run", "picks") for p in item.args[0][2]):
            return self._stacked(item)
        if takes_all(item.what, item.args, self.shape_of):
            node: fx.Node = self.value(item.args[0])
            return node
        args = [self.value(arg) for arg in item.args]
        kwargs = {name: self.value(arg) for name, arg in item.kwargs}
        return self.call(item.what, *args, **kwargs)

    def add_module(self, name: str, made: nn.Module) -> str:
        """Add a module under a name that is free, and return the name."""
        free, number = name, 0
        while hasattr(self._module, free) or free in self.holder._modules:
            number += 1
            free = f"{name}_{number}"
        self.holder._modules[free] = made
        return free

    def value(self, described: Described) -> Any:
        """Return the node, or the plain value, of a description."""
        kind = described[0]
        if kind == "item":
            return self._nodes[described[1]]
        if kind == "lit":
            return described[1]
        if kind in ("size", "axis"):
            return self.sizes.write(described)
        if kind == "seq":
            items = [self.value(item) for item in described[2]]
            return tuple(items) if described[1] == "tuple" else items
        if kind == "pick":
            _, base, target, axis, index = described
            at = self.value(index)
            if target is aten.select.int:
                return self.call(target, self.value(base), axis, at)
            return self.call(target, self.value(base), axis, at, self.sizes.plus(at, 1))
        if kind == "val":
            return self._loop_value(described)
        raise MismatchError("a list of all steps is used as it is")

    # Values of loops

    def _loop_value(self, described: Described) -> fx.Node:
        _, number, position, turn = described
        parts = self._loops[number]
        last = same_size(self.sizes.more(turn, 1), parts.turns)
        if position in parts.writes:
            if not last:
                raise MismatchError("a tensor that is filled in the loop is used before its end")
            return self._filled(parts, position)
        if last and position in parts.finals:
            final: fx.Node = parts.finals[position]
            return final
        collected = parts.collected[position]
        if last:
            return self.call(aten.select.int, collected, 0, -1)
        return self.call(aten.select.int, collected, 0, self.value(turn))

    def _steps(self, described: Described) -> tuple[fx.Node, int]:
        """Return the steps of a run, [steps, …], and how many axes they have."""
        if described[0] == "run":
            _, number, position, first, count, step = described
            parts = self._loops[number]
            node, axes = parts.collected[position], len(parts.shapes[position]) + 1
            whole: Described = parts.turns
        else:
            _, base, target, axis, first, count, step = described
            shape = self.shape_of(base)
            node, axes, whole = self.value(base), len(shape), shape[axis]
            node = self.moved(node, axes, axis, 0)
            if target is aten.slice.Tensor:
                node, axes = self.call(aten.unsqueeze.default, node, axis + 1), axes + 1
        node = self.part(node, 0, first, count, step[1] if step[0] == "int" else step, whole)
        return node, axes

    def part(
        self, node: fx.Node, axis: int, first: Described, count: Described, step: Any, whole: Any
    ) -> fx.Node:
        """Return `count` entries along an axis from `first` on, forwards or backwards."""
        backwards = is_number(step, -1)
        start = first if not backwards else self.sizes.less(self.sizes.more(first, 1), count)
        if not (is_number(start, 0) and same_size(count, whole)):
            at = self.value(start)
            end = self.sizes.plus(at, self.value(count))
            node = self.call(aten.slice.Tensor, node, axis, at, end)
        return self.call(aten.flip.default, node, [axis]) if backwards else node

    def moved(self, node: fx.Node, axes: int, source: int, target: int) -> fx.Node:
        """Move an axis."""
        if source == target:
            return node
        order = [axis for axis in range(axes) if axis != source]
        order.insert(target, source)
        return self.call(aten.permute.default, node, order)

    def _stacked(self, item: Item) -> fx.Node:
        """Write `torch.stack` or `torch.cat` of lists with runs of steps in them."""
        rank = len(item.shape[2])
        axis = item.args[1] if len(item.args) > 1 else ("size", ())
        at = value_of(axis[1], {}) % rank
        stack = item.what is aten.stack.default
        pieces = []
        for part in item.args[0][2]:
            if part[0] in ("run", "picks"):
                node, axes = self._steps(part)
                pieces.append(self._joined(node, axes, at, stack=stack))
            else:
                node = self.value(part)
                pieces.append(self.call(aten.unsqueeze.default, node, at) if stack else node)
        return pieces[0] if len(pieces) == 1 else self.call(aten.cat.default, pieces, at)

    def _joined(self, node: fx.Node, axes: int, at: int, *, stack: bool) -> fx.Node:
        """Put the steps [steps, …] along an axis: as a new one, or one after the other."""
        node = self.moved(node, axes, 0, at)
        return node if stack else self.call(torch.flatten, node, at, at + 1)

    def _filled(self, parts: LoopParts, position: int) -> fx.Node:
        """Return a tensor that the loop has written to, one step a turn."""
        _, _, axis, front, carry, index = parts.writes[position]
        start = self.value(parts.starts[carry])
        steps = parts.collected[position]
        axes = len(parts.given_shapes[position]) + 1
        if index is None:
            if front:
                steps = self.call(aten.flip.default, steps, [0])
            made = self._joined(steps, axes, axis, stack=False)
            return self.call(aten.cat.default, [made, start] if front else [start, made], axis)
        if axes > len(parts.shapes[position]):  # a slice of one step
            steps, axes = self.call(aten.squeeze.dim, steps, axis + 1), axes - 1
        _, step, first = index
        if step < 0:
            steps = self.call(aten.flip.default, steps, [0])
            first = self.sizes.less(self.sizes.more(first, 1), parts.turns)
        made = self.moved(steps, axes, 0, axis)
        whole = parts.shapes[position][axis]
        pieces = [made]
        if not is_number(first, 0):
            pieces.insert(0, self.call(aten.slice.Tensor, start, axis, 0, self.value(first)))
        end = self.sizes.sum(first, parts.turns)
        if not same_size(end, whole):
            pieces.append(self.call(aten.slice.Tensor, start, axis, self.value(end), 2**63 - 1))
        return pieces[0] if len(pieces) == 1 else self.call(aten.cat.default, pieces, axis)

    # Loops

    def shape_of(self, described: Described) -> tuple[Described, ...]:
        """Return the described sizes of a description."""
        if described[0] == "pick":
            shape = self.shape_of(described[1])
            if described[2] is aten.select.int:
                return drop_axis(shape, described[3])
            return merged_shape(shape, described[3])
        if described[0] == "val":
            return self._loops[described[1]].shapes[described[2]]
        shape_: tuple[Described, ...] = self._merged.program.items[described[1]].shape[2]
        return shape_

    def dtype_of(self, described: Described) -> Any:
        """Return the dtype of a description."""
        if described[0] == "pick":
            return self.dtype_of(described[1])
        if described[0] == "val":
            return self._loops[described[1]].dtypes[described[2]]
        return self._merged.program.items[described[1]].dtype

    def item(self, number: int) -> Item:
        """Return a step of the program."""
        return self._merged.program.items[number]

    def scanned(self, source: Described, turns: Described) -> tuple[fx.Node, int]:
        """Return what a loop scans, [turns, …] from its lowest step on, and the direction."""
        _, step, first = source[-1]
        if source[0] == "val":
            parts = self._loops[source[1]]
            node, whole = parts.collected[source[2]], parts.turns
        else:
            _, base, _, axis, _ = source
            shape = self.shape_of(base)
            node = self.moved(self.value(base), len(shape), axis, 0)
            whole = shape[axis]
        if abs(step) == 1:
            start = first if step > 0 else self.sizes.less(self.sizes.more(first, 1), turns)
            return self.part(node, 0, start, turns, 1, whole), step
        spread = self.sizes.times(turns, abs(step))
        start = first if step > 0 else self.sizes.less(self.sizes.more(first, -step), spread)
        at = self.value(start)
        end = self.sizes.plus(at, self.value(spread))
        node = self.call(aten.slice.Tensor, node, 0, at, end, abs(step))
        # Without a copy torch compares its strides, and fixes a batch that is as large as a step.
        dense = self.call(aten.clone.default, node, memory_format=torch.contiguous_format)
        return dense, step // abs(step)

    def _loop(self, number: int, item: Item) -> None:
        """Write a loop; what it gives is noted in its `LoopParts`."""
        parts = LoopParts(item, self._wanted(number))
        self._loops[number] = parts
        if write_layers(self, parts, self._merged, self._module):
            return
        writer = BodyWriter(self, parts, self._merged, self._root, self._module)
        loop, given = writer.write()
        called = self.graph.call_module(self.add_module(LOOP_NAME, loop), tuple(given))
        for position, result in parts.finals.items():
            parts.finals[position] = self.call(operator.getitem, called, result)
        for position, result in parts.collected.items():
            made = self.call(operator.getitem, called, result)
            if parts.padding:
                made = self.call(aten.slice.Tensor, made, 0, 0, self.value(parts.turns))
            parts.collected[position] = made

    def _wanted(self, number: int) -> set[tuple[int, Any]]:
        """Return position and turn of each value of a loop that is used; no turn where all are."""
        found: set[tuple[int, Any]] = set()

        def look(described: Any) -> None:
            if not isinstance(described, tuple) or not described:
                return
            if described[0] == "run" and described[1] == number:
                found.add((described[2], None))
            if described[0] == "val" and described[1] == number:
                turn = described[3]
                found.add((described[2], None if turn[0] == "index" else turn))
            for part in described:
                look(part)

        for item in self._merged.program.items:
            look(item.args)
            look(item.kwargs)
        look(self._merged.program.results)
        return found


def _holder(module: nn.Module, root: nn.Module) -> nn.Module:
    """Return a module that has what both have, by the same names."""
    holder = nn.Module()
    holder.__dict__["_modules"] = {**module._modules, **root._modules}
    holder.__dict__["_parameters"] = {**module._parameters}
    holder.__dict__["_buffers"] = {**module._buffers, **root._buffers}
    return holder
