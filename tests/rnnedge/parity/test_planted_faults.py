"""Faults that show in large states, wide batches, empty rows or at one size alone do not pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from rnnedge import export, validate
from rnnedge_exporters.onnx_model.nodes import all_graphs
from rnnedge_runtime import Session
from rnnedge_runtime.proof.golden import read_golden
from rnnedge_runtime.proof.golden_check import check_golden

Plant = Callable[[str, str], Sequence[onnx.NodeProto]]
"""Makes the nodes of a fault, given the right value and the name that the wrong one takes."""
BATCH, TIME, LENGTHS = "rows", "steps", "lengths"


def _clipped(limit: float) -> Plant:
    def plant(right: str, wrong: str) -> list[onnx.NodeProto]:
        limits = [_constant(f"{sign}", np.float32(sign * limit)) for sign in (-1, 1)]
        names = [node.output[0] for node in limits]
        return [*limits, helper.make_node("Clip", [right, *names], [wrong])]

    return plant


def _off_above(what: str, limit: int) -> Plant:
    """Return twice the value where there are more rows or steps, or all lengths are smaller."""

    def plant(right: str, wrong: str) -> list[onnx.NodeProto]:
        if what == LENGTHS:
            size = [helper.make_node("ReduceMax", ["lengths"], ["size"], keepdims=0)]
        else:
            start = int(what == BATCH)
            size = [helper.make_node("Shape", ["input"], ["size"], start=start, end=start + 1)]
        sides = ["limit", "size"] if what == LENGTHS else ["size", "limit"]
        return [
            *size,
            _constant("limit", np.int64(limit)),
            helper.make_node("Greater", sides, ["beyond"]),
            helper.make_node("Add", [right, right], ["twice"]),
            helper.make_node("Where", ["beyond", "twice", right], [wrong]),
        ]

    return plant


FAULTS: dict[str, tuple[Callable[[], nn.Module], dict[str, Any], str, Plant]] = {
    "cell state clipped at 3, as some frameworks do": (
        lambda: nn.LSTM(4, 5), {}, "c_n", _clipped(3)
    ),
    "cell state clipped at 50": (lambda: nn.LSTM(4, 5), {}, "c_n", _clipped(50)),
    "relu clipped at 6 in the branch of few rows": (
        lambda: nn.RNN(4, 5, nonlinearity="relu"), {"lowering": "switch"}, "l0/few/RNN:0",
        _clipped(6),
    ),
    "state clipped in the branch of few rows": (
        lambda: nn.GRU(4, 5), {"lowering": "switch"}, "l0/few/GRU:1", _clipped(3)
    ),
    "large inputs clipped in the branch of many rows": (
        lambda: nn.RNN(4, 5, nonlinearity="relu"), {"lowering": "switch"},
        "l0/many/forward/Squeeze", _clipped(60),
    ),
    "more than 64 rows": (lambda: nn.GRU(4, 5), {}, "output", _off_above(BATCH, 64)),
    "more than 500 steps": (lambda: nn.GRU(4, 5), {}, "output", _off_above(TIME, 500)),
    "no row has a step": (
        lambda: nn.GRU(4, 5), {"lengths": True}, "h_n", _off_above(LENGTHS, 1)
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_fault_fails(fault: str, tmp_path: Path) -> None:
    make, options, where, plant = FAULTS[fault]
    torch.manual_seed(0)
    module, path = make().eval(), tmp_path / "model.onnx"
    export(module, path, validate=False, **options)
    model = onnx.load(path)
    _plant(model, where, plant)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    assert not validate(path, against=module, isolated=False, diagnosis_time=0)


def test_fault_fails_beside_a_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    export(nn.LSTM(4, 5), tmp_path / "right.onnx", validate=False)
    model = onnx.load(tmp_path / "right.onnx")
    for where, plant in {"c_n": _clipped(3), "output": _off_above(BATCH, 64)}.items():
        wrong = onnx.ModelProto()
        wrong.CopyFrom(model)
        _plant(wrong, where, plant)
        onnx.save(wrong, tmp_path / "wrong.onnx")
        assert not validate(tmp_path / "wrong.onnx", against=tmp_path / "right.onnx"), where


def test_golden_vectors_have_every_kind_of_case(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, path, folder = nn.LSTM(4, 5), tmp_path / "model.onnx", tmp_path / "vectors"
    export(module, path, lengths=True, validate=False)
    assert validate(path, against=module, isolated=False, golden=folder)
    cases = " ".join(vectors.case for vectors in read_golden(folder).sets)
    kinds = ("zero", "saturated", "tiny", "extreme", "held")
    assert [kind for kind in kinds if f"{kind} values" not in cases] == []


def test_rounded_states_of_other_threads_are_allowed(tmp_path: Path) -> None:
    """Each thread rounds the states of its rows over their range, and the inputs over all."""
    torch.manual_seed(0)
    layer, path, folder = nn.LSTM(3, 4), tmp_path / "model.onnx", tmp_path / "vectors"
    export(layer, path, quantize="int8:all", validate=False)
    assert validate(path, against=layer, isolated=False, golden=folder)
    for threads in (2, 3):
        findings = check_golden(Session(path, threads=threads), read_golden(folder), model=path)
        assert all(finding.passed for finding in findings), (threads, findings)


def _plant(model: onnx.ModelProto, where: str, plant: Plant) -> None:
    """Put the nodes of a fault behind the value of a name, in whichever graph it is made."""
    for graph in all_graphs(model.graph):
        for place, node in enumerate(graph.node):
            if where in node.output:
                node.output[list(node.output).index(where)] = f"{where}.right"
                after = list(graph.node[place + 1 :])
                del graph.node[place + 1 :]
                graph.node.extend([*plant(f"{where}.right", where), *after])
                return
    raise AssertionError(f"no node makes {where}")


def _constant(name: str, value: np.generic) -> onnx.NodeProto:
    tensor = numpy_helper.from_array(np.asarray(value), name)
    assert tensor.data_type in (TensorProto.FLOAT, TensorProto.INT64)
    return helper.make_node("Constant", [], [name], value=tensor)
