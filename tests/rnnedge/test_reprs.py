"""What Python and a notebook show: short, in one line, with the verdict first."""

from __future__ import annotations

import doctest
import inspect
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import rnnedge
import rnnedge_runtime
from rnnedge.doctor import Examination, Treatment
from rnnedge.doctor.findings import Finding
from rnnedge.doctor.repairs.base import MadeRepair
from rnnedge.inspection import inspect_model
from rnnedge.measuring.streaming import bench_stream
from rnnedge_runtime import Session, StreamPool
from rnnedge_runtime.streaming.stream import Stream


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = tmp_path_factory.mktemp("things") / "model.onnx"
    torch.manual_seed(0)
    layer = nn.GRU(8, 16)
    exported = rnnedge.export(layer, path)
    session = Session(path)
    stream = session.stream()
    stream.step(np.zeros((1, 8), np.float32))
    pool = session.pool(capacity=5)
    pool.open()
    wrong = Finding("layout", "error", "Transpose_3", "axes are <b>exchanged</b>", "export again")
    sick = Examination.of("theirs.onnx", [wrong], ["opset 17"])
    repair = MadeRepair("exported again", ("one gru(3->4)",), ("reproduces the file at time 3",))
    well = Examination.of("mended.onnx", [], [])
    return {
        "Examination": sick,
        "Treatment": Treatment(
            "theirs.onnx", "mended.onnx", "f" * 64, (repair,), ("dropout: none",), sick, well
        ),
        "Inspection": inspect_model(path),
        "Benchmark": bench_stream(path, [1], count=3),
        "ExportResult": exported,
        "QuantizeResult": rnnedge.quantize(path, path.with_name("small.onnx")),
        "Report": rnnedge.validate(path, against=layer, quick=True),
        "Session": session,
        "RunResult": session.run(np.zeros((3, 2, 8), np.float32)),
        "SessionInfo": session.info,
        "Contract": session.contract,
        "Interface": session.interface,
        "Stream": stream,
        "StreamPool": pool,
    }


SHOWN = {
    "Examination": "theirs.onnx: 1 error; first: Transpose_3: axes are",
    "Treatment": "mended.onnx (sha256 ffffffffffff) from theirs.onnx: exported again",
    "Inspection": "layers gru, 1 state(s)",
    "Benchmark": "cpu, 1 thread(s), 1 streams of rnnedge",
    "ExportResult": "bytes, opset 17, sha256",
    "QuantizeResult": "bytes, of ",
    "Report": "PASS: model.onnx computes what gru(8->16) computes in PyTorch",
    "Session": "input float32[time, batch, 8]",
    "RunResult": "output float32[3, 2, 16], h_n float32[1, 2, 16]; 1 state(s)",
    "SessionInfo": "64 bytes of state a row, delay 0",
    "Contract": "gru 8->16; float32, target cpu, opset 17, weights sha256:",
    "Interface": "states h_n -> h_0",
    "Stream": "1 steps, batch=1, frames input float32[batch, 8]",
    "StreamPool": "1 of 5 streams, frames of input float32[time, batch, 8]",
}


@pytest.mark.parametrize("name", SHOWN)
def test_a_repr_is_one_short_line(name: str, things: dict[str, Any]) -> None:
    text = repr(things[name])
    assert text.startswith(f"{name}(")
    assert SHOWN[name] in text
    assert len(text) < 300
    assert "\n" not in text


def test_what_is_closed_says_so(things: dict[str, Any]) -> None:
    session = things["Session"]
    stream, pool = session.stream(), session.pool(capacity=1)
    stream.close()
    pool.shutdown()
    assert repr(stream).startswith("Stream(closed")
    assert repr(pool).startswith("StreamPool(closed")


class Balanced(HTMLParser):
    """Checks that each tag is closed, and that nothing can run or load."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in {"p", "table", "thead", "tbody", "tr", "th", "td"}
        assert not attrs
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize(
    "name",
    [
        *("ExportResult", "QuantizeResult", "Report", "Session", "RunResult", "Examination"),
        "Treatment",
    ],
)
def test_a_notebook_shows_a_table(name: str, things: dict[str, Any]) -> None:
    page = Balanced()
    page.feed(things[name]._repr_html_())
    assert not page.open
    assert any(
        words in page.text
        for words in ("gru", "float32", "small.onnx", "model.onnx", "axes are <b>exchanged</b>")
    )


def test_an_examination_is_printed_with_what_to_do(things: dict[str, Any]) -> None:
    assert str(things["Examination"]).splitlines() == [
        "theirs.onnx: opset 17",
        "error: Transpose_3: axes are <b>exchanged</b> -> export again",
        "theirs.onnx: 1 error; first: Transpose_3: axes are <b>exchanged</b>",
    ]


def test_a_name_in_a_file_is_text_in_a_notebook() -> None:
    from rnnedge_runtime.notebook import html_table

    shown = html_table("<b>", ["<script>"], [["\x1b[1m&"]])
    assert "<script>" not in shown
    assert "<b>" not in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize("form", ["html", "json", "xml"])
def test_a_report_is_saved(form: str, things: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / f"parity.{form}"
    things["Report"].save(path)
    assert "model.onnx" in path.read_text()


def test_a_report_is_not_saved_over_something_else(things: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "mine.html").write_text("no page")
    with pytest.raises(rnnedge.WriteError, match=r"mine\.html"):
        things["Report"].save(tmp_path / "mine.html")
    things["Report"].save(tmp_path / "mine.html", force=True)


@pytest.mark.parametrize("package", [rnnedge, rnnedge_runtime])
def test_a_star_import_gives_the_public_names(package: Any) -> None:
    names: dict[str, Any] = {}
    exec(f"from {package.__name__} import *", names)
    assert set(package.__all__) <= set(names)
    assert "Session" in names or "export" in names
    assert not {"Any", "TYPE_CHECKING", "annotations", "contract"} & set(package.__all__)


DOCUMENTED = [
    rnnedge.export,
    rnnedge.validate,
    rnnedge.quantize,
    Session,
    Session.run,
    Session.stream,
    Stream.step,
    Session.pool,
    StreamPool,
]


@pytest.mark.parametrize("thing", DOCUMENTED, ids=lambda thing: thing.__qualname__)
def test_help_has_examples_that_run(
    thing: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    layer = nn.GRU(8, 16)
    rnnedge.export(layer, "model.onnx")
    names = {
        "torch": torch,
        "np": np,
        "rnnedge": rnnedge,
        "layer": layer,
        "Session": Session,
        "session": Session("model.onnx"),
    }
    text = inspect.getdoc(thing) or ""
    test = doctest.DocTestParser().get_doctest(text, names, thing.__qualname__, None, None)
    assert test.examples, "its help has no example"
    failed, _ = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test)
    assert not failed
