"""Weights that a checkpoint holds in parts, compared with what PyTorch itself computes."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune

import rnnedge
from rnnedge import SourceError, load_source
from rnnedge.sources.reparametrized import compute_weight, parts_of, whole_names

Apply = Callable[[nn.Module, str], object]

CELLS = {
    "rnn": lambda: nn.RNN(3, 4, nonlinearity="relu"),
    "lstm": lambda: nn.LSTM(3, 4, num_layers=2, bidirectional=True),
    "gru": lambda: nn.GRU(3, 4, bias=False),
    "proj": lambda: nn.LSTM(3, 4, proj_size=2),
}


def _weight_norm(dim: int | None) -> Apply:
    def apply(module: nn.Module, name: str) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # the old form is what is tested
            nn.utils.weight_norm(module, name, dim=dim)

    return apply


WAYS: dict[str, Apply] = {
    "weight_norm": _weight_norm(0),
    "weight_norm_of_columns": _weight_norm(1),
    "weight_norm_of_all": _weight_norm(None),
    "parametrized_weight_norm": parametrizations.weight_norm,
    "parametrized_weight_norm_of_columns": lambda m, n: parametrizations.weight_norm(m, n, dim=1),
    "parametrized_weight_norm_of_all": lambda m, n: parametrizations.weight_norm(m, n, dim=None),
    "spectral_norm": nn.utils.spectral_norm,
    "parametrized_spectral_norm": parametrizations.spectral_norm,
    "parametrized_spectral_norm_of_columns": lambda m, n: parametrizations.spectral_norm(
        m, n, dim=1
    ),
    "pruned": lambda module, name: prune.l1_unstructured(module, name, 0.5),
}


def _trained(cell: str, apply: Apply, names: str) -> nn.RNNBase:
    """A layer whose weights were moved after the parametrization, with its buffers as trained."""
    torch.manual_seed(5)
    layer = CELLS[cell]()
    for name in [name for name, _ in layer.named_parameters() if re.search(names, name)]:
        apply(layer, name)
    layer.train()
    for _ in range(3):  # spectral_norm finds its vectors while it trains
        layer(torch.randn(5, 1, 3))
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.mul_(torch.rand(parameter.shape) + 0.5)
    return layer.eval()


def _options(layer: nn.RNNBase) -> dict[str, str]:
    return {"nonlinearity": layer.nonlinearity} if isinstance(layer, nn.RNN) else {}


@pytest.mark.parametrize(
    ("cell", "apply"),
    [
        pytest.param(cell, apply, id=f"{cell}-{name}")
        for cell in ("rnn", "lstm", "gru")
        for name, apply in WAYS.items()
        # The weight of an nn.RNN is square, and refused below.
        if (cell, name) != ("rnn", "parametrized_spectral_norm_of_columns")
    ],
)
def test_layer_computes_what_the_trained_one_computes(
    cell: str, apply: Apply, tmp_path: Path
) -> None:
    trained = _trained(cell, apply, "weight_hh")
    torch.save(trained.state_dict(), tmp_path / "w.pt")
    loaded = load_source(tmp_path / "w.pt", options=_options(trained)).module
    x = torch.randn(7, 2, 3)
    with torch.no_grad():
        expected, got = trained(x)[0], loaded.eval()(x)[0]
    assert torch.equal(expected, got)


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported:UserWarning")
@pytest.mark.parametrize("names", ["bias", "weight_ih|weight_hh|bias", "weight_hr"])
@pytest.mark.parametrize("way", ["weight_norm", "parametrized_weight_norm", "pruned"])
def test_other_weights_of_a_layer(names: str, way: str, tmp_path: Path) -> None:
    trained = _trained("proj", WAYS[way], names)
    torch.save(trained.state_dict(), tmp_path / "w.pt")
    loaded = load_source(tmp_path / "w.pt").module
    with torch.no_grad():
        trained(torch.randn(7, 2, 3))  # a hook of weight_norm computes the weights
        for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "weight_hr_l0"):
            assert torch.equal(getattr(loaded, name), getattr(trained, name))


@pytest.mark.parametrize("way", ["weight_norm", "parametrized_weight_norm"])
def test_exported_file_is_what_the_trained_layer_computes(way: str, tmp_path: Path) -> None:
    trained = _trained("lstm", WAYS[way], "weight_hh")
    torch.save({f"lstm.{name}": w for name, w in trained.state_dict().items()}, tmp_path / "w.pt")
    rnnedge.export(load_source(tmp_path / "w.pt").module, tmp_path / "w.onnx")
    with torch.no_grad():
        trained(torch.zeros(1, 1, 3))
    plain = nn.LSTM(3, 4, num_layers=2, bidirectional=True)
    plain.load_state_dict({name: getattr(trained, name) for name in plain.state_dict()})
    report = rnnedge.validate(tmp_path / "w.onnx", against=plain, quick=True)
    assert report, report


def test_weights_in_double(tmp_path: Path) -> None:
    trained = _trained("gru", parametrizations.weight_norm, "weight_hh").double()
    torch.save(trained.state_dict(), tmp_path / "w.pt")
    expected = trained.weight_hh_l0.float()
    assert torch.equal(load_source(tmp_path / "w.pt").module.weight_hh_l0, expected)


def test_it_is_said_that_a_weight_is_computed(tmp_path: Path) -> None:
    torch.save(_trained("gru", WAYS["weight_norm"], "weight_hh").state_dict(), tmp_path / "w.pt")
    notes = load_source(tmp_path / "w.pt").notes
    assert "weight_hh_l0 is computed from g and v, as weight_norm does" in notes


def test_one_of_two_layers(tmp_path: Path) -> None:
    trained = _trained("gru", WAYS["weight_norm"], "weight_hh")
    weights = {f"a.{name}": w for name, w in trained.state_dict().items()}
    odd = {f"b.{name}_orig": w for name, w in nn.GRU(3, 4).state_dict().items()}
    torch.save({**weights, **odd}, tmp_path / "w.pt")
    loaded = load_source(tmp_path / "w.pt", prefix="a.").module
    with torch.no_grad():
        trained(torch.zeros(1, 1, 3))
    assert torch.equal(loaded.weight_hh_l0, trained.weight_hh_l0)


# --- refused --------------------------------------------------------------------------------------


class Symmetric(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight.triu() + weight.triu(1).T


def _own(module: nn.Module, name: str) -> None:
    parametrize.register_parametrization(module, name, Symmetric())


def _two(module: nn.Module, name: str) -> None:
    parametrizations.weight_norm(module, name)
    parametrizations.spectral_norm(module, name)


UNKNOWN: dict[str, tuple[Apply, str]] = {
    "orthogonal": (parametrizations.orthogonal, "original, 0.base"),
    "own": (_own, "original"),
    "two": (_two, "1._u, 1._v, original0, original1"),
}


@pytest.mark.parametrize(("apply", "parts"), UNKNOWN.values(), ids=UNKNOWN)
def test_weight_that_cannot_be_computed_is_named(apply: Apply, parts: str, tmp_path: Path) -> None:
    layer = nn.RNN(3, 4)
    apply(layer, "weight_hh_l0")
    torch.save(layer.state_dict(), tmp_path / "w.pt")
    words = (
        r"w\.pt: weight_hh_l0 is stored as .*, which do not say how to compute it: export the "
        r"module itself, or before saving call torch\.nn\.utils\.parametrize\.remove_parametrizat"
    )
    with pytest.raises(SourceError, match=words) as stopped:
        load_source(tmp_path / "w.pt")
    assert all(part in str(stopped.value) for part in parts.split(", "))


def test_what_the_error_advises(tmp_path: Path) -> None:
    layer = nn.RNN(3, 4)
    parametrizations.orthogonal(layer, "weight_hh_l0")
    parametrize.remove_parametrizations(layer, "weight_hh_l0")
    torch.save(layer.state_dict(), tmp_path / "w.pt")
    loaded = load_source(tmp_path / "w.pt").module
    assert torch.equal(loaded.weight_hh_l0, layer.weight_hh_l0)


def test_two_tensors_that_are_no_weight_norm() -> None:
    parts = {"original0": torch.ones(4, 1), "original1": torch.ones(1, 3)}
    with pytest.raises(SourceError, match=r"^weight_ih_l0 is stored as original0, original1, whi"):
        compute_weight("weight_ih_l0", parts)


def test_square_weight_whose_vectors_fit_the_columns() -> None:
    layer = nn.RNN(4, 4)
    torch.nn.init.uniform_(layer.weight_hh_l0)
    parametrizations.spectral_norm(layer, "weight_hh_l0", dim=1)
    weights = layer.state_dict()
    parts = parts_of(weights)["weight_hh_l0"]
    with pytest.raises(SourceError, match=r"^weight_hh_l0 is stored as "):
        compute_weight("weight_hh_l0", {part: weights[name] for part, name in parts.items()})


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [
        ["fc.weight_g", "fc.weight_v"],
        ["lstm.weight_hh_l0", "lstm.weight_hh_l0_g", "lstm.weight_hh_l0_v"],
        ["lstm.weight_hh_l0_mask"],
        ["lstm.parametrizations.weight.original0"],
    ],
    ids=["linear", "whole_too", "mask_alone", "another_weight"],
)
def test_names_that_are_no_parts_of_a_recurrent_weight(names: list[str]) -> None:
    assert parts_of(names) == {}


def test_whole_names() -> None:
    given = {"a.weight_ih_l0_v": 2, "a.weight_ih_l0_g": 1, "b": 3}
    given |= {"a.parametrizations.weight_hh_l0.original": 4}
    assert whole_names(given) == {"a.weight_ih_l0": 2, "a.weight_hh_l0": 4, "b": 3}
