"""Every layer that computes in int8 gives what a numpy model of the same integers gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import integer_model
import numpy as np
import onnx
import pytest
from integer_cases import Case, Integer
from integer_model import Arithmetic, Array

EXACT = 1e-5


def agrees(made: Integer, arithmetic: Arithmetic) -> bool:
    """Whether the file gives what the model gives, but for one rounding that fell the other way.

    The two compute tanh to other last digits, so that once in some hundred thousand values a tie
    is rounded up here and down there. One of the six shapes may be off by what such a step of the
    state does: its size times the largest weight.
    """
    off = []
    for x, lengths, state, outputs in made.runs:
        expected = integer_model.run(made.layer, x, state, lengths, arithmetic)
        assert list(outputs) == list(expected)
        assert all(outputs[name].shape == value.shape for name, value in expected.items())
        errors = [np.abs(outputs[name] - value).max() for name, value in expected.items()]
        off += [max(errors)] if max(errors) > EXACT else []
    return not off or (len(off) == 1 and off[0] < _one_step(made))


def _one_step(made: Integer) -> float:
    largest = max(float(w.detach().abs().max()) for w in made.layer.parameters() if w.ndim == 2)
    states = [a for _, _, state, outputs in made.runs for a in (state[0], outputs["h_n"])]
    return largest * float(np.ptp(np.concatenate([a.ravel() for a in states]))) / 255


def arithmetic_of(case: Case, **mistake: Any) -> Arithmetic:
    right = {
        "integer_input": case.form == "operator_int8",
        "block": 16 if case.form == "scan_nbits" else 0,
    }
    return Arithmetic(**right | mistake)


def test_it_is_the_arithmetic_of_integers(integer: Integer) -> None:
    assert agrees(integer, arithmetic_of(integer.case))


def test_form_is_the_one_of_the_contract(integer: Integer) -> None:
    layer = integer.result.contract.layers[0]
    assert layer.lowering == integer.case.form
    nodes = {node.op_type for node in onnx.load(integer.path).graph.node}
    assert nodes & {"Scan", "DynamicQuantizeLSTM"} == {
        "DynamicQuantizeLSTM" if layer.lowering == "operator_int8" else "Scan"
    }


def test_checker_and_strict_shape_inference_accept_it(integer: Integer) -> None:
    model = onnx.load(integer.path)
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)


def _scale_of_columns(weights: Array, limit: int) -> tuple[np.ndarray, Array]:
    values, scale = integer_model.int8_rows(weights.T, limit)
    return values.T, np.resize(scale, len(weights))


def _one_scale(weights: Array, limit: int) -> tuple[np.ndarray, Array]:
    scale = np.abs(weights).max() / np.float32(limit)
    return np.rint(weights / scale).astype(np.int32), np.full(len(weights), scale, np.float32)


def _all_eight_bits(weights: Array, _limit: int) -> tuple[np.ndarray, Array]:
    return integer_model.int8_rows(weights, 127)


MISTAKES = {
    "scales of columns": {"rows": _scale_of_columns},
    "one scale for all": {"rows": _one_scale},
    "8 bits, which saturate": {"rows": _all_eight_bits},
    "no recurrent bias": {"bias_hh": 0.0},
    "recurrent bias twice": {"bias_hh": 2.0},
    "no parts": {"parts": False},
    "blocks of another size": {"block": 32},
    "gates of ONNX": {"gates": {"lstm": [0, 2, 3, 1], "gru": [1, 0, 2]}},
}
CASES = [
    Case(cell, form, 1, True, False, True, False)
    for cell, form in (
        ("tanh", "scan_int8"),
        ("relu", "scan_int8"),
        ("gru", "scan_int8"),
        ("lstm", "scan_int8"),
        ("lstm", "operator_int8"),
        ("proj", "scan_int8"),
        ("relu", "scan_nbits"),
        ("gru", "scan_nbits"),
        ("proj", "scan_nbits"),
    )
]


@pytest.mark.parametrize("mistake", MISTAKES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_mistake_is_seen(mistake: str, case: Case, tmp_path: Path) -> None:
    if mistake == "gates of ONNX" and case.cell in ("tanh", "relu"):
        pytest.skip("a plain RNN has no gates")
    if "rows" in MISTAKES[mistake] and case.form == "scan_nbits":
        pytest.skip("it has no scales of rows")
    if "block" in MISTAKES[mistake] and case.form != "scan_nbits":
        pytest.skip("it has no blocks")
    if "parts" in MISTAKES[mistake] and case.form != "operator_int8":
        pytest.skip("it does not quantize its input")
    made = Integer(case, tmp_path / "model.onnx")
    assert agrees(made, arithmetic_of(case))
    assert not agrees(made, arithmetic_of(case, **MISTAKES[mistake]))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_quantizing_the_input_or_not_is_seen(case: Case, tmp_path: Path) -> None:
    made = Integer(case, tmp_path / "model.onnx")
    other = not arithmetic_of(case).integer_input
    assert not agrees(made, arithmetic_of(case, integer_input=other))
