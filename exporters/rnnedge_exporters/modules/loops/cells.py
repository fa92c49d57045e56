"""A loop whose body is recurrent cells becomes recurrent layers, and the rest goes over all steps.

A body of `nn.LSTMCell`, `nn.GRUCell` and `nn.RNNCell` whose states nothing else reads in the next
turn is what layers compute, one for each cell. What it computes of their outputs, and what a loop
without states computes, is computed of all steps at once.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import fx, nn

from rnnedge_exporters.errors import MismatchError
from rnnedge_exporters.modules.loops.operations import WEIGHT, aten
from rnnedge_exporters.modules.loops.parts import (
    LoopParts,
    Outer,
    given_dtype,
    given_shape,
    is_last,
    start_of,
)
from rnnedge_exporters.modules.loops.programs import Merged
from rnnedge_exporters.modules.loops.sizes import is_number
from rnnedge_exporters.modules.loops.turns import Described

_LAYERS: dict[Any, Callable[..., nn.RNNBase]] = {
    aten.lstm_cell.default: nn.LSTM,
    aten.gru_cell.default: nn.GRU,
    aten.rnn_tanh_cell.default: nn.RNN,
    aten.rnn_relu_cell.default: lambda *sizes, **told: nn.RNN(*sizes, nonlinearity="relu", **told),
}
CELL_WEIGHTS = "weights_of_cell"
"""Attribute of such a layer: the name in the module of each of its parameters."""
_WEIGHTS = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
_LAST_AXES = (aten.linear.default, aten.layer_norm.default)
_AXIS = {
    **dict.fromkeys((aten.unsqueeze.default, aten.squeeze.dim, aten.cat.default), 1),
    **dict.fromkeys((aten.select.int, aten.slice.Tensor), 1),
    **dict.fromkeys((aten.softmax.int, aten.log_softmax.int), 1),
}
"""Which argument is an axis."""


def write_layers(outer: Outer, parts: LoopParts, merged: Merged, module: nn.Module) -> bool:
    """Write a loop as recurrent layers where its body is cells, and as neither where it has none.

    Args:
        outer: Writes what is around the loop.
        parts: The loop; gets the nodes of what it gives.
        merged: The program.
        module: Has the weights.

    Returns:
        Whether it was written. If not, nothing was.
    """
    cells = any(operation[0] in _LAYERS for operation in parts.operations.values())
    if parts.has_states and (not cells or parts.missing_turns(merged.points)):
        return False
    before = len(outer.graph.nodes)
    writer = _LayerWriter(outer, parts, merged, module)
    try:
        writer.write()
    except (_OtherError, MismatchError):
        for node in reversed(list(outer.graph.nodes)[before:]):
            outer.graph.erase_node(node)
        parts.finals.clear()
        parts.collected.clear()
        return False
    return True


class _OtherError(Exception):
    """The body is more than cells."""


class _LayerWriter:
    def __init__(self, outer: Outer, parts: LoopParts, merged: Merged, module: nn.Module) -> None:
        self._outer, self._parts, self._merged, self._module = outer, parts, merged, module
        self._steps: dict[int, fx.Node] = {}
        self._finals: dict[int, fx.Node] = {}
        self._written: set[int] = set()
        self._layers: list[tuple[fx.Node, nn.RNNBase]] = []
        self._states = {
            carry[1]: (number, carry[0])
            for number, carry in enumerate(parts.carries)
            if carry is not None
        }
        """Number of the carried value, and turns back, by the position that gives it."""

    def write(self) -> None:
        """Write all that is used of the loop."""
        parts = self._parts
        for position in sorted({position for position, _ in parts.wanted}):
            turns = [turn for p, turn in parts.wanted if p == position]
            write = parts.writes.get(position)
            if write is not None:
                parts.given_shapes[position] = given_shape(self._outer, parts, write[1])
                made, constant = self._value(write[1])
                if constant or given_dtype(self._outer, parts, write[1]) != parts.dtypes[position]:
                    raise _OtherError
                parts.collected[position] = made
            elif (
                all(is_last(self._outer, parts, turn) for turn in turns)
                and self._final(position) is not None
            ):
                parts.finals[position] = self._finals[position]
            else:
                parts.collected[position] = self._step(position)
        for node, layer in self._layers:
            node.target = self._outer.add_module("loop", layer)

    def _final(self, position: int) -> fx.Node | None:
        """Return the last state of a layer that a position gives; None where it gives none."""
        target, args, *_ = self._parts.operations[position]
        cell = args[2][0][1] if target is operator.getitem else position
        if self._parts.operations[cell][0] in _LAYERS:
            self._cell(cell)
        return self._finals.get(position)

    def _step(self, position: int) -> fx.Node:
        """Return what a position gives in all turns, [turns, …]."""
        if position not in self._steps:
            target, args, kwargs, shape, _ = self._parts.operations[position]
            if target is operator.getitem:
                self._cell(args[2][0][1])
            elif target in _LAYERS:
                self._cell(position)
            else:
                self._steps[position] = self._over_time(target, args[2], kwargs[2], len(shape[2]))
        if position not in self._steps:  # the cell state of an LSTM
            raise _OtherError
        return self._steps[position]

    def _over_time(
        self, target: Any, args: tuple[Described, ...], kwargs: Any, rank: int
    ) -> fx.Node:
        """Call an operator on all steps at once, where it is one of each step apart."""
        if kwargs:
            raise _OtherError
        if torch.Tag.pointwise in getattr(target, "tags", ()):
            return self._pointwise(target, args, rank)
        if target not in (*_LAST_AXES, *_AXIS):
            raise _OtherError
        if target is aten.cat.default and args[0][0] == "seq":
            first: Any = [self._varying(part) for part in args[0][2]]
        else:
            first = self._varying(args[0])
        others = [self._constant(arg) for arg in args[1:]]
        if target in _AXIS:
            axis = others[0] if others else 0
            others[:1] = [axis + 1 if axis >= 0 else axis]
        return self._outer.call(target, first, *others)

    def _pointwise(self, target: Any, args: tuple[Described, ...], rank: int) -> fx.Node:
        values = [self._value(arg) for arg in args]
        if all(constant for _, constant in values):
            raise _OtherError
        aligned = [
            value if constant else self._aligned(value, arg, rank)
            for (value, constant), arg in zip(values, args, strict=True)
        ]
        return self._outer.call(target, *aligned)

    def _varying(self, described: Described) -> fx.Node:
        value, constant = self._value(described)
        if constant:
            raise _OtherError
        node: fx.Node = value
        return node

    def _constant(self, described: Described) -> Any:
        value, constant = self._value(described)
        if not constant:
            raise _OtherError
        return value

    def _aligned(self, node: fx.Node, given: Described, rank: int) -> fx.Node:
        """Let the axes after that of time be as many as those of the result."""
        for _ in range(rank - len(given_shape(self._outer, self._parts, given))):
            node = self._outer.call(aten.unsqueeze.default, node, 1)
        return node

    def _value(self, described: Described) -> tuple[Any, bool]:
        """Return what an argument is in all turns, or its value and that it is always the same."""
        kind = described[0]
        if kind == "local":
            return self._step(described[1]), False
        if kind == "scan":
            return self._scanned(described[1]), False
        if kind == "outer":
            return self._outer.value(described[1]), True
        if kind in ("lit", "size", "axis"):
            return self._outer.value(described), True
        if kind == "seq":
            found = [self._value(item) for item in described[2]]
            if all(constant for _, constant in found):
                return [value for value, _ in found], True
        raise _OtherError

    def _scanned(self, number: int) -> fx.Node:
        source = self._parts.scans[number]
        node, direction = self._outer.scanned(source, self._parts.turns)
        if direction < 0:
            node = self._outer.call(aten.flip.default, node, [0])
        if source[0] == "pick" and source[2] is aten.slice.Tensor:
            return self._outer.call(aten.unsqueeze.default, node, source[3] + 1)
        return node

    def _cell(self, position: int) -> None:
        """Write the layer of a cell."""
        target, args, *_ = self._parts.operations[position]
        if target not in _LAYERS:
            raise _OtherError
        if position in self._written:
            return
        self._written.add(position)
        given, state, *weights = args[2]
        states = list(state[2]) if state[0] == "seq" else [state]
        sources = self._state_positions(position, len(states))
        if any(h[0] != "carry" for h in states) or sources is None:
            raise _OtherError
        if [self._states.get(p) for p in sources] != [(h[1], 1) for h in states]:
            raise _OtherError
        x, constant = self._value(given)
        if constant or len(given_shape(self._outer, self._parts, given)) != 2:
            raise _OtherError
        layer = self._layer(target, weights)
        starts = [self._parts.carries[h[1]][2][0] for h in states]
        hx: tuple[Any, ...] = ()
        if not all(map(self._is_zero, starts)):
            first = [
                self._outer.call(
                    aten.unsqueeze.default, start_of(self._outer, self._parts, start, p), 0
                )
                for start, p in zip(starts, sources, strict=True)
            ]
            hx = (first[0] if len(first) == 1 else tuple(first),)
        called = self._outer.graph.call_module("", (x, *hx))
        self._layers.append((called, layer))
        self._note(called, sources)

    def _note(self, called: fx.Node, sources: list[int]) -> None:
        """Note the output and the last states of a layer by the positions that give them."""
        call = self._outer.call
        self._steps[sources[0]] = call(operator.getitem, called, 0)
        finals = call(operator.getitem, called, 1)
        for number, position in enumerate(sources):
            last = call(operator.getitem, finals, number) if len(sources) > 1 else finals
            self._finals[position] = call(aten.select.int, last, 0, 0)

    def _state_positions(self, cell: int, count: int) -> list[int] | None:
        """Return the positions of the new states of a cell."""
        if count == 1:
            return [cell]
        found: dict[int, int] = {}
        for position, (target, args, *_) in self._parts.operations.items():
            if target is operator.getitem and args[2][0] == ("local", cell):
                found[int(self._outer.value(args[2][1]))] = position
        return [found[n] for n in range(count)] if len(found) == count else None

    def _layer(self, target: Any, weights: list[Described]) -> nn.RNNBase:
        named = [self._parameter(weight) for weight in weights if weight != ("lit", None)]
        given = [parameter for _, parameter in named]
        if len(given) not in (2, 4):
            raise _OtherError
        (_, input_size), (_, hidden_size) = given[0].shape, given[1].shape
        layer = _LAYERS[target](input_size, hidden_size, bias=len(given) == 4, device="meta")
        for name, weight in zip(_WEIGHTS, given, strict=False):
            setattr(layer, name, weight)
        names = (name for name, _ in named)
        vars(layer)[CELL_WEIGHTS] = dict(zip(_WEIGHTS, names, strict=False))
        return layer.eval()

    def _parameter(self, described: Described) -> tuple[str, nn.Parameter]:
        if described[0] == "outer" and described[1][0] == "item":
            item = self._merged.program.items[described[1][1]]
            if item.what == WEIGHT:
                found = dict(self._module.named_parameters(remove_duplicate=False))
                name = item.args[0][1]
                if name in found:
                    return name, found[name]
        raise _OtherError

    def _is_zero(self, start: Described) -> bool:
        if start[0] == "item":
            item = self._merged.program.items[start[1]]
            if item.what is not aten.full.default:
                return False
            start = item.args[1]
        return start == ("lit", 0.0) or (start[0] == "size" and is_number(start, 0))
