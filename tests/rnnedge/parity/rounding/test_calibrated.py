"""The error of a file on the user's own sequences."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import Done
from torch import nn

from rnnedge import export, validate
from rnnedge.parity import Case
from rnnedge.parity.rounding.cost import OutputCost, scores_of
from rnnedge_runtime import Session
from rnnedge_runtime.contract import Interface, TensorSpec

GRU = ("--cell", "gru", "--input-size", "3", "--hidden-size", "8")


@pytest.fixture
def layer() -> nn.GRU:
    torch.manual_seed(0)
    return nn.GRU(3, 8)


def _sequences() -> list[dict[str, np.ndarray]]:
    random = np.random.default_rng(0)
    return [{"input": random.standard_normal((n, 3)).astype(np.float32)} for n in (4, 1, 9)]


@pytest.mark.parametrize("lengths", [False, True])
def test_numbers_are_those_of_the_answers(lengths: bool, layer: nn.GRU, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    export(layer, path, quantize="int8:all", lengths=lengths)
    report = validate(
        path,
        against=layer,
        isolated=False,
        cases=[Case(2, 2)],
        calibrate=iter(_sequences()),
        scores=True,
    )
    session, exact = Session(path, threads=1), layer.double()
    errors, same = [], []
    for arrays in _sequences():
        x = arrays["input"][:, None]
        given = session.run(x, lengths=[len(x)] if lengths else None).output
        wanted = exact(torch.from_numpy(x).double())[0].detach().numpy()
        errors.append(np.abs(given - wanted)[:, 0].max(1))
        same += list((given.argmax(-1) == wanted.argmax(-1)).ravel())
    cost = report.calibration[0]
    worst = int(np.argmax([e.max() for e in errors]))
    assert cost.max_abs == pytest.approx(max(e.max() for e in errors))
    assert cost.sequences == 3
    assert cost.worst == f"sequence {worst}, step {int(errors[worst].argmax()) + 1}"
    assert len(cost.over_time) == 9
    assert cost.over_time[8] == pytest.approx(errors[2][8])
    assert cost.over_time[0] == pytest.approx(max(e[0] for e in errors))
    assert (cost.agreed, cost.decisions) == (sum(same), 14)
    assert report.verdict.endswith(
        f"moves output by up to {cost.max_abs:.1e} on the calibration data"
    )


def test_float32_file_is_measured_too(layer: nn.GRU, tmp_path: Path) -> None:
    export(layer, tmp_path / "m.onnx")
    report = validate(
        tmp_path / "m.onnx", against=layer, isolated=False, quick=True, calibrate=_sequences()
    )
    assert report.rounding is None
    assert report.calibration[0].max_abs < 1e-6
    assert "rounding" not in report.verdict


@pytest.mark.parametrize(
    ("axes", "bare", "told", "expected"),
    [
        (("batch", "time", 74), False, None, True),
        (("batch", 2), False, None, True),
        (("batch", 1), False, None, False),
        (("batch", 50_001), False, None, False),
        (("batch", "classes"), False, None, False),
        ((1, "batch", 256), False, None, False),  # a state that no input takes
        (("batch", "time", 74), True, None, False),
        (("batch", "time", 74), True, True, True),
        (("batch", "time", 74), False, False, False),
    ],
    ids=str,
)
def test_which_outputs_are_scores(
    axes: tuple[int | str, ...], bare: bool, told: bool | None, expected: bool
) -> None:
    spec = TensorSpec("y", "float32", axes)
    assert scores_of(Interface((), (spec,)), bare=bare, told=told)(spec) is expected


def test_growth_is_shown_at_a_few_steps() -> None:
    cost = OutputCost(
        "y", 1, 0.3, 0.1, 0.3, "row 0", over_time=tuple(0.01 * n for n in range(1, 31))
    )
    assert cost.growth == (
        "1: 1.0e-02, 2: 2.0e-02, 5: 5.0e-02, 10: 1.0e-01, 20: 2.0e-01, 30: 3.0e-01"
    )


def test_commands(rnn: Callable[..., Done]) -> None:
    np.savez("data.npz", input=np.ones((4, 2, 3), np.float32))
    done = rnn("export", *GRU, "--quantize", "int8", "-o", "m.onnx", "--calibrate", "data.npz")
    assert done.code == 0
    assert " on 2 sequences of the calibration data; worst at row " in done.out
    done = rnn("validate", "m.onnx", *GRU, "--quick", "--calibrate", "data.npz", "--json")
    assert [cost["name"] for cost in done.json["calibration"]] == ["output", "h_n"]


def test_commands_refuse_in_one_line(rnn: Callable[..., Done]) -> None:
    np.savez("data.npz", input=np.ones((4, 2, 5), np.float32))
    done = rnn("export", *GRU, "--quantize", "int8", "-o", "m.onnx", "--calibrate", "data.npz")
    assert done.code == 1
    assert done.err == (
        "rnnedge: calibration data: expected input float32[time, batch, 3], got float32[4, 2, 5]\n"
    )
    assert not Path("m.onnx").exists()
    done = rnn("export", *GRU, "-o", "m.onnx", "--calibrate", "data.npz", "--no-validate")
    assert done.code == 2
    assert "--calibrate requires validation" in done.err
