"""A copy of a model that answers what of it ran, in place of what it computes.

The copy keeps only what decides: the conditions of each `If`, the trips of each `Loop`, the indices
of each `Gather` from a constant table. Each graph answers one vector of float32: a one for itself,
the vectors of the graphs inside its nodes, and for each table a one for every row that was looked
up. An `If` answers zeros for the branch that it did not take; a `Loop` or `Scan` carries its vector
from step to step, and keeps the largest number at each place. A `Scan` with none of these inside
has no vector: it runs where the graph around it does, for a step at least.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, inliner, numpy_helper

from rnnedge.parity.coverage.wanted import Wanted
from rnnedge_exporters.onnx_model.nodes import (
    STANDARD,
    attributes,
    drop_unused,
    label,
    subgraphs,
    used,
)

OLDEST_OPSET = 11
"""The first opset with `ScatterElements`."""
_NAME = "rnnedge.coverage"
_BODIES = {"If": ("then_branch", "else_branch"), "Loop": ("body",), "Scan": ("body",)}
_ARITHMETIC = ("Add", "Sub", "Mul", "Div")
_SAME_ROWS = ("Cast", "DequantizeLinear", "Identity")
"""Operators that give a row for each row of a table."""
_WEIGHTS = (
    *(TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE),
    *(TensorProto.INT8, TensorProto.UINT8),
)
_LOOKUPS = {
    ("", "Gather"): "axis",
    ("ai.onnx", "Gather"): "axis",
    ("com.microsoft", "GatherBlockQuantized"): "gather_axis",
}
"""Operators that look up rows of their first input, and the attribute that says along which axis:
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md."""
_INITIALIZERS = 4
"""The first IR version with constants that are not inputs."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What a stretch of the vector says.

    Attributes:
        kind: `graph` (it ran), `loop` (how many steps it ran), or `rows` (which were looked up).
        name: Name of the graph or of the table.
        width: Numbers in the stretch.
        nodes: Nodes of the graph.
    """

    kind: str
    name: str
    width: int = 1
    nodes: int = 0


@dataclass(frozen=True, slots=True)
class Watched:
    """A model that answers what of it ran.

    Attributes:
        content: The model; None where nothing in it depends on its inputs.
        inputs: The inputs that it takes, and their dtypes.
        marks: What its answer, one vector, says from left to right.
        nodes: Nodes of the outermost graph, which always run.
        unmeasured: Why it cannot be watched; empty where it can.
        wanted: What the graph of the model asks of its inputs.
    """

    content: bytes | None
    inputs: Mapping[str, str] = field(default_factory=dict)
    marks: tuple[Mark, ...] = ()
    nodes: int = 0
    unmeasured: str = ""
    wanted: Wanted = field(default_factory=Wanted)

    @property
    def total(self) -> int:
        """Nodes of all graphs."""
        return self.nodes + sum(mark.nodes for mark in self.marks)


@dataclass(frozen=True, slots=True)
class _Body:
    """A graph in a node, the name of its vector, and what that says."""

    graph: onnx.GraphProto
    vector: str
    marks: list[Mark]

    @property
    def width(self) -> int:
        return sum(mark.width for mark in self.marks)


def watch(model: onnx.ModelProto) -> Watched:
    """Return a model that answers what of another ran.

    Args:
        model: The other one; it is not changed.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    if copy.functions:
        copy = inliner.inline_local_functions(copy)
    scope = _ConstantScope(copy.graph)
    nodes = _size(copy.graph, scope)
    if not _depends(copy.graph, scope):
        return Watched(None, nodes=nodes)
    opset = next((o.version for o in copy.opset_import if o.domain in STANDARD), 1)
    if opset < OLDEST_OPSET:
        marks = tuple(_graph_marks(copy.graph, scope))
        why = f"opset {opset} is older than {OLDEST_OPSET}"
        return Watched(None, marks=marks, nodes=nodes, unmeasured=why)
    vector, found = _Writer().graph(copy.graph, scope, "")
    del copy.graph.output[:]
    copy.graph.output.append(helper.make_tensor_value_info(vector, TensorProto.FLOAT, None))
    _keep_needed(copy)
    return Watched(
        content=copy.SerializeToString(),
        inputs={value.name: _dtype(value) for value in copy.graph.input},
        marks=tuple(found),
        nodes=nodes,
    )


def _keep_needed(model: onnx.ModelProto) -> None:
    """Take out what its output does not need, and what ONNX Runtime would check it against."""
    graph = model.graph
    drop_unused(graph)
    known = {tensor.name for tensor in graph.initializer}
    taken = {name for node in graph.node for name in used(node)}
    kept = [value for value in graph.input if value.name in taken - known]
    del graph.input[:]
    graph.input.extend(kept)
    graph.ClearField("value_info")
    model.ClearField("metadata_props")
    model.ir_version = max(model.ir_version, _INITIALIZERS)


def _dtype(value: onnx.ValueInfoProto) -> str:
    name: str = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type).name
    return name


class _ConstantScope:
    """The constants that a graph can see."""

    def __init__(self, graph: onnx.GraphProto, outer: _ConstantScope | None = None) -> None:
        self._outer = outer
        self._tensors = {tensor.name: tensor for tensor in graph.initializer}
        self._makers: dict[str, onnx.NodeProto] = {}
        for node in graph.node:
            self._makers.update({name: node for name in node.output if name})

    def constant(self, name: str) -> tuple[str, TensorProto] | None:
        """Return the tensor, and its name, that a value has the rows of."""
        if name in self._tensors:
            return name, self._tensors[name]
        maker = self._makers.get(name)
        if maker is None:
            return self._outer.constant(name) if self._outer is not None else None
        if maker.op_type == "Constant":
            tensors = [a.t for a in maker.attribute if a.HasField("t")]
            return (name, tensors[0]) if tensors else None
        if maker.op_type in _ARITHMETIC:  # integers and their scales, of which one has all rows
            parts = [self.constant(part) for part in maker.input]
            known = [part for part in parts if part is not None]
            return max(known, key=_numbers) if len(known) == len(parts) else None
        return self.constant(maker.input[0]) if maker.op_type in _SAME_ROWS else None

    def table(self, node: onnx.NodeProto) -> tuple[str, int, str] | None:
        """Return the name and rows of the constant table of a node, and the name of its indices."""
        axis_name = _LOOKUPS.get((node.domain, node.op_type))
        found = self.constant(node.input[0]) if axis_name else None
        if axis_name is None or found is None:
            return None
        if found[1].data_type not in _WEIGHTS or not found[1].dims:
            return None
        if self.constant(node.input[1]) is not None:
            return None
        name, tensor = found
        return name, tensor.dims[attributes(node).get(axis_name, 0)], node.input[1]


def _numbers(constant: tuple[str, TensorProto]) -> int:
    return int(np.prod(constant[1].dims))


def _bodies(node: onnx.NodeProto, scope: _ConstantScope) -> dict[str, onnx.GraphProto]:
    """Return the graphs in a node that may not run, or hold something that may not."""
    if node.domain not in STANDARD or node.op_type not in _BODIES:
        return {}
    graphs = {a.name: a.g for a in node.attribute if a.name in _BODIES[node.op_type]}
    if node.op_type == "Scan":
        return {name: g for name, g in graphs.items() if _depends(g, _ConstantScope(g, scope))}
    return graphs


def _depends(graph: onnx.GraphProto, scope: _ConstantScope) -> bool:
    """Whether it depends on what a model is given what of a graph runs."""
    return any(scope.table(node) is not None or _bodies(node, scope) for node in graph.node)


def _size(graph: onnx.GraphProto, scope: _ConstantScope) -> int:
    """Return how many nodes run where a graph does, without constants."""
    size = 0
    for node in graph.node:
        inside = () if _bodies(node, scope) else subgraphs(node)
        size += (node.op_type != "Constant") + sum(
            _size(g, _ConstantScope(g, scope)) for g in inside
        )
    return size


def _graph_marks(graph: onnx.GraphProto, scope: _ConstantScope, around: str = "") -> Iterator[Mark]:
    for node in graph.node:
        for name, body in _bodies(node, scope).items():
            called, inner = f"{around}{label(node)}: {name}", _ConstantScope(body, scope)
            yield Mark("graph", called, nodes=_size(body, inner))
            yield from _graph_marks(body, inner, f"{called} / ")


class _Writer:
    """Makes each graph answer its vector."""

    def __init__(self) -> None:
        self._numbers = count()

    def graph(
        self, graph: onnx.GraphProto, scope: _ConstantScope, around: str
    ) -> tuple[str, list[Mark]]:
        """Compute the vector of the nodes of a graph, in place.

        Returns:
            The name of the vector, and what it says.
        """
        parts = [self._constant(graph, np.zeros(0, np.float32))]  # where there is nothing to say
        marks: list[Mark] = []
        for node in list(graph.node):
            table = scope.table(node)
            if table is not None:
                name, rows, indices = table
                parts.append(self._rows(graph, rows, indices))
                marks.append(Mark("rows", name, rows))
            bodies = _bodies(node, scope)
            if bodies:
                inside = [
                    self._body(
                        node, body, _ConstantScope(body, scope), f"{around}{label(node)}: {name}"
                    )
                    for name, body in bodies.items()
                ]
                join = self._branches if node.op_type == "If" else self._carried
                parts.append(join(graph, node, inside))
                marks += [mark for body in inside for mark in body.marks]
        return self._op(graph, "Concat", *parts, axis=0), marks

    def _body(
        self, node: onnx.NodeProto, body: onnx.GraphProto, scope: _ConstantScope, called: str
    ) -> _Body:
        """Compute the vector of a graph in a node, which begins with whether it ran."""
        loop, nodes = node.op_type == "Loop", _size(body, scope)
        vector, marks = self.graph(body, scope, f"{called} / ")
        joined = self._op(body, "Concat", self._ran(body, loop=loop), vector, axis=0)
        return _Body(body, joined, [Mark("loop" if loop else "graph", called, 1, nodes), *marks])

    def _branches(self, graph: onnx.GraphProto, node: onnx.NodeProto, inside: list[_Body]) -> str:
        """Give an `If` one more output, with zeros for the branch that it does not take."""
        for place, branch in enumerate(inside):
            zeros = self._constant(branch.graph, np.zeros(inside[1 - place].width, np.float32))
            parts = [branch.vector, zeros] if place == 0 else [zeros, branch.vector]
            joined = self._op(branch.graph, "Concat", *parts, axis=0)
            info = helper.make_tensor_value_info(joined, TensorProto.FLOAT, None)
            branch.graph.output.append(info)
        answer = self._name()
        node.output.append(answer)
        return answer

    def _carried(self, graph: onnx.GraphProto, node: onnx.NodeProto, inside: list[_Body]) -> str:
        """Carry the vector of a `Loop` or `Scan` from step to step, behind its own states."""
        (body,) = inside
        loop = node.op_type == "Loop"
        states = len(node.input) - (2 if loop else int(attributes(node)["num_scan_inputs"]))
        before, answer = self._name(), self._name()
        after = self._op(body.graph, "Max", before, body.vector)
        start = self._constant(graph, np.zeros(body.width, np.float32))
        given, kept = (
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [body.width])
            for name in (before, after)
        )
        _insert(node.input, states + 2 * loop, start)  # behind the trips and the condition
        _insert(body.graph.input, states + 2 * loop, given)
        _insert(body.graph.output, states + loop, kept)  # behind the condition
        _insert(node.output, states, answer)
        return answer

    def _ran(self, body: onnx.GraphProto, *, loop: bool) -> str:
        """Return one number: a one, or in a `Loop` the number of the step, counted from one."""
        one = self._constant(body, np.ones(1, np.float32))
        if not loop:
            return self._op(body, "Identity", one)
        number = self._op(body, "Cast", body.input[0].name, to=TensorProto.FLOAT)
        shape = self._constant(body, np.array([1], np.int64))
        return self._op(body, "Add", self._op(body, "Reshape", number, shape), one)

    def _rows(self, graph: onnx.GraphProto, rows: int, indices: str) -> str:
        """Return a one for each row that indices name."""
        whole = self._op(graph, "Cast", indices, to=TensorProto.INT64)
        flat = self._op(graph, "Reshape", whole, self._constant(graph, np.array([-1], np.int64)))
        same = self._op(graph, "Equal", flat, flat)
        ones = self._op(graph, "Cast", same, to=TensorProto.FLOAT)
        zeros = self._constant(graph, np.zeros(rows, np.float32))
        return self._op(graph, "ScatterElements", zeros, flat, ones, axis=0)

    def _name(self) -> str:
        return f"{_NAME}.{next(self._numbers)}"

    def _op(self, graph: onnx.GraphProto, op_type: str, *inputs: str, **attributes: Any) -> str:
        name = self._name()
        graph.node.append(helper.make_node(op_type, inputs, [name], name, **attributes))
        return name

    def _constant(self, graph: onnx.GraphProto, array: NDArray[Any]) -> str:
        name = self._name()
        graph.initializer.append(numpy_helper.from_array(array, name))
        return name


def _insert(field: Any, place: int, item: Any) -> None:
    """Insert into a repeated field: one of messages has no insertion."""
    rest = list(field[place:])
    del field[place:]
    field.extend([item, *rest])
