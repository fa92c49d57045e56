"""A model that ends its process, or never ends, is a finding, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from rnnedge import ContractError, InputError, ModelError, SourceError, StateError, export, validate
from rnnedge.errors import CrashError, MissingPackageError, RnnEdgeError, TimeLimitError
from rnnedge_exporters.sandbox.session import IsolatedSession, Worker
from rnnedge_runtime import Session

pytestmark = pytest.mark.usefixtures("new_interpreters")

X = np.ones((5, 2, 3), np.float32)


def _gru() -> nn.GRU:
    torch.manual_seed(0)
    return nn.GRU(3, 4)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    export(_gru(), tmp_path / "right.onnx")
    return tmp_path / "right.onnx"


@pytest.fixture
def worker() -> Iterator[Worker]:
    with Worker() as worker:
        yield worker


def test_a_file_that_is_written_anew_is_opened_anew(model: Path, worker: Worker) -> None:
    x = {"input": np.ones((2, 1, 3), np.float32)}
    before = IsolatedSession(worker, model).run(x).outputs["output"]
    torch.manual_seed(1)
    export(nn.GRU(3, 4), model, force=True)
    after = IsolatedSession(worker, model).run(x).outputs["output"]
    np.testing.assert_array_equal(after, Session(model).run(x).outputs["output"])
    assert not np.array_equal(before, after)


@pytest.fixture
def aborting(tmp_path: Path) -> Path:
    """A file whose GRU sees no steps, on which ONNX Runtime's kernel aborts."""
    none = helper.make_node("Slice", ["input", "zero", "zero", "zero"], ["steps"])
    return _with_gru(tmp_path / "aborting.onnx", none)


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    """A file that loops for ever before its GRU."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["on"], ["on_"]), helper.make_node("Neg", ["v"], ["v_"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on_", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v_", TensorProto.FLOAT, None),
        ],
    )
    loop = helper.make_node("Loop", ["", "true", "input"], ["steps"], body=body)
    return _with_gru(tmp_path / "endless.onnx", loop)


def _with_gru(path: Path, node: onnx.NodeProto) -> Path:
    """Write a GRU of the sizes of `_gru` that reads what `node` makes of the input."""
    arrays = {
        "W": np.ones((1, 12, 3), np.float32),
        "R": np.ones((1, 12, 4), np.float32),
        "one": np.array([1]),
        "zero": np.array([0]),
        "true": np.array(True),
    }
    gru = helper.make_node(
        "GRU", ["steps", "W", "R"], ["Y", "h_n"], hidden_size=4, linear_before_reset=1
    )
    floats = partial(helper.make_tensor_value_info, elem_type=TensorProto.FLOAT)
    graph = helper.make_graph(
        [node, gru, helper.make_node("Squeeze", ["Y", "one"], ["output"])],
        "graph",
        [floats("input", shape=["time", "batch", 3])],
        [floats("output", shape=["time", "batch", 4]), floats("h_n", shape=[1, "batch", 4])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


# --- models that end their process ----------------------------------------------------------------


def test_model_that_aborts_is_a_finding(aborting: Path) -> None:
    report = validate(aborting, against=_gru())
    assert not report
    assert report.diagnosis is not None
    assert report.diagnosis.cause == "crash"
    assert "SIGABRT" in report.diagnosis.evidence
    assert str(report.diagnosis.smallest) == "time 1, batch 1"
    assert report.verdict.endswith("cases fail; crash")


def test_sweep_stops_after_three_crashes(aborting: Path) -> None:
    report = validate(aborting, against=_gru())
    assert {output.cases for output in report.outputs} == {3}
    (note,) = report.notes
    assert re.fullmatch(r"stopped after case 3 of \d\d: crash", note)


def test_crash_at_opening_is_a_model_error(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _stand_in(tmp_path, monkeypatch, "def __init__(self, *a, **k): os.abort()")
    message = r"right\.onnx cannot be opened by ONNX Runtime: it ended the process: SIGABRT$"
    with pytest.raises(ModelError, match=message):
        validate(model, against=_gru())


def test_call_after_a_crash_works(aborting: Path, model: Path, worker: Worker) -> None:
    crashing, right = IsolatedSession(worker, aborting), IsolatedSession(worker, model)
    with pytest.raises(CrashError, match=r"^it ended the process: SIGABRT"):
        crashing.run({"input": X})
    answer = right.run({"input": X})
    assert np.array_equal(answer.output, Session(model).run(X).output)


def test_last_words_of_a_process_are_told(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "def run(self, *a, **k): os.write(2, b'one\\nlast words\\n'); os._exit(7)"
    _stand_in(tmp_path, monkeypatch, code)
    with Worker() as worker, pytest.raises(CrashError) as raised:
        IsolatedSession(worker, model).run({"input": X})
    assert str(raised.value) == "it ended the process: exit code 7 (last words)"


# --- models that never end ------------------------------------------------------------------------


def test_model_that_never_ends_is_a_finding(endless: Path) -> None:
    began = time.monotonic()
    report = validate(endless, against=_gru(), time_limit=1)
    assert time.monotonic() - began < 20
    assert not report
    assert report.diagnosis is not None
    assert report.diagnosis.cause == "never ends"
    assert report.diagnosis.evidence == "it did not end within 1 s"


def test_sweep_stops_at_the_first_that_never_ends(endless: Path) -> None:
    report = validate(endless, against=_gru(), time_limit=1)
    assert {output.cases for output in report.outputs} == {1}
    (note,) = report.notes
    assert re.fullmatch(r"stopped after case 1 of \d\d: never ends", note)


def test_model_that_never_ends_is_not_asked_what_a_checkpoint_leaves_open(
    endless: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each try would cost the time limit."""
    calls: list[str] = []
    run = IsolatedSession.run

    def counted(*arguments: Any, **more: Any) -> Any:
        calls.append("run")
        return run(*arguments, **more)

    monkeypatch.setattr(IsolatedSession, "run", counted)
    torch.save(_gru().state_dict(), tmp_path / "weights.pt")
    report = validate(endless, against=tmp_path / "weights.pt", time_limit=1)
    assert report.diagnosis is not None
    assert report.diagnosis.cause == "never ends"
    assert len(calls) == 2  # once to settle the layout, once in the sweep


def test_start_of_a_process_is_not_the_models_time(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _stand_in(tmp_path, monkeypatch, "", before="import time; time.sleep(2)")
    with Worker(time_limit=1.5) as worker:
        IsolatedSession(worker, model).run({"input": X})


def test_call_after_one_that_never_ended_works(endless: Path, model: Path) -> None:
    with Worker(time_limit=1) as worker:
        with pytest.raises(TimeLimitError, match=r"^it did not end within 1 s$"):
            IsolatedSession(worker, endless).run({"input": X})
        assert IsolatedSession(worker, model).run({"input": X}).output.shape == (5, 2, 4)


# --- what goes between the processes --------------------------------------------------------------


def _stand_in(
    folder: Path, monkeypatch: pytest.MonkeyPatch, methods: str, before: str = ""
) -> None:
    """Give the child an `onnxruntime` whose sessions run in another way; ours stays.

    What is replaced is what its Python class calls, since the runtime calls that too.
    """
    package = folder / "stand_in" / "onnxruntime.py"
    package.parent.mkdir()
    package.write_text(
        f"import importlib, os, sys\n{before}\n"
        "sys.path = [path for path in sys.path if 'stand_in' not in path]\n"
        "del sys.modules['onnxruntime']\n"
        "real = importlib.import_module('onnxruntime')\n"
        "class Inner:\n"
        "    def __init__(self, inner): self.inner = inner\n"
        "    def __getattr__(self, name): return getattr(self.inner, name)\n"
        "    def run(self, *a): return self.inner.run(*a)\n"
        f"class Other(Inner):\n    __slots__ = ()\n    {methods}\n"
        "class Session(real.InferenceSession):\n"
        "    def __init__(self, *a, **k):\n"
        "        super().__init__(*a, **k)\n"
        "        self._sess = Other(self._sess)\n"
        "real.InferenceSession = Session\n",
        encoding="utf-8",
    )
    monkeypatch.syspath_prepend(package.parent)


@pytest.mark.parametrize(
    ("methods", "before"),
    [
        ("", "os.write(1, b'hello\\n')"),
        ("", "os.write(1, b'hello')"),
        ("def run(self, *a): os.write(1, b'hello\\n'); return super().run(*a)", ""),
        ("def run(self, *a): print('hello'); return super().run(*a)", ""),
    ],
    ids=["at import", "without a line's end", "while running", "from Python"],
)
def test_engine_that_prints_does_no_harm(
    methods: str, before: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _stand_in(tmp_path, monkeypatch, methods, before)
    assert validate(model, against=_gru(), quick=True)


def test_process_that_prints_at_its_start_does_no_harm(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text("print('hello', end='')", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    assert validate(model, against=_gru(), quick=True)


def test_modules_in_the_working_folder_are_not_imported(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("queue", "signal", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('mine')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert validate(model, against=_gru(), quick=True)


def test_numbers_are_those_of_this_process(model: Path) -> None:
    here, there = (validate(model, against=_gru(), isolated=i) for i in (False, True))
    assert here.results == there.results


def test_engine_is_timed_in_its_process(model: Path) -> None:
    report = validate(model, against=_gru(), quick=True, latency=True)
    assert [(t.time, t.batch) for t in report.timings] == [(1, 1), (100, 1), (100, 8)]
    assert all(timing.model > 0 and timing.torch > 0 for timing in report.timings)


def _damaged(path: Path) -> Path:
    path.write_bytes(b"no model")
    return path


def _newer(path: Path) -> Path:
    export(_gru(), path)
    model = onnx.load(path)
    (entry,) = model.metadata_props
    entry.value = entry.value.replace('"format":1', '"format":99')
    onnx.save(model, path)
    return path


def _right(path: Path) -> Path:
    export(_gru(), path)
    return path


@pytest.mark.parametrize(
    ("write", "options", "call", "kind"),
    [
        (lambda path: path, {}, {}, ModelError),
        (_damaged, {}, {}, ModelError),
        (_newer, {}, {}, ContractError),
        (_right, {"states": {"h_n": "h_0"}}, {}, StateError),
        (_right, {}, {"input": {"input": X[0]}}, InputError),
        (_right, {}, {"input": {"x": X}}, InputError),
        (_right, {}, {"input": {"input": X}, "state": {"h_0": X}}, StateError),
        (_right, {}, {"input": {"input": X}, "lengths": np.array([1, 2])}, InputError),
    ],
    ids=[
        *("missing", "damaged", "newer contract", "states", "rank", "name"),
        *("state", "lengths"),
    ],
)
def test_error_is_that_of_this_process(
    write: Callable[[Path], Path],
    options: dict[str, Any],
    call: dict[str, Any],
    kind: type[RnnEdgeError],
    worker: Worker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In its class, and in its words, which call the file what the caller calls it."""
    monkeypatch.chdir(tmp_path)
    path = write(Path("model.onnx"))
    with pytest.raises(kind) as here:
        Session(path, **options).run(**call)
    with pytest.raises(kind) as there:
        IsolatedSession(worker, path, **options).run(**call)
    assert type(there.value) is type(here.value)
    assert str(there.value) == str(here.value)


def test_missing_engine_is_the_same_error(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "onnxruntime.py").write_text("raise ImportError('none here')", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(MissingPackageError, match=r"needs onnxruntime, .*: pip install "):
        validate(model, against=_gru())


# --- what is left behind --------------------------------------------------------------------------


def _children() -> set[int]:
    """Return the processes that this one has started and not seen the end of."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                status = (entry / "stat").read_text()
            except OSError:  # it has just ended
                continue
            if int(status.rpartition(")")[2].split()[1]) == os.getpid():
                found.add(int(entry.name))
    return found


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")


@needs_proc
def test_child_is_seen_while_it_runs() -> None:
    """The tests below can fail."""
    before = _children()
    with Worker():
        assert len(_children() - before) == 1
    assert _children() == before


def _interrupted(done: int, of: int) -> None:
    raise KeyboardInterrupt


@needs_proc
@pytest.mark.parametrize(
    ("against", "more", "error"),
    [
        (nn.GRU(3, 4), {}, None),
        (nn.LSTM(3, 4), {}, SourceError),
        (nn.Linear(7, 4), {}, SourceError),
        (nn.GRU(3, 4), {"cases": ()}, ModelError),
        (nn.GRU(3, 4), {"progress": _interrupted}, KeyboardInterrupt),
    ],
    ids=["fails", "does not fit", "refuses", "no cases", "interrupted"],
)
def test_no_process_is_left(
    against: nn.Module, more: dict[str, Any], error: type[BaseException] | None, model: Path
) -> None:
    before = _children()
    if error is None:
        assert not validate(model, against=against, **more)
    else:
        with pytest.raises(error):
            validate(model, against=against, **more)
    assert _children() == before


@needs_proc
def test_no_process_is_left_of_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    before = _children()
    with pytest.raises(ModelError, match="expected an ONNX file"):
        validate(_damaged(tmp_path / "model.onnx"), against=_gru())
    assert _children() == before


@needs_proc
def test_no_process_is_left_of_a_model_that_aborts(aborting: Path) -> None:
    before = _children()
    validate(aborting, against=_gru())
    assert _children() == before


@needs_proc
def test_no_process_is_left_of_a_model_that_never_ends(endless: Path) -> None:
    before = _children()
    validate(endless, against=_gru(), time_limit=1)
    assert _children() == before
