"""Which ONNX form a layer takes for which target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from torch import nn

import rnnedge
from rnnedge_exporters import ExportError, export
from rnnedge_exporters.onnx_model.nodes import used
from rnnedge_runtime import Session

LAYERS = {
    "tanh": lambda: nn.RNN(3, 4),
    "relu": lambda: nn.RNN(3, 4, nonlinearity="relu"),
    "lstm": lambda: nn.LSTM(3, 4),
    "gru": lambda: nn.GRU(3, 4),
    "proj": lambda: nn.LSTM(3, 4, proj_size=2),
}
SCANS = {
    ("relu", "cuda"),
    ("relu", "portable"),
    *(("proj", target) for target in ("cpu", "cuda", "portable")),
}


@pytest.mark.parametrize("target", ["cpu", "cuda", "portable"])
@pytest.mark.parametrize("cell", LAYERS)
def test_lowering(cell: str, target: str, tmp_path: Path) -> None:
    result = export(LAYERS[cell](), tmp_path / "model.onnx", target=target)
    (layer,) = result.contract.layers
    narrow = target == "cpu" and cell in ("tanh", "relu")
    expected = "switch" if narrow else "scan" if (cell, target) in SCANS else "operator"
    assert layer.lowering == expected
    assert layer.reason


@pytest.mark.parametrize("target", ["cpu", "cuda", "portable"])
@pytest.mark.parametrize("cell", LAYERS)
def test_graph_has_the_lowering_that_the_contract_names(
    cell: str, target: str, tmp_path: Path
) -> None:
    result = export(LAYERS[cell](), tmp_path / "model.onnx", target=target)
    nodes = {node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node}
    operator = {"tanh": "RNN", "relu": "RNN"}.get(cell, cell.upper())
    expected = {"scan": "Scan", "switch": "If", "operator": operator}
    lowering = result.contract.layers[0].lowering
    assert nodes & {"Scan", "If", "RNN", "LSTM", "GRU"} == {expected[lowering]}


@pytest.mark.parametrize("cell", LAYERS)
def test_portable_lengths_are_a_scan(cell: str, tmp_path: Path) -> None:
    """Three runtimes ignore the lengths of an operator; ONNX's own evaluator is one."""
    layer, path = LAYERS[cell](), tmp_path / "model.onnx"
    result = export(layer, path, target="portable", lengths=True, validate=False)
    assert result.contract.layers[0].lowering == "scan"
    session = Session(path, engine="onnxruntime")
    feeds = {"input": np.random.default_rng(0).standard_normal((5, 2, 3)).astype(np.float32)}
    feeds["lengths"] = np.array([5, 2])
    for spec in session.interface.state_inputs:
        feeds[spec.name] = np.zeros([n if isinstance(n, int) else 2 for n in spec.axes], np.float32)
    names = [spec.name for spec in session.interface.outputs]
    for got, expected in zip(
        ReferenceEvaluator(str(path)).run(names, feeds),
        session.engine.run(names, feeds),
        strict=True,
    ):
        np.testing.assert_allclose(got, expected, atol=1e-5)


def test_wide_rnn_is_a_scan(tmp_path: Path) -> None:
    result = export(nn.RNN(3, 384), tmp_path / "model.onnx")
    assert result.contract.layers[0].lowering == "scan"


@pytest.mark.parametrize("lengths", [False, True], ids=["full", "lengths"])
@pytest.mark.parametrize(("hidden", "scans"), [(128, 1), (256, 2)])
def test_wide_directions_are_walked_apart(
    hidden: int, scans: int, lengths: bool, tmp_path: Path
) -> None:
    layer = nn.RNN(3, hidden, bidirectional=True)
    export(layer, tmp_path / "model.onnx", lowering="scan", lengths=lengths)
    nodes = [node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node]
    assert nodes.count("Scan") == scans
    report = rnnedge.validate(tmp_path / "model.onnx", against=layer)
    assert report, report


@pytest.mark.parametrize("lowering", ["operator", "scan", "switch"])
@pytest.mark.parametrize("cell", ["tanh", "relu", "lstm", "gru"])
def test_lowering_that_is_asked_for(cell: str, lowering: str, tmp_path: Path) -> None:
    result = export(LAYERS[cell](), tmp_path / "model.onnx", lowering=lowering)
    assert result.contract.layers[0].lowering == lowering
    assert result.contract.layers[0].reason == "it was asked for"


def test_unknown_lowering(tmp_path: Path) -> None:
    with pytest.raises(
        ExportError,
        match=r"^lowering: expected one of 'operator', 'scan', 'switch', .*, got 'loop'$",
    ):
        export(nn.GRU(3, 4), tmp_path / "model.onnx", lowering="loop")


def test_projection_has_no_operator(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"^lowering 'operator': the layer is an LSTM with a pro"):
        export(nn.LSTM(3, 4, proj_size=2), tmp_path / "model.onnx", lowering="operator")


def test_target_is_in_the_contract(tmp_path: Path) -> None:
    result = export(nn.GRU(3, 4), tmp_path / "model.onnx", target="portable")
    assert result.contract.target == "portable"


def test_unknown_target(tmp_path: Path) -> None:
    with pytest.raises(
        ExportError, match=r"^target: expected 'cpu', 'cuda', 'portable' or 'c', got 'tpu'$"
    ):
        export(nn.GRU(3, 4), tmp_path / "model.onnx", target="tpu")


@pytest.mark.parametrize("lengths", [False, True], ids=["full", "lengths"])
@pytest.mark.parametrize("layer", [nn.RNN(3, 8), nn.GRU(3, 8), nn.LSTM(3, 8)], ids=type)
def test_a_choice_between_two_forms_computes_in_half(
    layer: nn.RNNBase, lengths: bool, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    export(layer, path, lengths=lengths, target="cuda", lowering="switch", dtype="float16")
    session = Session(path)
    for batch in (1, 5):  # each form
        x = torch.randn(7, batch, 3)
        answer = session.run(x.numpy(), **({"lengths": [7] * batch} if lengths else {}))
        np.testing.assert_allclose(answer.output, layer(x)[0].detach().numpy(), atol=5e-3)


DEFAULTS = {"direction": "forward", "layout": 0, "linear_before_reset": 0, "input_forget": 0}
"""Attributes that say what is so without them; generators of C refuse some."""
OPTIONS = [{}, {"lengths": True}, {"states": False}, {"quantize": "int8"}]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("cell", LAYERS)
def test_portable_says_nothing_twice(cell: str, options: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    export(LAYERS[cell](), path, target="portable", validate=False, **options)
    for node in onnx.load(path).graph.node:
        for attribute in node.attribute:
            value = onnx.helper.get_attribute_value(attribute)
            value = value.decode() if isinstance(value, bytes) else value
            assert (attribute.name, value) not in DEFAULTS.items()
            assert attribute.name != "activations"


@pytest.mark.parametrize("target", ["cpu", "portable"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("cell", LAYERS)
def test_every_constant_is_read(
    cell: str, options: dict[str, Any], target: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    export(LAYERS[cell](), path, target=target, validate=False, **options)
    graph = onnx.load(path).graph
    read = {name for node in graph.node for name in used(node)}
    assert [tensor.name for tensor in graph.initializer if tensor.name not in read] == []
