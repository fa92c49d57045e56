"""Each kind of case catches a model that all other cases pass."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from breaking.graphs import Edit
from torch import nn

from rnnedge import Report, export, validate
from rnnedge.parity import Case


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tmp_path / "model.onnx"


def _gru(**options: Any) -> nn.GRU:
    torch.manual_seed(0)
    return nn.GRU(3, 4, **options)


def _edit(model: Path, change: Callable[[Edit], None]) -> None:
    edit = Edit(onnx.load(model))
    change(edit)
    onnx.save(edit.proto(), model)


def _failing(report: Report) -> set[Case]:
    assert not report
    return {result.case for result in report.results if not result}


def _validate(model: Path, layer: nn.Module, **more: Any) -> Report:
    return validate(model, against=layer, isolated=False, **more)


def _compute(edit: Edit, op_type: str, *inputs: ir.Value, **attributes: Any) -> ir.Value:
    """Put an operator at the end of a graph that reads what is there."""
    node = ir.node(op_type, inputs, attributes)
    edit.graph.append(node)
    return node.outputs[0]


def _float(edit: Edit, number: float) -> ir.Value:
    return edit.constant(np.array(number, np.float32))


def _off_when(size: str, condition: str, than: int) -> Callable[[Edit], None]:
    """Add 0.1 to the output when the size of an axis is `Equal` to, or `Greater`, than a number."""

    def change(edit: Edit) -> None:
        y = edit.graph.outputs[0]
        shape = _compute(edit, "Shape", edit.graph.inputs[0])
        axis = edit.integers({"time": 0, "batch": 1}[size])
        size_ = _compute(edit, "Gather", shape, axis)
        met = _compute(edit, condition, size_, edit.integers(than))
        off = _compute(edit, "Mul", _compute(edit, "Cast", met, to=1), _float(edit, 0.1))
        edit.give_out(0, _compute(edit, "Add", y, off))

    return change


def _rows_leak(edit: Edit) -> None:
    """Mix a hundredth of the mean over the batch into each row."""
    y = edit.graph.outputs[0]
    mean = _compute(edit, "ReduceMean", y, axes=[1], keepdims=1)
    off = _compute(edit, "Mul", _compute(edit, "Sub", mean, y), _float(edit, 0.01))
    edit.give_out(0, _compute(edit, "Add", y, off))


def _noisy(edit: Edit) -> None:
    """Add noise that is far inside the tolerance."""
    y = edit.graph.outputs[0]
    noise = _compute(edit, "Mul", _compute(edit, "RandomNormalLike", y), _float(edit, 1e-7))
    edit.give_out(0, _compute(edit, "Add", y, noise))


def _normalized(edit: Edit) -> None:
    """Divide the input by its size and multiply it again, which is NaN at zero."""
    x = edit.graph.inputs[0]
    sign = edit.after(x, "Sign")
    size = ir.node("Abs", [x])
    node = sign.producer()
    edit.graph.insert_before(node, size)
    ratio = ir.node("Div", [size.outputs[0], size.outputs[0]])
    edit.graph.insert_before(node, ratio)
    ir.convenience.replace_all_uses_with(sign, _after(edit, node, "Mul", x, ratio.outputs[0]))


def _after(edit: Edit, node: ir.Node, op_type: str, *inputs: ir.Value) -> ir.Value:
    made = ir.node(op_type, inputs)
    edit.graph.insert_after(node, made)
    return made.outputs[0]


def _clipped(limit: float) -> Callable[[Edit], None]:
    def change(edit: Edit) -> None:
        x = edit.graph.inputs[0]
        edit.after(x, "Clip", _float(edit, -limit), _float(edit, limit))

    return change


def _first_state(edit: Edit) -> None:
    """Give the state after the first step as the final one."""
    y = edit.graph.outputs[0]  # [time, batch, hidden]
    ends = [edit.integers(number) for number in (0, 1, 0)]
    edit.give_out(1, _compute(edit, "Slice", y, *ends))


ALIKE = ("zero", "tiny")
"""Values of which every row and every step is the same."""


@pytest.mark.parametrize(
    ("change", "fails"),
    [
        (_rows_leak, lambda case: case.batch > 1 and case.values not in ALIKE),
        (_noisy, lambda case: case.way == "repeated"),
        (_off_when("batch", "Equal", 1), lambda case: case.batch == 1),
        (_off_when("time", "Greater", 200), lambda case: case.time > 200),
        (_normalized, lambda case: case.values == "zero"),
        (_clipped(8), lambda case: case.values in ("saturated", "extreme", "held")),
        (_clipped(1e4), lambda case: case.values == "extreme"),
        (
            _first_state,
            lambda case: case.time > 1 and case.chunk != 1 and case.values not in ALIKE,
        ),
    ],
    ids=[
        *("rows leak", "noise", "one row", "long", "zeros", "saturated", "large"),
        "state of the first step",
    ],
)
def test_wrong_model_fails_where_it_is_wrong(
    change: Callable[[Edit], None], fails: Callable[[Case], bool], model: Path
) -> None:
    layer = _relu()
    export(layer, model)
    _edit(model, change)
    report = _validate(model, layer)
    cases = {result.case for result in report.results}
    wrong = {case for case in cases if fails(case)}
    assert 0 < len(wrong) < len(cases)
    assert _failing(report) == wrong


def _relu() -> nn.RNN:
    """A layer whose outputs grow with its inputs."""
    torch.manual_seed(0)
    return nn.RNN(3, 4, nonlinearity="relu")


def test_model_that_is_wrong_in_chunks_only(model: Path) -> None:
    """Pieces of 7 steps of 2 rows occur in no whole run."""
    export(_gru(), model)

    def change(edit: Edit) -> None:
        y, x = edit.graph.outputs[0], edit.graph.inputs[0]
        same = _compute(edit, "Equal", _compute(edit, "Shape", x), edit.integers(7, 2, 3))
        ones = _compute(edit, "Cast", same, to=1)
        met = _compute(edit, "ReduceMin", ones, axes=[0], keepdims=0)
        off = _compute(edit, "Mul", met, _float(edit, 0.1))
        edit.give_out(0, _compute(edit, "Add", y, off))

    _edit(model, change)
    report = _validate(model, _gru())
    assert {case.chunk for case in _failing(report)} == {7}


def test_noise_is_named(model: Path) -> None:
    export(_gru(), model)
    _edit(model, _noisy)
    report = _validate(model, _gru())
    assert report.diagnosis is not None
    assert report.diagnosis.smallest.way == "repeated"
    assert "differs between two runs" in report.diagnosis.evidence
    assert "RandomNormalLike" in report.diagnosis.evidence


def test_step_that_is_wrong_shows_in_the_curve(model: Path) -> None:
    export(_gru(), model)

    def change(edit: Edit) -> None:
        y = edit.graph.outputs[0]
        zero, one = (edit.constant(np.array(number)) for number in (0, 1))
        time = _compute(edit, "Gather", _compute(edit, "Shape", y), zero)
        steps = _compute(edit, "Range", zero, time, one)
        met = _compute(edit, "Cast", _compute(edit, "Equal", steps, edit.integers(100)), to=1)
        off = _compute(edit, "Mul", met, _float(edit, 0.1))
        off = _compute(edit, "Unsqueeze", off, edit.integers(1, 2))  # [time, 1, 1]
        edit.give_out(0, _compute(edit, "Add", y, off))

    _edit(model, change)
    output, inside = _validate(model, _gru()).curves
    assert [step for step, error in enumerate(output.model) if error > 1e-5] == [100]
    assert max(inside.model) < 1e-5


# --- numbers that are not compared ----------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::rnnedge.WeightsWarning")
def test_nan_on_both_sides_is_said(model: Path) -> None:
    layer = nn.RNN(3, 4)
    with torch.no_grad():
        layer.bias_ih_l0[2] = float("nan")
    export(layer, model)
    report = _validate(model, layer)
    assert report, report
    (note,) = report.notes
    assert note.startswith("output: NaN on both sides in ")
    remarked = [result for result in report.results if result.remark]
    assert note.endswith(f"and {len(remarked) - 1} more like it")


def test_overflow_is_said(model: Path) -> None:
    layer = _relu()
    with torch.no_grad():
        for weight in layer.parameters():
            weight.abs_().mul_(3)
    export(layer, model)
    report = _validate(model, layer)
    assert report, report
    (note,) = report.notes
    assert "beyond float32 in " in note
    assert "time 300" in note


def test_model_that_overflows_alone_fails(model: Path) -> None:
    """Infinity where PyTorch has a number in float32 too is not an overflow."""
    export(_relu(), model)
    _edit(
        model,
        lambda edit: edit.give_out(
            0, _compute(edit, "Div", edit.graph.outputs[0], _float(edit, 0))
        ),
    )
    assert not _validate(model, _relu())
