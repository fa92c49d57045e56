"""The files that PyTorch's own exporters write: what is found in them, and that it is repaired."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch_exports
from torch import nn

import rnnedge
from rnnedge.doctor import Finding, examine, fix
from rnnedge_runtime import Session

KINDS = {
    "dynamo_rnn_both_ways": {"frozen-time", "unrolled", "ir-version", "local-paths"},
    "dynamo_lstm": {
        *("frozen-time", "empty-crash", "hides-nan", "ir-version", "local-paths", "states-hidden"),
    },
    "dynamo_tagger": {
        *("frozen-time", "empty-crash", "ir-version", "local-paths", "states-hidden"),
    },
    "torchscript_rnn": {"hides-nan", "states-hidden", "versions"},
    "torchscript_lstm": {"empty-crash", "hides-nan", "versions"},
    "torchscript_gru": {"empty-crash", "hides-nan", "states-hidden", "versions"},
    "torchscript_tagger": {"empty-crash", "states-hidden", "versions"},
    "torchscript_loop": {"frozen-time", "unrolled", "versions"},
}


@pytest.fixture(scope="module")
def findings(torch_files: Path) -> dict[str, dict[str, Finding]]:
    """The findings in each file, by kind."""
    return {
        name: {finding.kind: finding for finding in examine(torch_files / f"{name}.onnx").general}
        for name in KINDS
    }


@pytest.mark.parametrize("name", KINDS)
def test_kinds(name: str, findings: dict[str, dict[str, Finding]]) -> None:
    assert set(findings[name]) == KINDS[name]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        (
            "dynamo_lstm",
            "time is declared open (s31), and only 5 works: 6 is refused; at 10 getitem comes as "
            "[5, 6, 4], 6 rows for 3; rows and columns are confused",
        ),
        ("dynamo_rnn_both_ways", "time is declared open (s31), and only 5 works: 1 is refused; "),
        ("torchscript_loop", "time is declared open (time), and only 5 works: "),
    ],
)
def test_frozen_time(name: str, problem: str, findings: dict[str, dict[str, Finding]]) -> None:
    finding = findings[name]["frozen-time"]
    assert finding.problem.startswith(problem)
    assert finding.fixable


def test_declared_open_and_fixed_is_an_error(findings: dict[str, dict[str, Finding]]) -> None:
    finding = findings["dynamo_lstm"]["frozen-time"]
    assert finding.severity == "error"
    assert "node_Reshape" in finding.problem


@pytest.mark.parametrize("name", ["dynamo_rnn_both_ways", "torchscript_loop"])
def test_steps_of_an_unrolled_recurrence(
    name: str, findings: dict[str, dict[str, Finding]]
) -> None:
    assert "5 steps" in findings[name]["unrolled"].problem


def test_later_steps_that_a_traced_loop_leaves_out(
    findings: dict[str, dict[str, Finding]],
) -> None:
    problem = findings["torchscript_loop"]["frozen-time"].problem
    assert "10 runs, and the answer is that to 5 steps" in problem


LAYERS = {
    "dynamo_rnn_both_ways": lambda: nn.RNN(3, 4, 2, bidirectional=True),
    "dynamo_lstm": lambda: nn.LSTM(3, 4),
    "torchscript_rnn": lambda: nn.RNN(3, 4, nonlinearity="relu"),
    "torchscript_gru": lambda: nn.GRU(3, 4),
    "torchscript_loop": None,
}


@pytest.mark.parametrize("name", LAYERS)
def test_bare_layer_is_exported_again(name: str, torch_files: Path, tmp_path: Path) -> None:
    source, make = torch_files / f"{name}.onnx", LAYERS[name]
    treatment = fix(source, tmp_path / "out.onnx")
    assert treatment
    (repair,) = treatment.repairs
    assert repair.name == "exported again"
    assert {"frozen-time", "unrolled", "states-hidden", "local-paths"}.isdisjoint(
        finding.kind for finding in treatment.after.findings
    )
    session = Session(tmp_path / "out.onnx")
    x = np.random.default_rng(5).standard_normal((5, 2, 3)).astype(np.float32)
    (first, *_) = Session(source).run(x).outputs.values()
    np.testing.assert_allclose(session.run(x).output, first, atol=1e-6)
    assert session.run(np.zeros((13, 4, 3), np.float32)).output.shape[:2] == (13, 4)
    if make is not None:  # what torch exported itself, which the doctor never saw
        assert rnnedge.validate(tmp_path / "out.onnx", against=torch_exports.make(make))


def test_whole_module_is_repaired_in_place(torch_files: Path, tmp_path: Path) -> None:
    source = torch_files / "dynamo_tagger.onnx"
    content = source.read_bytes()
    treatment = fix(source, tmp_path / "out.onnx")
    assert treatment
    assert source.read_bytes() == content
    assert b"/torch/nn/modules/rnn.py" in content
    assert b"/torch/" not in (tmp_path / "out.onnx").read_bytes()
    assert [repair.name for repair in treatment.repairs] == [
        *("sizes taken out", "axes declared as they are", "states exposed", "cleaned"),
    ]
    assert "node_MatMul" in treatment.reasons[0] or "node_linear" in treatment.reasons[0]
    session = Session(tmp_path / "out.onnx")
    tokens = np.arange(26).reshape(13, 2) % 11
    whole = session.run(tokens).output
    np.testing.assert_array_equal(whole[:5], Session(source).run(tokens[:5]).output)
    stream = session.stream(batch=2)
    pieces = [stream.step(tokens[a:b]) for a, b in ((0, 4), (4, 5), (5, 13))]
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-6)
