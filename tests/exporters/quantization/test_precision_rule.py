"""Layers that are too narrow for 8 bits: their input weights are written in float16."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from widened_layer import widened_layer

from rnnedge_exporters import export
from rnnedge_exporters.layers.weights import read_layer
from rnnedge_exporters.lowerings.layer_graph import build_layer_graph
from rnnedge_exporters.onnx_model.serialize import serialize_graph
from rnnedge_runtime import Session
from rnnedge_runtime.engine.inference_session import open_inference_session
from rnnedge_runtime.engine.options import EngineOptions

MIXED = "stored in int8, input weights in float16"


@pytest.mark.parametrize(
    ("layer", "options", "done"),
    [
        (nn.RNN(64, 192), {}, "stored in int8"),
        (nn.RNN(65, 192), {}, MIXED),
        (nn.RNN(64, 192, bidirectional=True), {}, "stored in int8"),
        (nn.RNN(64, 192, num_layers=2), {}, "stored in int8"),
        (nn.RNN(64, 192, num_layers=2, bidirectional=True), {}, MIXED),
        (nn.RNN(4, 4, nonlinearity="relu"), {}, MIXED),
        (nn.RNN(5, 4, nonlinearity="relu"), {}, "stored in float16"),
        (nn.RNN(64, 512), {}, "computes in int8"),
        (nn.RNN(65, 512), {}, "computes in int8, input weights in float16"),
        (nn.RNN(8, 512, bidirectional=True), {}, "stored in int8"),
        (nn.RNN(8, 768, bidirectional=True), {}, "computes in int8"),
        (
            nn.RNN(8, 768, num_layers=2, bidirectional=True),
            {},
            "computes in int8, input weights in float16",
        ),
        (nn.GRU(8, 8), {}, "stored in int8"),
        (nn.GRU(9, 8), {}, MIXED),
        (nn.GRU(385, 384), {}, "computes in int8, input weights in float16"),
        (nn.LSTM(12, 8), {}, "stored in int8"),
        (nn.LSTM(13, 8), {}, MIXED),
        (nn.LSTM(13, 8, proj_size=4), {}, "stored in int8"),
        (nn.LSTM(65, 8, proj_size=4), {}, MIXED),
        (nn.RNN(8, 8), {"target": "cuda"}, MIXED),
        (nn.RNN(8, 8), {"lowering": "scan"}, MIXED),
        (nn.RNN(8, 8), {"quantize": "int8:all"}, "computes in int8"),
    ],
    ids=str,
)
def test_what_is_written_in_half(
    layer: nn.RNNBase, options: dict, done: str, tmp_path: Path
) -> None:
    result = export(layer, tmp_path / "m.onnx", **{"quantize": "int8"} | options)
    (report,) = result.quantization
    assert report.done == done
    half = [t for t in _matrices(tmp_path / "m.onnx") if t.data_type == onnx.TensorProto.FLOAT16]
    assert bool(half) == ("float16" in done)
    assert ("; narrow: 8 bits would make an error of up to " in report.reason) == bool(half)
    assert sum(len(t.raw_data) for t in half) == _bytes_in_half(layer, done) * (
        2 if result.contract.layers[0].lowering == "switch" else 1
    )


def _bytes_in_half(layer: nn.RNNBase, done: str) -> int:
    if "float16" not in done:
        return 0
    kinds = ("weight_ih", "weight_hh") if done == "stored in float16" else ("weight_ih",)
    return sum(2 * w.numel() for name, w in layer.named_parameters() if name.startswith(kinds))


def _matrices(path: Path) -> list[onnx.TensorProto]:
    def inside(graph: onnx.GraphProto) -> list[onnx.TensorProto]:
        graphs = [a.g for n in graph.node for a in n.attribute if a.type == a.GRAPH]
        return [*graph.initializer, *(tensor for inner in graphs for tensor in inside(inner))]

    return [tensor for tensor in inside(onnx.load(path).graph) if len(tensor.dims) > 1]


@pytest.mark.parametrize("form", ["operator", "scan", "switch"])
@pytest.mark.parametrize("cell", [nn.RNN, nn.GRU, nn.LSTM])
def test_it_computes_with_the_weights_that_are_stored(
    cell: type[nn.RNNBase], form: str, tmp_path: Path, in_torch: Callable
) -> None:
    torch.manual_seed(0)
    layer = cell(12, 6, num_layers=2, bidirectional=True)
    export(layer, tmp_path / "m.onnx", states=False, lowering=form, quantize="int8")
    twin = widened_layer(layer, "int8_float16")
    x = np.random.default_rng(0).standard_normal((7, 4, 12)).astype(np.float32)
    expected = in_torch(twin, x)
    for name, value in Session(tmp_path / "m.onnx", threads=1).run(x).outputs.items():
        assert np.abs(value - expected[name]).max() < 1e-5


@pytest.mark.parametrize(
    "layer",
    [
        lambda: nn.RNN(64, 32),
        lambda: nn.RNN(16, 16, num_layers=2, bidirectional=True),
        lambda: nn.RNN(64, 8, nonlinearity="relu"),
        lambda: nn.GRU(64, 16),
        lambda: nn.LSTM(64, 8),
    ],
    ids=["tanh", "deep", "relu", "gru", "lstm"],
)
def test_largest_error(layer: Callable[[], nn.RNNBase], tmp_path: Path) -> None:
    """It is at most 1e-2 with standard normal inputs, and would not be in int8 alone."""
    torch.manual_seed(0)
    made = layer()
    x = np.random.default_rng(1).standard_normal((200, 4, made.input_size)).astype(np.float32)
    with torch.inference_mode():
        exact = made.double()(torch.from_numpy(x).double())[0].numpy()
    (report,) = export(made.float(), tmp_path / "m.onnx", quantize="int8").quantization
    assert np.abs(Session(tmp_path / "m.onnx").run(x).output - exact).max() < 1e-2 / 1.3
    assert report.output_error < 1e-2

    graph, _ = build_layer_graph(
        read_layer(made), "scan", lengths=False, states=False, opset=17, storage="int8"
    )
    engine, _ = open_inference_session(
        serialize_graph(graph), device="cpu", options=EngineOptions(threads=1)
    )
    assert np.abs(engine.run(["output"], {"input": x})[0] - exact).max() > 1e-2


class Both(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.narrow, self.wide = nn.RNN(8, 16), nn.GRU(16, 32)

    def forward(self, x: Tensor) -> Tensor:
        return self.wide(self.narrow(x)[0])[0]


def test_each_layer_of_a_module_by_its_own_sizes(tmp_path: Path) -> None:
    example = (torch.zeros(5, 1, 8),)
    report = export(Both(), tmp_path / "m.onnx", example_inputs=example, quantize="int8")
    assert [one.done for one in report.quantization] == [MIXED, "stored in int8"]


def test_bytes_are_those_of_what_is_stored(tmp_path: Path) -> None:
    (report,) = export(nn.GRU(9, 8), tmp_path / "m.onnx", quantize="int8").quantization
    recurrent, inputs, biases = 24 * 8 + 4 * 24, 2 * 24 * 9, 4 * 2 * 24
    assert report.bytes_after == recurrent + inputs + biases
