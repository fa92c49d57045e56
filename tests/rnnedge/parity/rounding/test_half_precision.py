"""Files that compute in half are compared with PyTorch with the rounding that half has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rounded_files
import torch
from rounded_files import HIDDEN, change
from torch import nn

from rnnedge import export, validate
from rnnedge.parity.rounding.half_precision import Halves

LAYERS = {
    "rnn": lambda: nn.RNN(5, HIDDEN, bidirectional=True),
    "relu": lambda: nn.RNN(5, HIDDEN, nonlinearity="relu", bidirectional=True),
    "gru": lambda: nn.GRU(5, HIDDEN, num_layers=2, bidirectional=True, batch_first=True),
    "lstm": lambda: nn.LSTM(5, HIDDEN, bidirectional=True),
    "proj": lambda: nn.LSTM(5, HIDDEN, proj_size=3),
}
NUMBERS = np.concatenate(
    [
        np.random.default_rng(0).standard_normal(500) * 10.0 ** np.arange(-8, 4.5, 0.025),
        [0, -0.0, 65504, 65519, 65520, 1e6, -1e6, np.inf, 2.0**-14, 2.0**-24, 2.0**-26],
    ]
)


def test_it_is_one_of_the_two_halves_beside() -> None:
    x = torch.from_numpy(NUMBERS)
    given = Halves(frozenset(), seed=3).rounder()(x).numpy()
    with np.errstate(over="ignore"):
        near = NUMBERS.astype(np.float16)
        below, above = (np.nextafter(near, np.float16(end)) for end in (-np.inf, np.inf))
        np.testing.assert_array_equal(given, given.astype(np.float16).astype(np.float64))
    inside = np.abs(NUMBERS) < 65504
    assert (below[inside] <= given[inside]).all()
    assert (given[inside] <= above[inside]).all()
    assert 0.2 < float((given != near).mean()) < 0.3


def test_the_mean_is_the_number() -> None:
    rounder = Halves(frozenset(), seed=3).rounder()
    x = torch.full((10_000,), 1.0003, dtype=torch.float64)
    assert abs(float(rounder(x).mean()) - 1.0003) < 3e-5
    assert set(rounder(x).tolist()) == {1.0, 1.0 + 2.0**-10}


def test_the_reference_rounds_nothing() -> None:
    x = torch.from_numpy(NUMBERS)
    assert torch.equal(Halves(frozenset()).rounder()(x), x)


def _exported(cell: str, path: Path, **options: bool) -> nn.RNNBase:
    torch.manual_seed(1)
    layer = LAYERS[cell]()
    export(layer, path, dtype="float16", target="cuda", **options)
    return layer


@pytest.mark.parametrize("lengths", [False, True], ids=["full", "lengths"])
@pytest.mark.parametrize("cell", LAYERS)
def test_right_file_passes(cell: str, lengths: bool, tmp_path: Path) -> None:
    layer = _exported(cell, tmp_path / "m.onnx", lengths=lengths)
    report = validate(tmp_path / "m.onnx", against=layer, isolated=False, quick=True)
    assert report, report
    assert report.rounding
    assert report.rounding.missing == ()
    assert "weight_hh_l0" in report.rounding.halves
    assert report.rounding.proven.endswith("float16, and computing in half")


MISTAKES = {
    "swap_gates": ("gru", "lstm"),
    "swap_directions": ("rnn", "gru", "lstm"),
    "no_bias": ("rnn", "relu", "gru", "lstm", "proj"),
}


@pytest.mark.parametrize(
    ("mistake", "cell"), [(mistake, cell) for mistake, cells in MISTAKES.items() for cell in cells]
)
def test_broken_file_fails(mistake: str, cell: str, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    layer = _exported(cell, path)
    change(path, getattr(rounded_files, mistake))
    assert not validate(path, against=layer, isolated=False, quick=True)


def test_a_file_that_stores_half_computes_in_float32(tmp_path: Path) -> None:
    layer, path = LAYERS["gru"](), tmp_path / "m.onnx"
    export(layer, path, dtype="float16")
    report = validate(path, against=layer, isolated=False, quick=True)
    assert report.rounding
    assert report.rounding.halves == ()
