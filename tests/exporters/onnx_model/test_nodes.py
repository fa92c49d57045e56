"""What is asked of a node is the same for ONNX's own messages and for onnx-ir."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from rnnedge_exporters.onnx_model.nodes import (
    all_graphs,
    all_nodes,
    all_tensors,
    attribute,
    attributes,
    drop_unused,
    input_names,
    is_standard,
    label,
    used,
)

_FLOAT = TensorProto.FLOAT


def _branch(name: str) -> onnx.GraphProto:
    constant = helper.make_node("Constant", [], [f"{name}/one"], value_float=1.0)
    inner = helper.make_node("Add", ["x", f"{name}/one"], [f"{name}/y"], name=f"{name}/Add")
    weight = helper.make_tensor(f"{name}/w", _FLOAT, [1], [1.0])
    output = helper.make_tensor_value_info(f"{name}/y", _FLOAT, [1])
    return helper.make_graph([constant, inner], name, [], [output], [weight])


@pytest.fixture
def graph() -> onnx.GraphProto:
    """A graph whose `If` has a node in each branch that reads its input `x`."""
    x = helper.make_tensor_value_info("x", _FLOAT, [1])
    y = helper.make_tensor_value_info("y", _FLOAT, [1])
    condition = helper.make_tensor("condition", TensorProto.BOOL, [], [True])
    tensor = helper.make_tensor("unused/value", _FLOAT, [1], [2.0])
    nodes = [
        helper.make_node("Constant", [], ["unused"], value=tensor),
        helper.make_node(
            "If", ["condition"], ["y"], then_branch=_branch("then"), else_branch=_branch("else")
        ),
    ]
    return helper.make_graph(nodes, "graph", [x], [y], [condition])


LSTM = helper.make_node(
    "LSTM", ["x", "", "r"], ["", "h"], direction="reverse", activations=["Tanh"], hidden_size=3
)
FORMS = {"message": LSTM, "onnx-ir": ir.from_proto(LSTM)}


@pytest.mark.parametrize("node", FORMS.values(), ids=FORMS)
class TestOneAnswerForBothForms:
    def test_label_without_a_name(self, node: onnx.NodeProto | ir.Node) -> None:
        assert label(node) == "LSTM of h"

    def test_attributes(self, node: onnx.NodeProto | ir.Node) -> None:
        found = attributes(node)
        assert found["direction"] == "reverse"
        assert list(found["activations"]) == ["Tanh"]
        assert attribute(node, "hidden_size") == 3
        assert attribute(node, "clip", 0.5) == 0.5

    def test_input_left_out(self, node: onnx.NodeProto | ir.Node) -> None:
        assert input_names(node) == ["x", "", "r"]

    def test_domain(self, node: onnx.NodeProto | ir.Node) -> None:
        assert is_standard(node)


def test_domain_of_onnx_runtime() -> None:
    assert not is_standard(helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft"))


def test_nodes_of_inner_graphs_follow_the_node_that_holds_them(graph: onnx.GraphProto) -> None:
    names = [node.op_type for node in all_nodes(graph)]
    assert names == ["Constant", "If", "Constant", "Add", "Constant", "Add"]  # else comes first


def test_graphs_of_graphs(graph: onnx.GraphProto) -> None:
    assert [inner.name for inner in all_graphs(graph)] == ["graph", "else", "then"]


def test_tensors_of_inner_graphs_and_attributes(graph: onnx.GraphProto) -> None:
    names = {tensor.name for tensor in all_tensors(graph)}
    assert names == {"condition", "unused/value", "else/w", "then/w"}


def test_what_an_inner_graph_reads_is_used(graph: onnx.GraphProto) -> None:
    (branching,) = (node for node in graph.node if node.op_type == "If")
    assert {"condition", "x"} <= set(used(branching))


def test_unused_nodes_and_weights_go(graph: onnx.GraphProto) -> None:
    graph.initializer.append(helper.make_tensor("spare", _FLOAT, [1], [1.0]))
    drop_unused(graph)
    assert [node.op_type for node in graph.node] == ["If"]
    assert [tensor.name for tensor in graph.initializer] == ["condition"]
