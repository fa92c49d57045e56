"""Weights rounded up or down by what they are multiplied with."""

from __future__ import annotations

import numpy as np
import pytest

from rnnedge_exporters.calibration.moments import SecondMoments
from rnnedge_exporters.onnx_model.int8_grid import Float32, Grid, quantize_channels
from rnnedge_exporters.quantization.gptq import _DAMPING, Float64, round_on_data

CHANNELS, FEATURES = 12, 150  # more than two blocks of columns
LIMIT = 64


def _moments(seed: int, mixed: int = 20) -> Float64:
    """Moments of inputs that are mixed of a few."""
    random = np.random.default_rng(0)
    mix = random.standard_normal((mixed, FEATURES))
    own = np.random.default_rng(seed)
    x = own.standard_normal((400, mixed)) @ mix + 0.3 * own.standard_normal((400, FEATURES))
    return x.T @ x / len(x)


@pytest.fixture(scope="module")
def weights() -> Float32:
    random = np.random.default_rng(2)
    sizes = random.uniform(0.2, 2, (CHANNELS, 1))
    return (sizes * random.uniform(-1, 1, (CHANNELS, FEATURES))).astype(np.float32)


@pytest.fixture(scope="module")
def moments() -> SecondMoments:
    return SecondMoments(_moments(3), _moments(4))


def _nearest(weights: Float32) -> Float32:
    values, scale = quantize_channels(weights, 1, LIMIT)
    return values * scale


def _error(rounded: Float32, weights: Float32, seen: Float64) -> float:
    difference = rounded.astype(np.float64) - weights
    return float(np.einsum("ij,jk,ik->", difference, seen, difference))


def test_sums_are_off_by_less_on_other_sequences(weights: Float32, moments: SecondMoments) -> None:
    found = round_on_data(weights, Grid(LIMIT), moments)
    assert found is not None
    rounded, gain = found
    other = _moments(5)
    left = _error(rounded, weights, other) / _error(_nearest(weights), weights, other)
    assert left < 0.5
    assert gain == pytest.approx(left, rel=0.3)


def test_numbers_are_those_of_the_method(weights: Float32, moments: SecondMoments) -> None:
    """Each number is rounded where the ones before it leave the least for those behind it."""
    found = round_on_data(weights, Grid(LIMIT), moments)
    assert found is not None
    seen = (moments.chosen + moments.checked) / 2
    seen = seen + _DAMPING * np.diag(seen).mean() * np.eye(FEATURES)
    _, scale = quantize_channels(weights, 1, LIMIT)
    for row in range(CHANNELS):
        exact = weights[row].astype(np.float64) / scale[row]
        given = np.rint(found[0][row] / scale[row])
        for at in range(FEATURES):
            past = seen[at:, :at] @ (exact[:at] - given[:at])
            wanted = exact[at] + np.linalg.solve(seen[at:, at:], past)[0]
            choices = np.floor(exact[at]), np.ceil(exact[at])
            nearest = min(choices, key=lambda choice: abs(choice - wanted))
            top = abs(np.rint(exact[at])) >= LIMIT
            assert given[at] == (np.rint(exact[at]) if top else nearest), (row, at)


def test_scales_stay_and_rounding_again_changes_nothing(
    weights: Float32, moments: SecondMoments
) -> None:
    found = round_on_data(weights, Grid(LIMIT), moments)
    assert found is not None
    values, scale = quantize_channels(found[0], 1, LIMIT)
    assert np.allclose(values * scale, found[0], rtol=1e-6, atol=0)
    before, steps = quantize_channels(weights, 1, LIMIT)
    assert np.allclose(scale, steps, rtol=1e-6, atol=0)
    assert np.abs(found[0] / steps - weights / steps).max() < 1
    assert 0.05 < (values != before).mean() < 0.5


@pytest.mark.parametrize(
    "chosen",
    [
        np.eye(FEATURES),  # nothing to gain where inputs have nothing to do with each other
        np.zeros((FEATURES, FEATURES)),  # states that were never seen
        _moments(7, mixed=3)
        * np.sign(np.sin(np.arange(FEATURES)))[:, None]
        * np.sign(np.sin(np.arange(FEATURES))),  # not what the other sequences are like
    ],
    ids=["uncorrelated", "zeros", "other"],
)
def test_nearest_is_kept(chosen: Float64, weights: Float32) -> None:
    assert round_on_data(weights, Grid(LIMIT), SecondMoments(chosen, _moments(4))) is None


def test_exact_weights_are_left(moments: SecondMoments) -> None:
    weights = np.zeros((CHANNELS, FEATURES), np.float32)
    assert round_on_data(weights, Grid(LIMIT), moments) is None
