"""Commands whose SOURCE is a checkpoint of a larger model, or a class that takes arguments."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import Done
from torch import nn

from rnnedge_runtime import Session

CODE = """
from torch import nn

class Tagger(nn.Module):
    def __init__(self, input_size, hidden_size=4, bidirectional=False):
        super().__init__()
        self.bn = nn.BatchNorm1d(input_size)
        self.rnn = nn.LSTM(input_size, hidden_size, batch_first=True, bidirectional=bidirectional)
        self.fc = nn.Linear(hidden_size * (1 + bidirectional), 2)

    def forward(self, x):
        return self.fc(self.rnn(self.bn(x.transpose(1, 2)).transpose(1, 2))[0])
"""
INPUT = ("--input", "x=float32[batch,time,3]", "-o", "model.onnx")
REST = "bn.weight, bn.bias, bn.running_mean, bn.running_var, bn.num_batches_tracked, fc.weight, fc."


@pytest.fixture(scope="module")
def tagger() -> nn.Module:
    """A trained module of the user's: its weights and statistics are not the initial ones."""
    namespace: dict[str, type[nn.Module]] = {}
    exec(CODE, namespace)
    torch.manual_seed(7)
    module = namespace["Tagger"](3)
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    module(torch.randn(20, 5, 3))
    return module.eval()


@pytest.fixture
def code(
    rnn: Callable[..., Done], tagger: nn.Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Done]]:
    """A function that runs a command next to code, and a training checkpoint `step_9.tar`."""
    (tmp_path / "code_of_a_tagger.py").write_text(CODE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    training = {
        "model_state": tagger.state_dict(),
        "optimizer": torch.optim.Adam(tagger.parameters()).state_dict(),
        "args": argparse.Namespace(lr=0.1, out=Path("runs")),
        "epoch": 9,
    }
    torch.save(training, tmp_path / "step_9.tar")
    yield rnn
    sys.modules.pop("code_of_a_tagger", None)


def _off(tagger: nn.Module) -> float:
    """How far the exported file is off from the trained module in float64."""
    x = np.random.default_rng(3).standard_normal((4, 6, 3), np.float32)
    with torch.no_grad():
        expected = tagger.double()(torch.from_numpy(x).double()).numpy()
    tagger.float()
    return float(np.abs(Session("model.onnx").run(x).output - expected).max())


@pytest.mark.parametrize(
    "source",
    [
        ("code_of_a_tagger:Tagger(3)",),
        ("code_of_a_tagger:Tagger", "--arg", "input_size=3", "--arg", "hidden_size=4"),
    ],
    ids=["call", "options"],
)
def test_whole_module_with_the_weights_of_a_checkpoint(
    source: tuple[str, ...], code: Callable[..., Done], tagger: nn.Module
) -> None:
    done = code("export", *source, "--weights", "step_9.tar", *INPUT)
    assert done.code == 0, done.err
    assert "with step_9.tar computes in PyTorch, in" in done.out
    assert _off(tagger) < 1e-5


def test_the_command_that_the_error_shows(code: Callable[..., Done], tagger: nn.Module) -> None:
    done = code("export", "step_9.tar", "-o", "model.onnx")
    assert (done.code, done.out) == (1, "")
    assert not Path("model.onnx").exists()
    shown = done.err.partition("'package.module:Class(...)' ")[2].partition(" --input")[0]
    assert shown == "--weights step_9.tar"
    assert code("export", "code_of_a_tagger:Tagger(3)", *shown.split(), *INPUT).code == 0
    assert _off(tagger) < 1e-5


def test_layer_alone_says_what_is_left_out(code: Callable[..., Done]) -> None:
    done = code("export", "step_9.tar", "--prefix", "rnn.", "--batch-first", "-o", "model.onnx")
    lines = done.out.splitlines()
    assert f"note: the layer 'rnn.' is 4 of 11 tensors; left out: {REST}bias" in lines
    (verdict,) = [line for line in lines if line.startswith("PASS: ")]
    assert "step_9.tar rnn lstm(3->4, batch_first) (4 of 11 tensors) computes" in verdict


def test_notes_are_in_the_json(code: Callable[..., Done]) -> None:
    done = code("export", "step_9.tar", "--layer-only", "-o", "model.onnx", "--json")
    assert done.json["notes"] == [
        f"the layer 'rnn.' is 4 of 11 tensors; left out: {REST}bias",
        "a checkpoint does not say batch_first, dropout: taken as batch_first=False, dropout=0.0, "
        "as PyTorch's defaults are; set with --batch-first or --time-first, --dropout",
    ]
    assert done.json["report"]["notes"] == []


def test_weights_at_random_are_said(code: Callable[..., Done]) -> None:
    done = code("export", "code_of_a_tagger:Tagger(3)", *INPUT, "--no-validate")
    assert "note: code_of_a_tagger:Tagger(3) draws weights at random when it is built: " in done.out


def test_random_weights_are_the_same_when_the_file_is_validated(code: Callable[..., Done]) -> None:
    source = "code_of_a_tagger:Tagger(3, bidirectional=True)"
    assert code("export", source, *INPUT, "--no-validate").code == 0
    assert code("validate", "model.onnx", "--against", source, "--quick").code == 0


def test_tune_takes_no_part_of_a_checkpoint(code: Callable[..., Done]) -> None:
    done = code("tune", "step_9.tar", "-o", "best.onnx", "--shape", "1x1", "--seconds", "0.001")
    assert done.code == 1
    assert "the layer 'rnn.' is 4 of 11 tensors; exported alone, it would leave out" in done.err


def test_bench_without_a_source_takes_none(code: Callable[..., Done]) -> None:
    code("export", "--cell", "gru", "--input-size", "3", "--hidden-size", "4", "-o", "model.onnx")
    done = code("bench", "model.onnx", "--time", "1", "--batch", "1", "--seconds", "0.001")
    assert done.code == 0, done.err
    assert "torch" not in done.out


def test_exported_layer_of_a_file_without_a_name(code: Callable[..., Done]) -> None:
    torch.save(nn.GRU(3, 4, batch_first=True), "weights")
    assert code("export", "weights", "-o", "model.onnx").code == 0
    assert Session("model.onnx").interface.inputs[0].axes == ("batch", "time", 3)
