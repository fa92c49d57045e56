"""Which ONNX form a layer takes for which target."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from torch import nn

from rnnedge_exporters import ExportError, export

LAYERS = {
    "tanh": lambda: nn.RNN(3, 4),
    "relu": lambda: nn.RNN(3, 4, nonlinearity="relu"),
    "lstm": lambda: nn.LSTM(3, 4),
    "gru": lambda: nn.GRU(3, 4),
    "proj": lambda: nn.LSTM(3, 4, proj_size=2),
}
SCANS = {("relu", "cuda"), *(("proj", target) for target in ("cpu", "cuda", "portable"))}


@pytest.mark.parametrize("target", ["cpu", "cuda", "portable"])
@pytest.mark.parametrize("cell", LAYERS)
def test_lowering(cell: str, target: str, tmp_path: Path) -> None:
    result = export(LAYERS[cell](), tmp_path / "model.onnx", target=target)
    (layer,) = result.contract.layers
    assert layer.lowering == ("scan" if (cell, target) in SCANS else "operator")


@pytest.mark.parametrize("target", ["cpu", "cuda", "portable"])
@pytest.mark.parametrize("cell", LAYERS)
def test_graph_has_the_lowering_that_the_contract_names(
    cell: str, target: str, tmp_path: Path
) -> None:
    result = export(LAYERS[cell](), tmp_path / "model.onnx", target=target)
    nodes = {node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node}
    scan = result.contract.layers[0].lowering == "scan"
    assert nodes & {"Scan", "RNN", "LSTM", "GRU"} == (
        {"Scan"} if scan else {{"tanh": "RNN", "relu": "RNN"}.get(cell, cell.upper())}
    )


def test_target_is_in_the_contract(tmp_path: Path) -> None:
    result = export(nn.GRU(3, 4), tmp_path / "model.onnx", target="portable")
    assert result.contract.target == "portable"


def test_unknown_target(tmp_path: Path) -> None:
    with pytest.raises(
        ExportError, match=r"^target: expected 'cpu', 'cuda' or 'portable', got 'tpu'$"
    ):
        export(nn.GRU(3, 4), tmp_path / "model.onnx", target="tpu")
