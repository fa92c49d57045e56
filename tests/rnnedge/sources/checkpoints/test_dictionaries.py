"""Which dictionary of a training checkpoint holds the weights, and what is next to it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from rnnedge import SourceError
from rnnedge.sources.checkpoints import read_checkpoint


def _layer() -> nn.LSTM:
    torch.manual_seed(2)
    return nn.LSTM(3, 4)


def _weights(path: Path, key: str | None = None) -> dict[str, torch.Tensor]:
    return read_checkpoint(path, key=key).weights


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
        _weights(tmp_path / "w.pt")


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
    weights = _weights(tmp_path / "w.ckpt")
    assert torch.equal(weights["weight_hh_l0"], _layer().weight_hh_l0)


def test_two_dictionaries_are_named(tmp_path: Path) -> None:
    weights = _layer().state_dict()
    torch.save({"model": weights, "train": {"ema": weights}}, tmp_path / "w.pt")
    words = r"2 dictionaries hold recurrent weights: 'model', 'train\.ema': choose one with key= \("
    with pytest.raises(SourceError, match=words):
        _weights(tmp_path / "w.pt")


@pytest.mark.parametrize("key", ["model", "train.ema"])
def test_key_picks_one(key: str, tmp_path: Path) -> None:
    first, second = _layer(), nn.GRU(3, 4)
    content = {"model": first.state_dict(), "train": {"ema": second.state_dict()}}
    torch.save(content, tmp_path / "w.pt")
    expected = first if key == "model" else second
    weights = _weights(tmp_path / "w.pt", key=key)
    assert torch.equal(weights["weight_hh_l0"], expected.weight_hh_l0)


def test_unknown_key_names_those_that_are_there(tmp_path: Path) -> None:
    torch.save({**TRAINING, "model": _layer().state_dict()}, tmp_path / "w.pt")
    words = r"no dictionary 'x' \(--key\) of tensors inside; there are: 'model'$"
    with pytest.raises(SourceError, match=words):
        _weights(tmp_path / "w.pt", key="x")


def test_unknown_key_in_a_flat_file(tmp_path: Path) -> None:
    torch.save(_layer().state_dict(), tmp_path / "w.pt")
    with pytest.raises(
        SourceError, match=r"no dictionary 'x' \(--key\) of tensors inside; there are: none$"
    ):
        _weights(tmp_path / "w.pt", key="x")


@pytest.mark.parametrize("key", ["state", "state.model", "state.model.weights"])
def test_key_of_a_dictionary_around_the_weights(key: str, tmp_path: Path) -> None:
    content = {"state": {"model": {"weights": _layer().state_dict()}}, "ema": nn.GRU(3, 4)}
    torch.save(content, tmp_path / "w.pt")
    weights = _weights(tmp_path / "w.pt", key=key)
    assert torch.equal(weights["weight_hh_l0"], _layer().weight_hh_l0)


def test_key_of_a_dictionary_around_two(tmp_path: Path) -> None:
    weights = _layer().state_dict()
    torch.save({"train": {"model": weights, "ema": weights}}, tmp_path / "w.pt")
    words = (
        r"2 dictionaries in 'train' hold recurrent weights: 'train\.model', 'train\.ema': choose"
    )
    with pytest.raises(SourceError, match=words):
        _weights(tmp_path / "w.pt", key="train")


def test_many_candidates_are_counted(tmp_path: Path) -> None:
    torch.save({f"fold_{n}": _layer().state_dict() for n in range(11)}, tmp_path / "w.pt")
    with pytest.raises(SourceError, match=r"^\S+: 11 dictionaries .* 'fold_7' and 3 more: choose"):
        read_checkpoint(tmp_path / "w.pt")


BESIDE: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "statistics": ({"mean": torch.zeros(3), "std": torch.ones(3)}, ("mean", "std")),
    "inside": ({"norm": {"mean": torch.zeros(3)}}, ("norm.mean",)),
    "other_module": ({"decoder": nn.Linear(4, 2).state_dict()}, ("decoder.weight", "decoder.bias")),
    "half": ({"mean": torch.zeros(3).half()}, ("mean",)),
    "numbers": ({"best": torch.tensor(0.5), "epoch": 3}, ()),
    "random_state": ({"rng_state": torch.get_rng_state(), "order": torch.arange(9)}, ()),
    "optimizer": (
        {"optimizer": {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{}]}},
        (),
    ),
    "optimizers": (
        {"states": [{"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{}]}]},
        (),
    ),
    "averages": ({"ema": {"shadow_params": [torch.zeros(3)], "decay": 0.9}}, ()),
}


@pytest.mark.parametrize(("more", "expected"), BESIDE.values(), ids=BESIDE)
def test_tensors_beside_the_weights(
    more: dict[str, Any], expected: tuple[str, ...], tmp_path: Path
) -> None:
    torch.save({"model": _layer().state_dict(), **more}, tmp_path / "w.pt")
    assert read_checkpoint(tmp_path / "w.pt").beside == expected
    assert read_checkpoint(tmp_path / "w.pt", key="model").beside == ()


@pytest.mark.parametrize("kind", [list, tuple])
def test_weights_in_a_list(kind: type, tmp_path: Path) -> None:
    optimizer = torch.optim.SGD(_layer().parameters(), momentum=0.9)
    torch.save(kind([_layer().state_dict(), optimizer.state_dict(), 3]), tmp_path / "w.pt")
    for key in (None, "0"):
        weights = _weights(tmp_path / "w.pt", key=key)
        assert torch.equal(weights["weight_hh_l0"], _layer().weight_hh_l0)


def test_folds_in_a_list_are_named(tmp_path: Path) -> None:
    torch.save({"folds": [_layer().state_dict() for _ in range(2)]}, tmp_path / "w.pt")
    with pytest.raises(SourceError, match=r"weights: 'folds\.0', 'folds\.1': choose one with key="):
        read_checkpoint(tmp_path / "w.pt")


def test_dictionary_that_holds_itself(tmp_path: Path) -> None:
    content: dict[str, Any] = {"model": _layer().state_dict()}
    content["self"] = content
    torch.save(content, tmp_path / "w.pt")
    assert len(read_checkpoint(tmp_path / "w.pt").weights) == 4


def test_dictionaries_that_hold_each_other_many_times(tmp_path: Path) -> None:
    inner: dict[str, Any] = {"epoch": 1}
    for _ in range(60):  # 2**60 ways through it
        inner = {"a": inner, "b": inner}
    torch.save({"model": _layer().state_dict(), "log": inner}, tmp_path / "w.pt")
    assert len(read_checkpoint(tmp_path / "w.pt").weights) == 4


def test_modules_that_hold_each_other(tmp_path: Path) -> None:
    outer, inner = nn.DataParallel(nn.Identity()), nn.DataParallel(nn.Identity())
    outer._modules["module"], inner._modules["module"] = inner, outer
    torch.save({"model": _layer().state_dict(), "wrapper": outer}, tmp_path / "w.pt")
    assert len(read_checkpoint(tmp_path / "w.pt").weights) == 4


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.rnn = nn.BatchNorm1d(3), nn.LSTM(3, 4, batch_first=True)
        self.register_buffer("window", torch.ones(3))
        self.register_buffer("cache", torch.ones(3), persistent=False)
        self.tied = self.rnn


PICKLED: dict[str, Callable[[], nn.Module]] = {
    "module": Net,
    "distributed": lambda: nn.DataParallel(Net()),
    "twice": lambda: nn.DataParallel(nn.DataParallel(Net())),
}


@pytest.mark.parametrize("make", PICKLED.values(), ids=PICKLED)
@pytest.mark.parametrize("inside", [False, True], ids=["alone", "in_a_dictionary"])
def test_pickled_module_gives_its_state_dict(
    inside: bool, make: Callable[[], nn.Module], tmp_path: Path
) -> None:
    torch.manual_seed(3)
    module = make()
    torch.save({"model": module, "epoch": 3} if inside else module, tmp_path / "w.pt")
    checkpoint = read_checkpoint(tmp_path / "w.pt")
    while isinstance(module, nn.DataParallel):
        module = module.module
    expected = module.state_dict()
    assert set(checkpoint.weights) == set(expected)
    assert all(torch.equal(checkpoint.weights[name], weight) for name, weight in expected.items())
    assert checkpoint.module.endswith(".Net")
    assert checkpoint.attributes["rnn."]["batch_first"] is True


def test_names_that_cannot_be_printed(tmp_path: Path) -> None:
    torch.save({**_layer().state_dict(), "a\n\x1b[31m": torch.zeros(1)}, tmp_path / "w.pt")
    with pytest.raises(SourceError, match=r"expected printable names, got 'a\\n\\x1b\[31m'$"):
        read_checkpoint(tmp_path / "w.pt")


def test_keys_that_cannot_be_printed_in_an_error(tmp_path: Path) -> None:
    torch.save({"a\nb\x1b": 3}, tmp_path / "w.pt")
    with pytest.raises(SourceError, match=r"found a\\nb\\x1b$"):
        read_checkpoint(tmp_path / "w.pt")


WRAPPED: dict[str, Callable[[nn.Module], nn.Module]] = {
    "compiled": torch.compile,
    "distributed": nn.DataParallel,
    "both": lambda module: nn.DataParallel(torch.compile(module)),
    "averaged": torch.optim.swa_utils.AveragedModel,
}


# Importing torch._dynamo, which torch.compile does, warns of its own TorchScript.
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_names_of_a_wrapped_module(wrap: Callable[[nn.Module], nn.Module], tmp_path: Path) -> None:
    module = Net()
    torch.save(wrap(module).state_dict(), tmp_path / "w.pt")
    assert set(read_checkpoint(tmp_path / "w.pt").weights) == set(module.state_dict())


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
def test_names_of_a_wrapped_module_inside(tmp_path: Path) -> None:
    module = Net()
    expected = set(module.state_dict())
    module.rnn = torch.compile(module.rnn)
    torch.save(module.state_dict(), tmp_path / "w.pt")
    assert set(read_checkpoint(tmp_path / "w.pt").weights) == expected
