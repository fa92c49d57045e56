"""`load_source`: options, specifications, checkpoints and Python code, as a live module."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from rnnedge import RnnEdgeError, RNNSpec, SourceError, SpecError, build, load_source

MODULE = """
from torch import nn

layer = nn.RNN(3, 4)
number = 3

class Mine(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(3, 5)

class Needs(nn.Module):
    def __init__(self, size, bias=True):
        super().__init__()
        self.rnn = nn.GRU(3, size, bias=bias)

class Norm(Needs):
    def __init__(self, size):
        super().__init__(size)
        self.norm = nn.LayerNorm(size)

class Holder:
    inner = nn.GRU(3, 6)

    @staticmethod
    def made(features, size):
        return nn.GRU(features, size)

wrapped = nn.DataParallel(nn.GRU(3, 6))

def factory():
    return nn.LSTM(3, 7)

def fails():
    raise RuntimeError("no\\nweights")

def three():
    return 3
"""
MODULE_WANTED = "expected an nn.Module, or a class or function that makes one"


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with code of the user's, which is the working folder."""
    (tmp_path / "code_of_a_user.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "code_that_fails.py").write_text("import no_such_package", encoding="utf-8")
    (tmp_path / "code_that_exits.py").write_text("raise SystemExit(3)", encoding="utf-8")
    (tmp_path / "code_that_is_none.py").write_text("def (:", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # and forget it, and what was imported, afterwards
    yield tmp_path
    sys.modules.pop("code_of_a_user", None)


def test_options_build_a_layer() -> None:
    source = load_source(None, options={"cell": "gru", "input_size": 3, "hidden_size": 4})
    assert isinstance(source.module, nn.GRU)
    assert source.origin == "gru(3->4)"


def test_options_build_the_same_layer_each_time() -> None:
    options = {"input_size": 3, "hidden_size": 4}
    first, second = load_source(None, options=options), load_source(None, options=options)
    assert torch.equal(first.module.weight_hh_l0, second.module.weight_hh_l0)


def test_seed_makes_another_layer() -> None:
    options = {"input_size": 3, "hidden_size": 4}
    expected = build(RNNSpec(**options), seed=9)
    source = load_source(None, options=options, seed=9)
    assert torch.equal(source.module.weight_hh_l0, expected.weight_hh_l0)


@pytest.mark.parametrize(
    ("options", "missing"),
    [
        ({}, "--input-size and --hidden-size"),
        ({"cell": "gru", "input_size": 3}, "--hidden-size"),
    ],
    ids=["nothing", "hidden_size"],
)
def test_no_source_and_no_sizes(options: dict[str, Any], missing: str) -> None:
    words = (
        "expected a SOURCE (a specification, a checkpoint or package.module:name), or the options "
        f"of a layer to build, which lack {missing}"
    )
    with pytest.raises(SourceError, match=f"^{re.escape(words)}$"):
        load_source(None, options=options)


def test_options_that_are_wrong() -> None:
    with pytest.raises(SpecError, match=r"^options: input_size: expected 1 or more, got 0$"):
        load_source(None, options={"input_size": 0, "hidden_size": 4})


def test_specification(tmp_path: Path) -> None:
    path = tmp_path / "layer.toml"
    path.write_text("input_size = 3\nhidden_size = 4", encoding="utf-8")
    source = load_source(path)
    assert RNNSpec.from_layer(source.module) == RNNSpec(input_size=3, hidden_size=4)
    assert source.origin == f"{path} rnn(3->4)"


def test_options_override_a_specification(tmp_path: Path) -> None:
    (tmp_path / "layer.json").write_text('{"input_size": 3, "hidden_size": 4}', encoding="utf-8")
    source = load_source(tmp_path / "layer.json", options={"hidden_size": 9})
    assert source.module.hidden_size == 9


def test_checkpoint(tmp_path: Path) -> None:
    layer = nn.LSTM(3, 4)
    weights = {f"net.rnn.{name}": weight for name, weight in layer.state_dict().items()}
    torch.save({"model": weights}, tmp_path / "w.pt")
    source = load_source(tmp_path / "w.pt")
    assert torch.equal(source.module.weight_hh_l0, layer.weight_hh_l0)
    assert source.origin == f"{tmp_path / 'w.pt'} net.rnn lstm(3->4)"


def test_options_tell_what_a_checkpoint_cannot(tmp_path: Path) -> None:
    torch.save(nn.RNN(3, 4).state_dict(), tmp_path / "w.pt")
    source = load_source(tmp_path / "w.pt", options={"nonlinearity": "relu", "batch_first": True})
    assert (source.module.nonlinearity, source.module.batch_first) == ("relu", True)


def test_options_that_agree_with_a_checkpoint(tmp_path: Path) -> None:
    torch.save(nn.RNN(3, 4).state_dict(), tmp_path / "w.pt")
    assert load_source(tmp_path / "w.pt", options={"hidden_size": 4}).module.hidden_size == 4


def test_options_that_contradict_a_checkpoint(tmp_path: Path) -> None:
    torch.save(nn.RNN(3, 4).state_dict(), tmp_path / "w.pt")
    with pytest.raises(SourceError, match=r"w\.pt: --hidden-size is 5, and its weights say 4$"):
        load_source(tmp_path / "w.pt", options={"hidden_size": 5})


def test_prefix_picks_a_layer_of_a_checkpoint(tmp_path: Path) -> None:
    first = {f"enc.{name}": weight for name, weight in nn.RNN(3, 4).state_dict().items()}
    second = {f"dec.{name}": weight for name, weight in nn.RNN(3, 5).state_dict().items()}
    torch.save({**first, **second}, tmp_path / "w.pt")
    assert load_source(tmp_path / "w.pt", prefix="dec").module.hidden_size == 5


def test_checkpoint_of_two_layers_is_named(tmp_path: Path) -> None:
    names = {f"{p}.{n}": w for p in "ab" for n, w in nn.RNN(3, 4).state_dict().items()}
    torch.save(names, tmp_path / "w.pt")
    words = rf"^{re.escape(str(tmp_path / 'w.pt'))}: 2 recurrent layers, with the prefixes 'a\.'"
    with pytest.raises(SourceError, match=words):
        load_source(tmp_path / "w.pt")


def test_weights_that_do_not_fit_each_other(tmp_path: Path) -> None:
    torch.save({**nn.RNN(3, 4).state_dict(), "bias_hh_l0": torch.zeros(9)}, tmp_path / "w.pt")
    words = r"w\.pt: bias_hh_l0: expected shape \[4\] for rnn\(3->4\), got \[9\]$"
    with pytest.raises(SpecError, match=words):
        load_source(tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("name", "hidden"),
    [("layer", 4), ("factory", 7), ("Holder.inner", 6)],
    ids=["instance", "factory", "attribute"],
)
def test_layer_of_python_code(name: str, hidden: int, code: Path) -> None:
    source = load_source(f"code_of_a_user:{name}")
    assert source.module.hidden_size == hidden
    assert source.origin == f"code_of_a_user:{name}"


def test_class_of_python_code(code: Path) -> None:
    assert type(load_source("code_of_a_user:Mine").module).__name__ == "Mine"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no_such_module:layer", "no_such_module does not import: ModuleNotFoundError: No module"),
        ("code_that_fails:layer", "code_that_fails does not import: ModuleNotFoundError: No mod"),
        ("code_that_exits:layer", "code_that_exits does not import: SystemExit: 3"),
        ("code_that_is_none:layer", "code_that_is_none does not import: SyntaxError: invalid synt"),
        ("code_of_a_user:nothing", "code_of_a_user has no nothing"),
        ("code_of_a_user:Holder.nothing", "code_of_a_user has no Holder.nothing"),
        ("code_of_a_user:number", f"{MODULE_WANTED}, got int"),
        ("code_of_a_user:three", f"{MODULE_WANTED}, got int"),
        ("code_of_a_user:Holder", f"{MODULE_WANTED}, got Holder"),
        (
            "code_of_a_user:Needs",
            "it takes Needs(size, bias=True): write 'code_of_a_user:Needs(size=...)', or "
            "code_of_a_user:Needs --arg size=...",
        ),
        ("code_of_a_user:fails", "calling it without arguments raised RuntimeError: no weights"),
    ],
    ids=[
        *("missing_module", "failing_module", "exiting_module", "broken_module", "missing_name"),
        *("missing_attribute", "number", "factory_of_number", "other_class", "needs_arguments"),
        "failing_factory",
    ],
)
def test_python_code_that_gives_no_module(name: str, words: str, code: Path) -> None:
    with pytest.raises(SourceError, match=f"^{re.escape(f'{name}: {words}')}"):
        load_source(name)


def test_error_of_rnnedge_in_a_factory_is_passed_on(code: Path) -> None:
    (code / "code_of_a_user.py").write_text(
        "import rnnedge\ndef make():\n    return rnnedge.RNNSpec(input_size=0, hidden_size=1)",
        encoding="utf-8",
    )
    with pytest.raises(SpecError, match=r"^input_size: expected 1 or more, got 0$"):
        load_source("code_of_a_user:make")


@pytest.mark.parametrize("name", ["layer", "folder/layer.txt", ":layer", "a b:c"])
def test_source_of_no_known_kind(name: str) -> None:
    words = rf"^{re.escape(name)}: expected a specification \(\.toml, \.json\), a checkpoint \("
    with pytest.raises(SourceError, match=words):
        load_source(name)


@pytest.mark.parametrize(
    ("source", "arguments", "words"),
    [
        (None, {"key": "model"}, "--key model: requires a checkpoint, got no SOURCE"),
        ("a.toml", {"key": "model"}, "--key model: requires a checkpoint, got a.toml"),
        ("a:b", {"key": "model"}, "--key model: requires a checkpoint, got a:b"),
        ("a:b", {"prefix": "rnn."}, "--prefix rnn.: requires a checkpoint, got a:b"),
        ("a:b", {"layer_only": True}, "--layer-only: requires a checkpoint, got a:b"),
        ("w.pt", {"weights": "v.pt"}, "--weights v.pt: requires package.module:name, got w.pt"),
        (None, {"arguments": {"a": 1}}, "--arg a: requires package.module:name, got no SOURCE"),
        ("w.pt", {"seed": 1}, "--seed 1: w.pt has its own weights"),
        ("a:b", {"seed": 0}, "--seed 0: a:b has its own weights"),
        (
            "a:b",
            {"options": {"hidden_size": 3}},
            "--hidden-size: a:b has its own options; what a class or function takes is --arg "
            "hidden_size=3",
        ),
    ],
    ids=[
        *("key_alone", "key_spec", "key_code", "prefix_code", "layer_code", "weights_checkpoint"),
        *("argument_alone", "seed_checkpoint", "seed_code", "option_code"),
    ],
)
def test_arguments_that_do_not_go_together(
    source: str | None, arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(SourceError, match=f"^{re.escape(words)}$"):
        load_source(source, **arguments)


@pytest.mark.parametrize(
    ("call", "hidden"),
    [
        ("Needs(7)", 7),
        ("Needs(size=7)", 7),
        ("Needs(7, bias=False)", 7),
        ("Needs( 7 , )", 7),
        ("factory()", 7),
        ("Holder.made(3, 8)", 8),
    ],
    ids=["position", "name", "both", "spaces", "none", "method"],
)
def test_call_of_python_code(call: str, hidden: int, code: Path) -> None:
    module = load_source(f"code_of_a_user:{call}").module
    layer = getattr(module, "rnn", module)
    assert layer.hidden_size == hidden
    assert layer.bias == ("bias=False" not in call)


def test_arguments_by_name(code: Path) -> None:
    arguments = {"size": 7, "bias": False}
    source = load_source("code_of_a_user:Needs", arguments=arguments)
    assert (source.module.rnn.hidden_size, source.module.rnn.bias) == (7, False)
    assert source.origin == "code_of_a_user:Needs(size=7, bias=False)"


def test_arguments_in_both_places(code: Path) -> None:
    source = load_source("code_of_a_user:Needs(7)", arguments={"bias": False})
    assert source.origin == "code_of_a_user:Needs(7, bias=False)"


def test_arguments_of_a_module_that_is_there(code: Path) -> None:
    words = "code_of_a_user:layer is a RNN already: leave its arguments out"
    with pytest.raises(SourceError, match=words):
        load_source("code_of_a_user:layer(3)")


def test_class_is_built_with_the_same_weights_each_time(code: Path) -> None:
    load_source("code_of_a_user:Mine")  # importing it draws the weights of its own layers
    state = torch.get_rng_state()
    first, second = (load_source("code_of_a_user:Mine").module for _ in range(2))
    assert torch.equal(first.rnn.weight_hh_l0, second.rnn.weight_hh_l0)
    assert torch.equal(torch.get_rng_state(), state)


def test_it_is_said_that_weights_are_random(code: Path) -> None:
    assert load_source("code_of_a_user:Mine").notes == (
        "code_of_a_user:Mine draws weights at random when it is built: unless it loads trained "
        "ones, --weights CHECKPOINT does",
    )
    assert load_source("code_of_a_user:layer").notes == ()


WRAPPED = {
    "bare": lambda module: module,
    "distributed": nn.DataParallel,
    "averaged": torch.optim.swa_utils.AveragedModel,
}


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_weights_of_a_whole_module(wrap: Any, code: Path) -> None:
    trained = load_source("code_of_a_user:Needs(7)").module
    nn.init.normal_(trained.rnn.weight_hh_l0)
    torch.save({"model": wrap(trained).state_dict(), "mean": torch.zeros(3)}, "w.pt")
    source = load_source("code_of_a_user:Needs(7)", weights="w.pt")
    assert torch.equal(source.module.rnn.weight_hh_l0, trained.rnn.weight_hh_l0)
    assert source.origin == "code_of_a_user:Needs(7) with w.pt"
    assert source.notes == ("w.pt also holds mean, which code_of_a_user:Needs(7) does not take",)
    assert load_source("code_of_a_user:Needs(7)", weights="w.pt", key="model").notes == ()


def test_weights_of_a_module_that_is_wrapped_itself(code: Path) -> None:
    torch.save(nn.GRU(3, 6).state_dict(), "w.pt")
    source = load_source("code_of_a_user:wrapped", weights="w.pt")
    assert type(source.module) is nn.GRU


MISFITS = {
    "shapes": (
        "Needs(8)",
        "rnn.weight_ih_l0 has shape [21, 3], expected [24, 3]; rnn.weight_hh_l0 has shape [21, 7], "
        "expected [24, 8]; 2 more shapes differ",
    ),
    "left_over": ("Needs(7, bias=False)", "the module lacks rnn.bias_ih_l0, rnn.bias_hh_l0"),
    "missing": ("Norm(7)", "it lacks norm.weight, norm.bias"),
}


@pytest.mark.parametrize(("call", "words"), MISFITS.values(), ids=MISFITS)
def test_weights_that_do_not_fit_the_module(call: str, words: str, code: Path) -> None:
    torch.save(load_source("code_of_a_user:Needs(7)").module.state_dict(), "w.pt")
    words = f"w.pt does not fit code_of_a_user:{call}: {words}"
    with pytest.raises(SourceError, match=f"^{re.escape(words)}$"):
        load_source(f"code_of_a_user:{call}", weights="w.pt")


@pytest.mark.parametrize("name", ["weights", "model.tar", "step.1000"])
def test_checkpoint_of_any_name(name: str, tmp_path: Path) -> None:
    layer = nn.GRU(3, 4)
    torch.save(layer.state_dict(), tmp_path / name)
    loaded = load_source(tmp_path / name).module
    assert torch.equal(loaded.weight_hh_l0, layer.weight_hh_l0)


def test_folder_of_a_distributed_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "step_3").mkdir()
    (tmp_path / "step_3" / ".metadata").touch()
    with pytest.raises(
        SourceError, match=r"step_3: is a folder of torch\.distributed\.checkpoint: "
    ):
        load_source(tmp_path / "step_3")


@pytest.mark.parametrize("name", ["no.toml", "no.json", "no.pt", "no.safetensors", "no.npz"])
def test_file_that_is_not_there(name: str) -> None:
    words = rf"^{re.escape(name)}: expected a .*, found no such file$"
    with pytest.raises(RnnEdgeError, match=words):
        load_source(name)
