"""`inspect_model`: what a file holds, of ours and of others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import rnnedge_exporters
from rnnedge import ModelError, export
from rnnedge.inspection import inspect_model

LAYERS = {
    "rnn": (nn.RNN(3, 4, nonlinearity="relu", bias=False), ("relu", "no bias")),
    "lstm": (nn.LSTM(3, 4, num_layers=2, batch_first=True, bidirectional=True), ("batch_first",)),
    "gru": (nn.GRU(3, 4), ()),
    "proj": (nn.LSTM(3, 4, proj_size=2), ("proj_size 2",)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layer_of_ours(name: str, tmp_path: Path) -> None:
    layer, options = LAYERS[name]
    export(layer, tmp_path / "model.onnx")
    (found,) = inspect_model(tmp_path / "model.onnx").layers
    assert found.cell == type(layer).__name__.lower()
    assert (found.input_size, found.hidden_size) == (3, 4)
    assert found.num_layers == layer.num_layers
    assert found.directions == (2 if layer.bidirectional else 1)
    assert found.options == options
    assert found.parameters == sum(parameter.numel() for parameter in layer.parameters())


@pytest.mark.parametrize("target", ["portable", "cuda"], ids=["operator", "scan"])
def test_parameters_of_a_file_of_ours(target: str, tmp_path: Path) -> None:
    layer = nn.RNN(3, 4, nonlinearity="relu", bias=False)
    export(layer, tmp_path / "model.onnx", target=target)
    found = inspect_model(tmp_path / "model.onnx")
    assert found.parameters == sum(parameter.numel() for parameter in layer.parameters())


def test_figures_of_a_file_of_ours(tmp_path: Path) -> None:
    result = export(nn.GRU(3, 4), tmp_path / "model.onnx", opset=18)
    found = inspect_model(tmp_path / "model.onnx")
    assert found.bytes == result.bytes
    assert found.opsets == {"": 18}
    assert found.producer.startswith("rnnedge ")
    assert found.operators["GRU"] == 1
    assert found.contract == result.contract


def test_operators_of_inner_graphs_are_counted(tmp_path: Path) -> None:
    export(nn.LSTM(3, 4, proj_size=2), tmp_path / "model.onnx")
    operators = inspect_model(tmp_path / "model.onnx").operators
    assert operators["Scan"] == 1
    assert operators["Sigmoid"] == 3


def test_roles(tmp_path: Path) -> None:
    export(nn.LSTM(3, 4), tmp_path / "model.onnx", lengths=True)
    found = inspect_model(tmp_path / "model.onnx")
    assert {spec.name: found.role(spec.name) for spec in found.interface.inputs} == {
        "input": "data",
        "lengths": "length of each row",
        "h_0": "initial state, from h_n",
        "c_0": "initial state, from c_n",
    }
    assert found.role("h_n") == "final state, to h_0"


def test_values_are_json(tmp_path: Path) -> None:
    export(nn.LSTM(3, 4), tmp_path / "model.onnx")
    found = inspect_model(tmp_path / "model.onnx")
    assert json.loads(json.dumps(found.to_dict()))["layers"][0]["hidden_size"] == 4


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A GRU as another exporter might write it, without a contract."""
    node = helper.make_node(
        "GRU", ["x", "W", "R", "", "", "h0"], ["y", "hn"], hidden_size=4, direction="reverse"
    )
    float32 = TensorProto.FLOAT
    graph = helper.make_graph(
        [node],
        "foreign",
        [
            helper.make_tensor_value_info("x", float32, ["seq", "rows", 3]),
            helper.make_tensor_value_info("h0", float32, [1, "rows", 4]),
        ],
        [
            helper.make_tensor_value_info("y", float32, ["seq", 1, "rows", 4]),
            helper.make_tensor_value_info("hn", float32, [1, "rows", 4]),
        ],
        [
            numpy_helper.from_array(np.zeros((1, 12, 3), np.float32), "W"),
            numpy_helper.from_array(np.zeros((1, 12, 4), np.float32), "R"),
        ],
    )
    opset = helper.make_opsetid("", 17)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8, producer_name="others")
    onnx.save(model, tmp_path / "foreign.onnx")
    return tmp_path / "foreign.onnx"


def test_layer_of_others(foreign: Path) -> None:
    (found,) = inspect_model(foreign).layers
    assert (found.cell, found.hidden_size, found.directions) == ("GRU", 4, 1)
    assert found.options == ("reverse",)
    assert found.lowering == "operator"


def test_sizes_of_others_are_those_of_the_weights(foreign: Path) -> None:
    (found,) = inspect_model(foreign).layers
    assert (found.input_size, found.parameters) == (3, 84)
    assert found.row() == ["-", "GRU", "3", "4", "1", "1", "reverse", "operator", "84"]


def test_file_of_others_has_no_contract(foreign: Path) -> None:
    found = inspect_model(foreign)
    assert found.contract is None
    assert found.producer == "others"
    assert found.parameters == 84


def test_states_of_others_are_found_by_name(foreign: Path) -> None:
    found = inspect_model(foreign)
    assert found.role("h0") == "initial state, from hn"


@pytest.mark.filterwarnings("ignore")  # the TorchScript exporter is deprecated, and says so
def test_export_of_torch(tmp_path: Path) -> None:
    path = tmp_path / "torch.onnx"
    torch.onnx.export(
        nn.LSTM(3, 4),
        (torch.zeros(5, 2, 3),),
        path,
        dynamo=False,
        input_names=["x"],
        output_names=["y", "h_n", "c_n"],
        dynamic_axes={"x": {0: "time", 1: "batch"}},
    )
    found = inspect_model(path)
    assert [layer.cell for layer in found.layers] == ["LSTM"]
    assert found.producer.startswith("pytorch")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no\.onnx: expected an ONNX file, found no such file$"):
        inspect_model(tmp_path / "no.onnx")


def test_file_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model at all")
    with pytest.raises(ModelError, match=r"model\.onnx: expected an ONNX file, got a text file$"):
        inspect_model(tmp_path / "model.onnx")


def test_truncated_model(tmp_path: Path) -> None:
    export(nn.LSTM(3, 4), tmp_path / "model.onnx")
    content = (tmp_path / "model.onnx").read_bytes()
    (tmp_path / "model.onnx").write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match=r"model\.onnx cannot be opened by ONNX Runtime: "):
        inspect_model(tmp_path / "model.onnx")


def test_limits_of_the_opset_are_named() -> None:
    assert (rnnedge_exporters.LOWEST_OPSET, rnnedge_exporters.HIGHEST_OPSET) == (17, 23)


@pytest.mark.parametrize(
    ("lowering", "times"), [("scan_int8", "1.3 to 3"), ("scan_nbits", "8 to 16")]
)
def test_a_processor_without_the_instruction(
    lowering: str, times: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.onnx"
    export(nn.GRU(3, 4), path, quantize="int8", lowering=lowering)
    monkeypatch.setattr("rnnedge_runtime.engine.info.cpu_features", lambda: frozenset({"sse2"}))
    (remark,) = inspect_model(path).session.remarks
    assert f"no AVX2, so layers computed in int8 take {times} times as long" in remark
