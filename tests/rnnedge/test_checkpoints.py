"""Weights out of checkpoint files: of every kind, nested, ambiguous, damaged and dangerous."""

from __future__ import annotations

import argparse
import pickle
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from rnnedge import SourceError
from rnnedge.checkpoints import SUFFIXES, read_weights


def _layer() -> nn.LSTM:
    torch.manual_seed(2)
    return nn.LSTM(3, 4)


def _save_npz(weights: dict[str, torch.Tensor], path: Path) -> None:
    np.savez(path, **{name: weight.numpy() for name, weight in weights.items()})


def _save_legacy(weights: dict[str, torch.Tensor], path: Path) -> None:
    torch.save(weights, path, _use_new_zipfile_serialization=False)


SAVERS: dict[str, tuple[str, Callable[[Any, Path], None]]] = {
    "safetensors": (".safetensors", save_file),
    "npz": (".npz", _save_npz),
    "pt": (".pt", torch.save),
    "pth": (".pth", torch.save),
    "ckpt": (".ckpt", torch.save),
    "bin": (".bin", torch.save),
    "legacy": (".pt", _save_legacy),
}


@pytest.fixture(params=SAVERS)
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    suffix, save = SAVERS[request.param]
    save(_layer().state_dict(), tmp_path / f"weights{suffix}")
    return tmp_path / f"weights{suffix}"


def test_every_suffix_is_tested() -> None:
    assert {suffix for suffix, _ in SAVERS.values()} == set(SUFFIXES)


def test_weights_are_what_was_saved(saved: Path) -> None:
    weights = read_weights(saved)
    for name, weight in _layer().state_dict().items():
        assert torch.equal(weights[name], weight)


def test_suffix_in_capitals(tmp_path: Path) -> None:
    save_file(_layer().state_dict(), tmp_path / "WEIGHTS.SAFETENSORS")
    assert len(read_weights(tmp_path / "WEIGHTS.SAFETENSORS")) == 4


@pytest.mark.parametrize("kept", [0.5, 0.9, 0.02], ids=["half", "most", "head"])
def test_truncated_file(kept: float, saved: Path) -> None:
    content = saved.read_bytes()
    saved.write_bytes(content[: int(len(content) * kept)])
    kind = {".npz": "an npz archive", ".safetensors": "a safetensors file"}
    words = f"^{re.escape(str(saved))}: expected {kind.get(saved.suffix, 'a torch checkpoint')}: ."
    with pytest.raises(SourceError, match=words):
        read_weights(saved)


@pytest.mark.parametrize("content", [b"", b"weights\n" * 20], ids=["empty", "text"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_file_that_is_no_checkpoint(suffix: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=f"^{re.escape(str(path))}: expected an? .*: .+$"):
        read_weights(path)


def test_damaged_zip(tmp_path: Path) -> None:
    torch.save(_layer().state_dict(), tmp_path / "w.pt")
    content = bytearray((tmp_path / "w.pt").read_bytes())
    content[100:140] = b"x" * 40
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(SourceError, match=r"expected a torch checkpoint: it is damaged, or cut"):
        read_weights(tmp_path / "w.pt")


@pytest.mark.parametrize("protocol", [2, 4])
def test_pickle_that_torch_did_not_write(protocol: int, tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(pickle.dumps({"epoch": 3}, protocol=protocol))
    with pytest.raises(SourceError, match=r"it is cut short, or a pickle that torch\.save did not"):
        read_weights(tmp_path / "w.pt")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no\.pt: expected a checkpoint, found no such file$"):
        read_weights(tmp_path / "no.pt")


def test_folder_as_file(tmp_path: Path) -> None:
    (tmp_path / "w.pt").mkdir()
    with pytest.raises(SourceError, match=r"w\.pt: expected a checkpoint, found no such file$"):
        read_weights(tmp_path / "w.pt")


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_pickled_module_is_not_run(legacy: bool, tmp_path: Path) -> None:
    torch.save(_layer(), tmp_path / "w.pt", _use_new_zipfile_serialization=not legacy)
    words = (
        r"w\.pt: needs the code of torch\.nn\.modules\.rnn\.LSTM, which could do anything when it "
        r"is loaded and is not run; convert it where it was made: "
        r"torch\.save\(model\.state_dict\(\), 'weights\.pt'\)$"
    )
    with pytest.raises(SourceError, match=words):
        read_weights(tmp_path / "w.pt")


class Trap:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("sprung"),))


def test_code_in_a_checkpoint_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": _layer().state_dict(), "trap": Trap()}, tmp_path / "w.pt")
    with pytest.raises(SourceError, match=r"needs the code of pathlib\.Path\.touch|needs the code"):
        read_weights(tmp_path / "w.pt")
    assert not (tmp_path / "sprung").exists()


def test_options_object_in_a_checkpoint_is_named(tmp_path: Path) -> None:
    torch.save({"model": _layer().state_dict(), "args": argparse.Namespace()}, tmp_path / "w.pt")
    with pytest.raises(SourceError, match=r"needs the code of argparse\.Namespace, which could"):
        read_weights(tmp_path / "w.pt")


def test_torchscript_archive(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # TorchScript retires in torch 2.x
        torch.jit.save(torch.jit.script(_layer()), tmp_path / "w.pt")
    with pytest.raises(SourceError, match=r"w\.pt: is a TorchScript archive, .*convert it where"):
        read_weights(tmp_path / "w.pt")


def test_npz_with_pickled_objects(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", weight_ih_l0=np.array([{}], dtype=object))
    with pytest.raises(SourceError, match=r"holds pickled objects, which can run code and are not"):
        read_weights(tmp_path / "w.npz")


def test_npz_with_text_beside_the_weights(tmp_path: Path) -> None:
    weights = {name: weight.numpy() for name, weight in _layer().state_dict().items()}
    np.savez(tmp_path / "w.npz", note=np.array("trained on Monday"), **weights)
    assert set(read_weights(tmp_path / "w.npz")) == set(weights)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (torch.zeros(3), r"expected weights by name, got a Tensor$"),
        ([1, 2], r"expected weights by name, got a list$"),
        ({}, r"expected weights named like weight_ih_l0 and weight_hh_l0, found nothing$"),
        ({"epoch": 3}, r"weight_hh_l0, found epoch$"),
        ({letter: 1 for letter in "abcdef"}, r"found a, b, c, d, \.\.\.$"),
        (nn.Linear(2, 2).state_dict(), r"found weight, bias$"),
    ],
    ids=["tensor", "list", "empty", "numbers", "many", "other_layer"],
)
def test_content_without_a_recurrent_layer(content: Any, words: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(SourceError, match=f"^{re.escape(str(tmp_path / 'w.pt'))}: .*{words}"):
        read_weights(tmp_path / "w.pt")


TRAINING = {
    "epoch": 3,
    "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}, "param_groups": [{"lr": 0.1}]},
}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: {"model_state": weights},
        lambda weights: {"state": {"model": {"weights": weights}}},
    ],
    ids=["one_level", "three_levels"],
)
def test_weights_inside_a_training_checkpoint(wrap: Callable, tmp_path: Path) -> None:
    torch.save({**TRAINING, **wrap(_layer().state_dict())}, tmp_path / "w.ckpt")
    weights = read_weights(tmp_path / "w.ckpt")
    assert torch.equal(weights["weight_hh_l0"], _layer().weight_hh_l0)


def test_two_dictionaries_are_named(tmp_path: Path) -> None:
    weights = _layer().state_dict()
    torch.save({"model": weights, "train": {"ema": weights}}, tmp_path / "w.pt")
    words = r"2 dictionaries hold recurrent weights: 'model', 'train\.ema': choose one with key= \("
    with pytest.raises(SourceError, match=words):
        read_weights(tmp_path / "w.pt")


@pytest.mark.parametrize("key", ["model", "train.ema"])
def test_key_picks_one(key: str, tmp_path: Path) -> None:
    first, second = _layer(), nn.GRU(3, 4)
    content = {"model": first.state_dict(), "train": {"ema": second.state_dict()}}
    torch.save(content, tmp_path / "w.pt")
    expected = first if key == "model" else second
    weights = read_weights(tmp_path / "w.pt", key=key)
    assert torch.equal(weights["weight_hh_l0"], expected.weight_hh_l0)


def test_unknown_key_names_those_that_are_there(tmp_path: Path) -> None:
    torch.save({**TRAINING, "model": _layer().state_dict()}, tmp_path / "w.pt")
    words = r"no dictionary 'x' \(--key\) inside; there are: optimizer, .*, model$"
    with pytest.raises(SourceError, match=words):
        read_weights(tmp_path / "w.pt", key="x")


def test_unknown_key_in_a_flat_file(tmp_path: Path) -> None:
    torch.save(_layer().state_dict(), tmp_path / "w.pt")
    with pytest.raises(SourceError, match=r"no dictionary 'x' \(--key\) inside; there are: none$"):
        read_weights(tmp_path / "w.pt", key="x")
