"""`inspect` of the toolkit and `info` of the runtime say the same of a model, and take the same."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from click import Choice
from commands import Done

import rnnedge
from rnnedge.cli import commands
from rnnedge_runtime.__main__ import main, parser

SHARED = ("stream   ", "nodes    ", "contract ", "weights  ", "opset    ", "made by  ", "note     ")


@pytest.fixture
def model(rnn: Callable[..., Done]) -> Path:
    torch.manual_seed(0)
    rnnedge.export(torch.nn.GRU(3, 4), "model.onnx")
    return Path("model.onnx")


def shared(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.startswith(SHARED)]


@pytest.mark.parametrize("name", ["info", "inspect"])
def test_the_same_lines_under_both_names(
    name: str, model: Path, rnn: Callable[..., Done], capsys: pytest.CaptureFixture[str]
) -> None:
    toolkit = shared(rnn(name, str(model)).out)
    assert main([name, str(model), "--engine", "onnxruntime"]) == 0
    assert toolkit == shared(capsys.readouterr().out)
    assert len(toolkit) > 6


def options_of(command: str) -> dict[str, set[str]]:
    """The options of the runtime, each with its spellings."""
    actions = parser().commands[command]._actions
    return {action.dest: set(action.option_strings) for action in actions if action.option_strings}


@pytest.mark.parametrize(
    ("here", "there"), [("bench", "bench"), ("info", "inspect"), ("run", "run")]
)
def test_options_are_spelled_alike(here: str, there: str) -> None:
    known = {
        spelling
        for parameter in commands.commands[there].params
        for spelling in (*parameter.opts, *parameter.secondary_opts)
    }
    only_here = {"-h", "--help"}
    if there == "inspect":  # it opens the model to describe it, with ONNX Runtime's defaults
        only_here |= {"--threads", "--session-option", "--engine"}
        switches = ("spinning", "arena", "memory-pattern", "tf32")
        only_here |= {f"--{no}{name}" for name in switches for no in ("", "no-")}
    for spellings in options_of(here).values():
        assert spellings <= known | only_here


def test_choices_are_alike() -> None:
    bench = {p.name: p for p in commands.commands["bench"].params}
    for name in ("device", "engine"):
        kind = bench[name].type
        assert isinstance(kind, Choice)
        assert "auto" in kind.choices


def test_sizes_may_be_given_again_or_together(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = []
    for words in (["--time", "1", "2"], ["--time", "1", "--time", "2"]):
        assert main(["bench", str(model), *words, "--batch", "1", "--seconds", "0.001"]) == 0
        rows.append([line.split()[:2] for line in capsys.readouterr().out.splitlines()[1:3]])
    assert rows[0] == rows[1] == [["1", "1"], ["2", "1"]]


@pytest.mark.parametrize("command", ["info", "check", "bench"])
def test_the_help_of_the_runtime_has_examples_that_run(command: str, model: Path) -> None:
    words = [sys.executable, "-m", "rnnedge_runtime", command]
    text = subprocess.run([*words, "--help"], capture_output=True, text=True, check=True).stdout
    examples = [line.strip() for line in text.partition("examples:")[2].splitlines() if line]
    assert examples
    for example in examples:
        _, _, module, name, path, *rest = example.split()
        assert (module, name, path) == ("rnnedge_runtime", command, "model.onnx")
        if rest[:1] != ["vectors"]:
            faster = ["--seconds", "0.001"] if command == "bench" else []
            assert main([command, path, *rest, *faster]) == 0
