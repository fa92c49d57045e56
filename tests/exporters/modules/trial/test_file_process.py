"""The file that was made of a module runs in a child process before it is written."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from endless_loop import endless_loop
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

import rnnedge
from rnnedge import ExportError
from rnnedge_exporters.errors import TrialError
from rnnedge_exporters.modules import lifting
from rnnedge_exporters.modules.trial.differences import FileSide
from rnnedge_exporters.onnx_model.serialize import serialize_graph
from rnnedge_exporters.sandbox.child_process import ChildProcess
from rnnedge_exporters.sandbox.shared import shared_sandbox
from rnnedge_runtime.contract import Interface, TensorSpec

X = TensorSpec("x", "float32", ("time", "batch", 3))
Y = TensorSpec("y", "float32", ("time", "batch", 3))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(3, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x)[0]


def _export(path: Path) -> rnnedge.ExportResult:
    torch.manual_seed(0)
    return rnnedge.export(Net(), path / "m.onnx", example_inputs=(torch.randn(2, 5, 3),))


def _file(nodes: list[onnx.NodeProto], **constants: object) -> bytes:
    floats = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "graph",
        [floats("x", TensorProto.FLOAT, X.axes)],
        [floats("y", TensorProto.FLOAT, Y.axes)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    return bytes(model.SerializeToString())


def _side(content: bytes, steps: int = 0) -> FileSide:
    return FileSide(content, Interface((X,), (Y,)), lambda sizes: [sizes["time"] - steps])


SECOND_GRU = [
    helper.make_node("Slice", ["x", "one", "end", "axis"], ["later"]),
    helper.make_node("GRU", ["later", "W", "R"], ["", "h"], hidden_size=4, linear_before_reset=1),
    helper.make_node("ReduceSum", ["h"], ["sum"], keepdims=0),
    helper.make_node("Mul", ["sum", "nothing"], ["none"]),
]
"""Adds nothing, and ends the process where `x` has one step only."""
CONSTANTS = {
    "one": np.array([1]),
    "end": np.array([2**31]),
    "W": np.ones((1, 12, 3), np.float32),
    "R": np.ones((1, 12, 4), np.float32),
    "nothing": np.float32(0),
}


@pytest.fixture
def deadly() -> bytes:
    """A file that gives back x, and ends the process where it has one step."""
    added = helper.make_node("Add", ["x", "none"], ["y"])
    return _file([*SECOND_GRU, added], **CONSTANTS, axis=np.array([0]))


@pytest.fixture
def endless() -> bytes:
    return _file([endless_loop("x", "y")], true=True)


def test_answers_are_those_of_this_process(deadly: bytes) -> None:
    x = torch.randn(4, 2, 3)
    here = FileSide(deadly, Interface((X,), (Y,)), lambda sizes: [], isolated=False)
    assert np.array_equal(_side(deadly).run({"x": x}, {})["y"], here.run({"x": x}, {})["y"])


def test_a_file_that_ends_the_process_is_an_error(deadly: bytes) -> None:
    side = _side(deadly)
    with pytest.raises(TrialError, match=r"^ONNX Runtime ended the process \(SIGABRT\)$") as raised:
        side.run({"x": torch.ones(1, 2, 3)}, {})
    assert raised.value.ended
    assert side.run({"x": torch.ones(2, 2, 3)}, {})["y"].shape == (2, 2, 3)


def test_a_layer_without_steps_is_named(deadly: bytes) -> None:
    with pytest.raises(TrialError, match=r"\(SIGABRT\): a recurrent layer is left without steps$"):
        _side(deadly, steps=1).run({"x": torch.ones(1, 2, 3)}, {})


def test_a_file_that_never_ends_is_an_error(
    endless: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_sandbox(), "_limit", 0.5)
    with pytest.raises(TrialError, match=r"^ONNX Runtime did not end within 0\.5 s$") as raised:
        _side(endless).run({"x": torch.ones(1, 2, 3)}, {})
    assert raised.value.ended


def test_what_is_refused_is_not_an_end(deadly: bytes) -> None:
    with pytest.raises(TrialError, match="invalid dimensions for input: x") as raised:
        _side(deadly).run({"x": torch.ones(2, 2, 7)}, {})
    assert not raised.value.ended


def test_a_file_that_cannot_be_opened() -> None:
    with pytest.raises(TrialError, match=r"^the model cannot be opened by ONNX Runtime: "):
        _side(_file([helper.make_node("NoSuchOperator", ["x"], ["y"])]))


def test_an_export_whose_file_ends_the_process_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it does so at a size of 1 only, which a file may otherwise refuse."""

    def with_second_gru(graph: object) -> bytes:
        model = onnx.load_from_string(serialize_graph(graph))  # type: ignore[arg-type]
        arrays = CONSTANTS | {"axis": np.array([1])}
        model.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in arrays.items())
        (last,) = (node for node in model.graph.node if model.graph.output[0].name in node.output)
        last.output[list(last.output).index(model.graph.output[0].name)] = "before"
        name = model.graph.output[0].name
        model.graph.node.extend([*SECOND_GRU, helper.make_node("Add", ["before", "none"], [name])])
        return bytes(model.SerializeToString())

    monkeypatch.setattr(lifting, "serialize_graph", with_second_gru)
    said = r"^at batch 3, time 1 the file cannot be run: ONNX Runtime ended the process \(SIGABRT\)"
    with pytest.raises(ExportError, match=said):
        _export(tmp_path)
    assert not list(tmp_path.iterdir())


def test_exports_share_a_child(tmp_path: Path) -> None:
    _export(tmp_path)
    first = shared_sandbox().pid
    _export(tmp_path)
    assert first is not None
    assert shared_sandbox().pid == first


def test_a_child_that_is_gone_is_replaced(tmp_path: Path) -> None:
    _export(tmp_path)
    pid = shared_sandbox().pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert _export(tmp_path).report.sizes


def test_a_bare_layer_is_run_without_a_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(ChildProcess, "call")
    monkeypatch.delattr(ChildProcess, "start")
    assert rnnedge.export(nn.GRU(3, 4), tmp_path / "m.onnx").report.sizes
