"""Weights that a file computes from constants, as PyTorch's exporters write those of a layer.

Only what leads to a weight is computed: all else in the graph stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from rnnedge_exporters.onnx_model.nodes import RANDOM, attribute, is_standard
from rnnedge_exporters.onnx_model.recurrent_nodes import OPERATORS, B, R, W, is_recurrent
from rnnedge_exporters.onnx_model.serialize import serialize_model
from rnnedge_exporters.quantization.onnx_file.reading import FLOATS
from rnnedge_runtime.engine.inference_session import open_inference_session
from rnnedge_runtime.engine.options import EngineOptions

_WEIGHTS = {
    **dict.fromkeys(OPERATORS, (W, R, B)),
    "MatMul": (1,),
    "Gemm": (1,),
    "Conv": (1,),
    "ConvTranspose": (1,),
    "Gather": (0,),
}
"""For an operator, the places of its weights."""
_WIDENED = 2
"""How many times as large as what they come from weights may be, as after a `Cast` from half. What
is larger is filled or repeated, and would make the file grow."""
_LITTLE = 1024
"""Bytes that may be written out in any case."""


def fold_weights(model: ir.Model) -> None:
    """Put the values of weights in place of the nodes that compute them from constants.

    A weight matrix that is transposed for a product, such as that of an embedding which scores
    words too, stays one.
    """
    folded: _Folded = {}
    for graph in list(model.graphs()):
        for node in list(graph):
            for place in _WEIGHTS.get(node.op_type, ()) if is_standard(node) else ():
                value = node.inputs[place] if place < len(node.inputs) else None
                if value is not None and not _is_transposed(node, value):
                    _fold(model, value, folded)


_Folded: TypeAlias = dict[tuple[ir.Graph, tuple[int, ...], bytes], ir.Value]
"""What was computed, by the graph that holds it, its shape and its bytes: branches of an `If` may
compute the same."""


def _fold(model: ir.Model, value: ir.Value, folded: _Folded) -> None:
    """Put its own value in place of a weight, where it depends on constants alone."""
    cone = _Cone()
    if value.producer() is None or not cone.visit(value):
        return
    array = _computed(model, value, cone)
    held = sum(tensor.nbytes for tensor in cone.constants.values())
    if array.dtype.kind != "f" or array.nbytes > max(_WIDENED * held, _LITTLE):
        return
    roots = [one for one in cone.constants if one.dtype in FLOATS]
    graphs = {one.graph for one in roots}
    graph = graphs.pop() if len(graphs) == 1 else cone.nodes[-1].graph
    assert isinstance(graph, ir.Graph)
    same = [one for one in roots if _is_same(cone.constants[one].numpy(), array)]
    made = same[0] if same else folded.get((graph, array.shape, array.tobytes()))
    if made is None:
        tensor = ir.tensor(array, name=value.name)
        made = ir.Value(
            name=value.name,
            type=ir.TensorType(tensor.dtype),
            shape=ir.Shape(array.shape),
            const_value=tensor,
        )
        graph.register_initializer(made)
        folded[graph, array.shape, array.tobytes()] = made
    value.name = f"{value.name}/computed"  # it is removed with the nodes that nothing needs
    ir.convenience.replace_all_uses_with(value, made, replace_graph_outputs=True)


def _is_same(one: NDArray[Any], other: NDArray[Any]) -> bool:
    return one.dtype == other.dtype and np.array_equal(one, other)


def _is_transposed(node: ir.Node, value: ir.Value) -> bool:
    made = value.producer()
    before = made.inputs[0] if made is not None and made.op_type == "Transpose" else None
    return node.op_type == "MatMul" and before is not None and before.is_initializer()


class _Cone:
    """The nodes that compute a value from constants.

    Attributes:
        nodes: The nodes, in order.
        constants: What they start from, and its values.
    """

    def __init__(self) -> None:
        self.nodes: list[ir.Node] = []
        self.constants: dict[ir.Value, ir.TensorProtocol] = {}

    def visit(self, value: ir.Value) -> bool:
        """Add what computes a value; False where that is not constants alone."""
        node = value.producer()
        known = value.const_value if node is None else _fixed_shape(node)
        if known is not None:
            self.constants[value] = known
        if known is not None or node in self.nodes:
            return True
        if node is None or not is_standard(node) or node.op_type in RANDOM:
            return False
        kinds = {attribute.type for attribute in node.attributes.values()}
        if kinds & {ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS}:
            return False
        if not all(self.visit(before) for before in node.inputs if before is not None):
            return False
        self.nodes.append(node)
        return True


def _fixed_shape(node: ir.Node) -> ir.TensorProtocol | None:
    """Return what a `Shape` gives, where the file says that none of it is dynamic."""
    source = node.inputs[0] if node.op_type == "Shape" and is_standard(node) else None
    if source is None or source.shape is None:
        return None
    sizes = list(source.shape)[attribute(node, "start") : attribute(node, "end")]
    if not all(isinstance(size, int) for size in sizes):
        return None
    return ir.tensor(np.array(sizes, np.int64))


def _computed(model: ir.Model, value: ir.Value, cone: _Cone) -> NDArray[np.generic]:
    """Run the nodes of a cone in ONNX Runtime."""
    known: dict[ir.Value | None, ir.Value | None] = {None: None}
    constants = []
    for old, tensor in cone.constants.items():
        constants.append(
            ir.Value(
                name=f"constant_{len(known)}",
                type=ir.TensorType(tensor.dtype),
                shape=ir.Shape(tensor.numpy().shape),
                const_value=tensor,
            )
        )
        known[old] = constants[-1]
    nodes = []
    for node in cone.nodes:
        inputs = [known[one] for one in node.inputs]
        attributes = list(node.attributes.values())
        twin = ir.Node("", node.op_type, inputs, attributes, num_outputs=len(node.outputs))
        for before, after in zip(node.outputs, twin.outputs, strict=True):
            after.name = f"made_{len(known)}"
            known[before] = after
        nodes.append(twin)
    result = known[value]
    assert result is not None
    graph = ir.Graph(
        [],
        [result],
        nodes=nodes,
        initializers=constants,
        name="weight",
        opset_imports=dict(model.graph.opset_imports),
    )
    content = serialize_model(ir.Model(graph, ir_version=model.ir_version))
    engine, _ = open_inference_session(content, device="cpu", options=EngineOptions(threads=1))
    answer: NDArray[np.generic] = engine.run(None, {})[0]
    return answer


def recurrent_nodes(graph: ir.Graph) -> Iterator[ir.Node]:
    """Yield the recurrent nodes of one graph."""
    for node in graph:
        if is_recurrent(node):
            yield node
