"""`RNNSpec`: what it takes, what it refuses and how it says so, and where it can be read from."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from rnnedge import RNNSpec, SpecError

SIZES = {"input_size": 3, "hidden_size": 4}
FULL = {
    "cell": "lstm",
    "input_size": 3,
    "hidden_size": 4,
    "num_layers": 2,
    "nonlinearity": "tanh",
    "bias": False,
    "batch_first": True,
    "dropout": 0.25,
    "bidirectional": True,
    "proj_size": 2,
}
TOML = "\n".join(f"{key} = {json.dumps(value)}" for key, value in FULL.items())


def _spec(**values: Any) -> RNNSpec:
    return RNNSpec(**{**SIZES, **values})


def test_defaults_are_those_of_torch() -> None:
    spec, layer = _spec(), nn.RNN(3, 4)
    for name in ("num_layers", "nonlinearity", "bias", "batch_first", "dropout", "bidirectional"):
        assert getattr(spec, name) == getattr(layer, name), name


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("cell", 1, "expected a string, got int 1"),
        ("cell", "RNN", "expected 'rnn', 'lstm' or 'gru', got 'RNN'"),
        ("input_size", "3", "expected an integer, got str '3'"),
        ("input_size", 3.0, "expected an integer, got float 3.0"),
        ("input_size", True, "expected an integer, got bool True"),
        ("input_size", None, "expected an integer, got NoneType None"),
        ("input_size", 0, "expected 1 or more, got 0"),
        ("input_size", -1, "expected 1 or more, got -1"),
        ("hidden_size", "4", "expected an integer, got str '4'"),
        ("hidden_size", 0, "expected 1 or more, got 0"),
        ("hidden_size", -4, "expected 1 or more, got -4"),
        ("num_layers", 1.5, "expected an integer, got float 1.5"),
        ("num_layers", 0, "expected 1 or more, got 0"),
        ("num_layers", -2, "expected 1 or more, got -2"),
        ("nonlinearity", 0, "expected a string, got int 0"),
        ("nonlinearity", "sigmoid", "expected 'tanh' or 'relu', got 'sigmoid'"),
        ("bias", 1, "expected true or false, got int 1"),
        ("batch_first", "yes", "expected true or false, got str 'yes'"),
        ("bidirectional", 0, "expected true or false, got int 0"),
        ("dropout", "0.1", "expected a number, got str '0.1'"),
        ("dropout", True, "expected a number, got bool True"),
        ("dropout", -0.1, "expected 0 to 1, got -0.1"),
        ("dropout", 1.1, "expected 0 to 1, got 1.1"),
        ("dropout", float("nan"), "expected 0 to 1, got nan"),
        ("proj_size", "2", "expected an integer, got str '2'"),
    ],
)
def test_wrong_value(name: str, given: object, words: str) -> None:
    with pytest.raises(SpecError, match=f"^{re.escape(f'{name}: {words}')}$"):
        _spec(**{name: given})


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_relu_is_for_rnn_only(cell: str) -> None:
    words = f"nonlinearity: expected 'tanh', the only one that {cell} has, got 'relu'"
    with pytest.raises(SpecError, match=f"^{words}; use cell='rnn' for relu$"):
        _spec(cell=cell, nonlinearity="relu")


@pytest.mark.parametrize("cell", ["rnn", "gru"])
def test_projection_is_for_lstm_only(cell: str) -> None:
    words = f"proj_size: expected 0, since {cell} has no projection, got 2; use cell='lstm'"
    with pytest.raises(SpecError, match=f"^{words}$"):
        _spec(cell=cell, proj_size=2)


@pytest.mark.parametrize("size", [4, 5, -1])
def test_projection_is_below_hidden_size(size: int) -> None:
    words = f"proj_size: expected 0 to 3, below hidden_size, got {size}"
    with pytest.raises(SpecError, match=f"^{words}$"):
        _spec(cell="lstm", proj_size=size)


@pytest.mark.parametrize("dropout", [0, 0.0, 1, 1.0])
def test_dropout_takes_both_ends(dropout: float) -> None:
    assert _spec(dropout=dropout).dropout == dropout


def test_error_is_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"^hidden_size: expected 1 or more"):
        _spec(hidden_size=0)


def test_spec_is_frozen() -> None:
    with pytest.raises(AttributeError):
        _spec().hidden_size = 5


def test_equal_specs_are_one_key() -> None:
    assert len({_spec(), _spec(), _spec(num_layers=2)}) == 2


def test_unknown_key_names_the_known_ones() -> None:
    words = r"^specification: unknown key colour, depth; expected keys are cell, input_size, .*"
    with pytest.raises(SpecError, match=words):
        RNNSpec.from_mapping({**SIZES, "colour": 1, "depth": 2})


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "specification: input_size and hidden_size missing"),
        ({"input_size": 3}, "specification: hidden_size missing"),
        ({"hidden_size": 3}, "specification: input_size missing"),
    ],
    ids=["both", "hidden_size", "input_size"],
)
def test_missing_key(given: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=f"^{words}$"):
        RNNSpec.from_mapping(given)


def test_round_trip_through_a_mapping() -> None:
    spec = RNNSpec(**FULL)
    assert spec.to_dict() == FULL
    assert RNNSpec.from_mapping(spec.to_dict()) == spec


@pytest.mark.parametrize(("name", "text"), [("layer.toml", TOML), ("layer.json", json.dumps(FULL))])
def test_file(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert RNNSpec.from_file(tmp_path / name) == RNNSpec(**FULL)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.toml", b"cell = 'rnn\n", r"expected a readable TOML file: ."),
        ("a.json", b'{"cell": ', r"expected a readable JSON file: Expecting value: line 1"),
        ("a.json", b"", r"expected a readable JSON file: Expecting value"),
        ("a.toml", b"\xff\xfe", r"expected a readable TOML file: .*codec can't decode"),
        ("a.json", b"[1, 2]", r"expected keys and values, got list"),
        ("a.json", b"null", r"expected keys and values, got NoneType"),
        ("a.toml", b"", r"input_size and hidden_size missing"),
        ("a.toml", b"[layer]\ninput_size = 3", r"unknown key layer; expected keys are cell"),
        ("a.toml", b"input_size = 3\nhidden_size = '4'", r"hidden_size: expected an integer"),
        ("a.json", b'{"input_size": 3, "hidden_size": 4, "dropout": NaN}', r"dropout: .* got nan"),
    ],
    ids=[
        *("broken_toml", "broken_json", "empty_json", "not_text", "list", "null"),
        *("empty_toml", "table", "wrong_type", "nan"),
    ],
)
def test_file_that_is_no_specification(
    name: str, content: bytes, words: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SpecError, match=f"^{re.escape(str(tmp_path / name))}: {words}"):
        RNNSpec.from_file(tmp_path / name)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"no\.toml: expected a specification, found no such file$"):
        RNNSpec.from_file(tmp_path / "no.toml")


def test_folder_as_file(tmp_path: Path) -> None:
    (tmp_path / "a.toml").mkdir()
    with pytest.raises(SpecError, match=r"a\.toml: expected a readable TOML file: "):
        RNNSpec.from_file(tmp_path / "a.toml")


@pytest.mark.parametrize(
    "layer",
    [
        nn.RNN(3, 4, nonlinearity="relu", bias=False),
        nn.LSTM(3, 4, num_layers=2, batch_first=True, dropout=0.25, proj_size=2),
        nn.GRU(3, 4, bidirectional=True),
    ],
    ids=["rnn", "lstm", "gru"],
)
def test_live_layer(layer: nn.RNNBase) -> None:
    spec = RNNSpec.from_layer(layer)
    assert spec.cell == type(layer).__name__.lower()
    for name in SIZES | {"num_layers": 0, "bias": 0, "batch_first": 0, "dropout": 0}:
        assert getattr(spec, name) == getattr(layer, name), name
    assert (spec.bidirectional, spec.proj_size) == (layer.bidirectional, layer.proj_size)
    assert spec.nonlinearity == getattr(layer, "nonlinearity", "tanh")


@pytest.mark.parametrize(
    "layer",
    [
        nn.RNN(3, 4, num_layers=2, bidirectional=True),
        nn.LSTM(3, 4, num_layers=3, bias=False, bidirectional=True, proj_size=2),
        nn.GRU(3, 4),
    ],
    ids=["rnn", "lstm", "gru"],
)
def test_weight_shapes_are_those_of_torch(layer: nn.RNNBase) -> None:
    expected = {name: tuple(weight.shape) for name, weight in layer.state_dict().items()}
    assert list(RNNSpec.from_layer(layer).weight_shapes().items()) == list(expected.items())


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (_spec(), "rnn(3->4)"),
        (_spec(cell="gru", num_layers=2, dropout=0.5), "gru(3->4, num_layers=2, dropout=0.5)"),
        (_spec(bidirectional=True), "rnn(3->4, bidirectional)"),
        (_spec(nonlinearity="relu", bias=False), "rnn(3->4, nonlinearity=relu, bias=False)"),
        (_spec(cell="lstm", proj_size=2, batch_first=True), "lstm(3->4, batch_first, proj_size=2)"),
    ],
    ids=["plain", "gru", "bidirectional", "relu", "proj"],
)
def test_text_says_what_is_not_default(spec: RNNSpec, text: str) -> None:
    assert str(spec) == text
