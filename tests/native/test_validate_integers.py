"""`validate --engine native` of files that compute in int8: each row is rounded by itself."""

import numpy as np
import pytest

pytest.importorskip(
    "rnnedge_native",
    reason="rnnedge-native is not built, which takes a C compiler",
    exc_type=ImportError,
)
import torch

import rnnedge
from rnnedge.parity.rounding.dynamic_quantization import Rounder
from rnnedge.parity.rounding.row_quantization import RowIntegers


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_file_passes(tmp_path, cell):
    spec = rnnedge.RNNSpec(cell=cell, input_size=5, hidden_size=19, num_layers=2)
    layer = rnnedge.build(spec, seed=0).eval()
    path = tmp_path / "model.onnx"
    rnnedge.export(layer, path, quantize="int8:all", validate=False)
    report = rnnedge.validate(path, against=layer, engine="native")
    assert report, report


def test_weights_of_another_layer_do_not_pass(tmp_path):
    spec = rnnedge.RNNSpec(cell="gru", input_size=5, hidden_size=19)
    layer, path = rnnedge.build(spec, seed=0).eval(), tmp_path / "model.onnx"
    rnnedge.export(layer, path, quantize="int8:all", validate=False)
    with torch.no_grad():
        layer.bias_hh_l0[3] += 0.05
    assert not rnnedge.validate(path, against=layer, engine="native")


def test_each_row_is_rounded_as_if_it_were_alone():
    rows = torch.randn(3, 4, 9, generator=torch.Generator().manual_seed(0))
    rows[1] *= 1e-3
    rows[2, 0] = 0
    made = RowIntegers(frozenset()).rounder()(rows)
    alone = [[Rounder(None)(row) for row in part] for part in rows]
    assert np.array_equal(made.numpy(), torch.stack([torch.stack(part) for part in alone]).numpy())
