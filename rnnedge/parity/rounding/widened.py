"""A file of integers with its activations left in float32.

Rounding activations to 8 bits may move an answer by as much as a wrong scale does, so that what is
allowed for the one hides the other. The same file with the same weights, whose products take
activations as they are, has no such error: it must meet the tolerance of float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from rnnedge.errors import RefusedError
from rnnedge.parity.cases import Case
from rnnedge.parity.collect import Answers, Questioner
from rnnedge.parity.compare import Tolerance, compare, widest_product
from rnnedge.parity.model_runner import ModelRunner
from rnnedge.parity.model_under_test import OpenedModel
from rnnedge.parity.results import CaseResult, Diagnosis
from rnnedge.parity.rounding.half_precision import Halves
from rnnedge.parity.rounding.matched_weights import Held
from rnnedge_exporters.onnx_model.loading import load
from rnnedge_exporters.onnx_model.nodes import all_graphs
from rnnedge_exporters.sandbox.session import Worker
from rnnedge_runtime.contract import Interface
from rnnedge_runtime.errors import RnnEdgeError

_CASES = 6
"""The smallest cases of the sweep, which are enough to see a weight."""
_NOT_ROUNDED = ", activations in float32"
_Nodes: TypeAlias = list[onnx.NodeProto]


def compare_unrounded(
    path: str,
    held: Held,
    interface: Interface,
    dtype: torch.dtype,
    tolerance: Tolerance,
    collected: Sequence[Answers],
    worker: Worker | None,
) -> tuple[tuple[CaseResult, ...], list[str]]:
    """Compare a file of integers whose activations are left in float32 with its source.

    Args:
        path: The file; it is not changed.
        held: The source as the file holds it.
        interface: What the file takes and gives.
        dtype: What the reference computes in.
        tolerance: How far an output may be off.
        collected: What the sweep collected.
        worker: The process that files run in; None for this one.

    Returns:
        Results of the smallest cases, and notes; nothing of a file that multiplies no integers.
    """
    if held.integers is None or isinstance(held.integers, Halves):
        return (), []
    model = load(path)
    widen(model)
    with TemporaryDirectory(prefix="rnnedge-") as folder:
        copy = Path(folder) / "model.onnx"
        copy.write_bytes(model.SerializeToString())
        try:
            file = OpenedModel(copy, device="cpu", worker=worker)
        except RnnEdgeError as error:
            return (), [f"it does not run with activations in float32: {error}"]
        file.pair_states(interface)
        ask = Questioner(interface, ModelRunner(interface, file.session), held.module, dtype)
        asked = [answers for case in _chosen(collected) if (answers := _try(ask, case))]
        if worker is not None:
            worker.call("close", str(copy))
    results = compare(asked, interface, tolerance, widest_product(held.module))
    return tuple(replace(one, output=f"{one.output}{_NOT_ROUNDED}") for one in results), []


def diagnose_unrounded(results: Sequence[CaseResult], held: Held) -> Diagnosis:
    """Say what is wrong with a file that is right within the rounding of activations alone.

    Args:
        results: What `compare_unrounded` gave; one or more failed.
        held: The source as the file holds it.
    """
    worst = max((one for one in results if not one), key=lambda one: one.badness)
    found = worst.problem or f"off by {worst.error:.1e}, allowed {worst.allowed:.1e}"
    missing = ", ".join(held.missing)
    no_rounding = f"; in no rounding of the file: {missing}" if missing else ""
    return Diagnosis(
        cause="wrong weights",
        place="",
        evidence=(
            "within what rounding activations to 8 bits may do, and wrong where they are left in "
            f"float32: {worst.output} {found}{no_rounding}"
        ),
        smallest=worst.case,
        first="",
        remedy="quantize it again: a weight, scale, zero point or bias is not that of the source",
    )


def _chosen(collected: Sequence[Answers]) -> list[Case]:
    plain = [
        answers.case
        for answers in collected
        if answers.case.way == "plain" and answers.case.values == "normal"
        if not answers.case.chunk
    ]
    return sorted(plain, key=lambda case: case.time * case.batch)[:_CASES]


def _try(ask: Questioner, case: Case) -> Answers | None:
    try:
        return ask(case)
    except RefusedError:  # as PyTorch itself does
        return None


def widen(model: onnx.ModelProto) -> None:
    """Make the products of integers in a model products of float32, in place.

    Args:
        model: The model; its weights stay as they are.
    """
    for graph in all_graphs(model.graph):
        _replace_all(graph.node)
        graph.ClearField("value_info")  # the types of what was integers
    for function in model.functions:
        _replace_all(function.node)


def _replace_all(nodes: Any) -> None:
    made: _Nodes = []
    whole = {node.output[0] for node in nodes if node.op_type == "DynamicQuantizeLinear"}
    for node in nodes:
        replaced = _REPLACED.get(node.op_type)
        if replaced is not None:
            made += replaced(node)
        elif node.op_type == "DequantizeLinear" and node.input[0] in whole:
            made.append(helper.make_node("Identity", [node.input[0]], list(node.output)))
        else:
            made.append(node)
    copies = [_copied(node) for node in made]
    del nodes[:]
    nodes.extend(copies)


def _copied(node: onnx.NodeProto) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return copy


def _taken(node: onnx.NodeProto, place: int) -> str:
    return node.input[place] if place < len(node.input) else ""


def _quantized(node: onnx.NodeProto) -> _Nodes:
    """Answer the input itself, with a scale of one and a zero point of zero."""
    whole, scale, zero = node.output
    return [
        helper.make_node("Identity", [node.input[0]], [whole]),
        _constant(scale, np.float32(1)),
        _constant(zero, np.float32(0)),
    ]


def _product(node: onnx.NodeProto) -> _Nodes:
    """Replace `MatMulInteger` and `ConvInteger`."""
    name = node.output[0]
    left, nodes = _shifted(f"{name}/left", node.input[0], _taken(node, 2))
    right, more = _shifted(f"{name}/right", node.input[1], _taken(node, 3))
    op_type = node.op_type.removesuffix("Integer")
    product = helper.make_node(op_type, [left, right], [name], node.name)
    product.attribute.extend(node.attribute)
    return [*nodes, *more, product]


def _recurrence(node: onnx.NodeProto) -> _Nodes:
    """Replace `DynamicQuantizeLSTM`, whose weights are [directions, features, gates*hidden]."""
    nodes: _Nodes = []
    weights = []
    for place, scale, zero in ((1, 8, 9), (2, 10, 11)):
        name = f"{node.output[0] or node.output[1]}/{place}"
        wide, made = _scaled(name, node, place, scale, zero, by_direction=True)
        turned = f"{name}/turned"
        nodes += [*made, helper.make_node("Transpose", [wide], [turned], perm=[0, 2, 1])]
        weights.append(turned)
    inputs = [node.input[0], *weights, *node.input[3:8]]
    lstm = helper.make_node("LSTM", inputs, list(node.output), node.name)
    lstm.attribute.extend(node.attribute)
    return [*nodes, lstm]


def _microsoft_product(node: onnx.NodeProto) -> _Nodes:
    """Replace `DynamicQuantizeMatMul` and `MatMulIntegerToFloat`."""
    name = node.output[0]
    nodes: _Nodes = []
    if node.op_type == "DynamicQuantizeMatMul":
        left, places, bias = node.input[0], (1, 2, 3), _taken(node, 4)
    else:
        left, nodes = _scaled(f"{name}/left", node, 0, 2, 4)
        places, bias = (1, 3, 5), _taken(node, 6)
    right, more = _scaled(f"{name}/right", node, *places)
    product = f"{name}/product" if bias else name
    nodes += [*more, helper.make_node("MatMul", [left, right], [product], node.name)]
    return [*nodes, helper.make_node("Add", [product, bias], [name])] if bias else nodes


def _blocks(node: onnx.NodeProto) -> _Nodes:
    """Make a `MatMulNBits` take its input as it is."""
    exact = _copied(node)
    kept = [item for item in node.attribute if item.name != "accuracy_level"]
    del exact.attribute[:]
    exact.attribute.extend(kept)
    return [exact]


def _scaled(
    name: str,
    node: onnx.NodeProto,
    place: int,
    scale: int,
    zero: int,
    *,
    by_direction: bool = False,
) -> tuple[str, _Nodes]:
    """Return the name of (values - zero) * scale, and what computes it."""
    nodes: _Nodes = []
    factors: list[str] = []
    for factor in (node.input[scale], _taken(node, zero)):
        if factor and by_direction:  # [directions] or [directions, gates*hidden]
            shape, shaped = f"{name}/shape.{len(factors)}", f"{name}/factor.{len(factors)}"
            nodes += [
                _constant(shape, np.array([0, 1, -1], np.int64)),
                helper.make_node("Reshape", [factor, shape], [shaped]),
            ]
            factor = shaped
        factors.append(factor)
    shifted, made = _shifted(name, node.input[place], factors[1])
    wide = f"{name}/wide"
    return wide, [*nodes, *made, helper.make_node("Mul", [shifted, factors[0]], [wide])]


def _shifted(name: str, values: str, zero: str) -> tuple[str, _Nodes]:
    """Return the name of values - zero in float32, and what computes it."""
    nodes = [helper.make_node("Cast", [values], [f"{name}/float"], to=TensorProto.FLOAT)]
    if not zero:
        return f"{name}/float", nodes
    nodes += [
        helper.make_node("Cast", [zero], [f"{name}/zero"], to=TensorProto.FLOAT),
        helper.make_node("Sub", [f"{name}/float", f"{name}/zero"], [f"{name}/shifted"]),
    ]
    return f"{name}/shifted", nodes


def _constant(name: str, value: Any) -> onnx.NodeProto:
    tensor = numpy_helper.from_array(np.asarray(value))
    return helper.make_node("Constant", [], [name], value=tensor)


_REPLACED: dict[str, Callable[[onnx.NodeProto], _Nodes]] = {
    "DynamicQuantizeLinear": _quantized,
    "MatMulInteger": _product,
    "ConvInteger": _product,
    "DynamicQuantizeLSTM": _recurrence,
    "DynamicQuantizeMatMul": _microsoft_product,
    "MatMulIntegerToFloat": _microsoft_product,
    "MatMulNBits": _blocks,
}
"""Operators of ONNX, and of ONNX Runtime's own, that multiply integers:
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md."""
