"""Sums of two products stay within the 16 bits that AVX2 adds them in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from torch import nn

from rnnedge_exporters import export
from rnnedge_exporters.quantization.channels import COMPUTED_LIMIT, STORED_LIMIT, quantize_channels

LARGEST_UINT8, LARGEST_INT16 = 255, 2**15 - 1


def test_two_products_fit() -> None:
    assert 2 * LARGEST_UINT8 * COMPUTED_LIMIT <= LARGEST_INT16
    assert 2 * LARGEST_UINT8 * STORED_LIMIT > LARGEST_INT16


@pytest.mark.parametrize("layer", [nn.RNN(3, 8), nn.GRU(3, 8), nn.LSTM(3, 8)], ids=str)
def test_weights_that_are_multiplied_keep_to_it(layer: nn.RNNBase, tmp_path: Path) -> None:
    export(layer, tmp_path / "model.onnx", quantize="int8:all")
    graph = onnx.load(tmp_path / "model.onnx").graph
    bodies = [a.g for node in graph.node for a in node.attribute if a.name == "body"]
    largest = [
        int(np.abs(numpy_helper.to_array(tensor).astype(int)).max())
        for inner in bodies or [graph]
        for tensor in inner.initializer
        if tensor.data_type == onnx.TensorProto.INT8 and not tensor.name.endswith("zero_point")
    ]
    assert largest
    assert set(largest) == {COMPUTED_LIMIT}


def test_scales() -> None:
    weights = np.array([[0.5, -1, 0.25], [0, 0, 0], [1e-45, 0, 0], [3e38, 1e38, -3e38]], np.float32)
    values, scale = quantize_channels(weights, 1, 64)
    assert values.dtype == np.int8
    assert values.tolist() == [[32, -64, 16], [0, 0, 0], [0, 0, 0], [64, 21, -64]]
    assert scale.ravel().tolist() == [1 / 64, 1, 1, np.float32(3e38) / np.float32(64)]
