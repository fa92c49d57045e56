"""The recurrent layer of a checkpoint that may hold more than the layer."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import rnnedge
from rnnedge import RNNSpec, SourceError, load_source
from rnnedge.sources.checkpoint_layers import listed


class Tagger(nn.Module):
    def __init__(self, cell: type[nn.RNNBase] = nn.LSTM) -> None:
        super().__init__()
        self.bn = nn.BatchNorm1d(3)
        self.lstm = cell(3, 4, batch_first=True)
        self.fc = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.lstm(self.bn(x.transpose(1, 2)).transpose(1, 2))[0])


REST = "bn.weight, bn.bias, bn.running_mean, bn.running_var, bn.num_batches_tracked, fc.weight, fc."
LARGER: dict[str, Callable[[], nn.Module]] = {
    "around": Tagger,
    "sequential": lambda: nn.Sequential(nn.Linear(3, 3), nn.LSTM(3, 4)),
    "embedding": lambda: nn.ModuleDict({"embed": nn.Embedding(9, 3), "rnn": nn.GRU(3, 4)}),
    "norm": lambda: nn.ModuleList([nn.RNN(3, 4), nn.LayerNorm(4)]),
    "parameter": lambda: nn.ParameterDict(
        {"h_0": torch.zeros(4), "weight_ih_l0": torch.ones(4, 3)}
    ),
}


def _save_npz(weights: dict[str, Tensor], path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, **{name: weight.numpy() for name, weight in weights.items()})


@pytest.mark.parametrize("make", LARGER.values(), ids=LARGER)
def test_checkpoint_that_holds_more_is_refused(
    make: Callable[[], nn.Module], tmp_path: Path
) -> None:
    torch.save(make().state_dict(), tmp_path / "w.pt")
    with pytest.raises(SourceError, match=r"w\.pt: the layer.* is \d of \d+ tensors; exported al"):
        load_source(tmp_path / "w.pt")


@pytest.mark.parametrize(
    "save", [torch.save, save_file, _save_npz], ids=["torch", "safetensors", "npz"]
)
def test_error_names_what_is_left_out_and_what_to_type(
    save: Callable[[Any, Path], None], tmp_path: Path
) -> None:
    path = tmp_path / "w.pt"
    save(Tagger().state_dict(), path)
    with pytest.raises(
        SourceError, match=r"^\S+: the layer 'lstm\.' is 4 of 11 tensors"
    ) as stopped:
        load_source(path)
    message = str(stopped.value)
    for name in Tagger().state_dict():
        assert (name in message) != name.startswith("lstm.")
    assert f"rnnedge export 'package.module:Class(...)' --weights {path} --input 'x=floa" in message
    assert message.endswith("; or the layer alone: --prefix lstm.")


@pytest.mark.parametrize(
    "asked", [{"prefix": "lstm."}, {"prefix": "lstm"}, {"layer_only": True}], ids=str
)
def test_layer_alone_when_it_is_asked_for(asked: dict[str, Any], tmp_path: Path) -> None:
    tagger = Tagger()
    torch.save(tagger.state_dict(), tmp_path / "w.pt")
    source = load_source(tmp_path / "w.pt", options={"batch_first": True, "dropout": 0.0}, **asked)
    assert torch.equal(source.module.weight_hh_l0, tagger.lstm.weight_hh_l0)
    assert source.origin.endswith("w.pt lstm lstm(3->4, batch_first) (4 of 11 tensors)")
    assert source.notes == (f"the layer 'lstm.' is 4 of 11 tensors; left out: {REST}bias",)


@pytest.mark.parametrize("prefix", ["module.lstm.", "module.lstm", "lstm."])
def test_prefix_as_a_wrapped_module_has_it(prefix: str, tmp_path: Path) -> None:
    tagger = Tagger()
    torch.save(nn.DataParallel(tagger).state_dict(), tmp_path / "w.pt")
    source = load_source(tmp_path / "w.pt", prefix=prefix)
    assert torch.equal(source.module.weight_hh_l0, tagger.lstm.weight_hh_l0)


@pytest.mark.parametrize("prefix", ["module.", "module", "other."])
def test_prefix_that_nothing_has(prefix: str, tmp_path: Path) -> None:
    torch.save(nn.DataParallel(Tagger()).state_dict(), tmp_path / "w.pt")
    with pytest.raises(SourceError, match=r"no recurrent layer has the prefix '.*'; there are 'ls"):
        load_source(tmp_path / "w.pt", prefix=prefix)


def test_layer_alone_does_not_choose_among_several(tmp_path: Path) -> None:
    two = nn.ModuleDict({"a": nn.GRU(3, 4), "b": nn.GRU(3, 4)})
    torch.save(two.state_dict(), tmp_path / "w.pt")
    with pytest.raises(SourceError, match=r"2 recurrent layers, with the prefixes 'a\.', 'b\.'"):
        load_source(tmp_path / "w.pt", layer_only=True)


def test_other_layer_is_among_what_is_left_out(tmp_path: Path) -> None:
    two = nn.ModuleDict({"a": nn.GRU(3, 4, bias=False), "b": nn.GRU(3, 4)})
    torch.save(two.state_dict(), tmp_path / "w.pt")
    notes = load_source(tmp_path / "w.pt", prefix="a").notes
    assert notes[0].startswith("the layer 'a.' is 2 of 6 tensors; left out: b.weight_ih_l0, b.weig")


def test_tensors_beside_the_dictionary_of_weights(tmp_path: Path) -> None:
    content = {"model": nn.GRU(3, 4).state_dict(), "mean": torch.zeros(3)}
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(SourceError, match=r"the layer is 4 of 5 tensors; .* leave out mean\. Exp"):
        load_source(tmp_path / "w.pt")
    assert load_source(tmp_path / "w.pt", key="model").origin.endswith("w.pt gru(3->4)")


def test_command_of_the_error_keeps_the_key(tmp_path: Path) -> None:
    torch.save({"best model": Tagger().state_dict()}, tmp_path / "w.pt")
    with pytest.raises(SourceError, match=r"--weights \S+w\.pt --key 'best model' --input"):
        load_source(tmp_path / "w.pt", key="best model")


def test_tensor_of_a_weight_that_is_there_twice_is_left_out(tmp_path: Path) -> None:
    weights = nn.GRU(3, 4).state_dict()
    torch.save({**weights, "w_ih": weights["weight_ih_l0"]}, tmp_path / "w.pt")
    with pytest.raises(SourceError, match=r"is 4 of 5 tensors; .* leave out w_ih\. Export"):
        load_source(tmp_path / "w.pt")


@pytest.mark.parametrize("dtype", [torch.int8, torch.int64, torch.complex64], ids=str)
def test_weight_that_is_no_float(dtype: torch.dtype, tmp_path: Path) -> None:
    weights = nn.GRU(3, 4).state_dict()
    weights["weight_hh_l0"] = weights["weight_hh_l0"].to(dtype)
    torch.save(weights, tmp_path / "w.pt")
    with pytest.raises(SourceError, match=rf"weight_hh_l0: expected float numbers, got {dtype}$"):
        load_source(tmp_path / "w.pt")


# --- what nothing determines ------------------------------------------------------------------


UNTOLD = {
    "lstm": (
        nn.LSTM(3, 4),
        {},
        "a checkpoint does not say batch_first, dropout: taken as batch_first=False, dropout=0.0, "
        "as PyTorch's defaults are; set with --batch-first or --time-first, --dropout",
    ),
    "rnn": (
        nn.RNN(3, 4),
        {"dropout": 0.0},
        "a checkpoint does not say batch_first, nonlinearity: taken as batch_first=False, "
        "nonlinearity='tanh', as PyTorch's defaults are; set with --batch-first or --time-first, "
        "--nonlinearity",
    ),
    "half": (
        nn.GRU(3, 4),
        {"batch_first": False},
        "a checkpoint does not say dropout: taken as dropout=0.0, as PyTorch's defaults are; set "
        "with --dropout",
    ),
}


@pytest.mark.parametrize(("layer", "options", "note"), UNTOLD.values(), ids=UNTOLD)
def test_what_a_checkpoint_does_not_say_is_in_the_notes(
    layer: nn.RNNBase, options: dict[str, Any], note: str, tmp_path: Path
) -> None:
    torch.save(layer.state_dict(), tmp_path / "w.pt")
    assert load_source(tmp_path / "w.pt", options=options).notes == (note,)


@pytest.mark.parametrize("cell", [nn.RNN, nn.LSTM, nn.GRU])
def test_nothing_is_left_to_say(cell: type[nn.RNNBase], tmp_path: Path) -> None:
    torch.save(cell(3, 4).state_dict(), tmp_path / "w.pt")
    options = {"batch_first": False, "nonlinearity": "tanh", "dropout": 0.0}
    assert load_source(tmp_path / "w.pt", options=options).notes == ()


def test_names_of_a_larger_module(tmp_path: Path) -> None:
    weights = {f"net.rnn.{name}": weight for name, weight in nn.GRU(3, 4).state_dict().items()}
    torch.save(weights, tmp_path / "w.pt")
    options = {"batch_first": False, "dropout": 0.0}
    assert load_source(tmp_path / "w.pt", options=options).notes == (
        "the names begin with 'net.rnn.': what a module around the layer computes without weights "
        "is not in a checkpoint",
    )


def test_validation_says_what_the_file_decides(tmp_path: Path) -> None:
    tagger = Tagger()
    torch.save(tagger.state_dict(), tmp_path / "w.pt")
    rnnedge.export(tagger.lstm, tmp_path / "lstm.onnx")
    report = rnnedge.validate(tmp_path / "lstm.onnx", against=tmp_path / "w.pt", quick=True)
    assert report, report
    assert report.source.endswith("lstm(3->4, batch_first) (4 of 11 tensors)")
    assert report.notes[:2] == (
        f"the layer 'lstm.' is 4 of 11 tensors; left out: {REST}bias",
        "batch_first=True: the checkpoint does not say, the answers of the file do",
    )


# --- modules that were pickled whole --------------------------------------------------------------


PICKLED: dict[str, tuple[Callable[[], nn.RNNBase], str]] = {
    "relu": (lambda: nn.RNN(3, 4, nonlinearity="relu"), "rnn(3->4, nonlinearity=relu)"),
    "tanh": (lambda: nn.RNN(3, 4, batch_first=True), "rnn(3->4, batch_first)"),
    "lstm": (
        lambda: nn.LSTM(3, 4, num_layers=2, dropout=0.5, bidirectional=True),
        "lstm(3->4, num_layers=2, dropout=0.5, bidirectional)",
    ),
    "gru": (
        lambda: nn.GRU(3, 4, batch_first=True, bias=False),
        "gru(3->4, bias=False, batch_first)",
    ),
}


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize(("make", "spec"), PICKLED.values(), ids=PICKLED)
def test_pickled_layer_tells_all(
    make: Callable[[], nn.RNNBase], spec: str, legacy: bool, tmp_path: Path
) -> None:
    layer = make()
    torch.save(layer, tmp_path / "w.pt", _use_new_zipfile_serialization=not legacy)
    source = load_source(tmp_path / "w.pt")
    assert source.origin.endswith(f"w.pt {spec}")
    assert source.notes == ()
    assert RNNSpec.from_layer(source.module) == RNNSpec.from_layer(layer)
    assert all(map(torch.equal, source.module.parameters(), layer.parameters()))


def test_option_that_contradicts_a_pickled_layer(tmp_path: Path) -> None:
    torch.save(nn.GRU(3, 4, batch_first=True), tmp_path / "w.pt")
    with pytest.raises(SourceError, match=r"--batch-first is False, and its weights say True$"):
        load_source(tmp_path / "w.pt", options={"batch_first": False})


class Twice(nn.Module):
    """All of its weights are in the layer, and its answers are not the layer's."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(3, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return 2 * self.rnn(x)[0]


class Doubled(nn.GRU):
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return 2 * super().forward(x)[0]


@pytest.mark.parametrize("module", [Twice(), Doubled(3, 4)], ids=["around", "subclass"])
def test_pickled_module_of_a_user_is_refused(module: nn.Module, tmp_path: Path) -> None:
    torch.save(module, tmp_path / "w.pt")
    package, name = (re.escape(part) for part in (type(module).__module__, type(module).__name__))
    words = (
        rf"w\.pt: is a pickled {package}\.{name}, which may compute more than the layer.* in it\. "
        rf"Export the whole module: rnnedge export '{package}:{name}\(\.\.\.\)' --weights "
    )
    with pytest.raises(SourceError, match=words):
        load_source(tmp_path / "w.pt")


def test_layer_of_a_pickled_module_when_it_is_asked_for(tmp_path: Path) -> None:
    torch.save(Twice(), tmp_path / "w.pt")
    source = load_source(tmp_path / "w.pt", prefix="rnn")
    assert source.module.batch_first is True


# --- lists of names -------------------------------------------------------------------------------


def test_many_names_are_counted_by_module() -> None:
    names = [f"blocks.{block}.conv{conv}.weight" for block in range(4) for conv in range(5)]
    assert listed(names) == "blocks.0 (5), blocks.1 (5), blocks.2 (5), blocks.3 (5)"


def test_very_many_modules_are_counted() -> None:
    shown = listed([f"block{number}.weight" for number in range(30)])
    assert shown.startswith("block0 (1), block1 (1), ")
    assert shown.endswith("block11 (1) and 18 more")
