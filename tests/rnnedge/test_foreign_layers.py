"""Sizes and parameters of layers in files that carry no contract."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from torch import nn

from rnnedge import export
from rnnedge.inspection import LayerSummary, inspect_model
from rnnedge_runtime.contract import METADATA_KEY

LAYERS = {
    "rnn": nn.RNN(3, 4, nonlinearity="relu"),
    "lstm": nn.LSTM(3, 4, bidirectional=True),
    "gru": nn.GRU(3, 4, bias=False),
}


def _without_contract(
    layer: nn.Module, folder: Path, target: str, **options: object
) -> tuple[LayerSummary, ...]:
    path = folder / "model.onnx"
    export(layer, path, target=target, validate=False, **options)  # type: ignore[arg-type]
    model = onnx.load(path)
    kept = [entry for entry in model.metadata_props if entry.key != METADATA_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    onnx.save(model, path)
    return inspect_model(path).layers


@pytest.mark.parametrize("name", LAYERS)
def test_operators(name: str, tmp_path: Path) -> None:
    layer = LAYERS[name]
    (found,) = _without_contract(layer, tmp_path, "cpu", lowering="operator")
    assert (found.input_size, found.hidden_size) == (3, 4)
    assert found.parameters == sum(parameter.numel() for parameter in layer.parameters())


def test_a_scan(tmp_path: Path) -> None:
    layer = nn.LSTM(3, 4, proj_size=2)
    (found,) = _without_contract(layer, tmp_path, "cpu")
    assert found.cell == "Scan"
    assert found.hidden_size in (2, 4)  # which of the states comes first is the exporter's choice
    assert found.parameters is not None
    assert found.parameters > 0


def test_an_operator_in_int8(tmp_path: Path) -> None:
    options = {"quantize": "int8:all", "lowering": "operator_int8"}
    (found,) = _without_contract(nn.LSTM(32, 64), tmp_path, "cpu", **options)
    assert found.cell == "DynamicQuantizeLSTM"
    assert (found.input_size, found.hidden_size) == (3 * 32, 64)  # the node gets x in three parts
    assert found.parameters is not None
    assert found.parameters >= 4 * 64 * (32 + 64)


def test_weights_that_are_joined_in_the_graph(tmp_path: Path) -> None:
    """As torch's exporter writes both directions."""
    path = tmp_path / "model.onnx"
    export(nn.GRU(3, 4, bidirectional=True), path, target="portable", validate=False)
    model = onnx.load(path)
    del model.metadata_props[:]
    (node,) = [node for node in model.graph.node if node.op_type == "GRU"]
    (tensor,) = [t for t in model.graph.initializer if t.name == node.input[1]]
    values = onnx.numpy_helper.to_array(tensor)
    halves = [onnx.numpy_helper.from_array(values[n : n + 1], f"half{n}") for n in (0, 1)]
    model.graph.initializer.remove(tensor)
    model.graph.initializer.extend(halves)
    joined = onnx.helper.make_node("Concat", ["half0", "half1"], [tensor.name], axis=0)
    model.graph.node.insert(0, joined)
    onnx.save(model, path)
    (found,) = inspect_model(path).layers
    assert (found.input_size, found.hidden_size, found.directions) == (3, 4, 2)
    assert found.parameters == 2 * (3 * 4 * (3 + 4) + 2 * 3 * 4)


def test_weights_that_are_an_input_are_unknown(tmp_path: Path) -> None:
    weights = [("W", ["d", "rows", "features"]), ("R", ["d", "rows", "hidden"])]
    value = onnx.helper.make_tensor_value_info
    inputs = [value(name, onnx.TensorProto.FLOAT, axes) for name, axes in weights]
    x = value("x", onnx.TensorProto.FLOAT, ["time", "batch", 3])
    node = onnx.helper.make_node("GRU", ["x", "W", "R"], ["y"], hidden_size=4)
    output = value("y", onnx.TensorProto.FLOAT, ["time", 1, "batch", 4])
    graph = onnx.helper.make_graph([node], "g", [x, *inputs], [output])
    imports = [onnx.helper.make_opsetid("", 17)]
    onnx.save(
        onnx.helper.make_model(graph, opset_imports=imports, ir_version=8), tmp_path / "m.onnx"
    )
    (found,) = inspect_model(tmp_path / "m.onnx").layers
    assert found.row() == ["-", "GRU", "?", "4", "1", "1", "-", "operator", "?"]
