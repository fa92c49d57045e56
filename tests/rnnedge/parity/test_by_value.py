"""Weights are found in a file by their values, whatever they are called and however they lie."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from rnnedge import export, validate
from rnnedge.parity.diagnosis.by_value import (
    Missing,
    blocks_of,
    count_present,
    file_arrays,
    missing_weights,
)
from rnnedge.parity.from_checkpoint import layer_in_file
from rnnedge.sources.weight_names import find_layers
from rnnedge_exporters.layers.weights import read_layer
from rnnedge_exporters.lowerings.layer_graph import build_layer_graph

CELLS: dict[str, Callable[..., nn.RNNBase]] = {
    "rnn": lambda **more: nn.RNN(3, 4, **more),
    "lstm": lambda **more: nn.LSTM(3, 4, **more),
    "gru": lambda **more: nn.GRU(3, 4, **more),
    "projected": lambda **more: nn.LSTM(3, 4, proj_size=2, **more),
}
BLOCKS = {"rnn": 2, "lstm": 8, "gru": 6, "projected": 9}
"""Blocks of one direction of one layer: a gate in weight_ih or weight_hh, and a projection."""


def _make(cell: str, **options: Any) -> nn.RNNBase:
    torch.manual_seed(4)
    return CELLS[cell](**options)


def _file(layer: nn.RNNBase, lowering: str) -> onnx.ModelProto:
    graph, _ = build_layer_graph(read_layer(layer), lowering, lengths=False, states=True, opset=17)
    return ir.to_proto(ir.Model(graph, ir_version=8))


# --- the arrays of a file -------------------------------------------------------------------------


def _graph(
    nodes: list[onnx.NodeProto], tensors: dict[str, np.ndarray], name: str = "graph"
) -> onnx.GraphProto:
    made = [numpy_helper.from_array(array, key) for key, array in tensors.items()]
    x = helper.make_tensor_value_info(f"{name}_x", TensorProto.FLOAT, None)
    y = helper.make_tensor_value_info(f"{name}_y", TensorProto.FLOAT, None)
    return helper.make_graph(nodes, name, [x], [y], made)


def _sums(graph: onnx.GraphProto) -> list[float]:
    return [float(array.sum()) for array in file_arrays(helper.make_model(graph))]


def test_constants_that_are_read_are_found() -> None:
    node = helper.make_node("Add", ["graph_x", "w"], ["graph_y"])
    assert _sums(_graph([node], {"w": np.ones((2, 3), np.float32)})) == [6]


def test_constants_that_nobody_reads_are_passed_over() -> None:
    node = helper.make_node("Identity", ["graph_x"], ["graph_y"])
    assert _sums(_graph([node], {"left_over": np.ones(3, np.float32)})) == []


def test_integers_are_passed_over() -> None:
    node = helper.make_node("Reshape", ["graph_x", "shape"], ["graph_y"])
    assert _sums(_graph([node], {"shape": np.array([1, 2])})) == []


def test_constant_nodes_are_found() -> None:
    value = numpy_helper.from_array(np.full(2, 2, np.float32))
    node = helper.make_node("Constant", [], ["graph_y"], value=value)
    assert _sums(_graph([node], {})) == [4]


def test_float64_is_compared_as_float32() -> None:
    node = helper.make_node("Add", ["graph_x", "w"], ["graph_y"])
    (array,) = file_arrays(helper.make_model(_graph([node], {"w": np.array([0.1])})))
    assert array.dtype == np.float32
    assert array[0] == np.float32(0.1)


def test_constants_of_inner_graphs_are_found() -> None:
    """Of a body, and what a body within it reads from outside."""
    deepest = _graph([helper.make_node("Add", ["outer", "own"], ["b_y"])], {}, "b")
    deepest.initializer.append(numpy_helper.from_array(np.full(1, 5, np.float32), "own"))
    inner = helper.make_node("Loop", ["", "", "a_x"], ["a_y"], body=deepest)
    body = _graph([inner], {}, "a")
    node = helper.make_node("Loop", ["", "", "graph_x"], ["graph_y"], body=body)
    assert sorted(_sums(_graph([node], {"outer": np.full(1, 3, np.float32)}))) == [3, 5]


def test_blocks_are_cut_as_they_lie_and_transposed() -> None:
    matrix = np.arange(24, dtype=np.float32).reshape(4, 6)
    found = blocks_of(iter([matrix]), hidden=2)
    assert {shape: len(blocks) for shape, blocks in found.items()} == {(2, 6): 2, (2, 4): 3}
    assert matrix[2:].tobytes() in found[2, 6]
    assert np.ascontiguousarray(matrix.T[2:4]).tobytes() in found[2, 4]


# --- the weights of a layer -----------------------------------------------------------------------


@pytest.mark.parametrize("lowering", ["operator", "scan"])
@pytest.mark.parametrize("cell", CELLS)
def test_all_weights_of_a_right_file_are_found(cell: str, lowering: str) -> None:
    if (cell, lowering) == ("projected", "operator"):
        lowering = "scan"  # the operator has no projection
    layer = _make(cell, num_layers=2, bidirectional=True)
    missing, present = missing_weights(_file(layer, lowering), read_layer(layer))
    assert missing == []
    assert present == 4 * BLOCKS[cell]


@pytest.mark.parametrize("cell", CELLS)
def test_no_weight_of_another_layer_is_found(cell: str) -> None:
    layer = _make(cell)
    torch.manual_seed(5)
    missing, present = missing_weights(_file(CELLS[cell](), "scan"), read_layer(layer))
    assert present == 0
    assert {m.name for m in missing} >= {"weight_ih_l0", "weight_hh_l0"}


def _with_other(layer: nn.RNNBase, weight: str, rows: slice, off: float) -> nn.RNNBase:
    other = type(layer)(
        layer.input_size,
        layer.hidden_size,
        num_layers=layer.num_layers,
        bidirectional=layer.bidirectional,
    )
    other.load_state_dict(layer.state_dict())
    with torch.no_grad():
        getattr(other, weight)[rows] += off
    return other


@pytest.mark.parametrize(
    ("weight", "rows", "expected"),
    [
        ("weight_ih_l0", slice(0, 4), Missing("weight_ih_l0", "i", 0.01)),
        ("weight_hh_l1", slice(8, 12), Missing("weight_hh_l1", "g", 0.01)),
        ("weight_hh_l1_reverse", slice(4, 16), Missing("weight_hh_l1_reverse", "fgo", 0.01)),
        ("weight_ih_l0_reverse", slice(None), Missing("weight_ih_l0_reverse", "ifgo", 0.01)),
    ],
    ids=["a gate", "of layer 1", "three gates", "all"],
)
def test_weight_that_is_missing_is_named(weight: str, rows: slice, expected: Missing) -> None:
    layer = _make("lstm", num_layers=2, bidirectional=True)
    file = _file(_with_other(layer, weight, rows, 0.01), "operator")
    (missing,), present = missing_weights(file, read_layer(layer))
    assert (missing.name, missing.gates) == (expected.name, expected.gates)
    assert missing.nearest == pytest.approx(0.01, rel=1e-4)
    assert present == 4 * BLOCKS["lstm"] - len(expected.gates)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("weight_ih_l0", "layer 0"),
        ("weight_hh_l12", "layer 12"),
        ("weight_hh_l1_reverse", "layer 1, backward"),
        ("weight_hr_l0_reverse", "layer 0, backward"),
    ],
)
def test_place_is_read_from_the_name(name: str, place: str) -> None:
    assert Missing(name, "", 0.0).place == place


def test_missing_weight_of_no_comparable_shape_is_infinitely_far() -> None:
    layer = nn.GRU(5, 6)
    missing, _ = missing_weights(_file(_make("gru"), "operator"), read_layer(layer))
    assert {m.nearest for m in missing} == {np.inf}


@pytest.mark.parametrize(
    ("weights", "place"),
    [
        (("weight_hh_l1",), "layer 1"),
        (("weight_hh_l1_reverse",), "layer 1, backward"),
        (("weight_hh_l1", "weight_hh_l1_reverse"), "layer 1"),
        (("weight_ih_l1", "weight_hh_l1_reverse"), "layer 1"),
        (("weight_hh_l0", "weight_hh_l1"), ""),
    ],
    ids=["one", "backward", "both directions", "two", "two layers"],
)
def test_diagnosis_names_the_place_of_what_is_missing(
    weights: tuple[str, ...], place: str, tmp_path: Path
) -> None:
    right = _make("gru", num_layers=2, bidirectional=True)
    layer = right
    for weight in weights:
        layer = _with_other(layer, weight, slice(None), 0.05)
    export(layer, tmp_path / "model.onnx")
    report = validate(tmp_path / "model.onnx", against=right, isolated=False, quick=True)
    assert report.diagnosis is not None
    assert report.diagnosis.cause == "other weights"
    assert report.diagnosis.place == place
    for weight in weights:
        assert weight in report.diagnosis.evidence


# --- the layer of a checkpoint --------------------------------------------------------------------


@pytest.mark.parametrize("cell", CELLS)
def test_every_block_is_counted(cell: str) -> None:
    layer = _make(cell)
    weights = {name: weight.detach().numpy() for name, weight in layer.named_parameters()}
    hidden = 2 if cell == "projected" else 4  # what layer_in_file cuts by
    whole = count_present(_file(layer, "scan"), weights, hidden)
    assert whole == sum(len(w) // hidden for w in weights.values() if w.ndim == 2)
    torch.manual_seed(5)
    assert count_present(_file(CELLS[cell](), "scan"), weights, hidden) == 0


def _checkpoint(**layers: nn.RNNBase) -> list[Any]:
    return find_layers(
        {
            f"{name}.{key}": w
            for name, layer in layers.items()
            for key, w in layer.state_dict().items()
        }
    )


@pytest.mark.parametrize("cell", CELLS)
def test_layer_of_a_checkpoint_is_found(cell: str, tmp_path: Path) -> None:
    torch.manual_seed(6)
    one, two = CELLS[cell](), CELLS[cell]()
    export(two, tmp_path / "model.onnx")
    layers = _checkpoint(one=one, two=two, three=nn.LSTM(3, 7))
    assert layer_in_file(str(tmp_path / "model.onnx"), layers) == "two."


def test_layer_that_is_in_no_file_is_none(tmp_path: Path) -> None:
    export(_make("gru"), tmp_path / "model.onnx")
    torch.manual_seed(6)
    layers = _checkpoint(one=nn.GRU(3, 4), two=nn.GRU(3, 4))
    assert layer_in_file(str(tmp_path / "model.onnx"), layers) is None


def test_layers_of_the_same_weights_are_none(tmp_path: Path) -> None:
    """Such as a model and its moving average, before they part."""
    export(_make("gru"), tmp_path / "model.onnx")
    layers = _checkpoint(one=_make("gru"), two=_make("gru"))
    assert layer_in_file(str(tmp_path / "model.onnx"), layers) is None


def test_file_that_cannot_be_read_is_somebody_elses_error(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    assert layer_in_file(str(tmp_path / "model.onnx"), _checkpoint(one=_make("gru"))) is None
