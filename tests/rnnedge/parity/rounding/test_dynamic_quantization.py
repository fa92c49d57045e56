"""Rounding activations to 8 bits, as the operator of ONNX does."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx.reference import ReferenceEvaluator
from torch import nn

from rnnedge.parity.rounding.dynamic_quantization import Integers, Rounder


@pytest.mark.parametrize(
    "x",
    [
        np.random.default_rng(0).standard_normal((3, 50)),
        np.random.default_rng(1).uniform(0.5, 2, (3, 50)),
        -np.random.default_rng(2).uniform(0.5, 2, (3, 50)),
        np.zeros((2, 3)),
    ],
    ids=["both", "positive", "negative", "zero"],
)
def test_it_is_dynamic_quantize_linear(x: np.ndarray) -> None:
    node = onnx.helper.make_node("DynamicQuantizeLinear", ["x"], ["y", "scale", "zero"])
    values, scale, zero = ReferenceEvaluator(node).run(None, {"x": x.astype(np.float32)})
    expected = (values.astype(np.float64) - zero) * scale
    given = Rounder(None)(torch.from_numpy(x.astype(np.float32)).double()).numpy()
    assert np.abs(given - expected).max() < 1e-7


def test_rounding_at_random_goes_up_or_down() -> None:
    x = torch.linspace(-1, 1, 1000, dtype=torch.float64)
    near, some = Rounder(None)(x), Rounder(3)(x)
    step = 2 / 255
    assert 0 < (near - some).abs().max() <= step * 1.001
    assert (some - x).abs().max() <= step * 1.001
    assert abs(float((some - x).mean())) < step / 20
    assert torch.equal(Rounder(3)(x, given=True), near)


@pytest.mark.parametrize("layer", [nn.RNN(3, 4), nn.GRU(3, 4, 2), nn.LSTM(3, 4, proj_size=2)])
def test_walker_without_rounding_is_the_layer(layer: nn.RNNBase) -> None:
    """What it computes apart from rounding is what PyTorch computes."""
    layer = layer.double()
    walker = Integers(frozenset(["weight_hh_l0"])).walker(layer)
    assert walker
    walker._blocks = {}
    x = torch.randn(5, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected, last = layer(x)
    output, finals = walker(x, [], None)
    assert torch.allclose(output, expected, atol=1e-12)
    for given, wanted in zip(finals, last if isinstance(last, tuple) else [last], strict=True):
        assert torch.allclose(given, wanted, atol=1e-12)


def test_layer_without_integers_has_no_walker() -> None:
    assert Integers(frozenset(["other.weight_hh_l0"])).walker(nn.GRU(3, 4), "rnn") is None
