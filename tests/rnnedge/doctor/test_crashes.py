"""Models that end the process that runs them, or never end."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import handmade
import numpy as np
import pytest
from onnx import TensorProto, helper

from rnnedge.doctor import Finding
from rnnedge_exporters.sandbox.onnx_runtime import Sandbox

Found = Callable[..., dict[str, Finding]]


def _endless() -> bytes:
    boolean, info = TensorProto.BOOL, handmade.value
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["on"]),
            helper.make_node("Identity", ["v"], ["w"]),
        ],
        "body",
        [
            *(info("i", [], TensorProto.INT64), info("go", [], boolean)),
            info("v", ["time", "batch", 4]),
        ],
        [info("on", [], boolean), info("w", ["time", "batch", 4])],
    )
    loop = helper.make_node("Loop", ["", "yes", "a"], ["b"], body=body)
    return handmade.with_head([loop], {"yes": np.array(True)}).SerializeToString()


@pytest.mark.parametrize(
    ("op", "words"),
    [
        ("GRU", "an empty batch (SIGABRT) or no time steps (SIGABRT) ends the whole process"),
        ("LSTM", "an empty batch (SIGABRT) ends the whole process"),
    ],
)
def test_empty_batch(op: str, words: str, found: Found) -> None:
    finding = found(handmade.plain(op))["empty-crash"]
    assert finding.problem.startswith(words)
    assert finding.where == op
    assert finding.severity == "warning"


def test_rnn_takes_an_empty_batch(found: Found) -> None:
    assert "empty-crash" not in found(handmade.plain("RNN"))


def test_model_without_an_end(tmp_path: Path) -> None:
    from rnnedge.doctor import examine

    (tmp_path / "model.onnx").write_bytes(_endless())
    diagnosis = examine(tmp_path / "model.onnx", time_limit=1)
    assert not diagnosis
    findings = {finding.kind: finding for finding in diagnosis.findings}
    assert findings["endless"].problem == "the model did not end within 1 s"
    assert "run at 1 size(s), well at 0" in diagnosis.facts


@pytest.fixture
def gru(tmp_path: Path) -> Path:
    return handmade.save(handmade.plain("GRU"), tmp_path)


def _x(time: int = 5, batch: int = 2) -> dict[str, np.ndarray]:
    return {"x": np.zeros((time, batch, 3), np.float32)}


def test_sandbox_goes_on_after_a_death(gru: Path) -> None:
    with Sandbox() as sandbox:
        assert sandbox.run(gru, _x()).outputs["y"].shape == (5, 2, 4)
        dead = sandbox.run(gru, _x(batch=0))
        assert (dead.ok, dead.death, dead.error) == (False, "SIGABRT", None)
        assert sandbox.run(gru, _x()).ok


def test_sandbox_tells_what_is_refused(gru: Path) -> None:
    with Sandbox() as sandbox:
        answer = sandbox.run(gru, {"x": np.zeros((5, 2, 7), np.float32)})
    assert answer.trouble.startswith("Got invalid dimensions for input: x")


def test_sandbox_does_not_try_again_what_did_not_end(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(_endless())
    with Sandbox(time_limit=1) as sandbox:
        assert sandbox.run(tmp_path / "model.onnx", _x()).trouble == "did not end within 1 s"
        assert sandbox.run(tmp_path / "model.onnx", _x()).untried


def test_sandbox_leaves_no_process(gru: Path) -> None:
    with Sandbox() as sandbox:
        sandbox.run(gru, _x())
        pid = sandbox.pid
    assert pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_start_of_the_child_is_not_the_models_time(
    gru: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rnnedge.doctor import examine

    (tmp_path / "sitecustomize.py").write_text("import time; time.sleep(3)", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    kinds = {finding.kind for finding in examine(gru, time_limit=2.5).findings}
    assert not kinds & {"endless", "crash", "no-run"}
