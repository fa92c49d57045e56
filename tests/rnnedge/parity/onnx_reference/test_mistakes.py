"""Mistakes in rounding a file, made on purpose: each fails the comparison with its original."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx_files import node_file, product_file, scan_file, tagger

from rnnedge import quantize, validate
from rnnedge_exporters.lowerings import operator_int8, scan_int8
from rnnedge_exporters.quantization import other_weights
from rnnedge_exporters.quantization.onnx_file import recurrent, rewriting

Patch = pytest.MonkeyPatch
_read, _add, _direct = recurrent._layer, rewriting.add_layer, rewriting._with_directions
_turned = rewriting._turned


def _weights(change: Callable[[Any], dict[str, Any]]) -> Callable[[Patch], None]:
    """Return what changes the weights of each direction as they are read."""

    def layer(*given: Any) -> Any:
        read = _read(*given)
        both = tuple(replace(one, **change(one)) for one in read.layers[0])
        return replace(read, layers=(both,))

    return lambda patch: patch.setattr(recurrent, "_layer", layer)


def _swap_directions(patch: Patch) -> None:
    def layer(*given: Any) -> Any:
        read = _read(*given)
        return replace(read, layers=(read.layers[0][::-1],))

    patch.setattr(recurrent, "_layer", layer)


def _without(**lost: None) -> Callable[[Patch], None]:
    """Return what drops arguments of a layer."""
    return lambda patch: patch.setattr(
        rewriting, "add_layer", lambda *args, **more: _add(*args, **(more | lost))
    )


def _swap_finals(patch: Patch) -> None:
    def add(*args: Any, **more: Any) -> Any:
        output, finals = _add(*args, **more)
        return output, finals[::-1]

    patch.setattr(rewriting, "add_layer", add)


def _float_form(patch: Patch) -> None:
    def add(graph: Any, layer: Any, lowering: str, *args: Any, **more: Any) -> Any:
        return _add(graph, layer, "operator", *args, **more)

    patch.setattr(rewriting, "add_layer", add)


def _mix_axes(patch: Patch) -> None:
    def mixed(builder: Any, layer: Any, output: Any) -> Any:
        turned = builder.op("Transpose", output, perm=[1, 0, 2])
        return builder.op("Reshape", _direct(builder, layer, turned), builder.op("Shape", output))

    patch.setattr(rewriting, "_with_directions", mixed)


def _gates(cell: str, *order: int) -> Callable[[Patch], None]:
    def mixed(of: str, array: np.ndarray) -> np.ndarray:
        assert of == cell
        return np.concatenate([np.split(array, len(order))[gate] for gate in order])

    return lambda patch: patch.setattr(recurrent, "gates_to_pytorch", mixed)


BOTH = {"direction": "bidirectional"}
RESET = {"linear_before_reset": 1}
GIVEN = {"lengths": True, "states": True}
MISTAKES: dict[str, tuple[str, dict[str, Any], Callable[[Patch], None]]] = {
    "gates_of_lstm": ("LSTM", {}, _gates("lstm", 0, 1, 2, 3)),
    "gates_of_gru": ("GRU", RESET, _gates("gru", 0, 1, 2)),
    "halves_of_bias": (
        "GRU",
        RESET,
        _weights(lambda one: {"bias_ih": one.bias_hh, "bias_hh": one.bias_ih}),
    ),
    "no_bias": ("RNN", {}, _weights(lambda one: {"bias_hh": 0 * one.bias_hh})),
    "transposed": ("RNN", {}, _weights(lambda one: {"weight_hh": one.weight_hh.T.copy()})),
    "directions": ("RNN", BOTH, _swap_directions),
    "reverse": (
        "GRU",
        RESET | {"direction": "reverse"},
        lambda patch: patch.setattr(rewriting, "_turned", lambda builder, x, lengths: x),
    ),
    "reverse_beyond_the_end": (
        "GRU",
        RESET | {"direction": "reverse", "lengths": True},
        lambda patch: patch.setattr(
            rewriting, "_turned", lambda builder, x, lengths: _turned(builder, x, None)
        ),
    ),
    "lengths": ("GRU", RESET | GIVEN, _without(lengths=None)),
    "states": ("GRU", RESET | GIVEN, _without(initial=None)),
    "h_and_c": ("LSTM", {}, _swap_finals),
    "computed_in_float32": ("LSTM", {}, _float_form),
    "axes_of_y": ("GRU", RESET, _mix_axes),
    "rounded_to_127": ("LSTM", {}, lambda p: p.setattr(operator_int8, "COMPUTED_LIMIT", 127)),
    "state_to_127": ("RNN", {}, lambda patch: patch.setattr(scan_int8, "COMPUTED_LIMIT", 127)),
}


@pytest.mark.parametrize(("op", "options", "mistake"), MISTAKES.values(), ids=MISTAKES)
def test_of_a_layer_of_integers(
    op: str,
    options: dict[str, Any],
    mistake: Callable[[Patch], None],
    tmp_path: Path,
    monkeypatch: Patch,
) -> None:
    source = node_file(tmp_path / "model.onnx", op, **options)
    mistake(monkeypatch)
    quantize(source, tmp_path / "small.onnx", quantize="int8:all")
    report = validate(tmp_path / "small.onnx", against=source)
    assert not report, report
    assert report.verdict.startswith("FAIL: small.onnx is not model.onnx with its weights rounded")


INSIDE: dict[str, tuple[Any, str, Any]] = {
    "rounded_to_127": (other_weights, "COMPUTED_LIMIT", 127),
    "wrong_axis": (
        other_weights,
        "_SUMMED",
        {("MatMul", 1): lambda node, rank: (1,), ("Gemm", 1): lambda node, rank: (1,)},
    ),
    "in_float32": (other_weights, "_COMPUTED_FROM", 10**9),
}


@pytest.mark.parametrize(("module", "name", "wrong"), INSIDE.values(), ids=INSIDE)
@pytest.mark.parametrize("make", [scan_file, lambda path: product_file(path, "MatMul", 520, 520)])
def test_of_a_large_product(
    make: Callable[[Path], Path],
    module: Any,
    name: str,
    wrong: Any,
    tmp_path: Path,
    monkeypatch: Patch,
) -> None:
    source = make(tmp_path / "model.onnx")
    monkeypatch.setattr(module, name, wrong)
    result = quantize(source, tmp_path / "small.onnx")
    report = validate(result.path, against=source)
    stored = result.quantization[0].done == "stored in int8"
    assert bool(report) == stored == (name == "_COMPUTED_FROM"), report  # what is stored is right


def test_a_state_that_is_lost_inside_a_scan(tmp_path: Path, monkeypatch: Patch) -> None:
    source = scan_file(tmp_path / "model.onnx")
    small = quantize(source, tmp_path / "small.onnx").path
    model = onnx.load(small)
    (scan,) = (node for node in model.graph.node if node.op_type == "Scan")
    body = next(a.g for a in scan.attribute if a.name == "body")
    (adds,) = (node for node in body.node if node.op_type == "Add")
    adds.input[0] = "x_t"  # twice the input, for the product
    onnx.save(model, small)
    assert not validate(small, against=source)


@pytest.mark.parametrize("how", [{"quantize": "int8"}, {"quantize": "int8:all"}], ids=str)
def test_a_bias_lost_where_only_the_last_state_is_used(
    how: dict[str, Any], tmp_path: Path, monkeypatch: Patch
) -> None:
    source = tagger(tmp_path / "model.onnx", "GRU", 16, last=True)
    _weights(lambda one: {"bias_hh": one.bias_ih})(monkeypatch)
    quantize(source, tmp_path / "small.onnx", **how)
    report = validate(tmp_path / "small.onnx", against=source)
    assert bool(report) == (how["quantize"] == "int8"), report  # a node that stays has its own


@pytest.mark.parametrize("op", ["RNN", "LSTM", "GRU"])
def test_a_scale_on_the_wrong_axis_of_a_node(op: str, tmp_path: Path, monkeypatch: Patch) -> None:
    source = node_file(tmp_path / "model.onnx", op, hidden=32)
    monkeypatch.setattr(rewriting, "_SUMMED", 1)
    quantize(source, tmp_path / "small.onnx")
    assert not validate(tmp_path / "small.onnx", against=source)


@pytest.mark.parametrize("place", [("MatMul", 1), ("Gather", 0)])
def test_a_scale_on_the_wrong_axis(
    place: tuple[str, int], tmp_path: Path, monkeypatch: Patch
) -> None:
    source = tagger(tmp_path / "model.onnx", "LSTM", 16)
    before = other_weights._SUMMED[place]
    monkeypatch.setitem(
        other_weights._SUMMED, place, lambda node, rank: tuple({0, 1} - set(before(node, rank)))
    )
    quantize(source, tmp_path / "small.onnx")
    assert not validate(tmp_path / "small.onnx", against=source)


@pytest.mark.parametrize("how", ["int8", "int8:all"])
def test_one_weight_that_was_changed(how: Any, tmp_path: Path) -> None:
    source = node_file(tmp_path / "model.onnx", "GRU", linear_before_reset=1)
    small = quantize(source, tmp_path / "small.onnx", quantize=how).path
    assert validate(small, against=source)
    model = onnx.load(small)
    graphs = [model.graph, *(a.g for n in model.graph.node for a in n.attribute if a.HasField("g"))]
    (tensor,) = (
        one for graph in graphs for one in graph.initializer if one.name in ("R", "rnn/l0/step/R")
    )
    array = onnx.numpy_helper.to_array(tensor).copy()
    array.flat[7] += np.int8(-3 if array.flat[7] > 0 else 3)
    tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    onnx.save(model, small)
    assert not validate(small, against=source)
