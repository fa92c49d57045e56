"""Comparing with an earlier measurement, and drawing one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib
import pytest
from torch import nn

from rnnedge import Source, matplotlib_check
from rnnedge.measuring import baseline
from rnnedge.measuring.baseline import read_baseline
from rnnedge.measuring.measuring import bench_shapes
from rnnedge.measuring.plot import check_plot_path, write_plot
from rnnedge.measuring.shapes import Shape
from rnnedge.measuring.streaming import bench_stream
from rnnedge_runtime.errors import InputError, MissingPackageError, WriteError

SHAPES = (Shape(1, 1), Shape(4, 1), Shape(4, 2))


@pytest.fixture
def earlier(model: Path, tmp_path: Path) -> dict[str, Any]:
    """What was measured earlier, as JSON."""
    values: dict[str, Any] = bench_shapes(model, SHAPES, count=2).to_dict()
    return values


def _save(values: Any, folder: Path) -> Path:
    path = folder / "old.json"
    path.write_text(json.dumps(values))
    return path


def test_speed_is_earlier_time_in_units_of_the_time_now(
    model: Path, earlier: dict[str, Any], tmp_path: Path
) -> None:
    read = read_baseline(_save(earlier, tmp_path))
    now = bench_shapes(model, [Shape(4, 2), Shape(9, 9)], count=2)
    read.check([(4, 2), (9, 9)])
    then = earlier["shapes"][2]["latency"]["rnnedge"]["p50_ms"]
    assert read.compare(now) == {(4, 2): pytest.approx(then / now.shapes[0].own.p50_ms)}
    assert read.changes(now) == []


def test_streams_are_compared_with_streams(model: Path, tmp_path: Path) -> None:
    read = read_baseline(_save(bench_stream(model, (2,), count=2).to_dict(), tmp_path))
    assert set(read.compare(bench_stream(model, (1, 2), count=2))) == {(None, 2)}
    with pytest.raises(InputError, match="no shape of it is measured now"):
        read.check([(1, 2)])


def test_what_changed_is_said(model: Path, earlier: dict[str, Any], tmp_path: Path) -> None:
    earlier["machine"]["versions"]["onnxruntime"] = "1.0"
    earlier["threads"] = 4
    changes = read_baseline(_save(earlier, tmp_path)).changes(bench_shapes(model, SHAPES, count=1))
    assert changes[0] == "threads 4 then, 1 now"
    assert changes[1].startswith("onnxruntime 1.0 then, ")


def test_other_options_are_said(model: Path, earlier: dict[str, Any], tmp_path: Path) -> None:
    now = bench_shapes(model, SHAPES, count=1, arena=False)
    changes = read_baseline(_save(earlier, tmp_path)).changes(now)
    assert changes == ["session options: the default then, no arena now"]


def test_baseline_from_before_options_were_recorded(
    model: Path, earlier: dict[str, Any], tmp_path: Path
) -> None:
    del earlier["options"]
    now = bench_shapes(model, SHAPES, count=1)
    assert read_baseline(_save(earlier, tmp_path)).changes(now) == []


def test_another_machine_is_refused(
    earlier: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier["machine"]["cpu"] = "Cortex-A76"
    read = read_baseline(_save(earlier, tmp_path))
    with pytest.raises(InputError, match=r"old.json: measured on another machine: cpu 'Cort"):
        read.check([(1, 1)])
    monkeypatch.setattr(baseline, "this_machine", lambda: read.machine)
    read.check([(1, 1)])


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", "3", '{"format": 1}', '{"format": 1, "machine": 3}', "\xff"]
)
def test_file_that_is_no_baseline(text: str, tmp_path: Path) -> None:
    (tmp_path / "old.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=r"old.json: expected what rnnedge bench --json printed"):
        read_baseline(tmp_path / "old.json")


def test_baseline_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--json printed: No such file or directory$"):
        read_baseline(tmp_path / "old.json")


def test_baseline_of_a_newer_format(earlier: dict[str, Any], tmp_path: Path) -> None:
    earlier["format"] = 2
    with pytest.raises(InputError, match="measured in format 2, and this version reads 1"):
        read_baseline(_save(earlier, tmp_path))


@pytest.mark.parametrize(
    ("name", "start"),
    [("a.png", b"\x89PNG\r\n\x1a\n"), ("a.svg", b"<?xml"), ("a.PDF", b"%PDF")],
)
def test_plot(name: str, start: bytes, model: Path, tmp_path: Path) -> None:
    write_plot(bench_shapes(model, SHAPES, count=1), tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(start)


def test_plot_names_axes_units_and_lines(model: Path, layer: nn.GRU, tmp_path: Path) -> None:
    source = Source(layer, "gru")
    found = bench_shapes(model, SHAPES, source=source, against=["torch"], count=1)
    write_plot(found, tmp_path / "a.svg")
    text = (tmp_path / "a.svg").read_text()
    for words in (
        *("length (steps)", "latency of one call, median (ms)", "model.onnx, 1 thread(s)"),
        *("batch 1", "batch 1, torch", "batch 2", "batch 2, torch"),
    ):
        assert f"<!-- {words} -->" in text


def test_plot_leaves_matplotlib_as_it_was(model: Path, tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    write_plot(bench_shapes(model, SHAPES, count=1), tmp_path / "a.png")
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a.jpg", "expected a name that ends in .png, .svg or .pdf"),
        ("a", "expected a name that ends in .png, .svg or .pdf"),
        ("no/a.png", "expected an existing folder, found no folder"),
    ],
)
def test_plot_that_cannot_be_written(name: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=words):
        check_plot_path(tmp_path / name)


def test_plot_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matplotlib_check, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match=r'^--plot needs matplotlib.*rnnedge\[report\]"$'):
        check_plot_path("a.png")
