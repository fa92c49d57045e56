"""Layers that nobody thought of, at shapes that nobody thought of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from rnnedge_exporters import export
from rnnedge_runtime import Session

SIZES = st.integers(1, 9)


@st.composite
def layers(draw: st.DrawFn) -> nn.RNNBase:
    cell = draw(st.sampled_from(["tanh", "relu", "lstm", "gru"]))
    hidden = draw(SIZES)
    options: dict[str, Any] = {
        "num_layers": draw(st.integers(1, 3)),
        "bias": draw(st.booleans()),
        "batch_first": draw(st.booleans()),
        "bidirectional": draw(st.booleans()),
    }
    torch.manual_seed(draw(st.integers(0, 99)))
    if cell == "gru":
        return nn.GRU(draw(SIZES), hidden, **options)
    if cell == "lstm":
        return nn.LSTM(draw(SIZES), hidden, proj_size=draw(st.integers(0, hidden - 1)), **options)
    return nn.RNN(draw(SIZES), hidden, nonlinearity=cell, **options)


@given(
    layer=layers(),
    lengths=st.booleans(),
    states=st.booleans(),
    target=st.sampled_from(["cpu", "cuda", "portable"]),
    opset=st.sampled_from([None, 18, 21, 23]),
    shapes=st.lists(st.tuples(st.integers(1, 12), st.integers(1, 6)), min_size=2, max_size=4),
)
@settings(
    max_examples=30,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_layer_at_any_shape(
    layer: nn.RNNBase,
    lengths: bool,
    states: bool,
    target: str,
    opset: int | None,
    shapes: list[tuple[int, int]],
    in_torch: Callable,
    tmp_path_factory: Any,
) -> None:
    path = tmp_path_factory.getbasetemp() / "random.onnx"
    export(layer, path, lengths=lengths, states=states, target=target, opset=opset)
    session = Session(path, threads=1)
    for time, batch in shapes:
        random = np.random.default_rng([time, batch])
        outer = [batch, time] if layer.batch_first else [time, batch]
        x = random.standard_normal([*outer, layer.input_size]).astype(np.float32)
        state = tuple(
            random.standard_normal([array.shape[0], batch, array.shape[2]]).astype(np.float32)
            for array in session.zero_state(batch)
        )
        rows = random.integers(0, time + 1, batch) if lengths else None
        given_outputs = session.run(x, lengths=rows, state=state or None).outputs
        expected = in_torch(layer, x, state or None, rows)
        assert list(given_outputs) == list(expected)
        for name, value in expected.items():
            assert given_outputs[name].shape == value.shape
            assert np.abs(given_outputs[name] - value).max() < 1e-5
