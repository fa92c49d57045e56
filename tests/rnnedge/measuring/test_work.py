"""The work of one call, counted in the graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

import rnnedge
from rnnedge.measuring.work import WorkCounter
from rnnedge_exporters.lowerings import LOWERINGS

LAYERS = {
    "rnn": nn.RNN(3, 4),
    "gru": nn.GRU(3, 4, num_layers=2),
    "lstm": nn.LSTM(3, 4, bidirectional=True, num_layers=2),
    "batch_first": nn.LSTM(3, 4, batch_first=True),
    "projection": nn.LSTM(3, 4, proj_size=2),
    "no_bias": nn.GRU(3, 4, bias=False),
}


def _input(layer: nn.RNNBase, time: int, batch: int) -> dict[str, np.ndarray]:
    shape = (batch, time, 3) if layer.batch_first else (time, batch, 3)
    return {"input": np.zeros(shape, np.float32)}


@pytest.mark.parametrize("lowering", LOWERINGS)
@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_two_operations_for_each_weight_step_and_row(
    layer: nn.RNNBase, lowering: str, tmp_path: Path
) -> None:
    lowering = "scan" if layer.proj_size else lowering
    rnnedge.export(layer, tmp_path / "m.onnx", lowering=lowering)
    work = WorkCounter(tmp_path / "m.onnx")(_input(layer, 7, 5))
    weights = sum(p.numel() for name, p in layer.named_parameters() if "weight" in name)
    assert work is not None
    assert work.flops == 2 * weights * 7 * 5


@pytest.mark.parametrize("lowering", ["operator", "switch"])
def test_weights_of_a_step_are_those_of_the_layer(lowering: str, tmp_path: Path) -> None:
    layer = nn.LSTM(3, 4)
    rnnedge.export(layer, tmp_path / "m.onnx", lowering=lowering)
    work = WorkCounter(tmp_path / "m.onnx")(_input(layer, 1, 1))
    assert work is not None
    assert work.weight_bytes == 4 * sum(p.numel() for p in layer.parameters())


INTEGERS = {
    "scan_int8": "MatMulInteger",
    "scan_nbits": "MatMulNBits",
    "operator_int8": "DynamicQuantizeLSTM",  # without projection, and of no other cell
}
WITH_INTEGERS = [
    (name, lowering)
    for name in LAYERS
    for lowering in INTEGERS
    if lowering != "operator_int8" or name in ("lstm", "batch_first")
]


@pytest.mark.parametrize(("name", "lowering"), WITH_INTEGERS)
def test_products_of_integers_are_counted(name: str, lowering: str, tmp_path: Path) -> None:
    layer = LAYERS[name]
    rnnedge.export(layer, tmp_path / "m.onnx", lowering=lowering, quantize="int8")
    assert INTEGERS[lowering] in _operators(onnx.load(tmp_path / "m.onnx").graph)
    work = WorkCounter(tmp_path / "m.onnx")(_input(layer, 7, 5))
    parts = 3 if lowering == "operator_int8" else 1  # that its first layer takes its input in
    weights = sum(
        p.numel() * (parts if "weight_ih_l0" in name else 1)
        for name, p in layer.named_parameters()
        if "weight" in name
    )
    assert work is not None
    assert work.flops == 2 * weights * 7 * 5
    small = WorkCounter(_float32(layer, tmp_path))(_input(layer, 7, 5))
    assert small is not None
    assert work.weight_bytes < small.weight_bytes


class Strided(nn.Module):
    """A table, a convolution that halves the steps, a layer, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(1000, 6)
        self.conv = nn.Conv1d(6, 8, 3, stride=2, padding=1)
        self.rnn = nn.GRU(8, 5, batch_first=True)
        self.head = nn.Linear(5, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.conv(self.table(tokens).transpose(1, 2)).transpose(1, 2)
        return self.head(self.rnn(x)[0])


def test_steps_that_a_convolution_leaves_out_are_no_work(tmp_path: Path) -> None:
    tokens = torch.ones(3, 11, dtype=torch.int64)
    rnnedge.export(Strided(), tmp_path / "m.onnx", example_inputs=(tokens,))
    work = WorkCounter(tmp_path / "m.onnx")({"tokens": np.zeros((2, 20), np.int64)})
    assert work is not None
    assert work.flops == 2 * 2 * 10 * (8 * 6 * 3 + 15 * (8 + 5) + 2 * 5)
    assert work.weight_bytes < 4 * 1000  # without the table


def test_model_of_others_with_axes_of_other_names(tmp_path: Path) -> None:
    model = _product("MatMul", ["N", 3])
    onnx.save(model, tmp_path / "m.onnx")
    work = WorkCounter(tmp_path / "m.onnx")({"x": np.zeros((5, 3), np.float32)})
    assert work is not None
    assert (work.flops, work.weight_bytes) == (2 * 5 * 3 * 3, 36)


@pytest.mark.parametrize(
    ("operator", "domain"),
    [("Einsum", ""), ("FusedMatMul", "com.microsoft")],
)
def test_operator_whose_work_is_not_known_is_no_guess(
    operator: str, domain: str, tmp_path: Path
) -> None:
    onnx.save(_product(operator, ["N", 3], domain), tmp_path / "m.onnx")
    assert WorkCounter(tmp_path / "m.onnx")({"x": np.zeros((5, 3), np.float32)}) is None


def test_size_that_is_not_known_is_no_guess(tmp_path: Path) -> None:
    onnx.save(_product("MatMul", ["N", 3]), tmp_path / "m.onnx")
    assert WorkCounter(tmp_path / "m.onnx")({}) is None


def _operators(graph: onnx.GraphProto) -> set[str]:
    inner = [a.g for node in graph.node for a in node.attribute if a.HasField("g")]
    return {node.op_type for node in graph.node}.union(*map(_operators, inner))


def _float32(layer: nn.RNNBase, folder: Path) -> Path:
    rnnedge.export(layer, folder / "float32.onnx", lowering="scan")
    return folder / "float32.onnx"


def _product(operator: str, axes: list[int | str], domain: str = "") -> onnx.ModelProto:
    attributes = {"equation": "ij,jk->ik"} if operator == "Einsum" else {}
    node = helper.make_node(operator, ["x", "w"], ["y"], domain=domain, **attributes)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, axes)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, axes)],
        [onnx.numpy_helper.from_array(np.ones((3, 3), np.float32), "w")],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets)
