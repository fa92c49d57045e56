"""The help of each command: groups, defaults in one style, and examples that run."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import click
import numpy as np
import pytest
import torch
from commands import Done

import rnnedge
from rnnedge.cli import commands
from rnnedge.cli.command import Command, Option
from rnnedge_runtime import Session

COMMANDS = {
    name: command
    for name, command in commands.commands.items()
    if isinstance(command, Command) and name == command.name
}
EXAMPLES = [(name, line) for name, command in COMMANDS.items() for line in command.examples]
SIZES = ["--time", "1", "--batch", "1"]
MODULE = """
import torch


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = torch.nn.GRU(40, 4, batch_first=True)

    def forward(self, x):
        return self.gru(x)[0]
"""


def text_of(command: click.Command, width: int = 80) -> str:
    context = click.Context(command, info_name=f"rnnedge {command.name}", terminal_width=width)
    return command.get_help(context)


@pytest.mark.parametrize("name", COMMANDS)
def test_options_stand_in_groups(name: str) -> None:
    headings = re.findall(r"^(\S.*):$", text_of(COMMANDS[name]), re.MULTILINE)
    assert headings[-2:] == ["Options", "Examples"]
    assert len(headings) > 2 or name == "completion"
    assert len(headings) == len(set(headings))
    (others,) = re.findall(r"^Options:\n((?:  .*\n)+)", text_of(COMMANDS[name]), re.MULTILINE)
    assert re.fullmatch(r"  (-h, )?--help +Show this message and exit\.\n", others)


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("name", COMMANDS)
def test_no_line_is_wider_than_the_terminal(name: str, width: int) -> None:
    text = text_of(COMMANDS[name], width)
    drawn = {line.strip() for line in (COMMANDS[name].help or "").splitlines()}  # our tables
    drawn |= set(COMMANDS[name].examples)
    for line in text.splitlines():
        assert len(line) <= (max(width, 80) if line.strip() in drawn else width)


@pytest.mark.parametrize("name", COMMANDS)
def test_defaults_have_one_style(name: str) -> None:
    context = click.Context(COMMANDS[name])
    for option in COMMANDS[name].params:
        if isinstance(option, click.Option):
            assert isinstance(option, Option), option.name
            _, words = option.get_help_record(context) or ("", "")
            brackets = re.findall(r"\[[^]]*\]", words.replace("name=dtype[axes]", ""))
            brackets = [b for b in brackets if b != "[batch,time,40]"]
            assert all(re.match(r"\[(default: |[\d<>=x]+|required)", b) for b in brackets), words


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that the examples name."""
    folder = tmp_path_factory.mktemp("files")
    torch.manual_seed(0)
    layer = torch.nn.GRU(8, 16)
    torch.save(layer.state_dict(), folder / "weights.pt")
    rnnedge.export(layer, folder / "model.onnx")
    rnnedge.quantize(folder / "model.onnx", folder / "small.onnx")
    (folder / "package").mkdir()
    (folder / "package" / "module.py").write_text(MODULE)
    (folder / "net.py").write_text(MODULE)
    x = np.zeros((5, 2, 8), np.float32)
    np.save(folder / "x.npy", x)
    np.savez(folder / "rows.npz", input=x)
    if find_spec("pyarrow") is not None:
        _write_corpus(folder / "corpus")
    np.savez(folder / "out.npz", **Session(folder / "model.onnx").run(x).outputs)
    return folder


def _write_corpus(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir()
    frames = pa.array([np.zeros((3, 8)).tolist()], pa.list_(pa.list_(pa.float32())))
    pq.write_table(pa.table({"utt": ["a"], "frames": frames}), folder / "part-0.parquet")


@pytest.fixture
def folder(rnn: Callable[..., Done], files: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(files, Path.cwd(), dirs_exist_ok=True)
    monkeypatch.syspath_prepend(Path.cwd())
    return Path.cwd()


@pytest.mark.parametrize(("name", "line"), EXAMPLES, ids=[line for _, line in EXAMPLES])
def test_examples_run(name: str, line: str, folder: Path, rnn: Callable[..., Done]) -> None:
    words = shlex.split(line)
    if name == "completion":
        pytest.skip("the shells run it: test_completion.py")
    if name in ("score", "compare"):
        pytest.importorskip("pyarrow")
    if "net.pt" in words:
        import package.module  # type: ignore[import-not-found] # the folder's own

        net = package.module.Net()
        torch.save(net.state_dict(), "net.pt")
        example = torch.zeros(2, 5, 40)
        rnnedge.export(net, "model.onnx", example_inputs=(example,))
    if name in ("bench", "tune"):
        words += ["--seconds", "0.001", *(["--threads", "1"] if name == "tune" else [])]
        words += SIZES if not {"--shape", "--stream"} & {*words} else []
    done = rnn(*words[1:])
    assert words[0] == "rnnedge"
    if name == "app" and done.code and "onnxruntime-web" in done.err:
        pytest.skip("neither a built engine of ours for browsers nor onnxruntime-web is here")
    healthy = "--fix" in words and "nothing of what was found can be repaired" in done.err
    assert done.code == 0 or healthy, done.err
    assert "now" not in done.err  # no old spelling


def test_the_old_spelling_of_bench(folder: Path, rnn: Callable[..., Done]) -> None:
    options = ["--time", "1", "--batch", "1", "--count", "2", "--json"]
    new = rnn("bench", "model.onnx", "--against", "weights.pt", "--beside", "torch", *options)
    old = rnn("bench", "model.onnx", "--source", "weights.pt", "--against", "torch", *options)
    assert old.json["sides"] == new.json["sides"]
    assert new.err == ""
    assert old.err.splitlines() == [
        "rnnedge: what is measured next to MODEL is called --beside torch now",
        "rnnedge: --source is called --against now",
    ]


@pytest.mark.parametrize("form", [["--against", "small.onnx"], ["--against=small.onnx"]])
def test_a_file_beside_in_the_old_spelling(
    form: list[str], folder: Path, rnn: Callable[..., Done]
) -> None:
    done = rnn("bench", "model.onnx", *form, "--time", "1", "--batch", "1", "--count", "2")
    assert done.code == 0
    assert done.err == "rnnedge: what is measured next to MODEL is called --beside small.onnx now\n"


def test_the_old_spelling_of_tune(folder: Path, rnn: Callable[..., Done]) -> None:
    words = ["tune", "model.onnx", "-o", "best.onnx", "--time", "1", "--batch", "1"]
    done = rnn(*words, "--threads", "1", "--seconds", "0.001", "--source=weights.pt")
    assert (done.code, done.err) == (0, "rnnedge: --source is called --against now\n")


def test_old_names_are_not_in_the_help() -> None:
    assert "--source" not in "".join(map(text_of, COMMANDS.values()))
