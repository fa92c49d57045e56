"""Every option of a bare layer, exported once, and run at shapes that the export never saw."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from pairwise import pairwise
from torch import nn

from rnnedge_exporters import ExportResult, export
from rnnedge_runtime import Contract, Session
from rnnedge_runtime.contract import METADATA_KEY

INPUT, HIDDEN, PROJ = 3, 5, 2
SHAPES = ((1, 1), (1, 4), (2, 3), (5, 5), (7, 2), (13, 1))
"""(time, batch) pairs."""
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Case:
    cell: str
    num_layers: int
    bidirectional: bool
    batch_first: bool
    bias: bool
    states: bool
    lengths: bool
    lowering: str

    def __str__(self) -> str:
        words = [self.cell, f"{self.num_layers}layer"]
        words += ["bi"] * self.bidirectional + ["batch_first"] * self.batch_first
        words += ["nobias"] * (not self.bias) + ["nostates"] * (not self.states)
        return "-".join([*words, *["lengths"] * self.lengths, self.lowering])

    def layer(self) -> nn.RNNBase:
        options = {
            "num_layers": self.num_layers,
            "bidirectional": self.bidirectional,
            "batch_first": self.batch_first,
            "bias": self.bias,
        }
        torch.manual_seed(7)
        if self.cell in ("tanh", "relu"):
            return nn.RNN(INPUT, HIDDEN, nonlinearity=self.cell, **options)
        if self.cell == "gru":
            return nn.GRU(INPUT, HIDDEN, **options)
        return nn.LSTM(INPUT, HIDDEN, proj_size=PROJ if self.cell == "proj" else 0, **options)


def _cases() -> Iterator[Case]:
    flags = [False, True]
    for cell, lowering in itertools.product(
        ("tanh", "relu", "lstm", "gru", "proj"), ("operator", "scan", "switch")
    ):
        plain = cell in ("tanh", "relu")
        if lowering == "scan" or plain or (lowering == "operator" and cell != "proj"):
            for options in itertools.product((1, 2, 3), *[flags] * 5):
                yield Case(cell, *options, lowering)


@dataclass(frozen=True)
class Run:
    sizes: dict[str, int]
    x: np.ndarray
    lengths: np.ndarray | None
    state: tuple[np.ndarray, ...] | None
    outputs: dict[str, np.ndarray]


class Exported:
    """One case as a file, opened once and run once."""

    def __init__(self, case: Case, path: Path) -> None:
        self.case, self.layer, self.path = case, case.layer(), path
        self.result: ExportResult = export(
            self.layer, path, lengths=case.lengths, states=case.states, lowering=case.lowering
        )
        self.proto = onnx.load(path)

    @cached_property
    def session(self) -> Session:
        return Session(self.path, threads=1)

    @cached_property
    def runs(self) -> list[Run]:
        return [self._run(time, batch) for time, batch in SHAPES]

    def _run(self, time: int, batch: int) -> Run:
        random = np.random.default_rng([time, batch])
        outer = [batch, time] if self.case.batch_first else [time, batch]
        x = random.standard_normal([*outer, INPUT]).astype(np.float32)
        state = lengths = None
        if self.case.states:
            state = tuple(
                random.standard_normal([rows, batch, size]).astype(np.float32)
                for rows, size in state_sizes(self.layer)
            )
        if self.case.lengths:
            lengths = random.integers(0, time + 1, batch)
            lengths[0], lengths[-1] = time, 0  # in a batch of one, the only row is empty
        outputs = self.session.run(x, lengths=lengths, state=state).outputs
        return Run({"time": time, "batch": batch}, x, lengths, state, outputs)


def state_sizes(layer: nn.RNNBase) -> list[tuple[int, int]]:
    rows = layer.num_layers * (2 if layer.bidirectional else 1)
    h = (rows, layer.proj_size or HIDDEN)
    return [h, (rows, HIDDEN)] if isinstance(layer, nn.LSTM) else [h]


@pytest.fixture(scope="module", params=pairwise(_cases(), together=3), ids=str)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    return Exported(request.param, tmp_path_factory.getbasetemp() / f"{request.param}.onnx")


def test_values_are_those_of_torch(exported: Exported, in_torch: Callable) -> None:
    for run in exported.runs:
        expected = in_torch(exported.layer, run.x, run.state, run.lengths)
        assert list(run.outputs) == list(expected), run.sizes
        for name, value in expected.items():
            given = run.outputs[name]
            assert given.dtype == np.float32, (name, run.sizes)
            assert given.shape == value.shape, (name, run.sizes)
            assert np.abs(given - value).max() < TOLERANCE, (name, run.sizes)


def test_declared_shapes_are_the_real_ones(exported: Exported) -> None:
    declared = {output.name: _axes(output) for output in exported.proto.graph.output}
    for run in exported.runs:
        promised = {n: tuple(run.sizes.get(a, a) for a in axes) for n, axes in declared.items()}
        assert {name: array.shape for name, array in run.outputs.items()} == promised


def test_batch_and_time_are_symbolic(exported: Exported) -> None:
    case, graph = exported.case, exported.proto.graph
    outer = ("batch", "time") if case.batch_first else ("time", "batch")
    width = state_sizes(exported.layer)[0][1] * (2 if case.bidirectional else 1)
    states = [(rows, "batch", size) for rows, size in state_sizes(exported.layer)]
    inputs = {"input": (*outer, INPUT)}
    if case.lengths:
        inputs["lengths"] = ("batch",)
    if case.states:
        inputs |= dict(zip(("h_0", "c_0"), states, strict=False))
    outputs = {"output": (*outer, width)} | dict(zip(("h_n", "c_n"), states, strict=False))
    assert [(v.name, _axes(v)) for v in graph.input] == list(inputs.items())
    assert [(v.name, _axes(v)) for v in graph.output] == list(outputs.items())


def test_checker_accepts_it(exported: Exported) -> None:
    onnx.checker.check_model(exported.proto, full_check=True)


def test_strict_shape_inference_agrees(exported: Exported) -> None:
    inferred = onnx.shape_inference.infer_shapes(
        exported.proto, check_type=True, strict_mode=True, data_prop=True
    )
    declared = [(v.name, _axes(v)) for v in exported.proto.graph.output]
    assert [(v.name, _axes(v)) for v in inferred.graph.output] == declared


def test_contract_describes_the_layer(exported: Exported) -> None:
    case, layer = exported.case, exported.layer
    (text,) = [p.value for p in exported.proto.metadata_props if p.key == METADATA_KEY]
    contract = Contract.from_json(text)
    assert contract == exported.result.contract
    (info,) = contract.layers
    assert (info.cell, info.nonlinearity) == {
        "tanh": ("rnn", "tanh"),
        "relu": ("rnn", "relu"),
        "lstm": ("lstm", "tanh"),
        "proj": ("lstm", "tanh"),
        "gru": ("gru", "tanh"),
    }[case.cell]
    for name in ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "bidirectional"):
        assert getattr(info, name) == getattr(layer, name), name
    assert info.proj_size == layer.proj_size
    assert info.lowering == case.lowering
    assert info.weights == sum(p.numel() for p in layer.parameters())
    assert contract.interface.lengths == ("lengths" if case.lengths else None)
    pairs = [(pair.input, pair.output) for pair in contract.interface.states]
    both = [("h_0", "h_n"), ("c_0", "c_n")][: len(state_sizes(layer))]
    assert pairs == (both if case.states else [])


def test_lengths_input_is_there_only_when_asked_for(exported: Exported) -> None:
    recurrent = [n for n in exported.proto.graph.node if n.op_type in ("RNN", "LSTM", "GRU")]
    with_lengths = [n for n in recurrent if len(n.input) > 4 and n.input[4]]
    assert len(with_lengths) == (len(recurrent) if exported.case.lengths else 0)


def _axes(value: onnx.ValueInfoProto) -> tuple[int | str, ...]:
    dims = value.type.tensor_type.shape.dim
    return tuple(dim.dim_param or dim.dim_value for dim in dims)
