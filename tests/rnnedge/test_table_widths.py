"""Terminal captures of each command: every number is shown whole at 60, 80 and 120 columns."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import Done
from rich.table import Table

import rnnedge
from rnnedge.plain_console import PlainConsole

WIDTHS = [60, 80, 120]
FAST = "--time 1 --batch 1 --count 3"
COMMANDS = {
    "export": "export weights.pt --quantize int8 -o out.onnx",
    "validate": "validate an_exported_model.onnx --against weights.pt --quick",
    "inspect": "inspect an_exported_model.onnx",
    "doctor": "doctor an_exported_model.onnx",
    "bench": f"bench an_exported_model.onnx --against weights.pt {FAST} --rate 100",
    "bench --stream": "bench an_exported_model.onnx --stream --count 3 --rate 100",
    "tune": "tune weights.pt -o best.onnx --time 1 --batch 1 --threads 1 --seconds 0.001",
    "run": "run an_exported_model.onnx --input x.npy",
    "score": "score an_exported_model.onnx rows.npz -o scores --workers 1",
    "compare": "compare an_exported_model.onnx small.onnx rows.npz",
    "triton": "triton an_exported_model.onnx -o repository",
    "app": "app an_exported_model.onnx -o site",
    "slim": "slim an_exported_model.onnx -o slim",
}
LINES = {"run", "score", "triton", "app", "slim"}
"""Commands that print lines, and no table."""
CUT = "…"
"""What `rich` ends text with that it cuts."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    torch.manual_seed(0)
    layer = torch.nn.LSTM(8, 16, num_layers=2, bidirectional=False)
    torch.save(layer.state_dict(), folder / "weights.pt")
    rnnedge.export(layer, folder / "an_exported_model.onnx")
    rnnedge.quantize(folder / "an_exported_model.onnx", folder / "small.onnx")
    x = np.random.default_rng(0).standard_normal((5, 2, 8)).astype(np.float32)
    np.save(folder / "x.npy", x)
    np.savez(folder / "rows.npz", a_recording_with_a_long_name=x[:, 0], another=x[:3, 1])
    return folder


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_nothing_is_cut(
    command: str,
    files: Path,
    rnn: Callable[..., Done],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = command.split()[0]
    if name in ("score", "compare"):
        pytest.importorskip("pyarrow")
    monkeypatch.chdir(files)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")  # `rich` takes the pipe for a terminal
    for width in WIDTHS[:1] if name in LINES else WIDTHS:
        monkeypatch.setenv("COLUMNS", str(width))
        done = rnn(*shlex.split(command))
        if name == "app" and "onnxruntime-web" in done.err:
            pytest.skip("neither a built engine of ours for browsers nor onnxruntime-web is here")
        assert done.code == 0, done.err
        lines = [re.sub(r"\x1b\[[\d;]*m", "", line).rstrip() for line in done.out.splitlines()]
        assert CUT not in done.out
        if name in LINES:
            assert lines
            continue
        drawn = [line for line in lines if line.startswith(("│", "┃", "┏", "└", "  "))]
        assert drawn
        assert max(map(len, drawn)) <= width


NUMBERS = ["1.2e-07", "123,456,789", "0.123"]


def shown(width: int, names: list[str]) -> str:
    table = Table(title="numbers")
    table.add_column("what it is called")
    for number, _ in enumerate(NUMBERS):
        table.add_column(f"heading number {number}", justify="right")
    table.add_column("where it is")
    for name in names:
        table.add_row(name, *NUMBERS, f"at {name}")
    text = StringIO()
    PlainConsole(file=text, width=width, force_terminal=True, no_color=True).print_table(table)
    return re.sub(r"\x1b\[[\d;]*m", "", text.getvalue())


@pytest.mark.parametrize("width", [30, 40, 60, 70, 80, 100, 120, 160])
@pytest.mark.parametrize("name", ["short", "encoder.layers.0.recurrent_layer_of_a_long_name"])
def test_numbers_are_whole_at_any_width(width: int, name: str) -> None:
    text = shown(width, [name, name])
    for number in NUMBERS:
        assert text.count(number) == 2
    assert CUT not in text
    assert max(map(len, map(str.rstrip, text.splitlines()))) <= width


def test_a_table_that_fits_stays_one() -> None:
    assert "┃" in shown(100, ["short"])


def test_a_table_that_does_not_fit_is_a_record_a_row() -> None:
    text = [line.rstrip() for line in shown(50, ["one", "two"]).splitlines()]
    assert text[0] == "numbers"
    first = text.index("what it is        one")
    assert text[first : first + 2] == ["what it is        one", "called"]
    assert any(re.fullmatch(r"  heading number +1\.2e-07|  heading +1\.2e-07", t) for t in text)


def test_a_name_is_no_markup() -> None:
    assert "[/b]" in shown(50, ["[/b]"])
    assert "[/b]" in shown(120, ["[/b]"])
