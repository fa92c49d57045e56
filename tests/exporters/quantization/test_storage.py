"""Weights that are stored in fewer bits, and computed with in float32."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from pairwise import pairwise
from torch import nn
from widened_layer import widened_layer

from rnnedge_exporters import export
from rnnedge_runtime import Session

INPUT, HIDDEN = 2, 14  # so wide that int8 holds all weights of an RNN
LAYERS = {
    "tanh": lambda **options: nn.RNN(INPUT, HIDDEN, **options),
    "relu": lambda **options: nn.RNN(INPUT, HIDDEN, nonlinearity="relu", **options),
    "gru": lambda **options: nn.GRU(INPUT, HIDDEN, **options),
    "lstm": lambda **options: nn.LSTM(INPUT, HIDDEN, **options),
    "proj": lambda **options: nn.LSTM(INPUT, HIDDEN, proj_size=3, **options),
}
OPTIONS = {"int8": {"quantize": "int8"}, "float16": {"dtype": "float16"}}


def _layer(cell: str, **options: object) -> nn.RNNBase:
    torch.manual_seed(3)
    return LAYERS[cell](**options)


def _forms() -> Iterator[tuple[str, str]]:
    for cell, form in itertools.product(LAYERS, ("operator", "scan", "switch")):
        if form == "scan" or cell != "proj":
            yield cell, form


def _cases() -> list[tuple[str, str, str, int, bool, bool]]:
    flags = (False, True)
    product = itertools.product(OPTIONS, _forms(), (1, 2), flags, flags)
    return [(stored, cell, form, *rest) for stored, (cell, form), *rest in product]


@pytest.mark.parametrize(
    ("stored", "cell", "form", "num_layers", "both", "lengths"), pairwise(_cases(), together=3)
)
def test_it_computes_with_the_weights_that_are_stored(
    stored: str,
    cell: str,
    form: str,
    num_layers: int,
    both: bool,
    lengths: bool,
    tmp_path: Path,
    in_torch: Callable,
) -> None:
    layer = _layer(cell, num_layers=num_layers, bidirectional=both, batch_first=both)
    path = tmp_path / "model.onnx"
    export(layer, path, lengths=lengths, states=False, lowering=form, **OPTIONS[stored])
    twin = widened_layer(layer, stored)
    session = Session(path, threads=1)
    for time, batch in ((1, 1), (5, 4), (9, 1)):
        random = np.random.default_rng([time, batch])
        outer = [batch, time] if both else [time, batch]
        x = random.standard_normal([*outer, INPUT]).astype(np.float32)
        ends = random.integers(0, time + 1, batch) if lengths else None
        expected = in_torch(twin, x, lengths=ends)
        for name, value in session.run(x, lengths=ends).outputs.items():
            assert value.shape == expected[name].shape
            assert np.abs(value - expected[name]).max() < 1e-5, (name, time, batch)


@pytest.mark.parametrize("form", ["operator", "scan", "switch"])
@pytest.mark.parametrize("stored", OPTIONS)
def test_onnx_runtime_widens_them_when_it_opens_the_model(
    stored: str, form: str, tmp_path: Path
) -> None:
    export(_layer("gru", num_layers=2), tmp_path / "model.onnx", lowering=form, **OPTIONS[stored])
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.log_severity_level = 4
    onnxruntime.InferenceSession(tmp_path / "model.onnx", options)
    model = onnx.load(tmp_path / "model.onnx")
    assert any(node.op_type == "Cast" for node in _nodes(model.graph))
    optimized = onnx.load(tmp_path / "optimized.onnx")
    assert not any(node.op_type == "Cast" for node in _nodes(optimized.graph))


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _nodes(attribute.g)


@pytest.mark.parametrize("hidden", [256, 512])
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize(("stored", "share"), [("int8", 0.30), ("float16", 0.52)])
def test_size(stored: str, share: float, cell: str, hidden: int, tmp_path: Path) -> None:
    layer = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}[cell](64, hidden)
    before = export(layer, tmp_path / "before.onnx").bytes
    assert export(layer, tmp_path / "after.onnx", **OPTIONS[stored]).bytes <= share * before


@pytest.mark.parametrize("stored", OPTIONS)
@pytest.mark.parametrize("cell", LAYERS)
def test_same_source_gives_the_same_bytes(cell: str, stored: str, tmp_path: Path) -> None:
    layer = _layer(cell, num_layers=2, bidirectional=True)
    first = export(layer, tmp_path / "first.onnx", **OPTIONS[stored])
    export(_layer("lstm"), tmp_path / "between.onnx", quantize="int8:all")
    second = export(layer, tmp_path / "second.onnx", **OPTIONS[stored])
    assert first.path.read_bytes() == second.path.read_bytes()


@pytest.mark.parametrize("options", [{"quantize": "int8"}, {"quantize": "int8:all"}])
@pytest.mark.parametrize("cell", LAYERS)
def test_rows_of_zeros_stay_exact(cell: str, options: dict, tmp_path: Path) -> None:
    layer = _layer(cell)
    with torch.no_grad():
        for weight in layer.parameters():
            weight.zero_()
    export(layer, tmp_path / "model.onnx", **options)
    x = np.random.default_rng(0).standard_normal((4, 2, INPUT)).astype(np.float32)
    assert not Session(tmp_path / "model.onnx").run(x).output.any()


@pytest.mark.parametrize("cell", ["tanh", "relu", "gru", "lstm", "proj"])
def test_half_for_cuda(cell: str, tmp_path: Path, in_torch: Callable) -> None:
    """The recurrent layers compute in half; the borders of the model stay float32."""
    layer = _layer(cell, num_layers=2, bidirectional=True)
    export(layer, tmp_path / "model.onnx", dtype="float16", target="cuda", lengths=True)
    model = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    types = {info.name: info.type.tensor_type.elem_type for info in inferred.graph.value_info}
    half = onnx.TensorProto.FLOAT16
    recurrent = [n for n in model.graph.node if n.op_type in ("RNN", "GRU", "LSTM", "Scan")]
    assert len(recurrent) == 2
    assert all(types[name] == half for node in recurrent for name in node.output)
    floats = [v for v in (*model.graph.input, *model.graph.output) if v.name != "lengths"]
    assert {v.type.tensor_type.elem_type for v in floats} == {onnx.TensorProto.FLOAT}
    x = np.random.default_rng(0).standard_normal((4, 2, INPUT)).astype(np.float32)
    expected = in_torch(layer, x)["output"]
    given = Session(tmp_path / "model.onnx").run(x, lengths=[4, 4]).output
    assert np.abs(given - expected).max() < 5e-3
