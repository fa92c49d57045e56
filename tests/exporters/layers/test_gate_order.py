"""The weights in ONNX's order, against a second implementation of the ONNX operators.

`onnx.reference` ignores `sequence_lens` and has no relu RNN, so it judges neither.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from torch import nn

from rnnedge_exporters import export

HIDDEN = 3
GATES = {
    "lstm": ("i", "f", "g", "o"),
    "gru": ("r", "z", "n"),
}
IN_ONNX = {
    "lstm": ("i", "o", "f", "g"),
    "gru": ("z", "r", "n"),
}


@pytest.fixture(params=["rnn", "lstm", "gru"])
def layer(request: pytest.FixtureRequest) -> nn.RNNBase:
    torch.manual_seed(3)
    return {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[request.param](4, HIDDEN)


def test_reference_evaluator_agrees_with_torch(
    layer: nn.RNNBase, tmp_path: Path, in_torch: Callable
) -> None:
    export(layer, tmp_path / "model.onnx")
    random = np.random.default_rng(0)
    feeds = {"input": random.standard_normal((6, 2, 4)).astype(np.float32)}
    names = ("h_0", "c_0") if isinstance(layer, nn.LSTM) else ("h_0",)
    for name in names:
        feeds[name] = random.standard_normal((1, 2, HIDDEN)).astype(np.float32)
    given = ReferenceEvaluator(onnx.load(tmp_path / "model.onnx")).run(None, feeds)
    expected = in_torch(layer, feeds["input"], tuple(feeds[name] for name in names))
    for array, (name, value) in zip(given, expected.items(), strict=True):
        assert array.shape == value.shape, name
        assert np.abs(array - value).max() < 1e-5, name


@pytest.mark.parametrize("tensor", ["W", "R"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_rows_of_a_gate_move_as_one_block(cell: str, tensor: str, tmp_path: Path) -> None:
    layer = {"lstm": nn.LSTM, "gru": nn.GRU}[cell](4, HIDDEN)
    marks = dict(zip(GATES[cell], (1.0, 2.0, 3.0, 4.0), strict=False))
    with torch.no_grad():
        for weight in (layer.weight_ih_l0, layer.weight_hh_l0):
            for rows, mark in zip(weight.split(HIDDEN), marks.values(), strict=True):
                rows.fill_(mark)
    export(layer, tmp_path / "model.onnx")
    model = onnx.load(tmp_path / "model.onnx")
    (found,) = [t for t in model.graph.initializer if t.name.endswith(f"/{tensor}")]
    blocks = np.split(onnx.numpy_helper.to_array(found)[0], len(marks))
    assert [float(block.min()) for block in blocks] == [marks[gate] for gate in IN_ONNX[cell]]
    assert [float(block.max()) for block in blocks] == [marks[gate] for gate in IN_ONNX[cell]]


def test_both_halves_of_the_bias_stay_apart(tmp_path: Path) -> None:
    layer = nn.GRU(4, HIDDEN)
    with torch.no_grad():
        layer.bias_ih_l0.fill_(1.0)
        layer.bias_hh_l0.fill_(2.0)
    export(layer, tmp_path / "model.onnx")
    model = onnx.load(tmp_path / "model.onnx")
    (bias,) = [t for t in model.graph.initializer if t.name.endswith("/B")]
    half = 3 * HIDDEN
    assert onnx.numpy_helper.to_array(bias)[0].tolist() == [1.0] * half + [2.0] * half


def test_gru_resets_after_the_recurrent_product(tmp_path: Path) -> None:
    export(nn.GRU(4, HIDDEN), tmp_path / "model.onnx")
    (node,) = [n for n in onnx.load(tmp_path / "model.onnx").graph.node if n.op_type == "GRU"]
    (attribute,) = [a for a in node.attribute if a.name == "linear_before_reset"]
    assert attribute.i == 1
