"""Sums of two products stay within the 16 bits that AVX2 adds them in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from torch import nn

from rnnedge_exporters import export
from rnnedge_exporters.onnx_model.int8_grid import COMPUTED_LIMIT, STORED_LIMIT, quantize_channels

LARGEST_UINT8, LARGEST_INT16 = 255, 2**15 - 1


def test_two_products_fit() -> None:
    assert 2 * LARGEST_UINT8 * COMPUTED_LIMIT <= LARGEST_INT16
    assert 2 * LARGEST_UINT8 * STORED_LIMIT > LARGEST_INT16


def multiplied(graph: onnx.GraphProto) -> Iterator[np.ndarray]:
    """Yield the int8 weights that products of integers take, as the engine folds them."""
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "MatMulInteger":
            yield held[node.input[1]]
        elif node.op_type == "DynamicQuantizeLSTM":
            yield from (held[name] for name in node.input[1:3])
        elif all(name in held for name in node.input):
            held[node.output[0]] = ReferenceEvaluator(node).run(None, held)[0]
        for attribute in node.attribute:
            if attribute.name == "body":
                yield from multiplied(attribute.g)


@pytest.mark.parametrize(
    "layer", [nn.RNN(3, 8), nn.GRU(3, 8), nn.LSTM(3, 8), nn.LSTM(3, 8, 2)], ids=str
)
def test_weights_that_are_multiplied_keep_to_it(layer: nn.RNNBase, tmp_path: Path) -> None:
    export(layer, tmp_path / "model.onnx", quantize="int8:all")
    weights = list(multiplied(onnx.load(tmp_path / "model.onnx").graph))
    assert weights
    for array in weights:
        assert array.dtype == np.int8
        assert np.abs(array.astype(int)).max() == COMPUTED_LIMIT


def test_scales() -> None:
    weights = np.array([[0.5, -1, 0.25], [0, 0, 0], [1e-45, 0, 0], [3e38, 1e38, -3e38]], np.float32)
    values, scale = quantize_channels(weights, 1, 64)
    assert values.dtype == np.int8
    assert values.tolist() == [[32, -64, 16], [0, 0, 0], [0, 0, 0], [64, 21, -64]]
    assert scale.ravel().tolist() == [1 / 64, 1, 1, np.float32(3e38) / np.float32(64)]
