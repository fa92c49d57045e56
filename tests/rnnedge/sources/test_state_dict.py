"""Recovering a specification from the names and shapes of weights alone."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rnnedge import RNNSpec, SourceError, SpecError

KINDS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
CASES = [
    pytest.param(
        cell,
        {"num_layers": layers, "bidirectional": two, "bias": bias} | extra,
        id=f"{cell}-{layers}layer{'-bi' * two}{'-nobias' * (not bias)}{'-proj' * bool(extra)}",
    )
    for (cell, extra), layers, two, bias in itertools.product(
        [("rnn", {}), ("lstm", {}), ("gru", {}), ("lstm", {"proj_size": 2})],
        (1, 3),
        (False, True),
        (True, False),
    )
]


def _weights(layer: nn.RNNBase | None = None, prefix: str = "") -> dict[str, Tensor]:
    layer = nn.LSTM(3, 4) if layer is None else layer
    return {f"{prefix}{name}": weight for name, weight in layer.state_dict().items()}


@pytest.mark.parametrize(("cell", "options"), CASES)
def test_every_layer_is_recovered(cell: str, options: dict[str, Any]) -> None:
    layer = KINDS[cell](3, 5, **options)
    assert RNNSpec.from_state_dict(layer.state_dict()) == RNNSpec.from_layer(layer)


@pytest.mark.parametrize("cell", KINDS)
def test_sizes_that_are_alike_do_not_confuse(cell: str) -> None:
    layer = KINDS[cell](4, 4)
    assert RNNSpec.from_state_dict(layer.state_dict()) == RNNSpec.from_layer(layer)


@pytest.mark.parametrize("cell", KINDS)
def test_hidden_size_of_one(cell: str) -> None:
    layer = KINDS[cell](1, 1)
    assert RNNSpec.from_state_dict(layer.state_dict()) == RNNSpec.from_layer(layer)


def test_what_shapes_cannot_tell_is_an_argument() -> None:
    spec = RNNSpec.from_state_dict(
        _weights(nn.RNN(3, 4)), nonlinearity="relu", batch_first=True, dropout=0.5
    )
    assert (spec.nonlinearity, spec.batch_first, spec.dropout) == ("relu", True, 0.5)


def test_relu_for_weights_of_an_lstm() -> None:
    with pytest.raises(SpecError, match=r"^the layer: nonlinearity: expected 'tanh'"):
        RNNSpec.from_state_dict(_weights(), nonlinearity="relu")


def test_numpy_arrays_serve() -> None:
    weights = {name: weight.numpy() for name, weight in _weights().items()}
    assert RNNSpec.from_state_dict(weights).cell == "lstm"


def test_other_weights_are_passed_over() -> None:
    weights = {"embed.weight": torch.zeros(9, 3), **_weights(prefix="rnn."), "w": torch.zeros(1)}
    assert RNNSpec.from_state_dict(weights).hidden_size == 4


@pytest.mark.parametrize("prefix", ["enc.rnn.", "enc.rnn"])
def test_prefix_picks_a_layer(prefix: str) -> None:
    weights = _weights(prefix="dec.") | _weights(nn.GRU(3, 7), "enc.rnn.")
    assert RNNSpec.from_state_dict(weights, prefix=prefix).hidden_size == 7


@pytest.mark.parametrize("prefix", ["model.", "module.model.rnn.", "rnn_", "a/b/"])
def test_only_layer_is_found_under_any_prefix(prefix: str) -> None:
    assert RNNSpec.from_state_dict(_weights(prefix=prefix)).hidden_size == 4


def test_several_layers_and_no_prefix() -> None:
    weights = _weights(prefix="enc.") | _weights(prefix="dec.")
    words = "2 recurrent layers, with the prefixes 'enc.', 'dec.': choose one with prefix="
    with pytest.raises(SourceError, match=f"^{re.escape(words)}"):
        RNNSpec.from_state_dict(weights)


def test_prefix_that_nothing_has() -> None:
    words = r"^no recurrent layer has the prefix 'x'; there are 'enc\.'$"
    with pytest.raises(SourceError, match=words):
        RNNSpec.from_state_dict(_weights(prefix="enc."), prefix="x")


def test_no_recurrent_layer() -> None:
    words = "^expected weights named like weight_ih_l0 and weight_hh_l0, found weight, bias$"
    with pytest.raises(SourceError, match=words):
        RNNSpec.from_state_dict(nn.Linear(3, 4).state_dict())


def test_nothing_at_all() -> None:
    with pytest.raises(SourceError, match=r"found nothing$"):
        RNNSpec.from_state_dict({})


@pytest.mark.parametrize(
    ("cell", "layer"),
    [("rnn", nn.RNNCell(3, 4)), ("lstm", nn.LSTMCell(3, 4)), ("gru", nn.GRUCell(3, 4))],
    ids=["rnn", "lstm", "gru"],
)
def test_names_of_a_bare_cell(cell: str, layer: nn.Module) -> None:
    spec = RNNSpec.from_state_dict(layer.state_dict())
    assert spec == RNNSpec(cell=cell, input_size=3, hidden_size=4)


def test_short_names() -> None:
    weights = {
        "rnn.w_ih": np.zeros((12, 3)),
        "rnn.w_hh": np.zeros((12, 4)),
        "rnn.b_ih": np.zeros(12),
        "rnn.b_hh": np.zeros(12),
    }
    spec = RNNSpec.from_state_dict(weights)
    assert spec == RNNSpec(cell="gru", input_size=3, hidden_size=4)


@pytest.mark.parametrize("rows", [8, 20, 5])
def test_rows_that_fit_no_cell(rows: int) -> None:
    weights = {"weight_ih_l0": np.zeros((rows, 3)), "weight_hh_l0": np.zeros((rows, 4))}
    words = (
        "weight_hh_l0: expected 1 (rnn), 3 (gru) or 4 (lstm) blocks of 4 rows, "
        f"got shape [{rows}, 4]"
    )
    with pytest.raises(SpecError, match=f"^{re.escape(words)}$"):
        RNNSpec.from_state_dict(weights)


def test_weight_that_is_no_matrix() -> None:
    weights = _weights() | {"weight_hh_l0": torch.zeros(16)}
    with pytest.raises(SpecError, match=r"^weight_hh_l0: expected a matrix, got \[16\]$"):
        RNNSpec.from_state_dict(weights)


def test_empty_weight() -> None:
    weights = _weights() | {"weight_hh_l0": torch.zeros(0, 0)}
    with pytest.raises(SpecError, match=r"^weight_hh_l0: expected 1 \(rnn\).* got shape \[0, 0\]$"):
        RNNSpec.from_state_dict(weights)


@pytest.mark.parametrize("name", ["weight_ih_l0", "weight_hh_l0"])
def test_first_layer_without_a_weight(name: str) -> None:
    weights = _weights(prefix="rnn.")
    del weights[f"rnn.{name}"]
    with pytest.raises(SpecError, match=rf"^rnn\.{name}: expected a matrix, got no such weight$"):
        RNNSpec.from_state_dict(weights)


@pytest.mark.parametrize("name", ["bias_hh_l0", "weight_ih_l1", "weight_hh_l1", "bias_ih_l1"])
def test_missing_weight(name: str) -> None:
    weights = _weights(nn.LSTM(3, 4, num_layers=2))
    del weights[name]
    with pytest.raises(SpecError, match=rf"^{name}: expected shape .*, found no such weight$"):
        RNNSpec.from_state_dict(weights)


@pytest.mark.parametrize("number", [1, 9998])
def test_layers_in_between_are_missing(number: int) -> None:
    weights = _weights() | {f"weight_ih_l{number + 1}": torch.zeros(16, 4)}
    words = r"^weight_ih_l1: expected a matrix, got no such weight$"
    with pytest.raises(SpecError, match=words):
        RNNSpec.from_state_dict(weights)


def test_one_direction_is_missing_in_one_layer() -> None:
    weights = _weights(nn.GRU(3, 4, num_layers=2, bidirectional=True))
    del weights["weight_hh_l1_reverse"]
    with pytest.raises(
        SpecError, match=r"^weight_hh_l1_reverse: expected shape \[12, 4\], found no"
    ):
        RNNSpec.from_state_dict(weights)


def test_shape_that_does_not_fit_the_others() -> None:
    weights = _weights() | {"bias_ih_l0": torch.zeros(15)}
    words = r"^bias_ih_l0: expected shape \[16\] for lstm\(3->4\), got \[15\]$"
    with pytest.raises(SpecError, match=words):
        RNNSpec.from_state_dict(weights)


def test_left_over_weight() -> None:
    spec = RNNSpec(cell="lstm", input_size=3, hidden_size=4)
    with pytest.raises(SpecError, match=r"^x\.weight_hr_l0: lstm\(3->4\) has no such weight$"):
        spec.check_weights(_weights() | {"weight_hr_l0": torch.zeros(2, 4)}, "x.")
