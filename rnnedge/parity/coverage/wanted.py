"""What the graph of a file asks of its inputs: values it compares them with, rows, steps, sizes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import permutations
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from rnnedge_exporters.onnx_model.nodes import attribute, attributes, is_standard, subgraphs

_COMPARED = ("Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual", "Mod")
_MOVED = (
    *("Cast", "Identity", "Squeeze", "Unsqueeze", "Reshape", "Flatten", "Transpose", "Slice"),
    *("Gather", "ReduceMax", "ReduceMin", "ReduceSum", "Concat", "Expand", "Clip"),
)
"""Operators whose answer holds numbers of their first input."""
_SIZED = (*_COMPARED, "Min", "Max", "Div")
"""Operators that answer otherwise where a size is above or below a constant."""
_COMPUTED = (*_MOVED, "Add", "Sub", "Mul", "Div", "Mod", "Min", "Max", "Where")
"""Operators that make sizes of sizes."""
_CHOSEN = {"If": (0, 1), "Loop": (1, 2, 5)}
"""Numbers of an input that says which branch is taken, or how many steps are run."""
_MOST = 8
"""Values that one input is given, at the most."""
_LONGEST = 4096
"""The largest size of an axis that is tried."""


@dataclass(slots=True)
class Wanted:
    """What is tried to reach all of a file.

    Attributes:
        values: For an input that the graph compares, or counts steps with: numbers to give it.
        rows: For an input that looks up rows: how many the smallest of the tables has.
        sizes: Sizes of axes that the graph compares.
    """

    values: dict[str, set[float]] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    sizes: set[int] = field(default_factory=set)

    def __bool__(self) -> bool:
        """Whether the graph asks for anything."""
        return bool(self.values or self.rows or self.sizes)

    @property
    def choices(self) -> int:
        """How many cases give every input each of its values once."""
        return min(_MOST, max((len(values) for values in self.values.values()), default=0))

    def value(self, name: str, choice: int) -> float | None:
        """Return the number that an input is given in a case; None for any."""
        values = sorted(self.values.get(name, ()))
        return values[(choice - 1) % len(values)] if values else None

    def renamed(self, names: Mapping[str, str]) -> Wanted:
        """Return the same with other names of inputs.

        Args:
            names: For each name that is wanted, the one that an input has here.
        """
        return Wanted(
            {new: self.values[old] for new, old in names.items() if old in self.values},
            {new: self.rows[old] for new, old in names.items() if old in self.rows},
            self.sizes,
        )


def find_wanted(model: onnx.ModelProto) -> Wanted:
    """Return what the graph of a model asks of its inputs.

    Args:
        model: The model.
    """
    wanted = Wanted()
    scope = _GraphScope(model.graph, {value.name for value in model.graph.input})
    for node, inner in _everywhere(model.graph, scope):
        if is_standard(node):
            _look_at(node, inner, wanted)
    return wanted


class _GraphScope:
    """The nodes and constants that a graph can see."""

    def __init__(
        self, graph: onnx.GraphProto, inputs: set[str], outer: _GraphScope | None = None
    ) -> None:
        self.inputs, self._outer = inputs, outer
        self._tensors = {tensor.name: tensor for tensor in graph.initializer}
        self._makers = {name: node for node in graph.node for name in node.output if name}

    def maker(self, name: str) -> onnx.NodeProto | None:
        """Return the node that makes a value."""
        if name in self._makers or self._outer is None:
            return self._makers.get(name)
        return self._outer.maker(name)

    def constant(self, name: str) -> NDArray[Any] | None:
        """Return the numbers of a constant, or of one that was only moved."""
        if name in self._tensors:
            return numpy_helper.to_array(self._tensors[name])
        maker = self._makers.get(name)
        if maker is not None and maker.op_type == "Constant":
            return _numbers(maker)
        if maker is not None and maker.op_type in ("Cast", "Identity", "DequantizeLinear"):
            return self.constant(maker.input[0])
        if maker is not None and maker.op_type in ("Mul", "Sub"):  # integers and their scales
            parts = [self.constant(part) for part in maker.input]
            known = [part for part in parts if part is not None]
            return max(known, key=np.size) if len(known) == len(parts) else None
        return self._outer.constant(name) if maker is None and self._outer is not None else None

    def sized(self, name: str) -> bool:
        """Whether a value is a size, or computed of one."""
        waiting, seen = [name], {name}
        while waiting:
            maker = self.maker(waiting.pop())
            if maker is not None and maker.op_type in ("Shape", "Size"):
                return True
            if maker is not None and maker.op_type in _COMPUTED:
                waiting += [part for part in maker.input if part and part not in seen]
                seen.update(maker.input)
        return False

    def origin(self, name: str) -> tuple[str, str]:
        """Return `input` or `size` and the input that a value comes from; empty for neither."""
        maker = self.maker(name)
        while maker is not None and maker.op_type in _MOVED and maker.input:
            name = maker.input[0]
            maker = self.maker(name)
        if maker is None:
            given = name in self.inputs and self.constant(name) is None
            return ("input", name) if given else ("", "")
        return ("size", name) if maker.op_type in ("Shape", "Size") else ("", "")


def _numbers(constant: onnx.NodeProto) -> NDArray[Any] | None:
    """Return what a `Constant` holds; None for text, and for what is sparse."""
    for name, value in attributes(constant).items():
        if name == "value":
            return numpy_helper.to_array(value)
        if name in ("value_int", "value_ints", "value_float", "value_floats"):
            return np.asarray(value)
    return None


def _everywhere(
    graph: onnx.GraphProto, scope: _GraphScope
) -> Iterator[tuple[onnx.NodeProto, _GraphScope]]:
    for node in graph.node:
        yield node, scope
        for inner in subgraphs(node):
            yield from _everywhere(inner, _GraphScope(inner, scope.inputs, scope))


def _look_at(node: onnx.NodeProto, scope: _GraphScope, wanted: Wanted) -> None:
    if node.op_type in _SIZED:
        for one, other in permutations(node.input[:2], 2):
            _look_at_constant(node, scope, wanted, one, other)
    elif node.op_type in _CHOSEN and node.input[0]:
        kind, name = scope.origin(node.input[0])
        if kind == "input":
            wanted.values.setdefault(name, set()).update(_CHOSEN[node.op_type])
    elif node.op_type == "Gather":
        table = scope.constant(node.input[0])
        kind, name = scope.origin(node.input[1])
        if kind == "input" and table is not None and table.ndim:
            rows = table.shape[attribute(node, "axis", 0)]
            wanted.rows[name] = min(rows, wanted.rows.get(name, rows))


def _look_at_constant(
    node: onnx.NodeProto, scope: _GraphScope, wanted: Wanted, value: str, other: str
) -> None:
    """Want the numbers around a constant that an input or a size meets in a node."""
    constant = scope.constant(other)
    if constant is None or not 0 < constant.size <= _MOST or constant.dtype.kind not in "iuf":
        return
    near = {float(number) + by for number in np.ravel(constant) for by in (-1, 0, 1)}
    kind, name = scope.origin(value)
    if kind == "input" and node.op_type in _COMPARED:
        wanted.values.setdefault(name, set()).update(near)
    elif constant.dtype.kind in "iu" and scope.sized(value):
        wanted.sizes.update(int(size) for size in near if 1 <= size <= _LONGEST)
