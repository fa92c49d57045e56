"""Files of every lowering show, without their contract, that they run backwards over time."""

import onnx
import pytest
from torch import nn

import rnnedge
from rnnedge_runtime import Session

LOWERINGS = {"operator": "RNN", "scan": "Scan", "switch": "RNN"}
"""Which node it is; that of the switch is in a branch."""


@pytest.mark.parametrize("bidirectional", [True, False], ids=["both", "forward"])
@pytest.mark.parametrize("lowering", LOWERINGS)
def test_what_runs_backwards_is_named(lowering, bidirectional, tmp_path):
    path = tmp_path / "model.onnx"
    rnnedge.export(nn.RNN(3, 4, bidirectional=bidirectional), path, lowering=lowering)
    model = onnx.load(path)
    del model.metadata_props[:]
    info = Session(model.SerializeToString()).info
    assert (info.delay is None) == bidirectional
    assert any(f"({LOWERINGS[lowering]})" in why for why in info.hindrances) == bidirectional
