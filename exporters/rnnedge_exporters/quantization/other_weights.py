"""The weights around the recurrent layers, in fewer bits.

Large linear layers compute in int8, their input quantized at each call. All else is stored, and
widened when the model is opened: what does it has constant inputs, as in `GraphBuilder.weight`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from torch import nn

from rnnedge_exporters.onnx_model.graph_builder import FLOAT, GraphBuilder
from rnnedge_exporters.onnx_model.int8_grid import (
    COMPUTED_LIMIT,
    STORED_LIMIT,
    Float32,
    Grid,
    halved,
    quantize_channels,
    rounded,
)
from rnnedge_exporters.onnx_model.nodes import attribute, is_standard
from rnnedge_exporters.option_values import Storage
from rnnedge_exporters.quantization.gptq import round_on_data
from rnnedge_exporters.quantization.layer_plan import explain
from rnnedge_exporters.quantization.report import LayerQuantization, kept_in_float32
from rnnedge_exporters.quantization.second_moments import Moments, SecondMoments

FEWEST = 256
"""Elements below which the nodes that widen weights take as many bytes as they save."""

_COMPUTED_FROM = 2**18
"""Elements from which a linear layer computes in int8: with 512 × 512 it was 1.4 times as fast as
float32 for one row and 5 times for a hundred, with 256 × 64 it was slower for one."""

Axes = tuple[int, ...]

_SUMMED: dict[tuple[str, int], Callable[[ir.Node, int], Axes]] = {
    ("MatMul", 1): lambda node, rank: (rank - 2,),
    ("Gemm", 1): lambda node, rank: (1 if attribute(node, "transB") else 0,),
    ("Conv", 1): lambda node, rank: tuple(range(1, rank)),
    ("ConvTranspose", 1): lambda node, rank: (0, *range(2, rank)),
    ("Gather", 0): lambda node, rank: tuple(range(1, rank)),
}
"""For an operator and the place of its weights, the axes that are summed over, or that a row of an
embedding spans."""


def store_constants(
    graph: ir.Graph,
    storage: Callable[[str], Storage],
    module: nn.Module,
    moments: Moments | None,
    *,
    integers: bool,
) -> list[LayerQuantization]:
    """Write the weights of linear layers, convolutions and embeddings in fewer bits.

    Args:
        graph: The graph of the module; changed in place.
        storage: Returns how those of a parameter, or under a name in the graph, are written.
        module: What the names of its weights are taken from.
        moments: What the caller's sequences show of the weights, or None.
        integers: Whether large linear layers may compute in int8.

    Returns:
        What was done to each.
    """
    if storage("") == "float32":
        return []
    report: list[LayerQuantization] = []
    for inner in (graph, *graph.subgraphs()):
        report += store_in(
            inner,
            storage,
            integers=lambda name: integers,
            called=lambda array: _name_in(module, array),
            moments=moments,
        )
    return report


def store_in(
    graph: ir.Graph,
    storage: Callable[[str], Storage],
    *,
    integers: Callable[[str], bool],
    called: Callable[[Float32], str | None] = lambda array: None,
    moments: Moments | None = None,
) -> list[LayerQuantization]:
    """Write the weights of one graph, inner ones left out, in fewer bits.

    Args:
        graph: The graph; changed in place.
        storage: As in `store_constants`.
        integers: Whether weights under a name in the graph, where they are those of a large linear
            layer, may be computed with in int8.
        called: Returns what to call weights in the report; None is their name in the graph.
        moments: As in `store_constants`.

    Returns:
        What was done to each.
    """
    report = []
    for constant, node, summed in list(weights_in(graph)):
        assert constant.const_value is not None
        array, written = constant.const_value.numpy(), storage(constant.name or "")
        name = called(array) or constant.name or ""
        if storage(name) == "float32":
            report.append(kept_in_float32(name, node.op_type, array.nbytes, "it was asked for"))
        elif written != "float32":
            computed = integers(constant.name or "")
            seen = moments.of.get(name) if moments else None
            weight = _Weight(name, constant, node, summed, array)
            report.append(_written(graph, weight, written, integers=computed, moments=seen))
    return report


@dataclass(frozen=True, eq=False, slots=True)
class _Weight:
    """A weight of a graph: its name in the report, the node that takes it, what it sums over."""

    name: str
    constant: ir.Value
    node: ir.Node
    summed: Axes
    array: Float32


def _written(
    graph: ir.Graph,
    weight: _Weight,
    storage: Storage,
    *,
    integers: bool,
    moments: SecondMoments | None,
) -> LayerQuantization:
    constant, summed, array = weight.constant, weight.summed, weight.array
    done = "stored in int8" if storage == "int8" else "stored in float16"
    reason = "computed in float32: smaller file, same speed"
    multiplied = integers and storage == "int8" and is_large_product(constant, summed)
    limit = COMPUTED_LIMIT if multiplied else STORED_LIMIT
    decided, gains = array, {}
    if moments is not None and storage == "int8" and array.ndim == 2:
        rows = array.T if summed == (0,) else array  # [channels, features]
        better = round_on_data(rows, Grid(limit), moments)
        if better is not None:
            decided = better[0].T if summed == (0,) else better[0]
            gains[weight.name] = better[1]
    if multiplied:
        done = "computes in int8"
        reason = f"from {_COMPUTED_FROM:,} weights on, int8 is 1.4 to 8 times as fast"
        stored = _multiply(graph, constant, decided, summed)
    else:
        stored = store(graph, constant, decided, summed, storage)
    after = rounded(decided, summed, limit) if storage == "int8" else halved(array)
    return LayerQuantization(
        name=weight.name,
        kind=weight.node.op_type,
        done=done,
        reason=explain(reason, gains),
        bytes_before=array.nbytes,
        bytes_after=sum(tensor.nbytes for tensor in stored),
        weight_error=float(np.abs(array - after).max()),
        output_error=None,
        calibrated=tuple(gains),
    )


def weights_in(graph: ir.Graph) -> Iterator[tuple[ir.Value, ir.Node, Axes]]:
    """Yield the weights that `store_in` writes, each with a node and the axes that it sums over."""
    for constant in graph.initializers.values():
        stored = constant.const_value
        if constant.dtype != ir.DataType.FLOAT or stored is None or stored.size < FEWEST:
            continue
        if constant.is_graph_output():
            continue
        for node, summed in _users(constant):
            if summed:
                yield constant, node, summed
                break


def _users(constant: ir.Value) -> Iterator[tuple[ir.Node, Axes]]:
    """Yield the nodes that use weights, as they are or transposed, and the axes that each sums."""
    rank = len(constant.shape or ())
    for node, place in constant.uses():
        summed = _SUMMED.get((node.op_type, place)) if is_standard(node) else None
        if node.op_type == "Transpose" and rank == 2:
            for product, inner in node.outputs[0].uses():
                yield product, (1,) if (product.op_type, inner) == ("MatMul", 1) else ()
        else:
            yield node, summed(node, rank) if summed and rank > 1 else ()


def store(
    graph: ir.Graph, constant: ir.Value, array: Float32, summed: Axes, storage: Storage
) -> list[ir.TensorProtocol]:
    """Put what widens weights in their place.

    Args:
        graph: The graph that holds them; changed in place.
        constant: The initializer that they are.
        array: Their values.
        summed: The axes that a product sums over.
        storage: `int8`, `float16` or `half`.

    Returns:
        What is stored for them.
    """
    name = constant.name or ""
    graph.initializers.pop(name)
    # Half arithmetic is for recurrent layers alone: everything around them is float32.
    builder = GraphBuilder(storage="float16" if storage == "half" else storage)
    wide = builder.weight(name, array, summed)
    for made in builder.nodes:
        made.name = f"{name}/{made.op_type}"
        made.outputs[0].name = made.name
    wide.type, wide.shape = constant.type, constant.shape
    graph.insert_before(graph[0], builder.nodes)
    ir.convenience.replace_all_uses_with(constant, wide)
    return _register(graph, builder)


def is_large_product(constant: ir.Value, summed: Axes) -> bool:
    """Whether weights are a large matrix, and all that uses them multiplies a value by them."""
    tensor = constant.const_value
    if tensor is None or tensor.size < _COMPUTED_FROM or len(tensor.shape) != 2:
        return False
    return all(
        axes == summed and (node.op_type == "MatMul" or _is_linear(node))
        for node, axes in _users(constant)
    )


def _is_linear(node: ir.Node) -> bool:
    """Whether a node is a `Gemm` as `nn.Linear` needs it."""
    scales = {attribute(node, name, 1.0) for name in ("alpha", "beta")}
    return node.op_type == "Gemm" and not attribute(node, "transA") and scales == {1.0}


def _multiply(
    graph: ir.Graph, constant: ir.Value, array: Float32, summed: Axes
) -> list[ir.TensorProtocol]:
    """Put products of integers in place of all that use the weights; returns what is stored."""
    name = constant.name or ""
    builder = GraphBuilder(name)
    values, scale = quantize_channels(array, summed, COMPUTED_LIMIT)
    matrix = builder.constant("int8", values if summed == (0,) else values.T)
    scales = builder.constant("int8_scale", scale.ravel())
    between = [node for node, _ in constant.uses() if node.op_type == "Transpose"]
    for node, _ in list(_users(constant)):
        builder.nodes.clear()
        host = node.graph  # which may be inside `graph`
        assert isinstance(host, ir.Graph)
        x, *addend = (node.inputs[0], *filter(None, node.inputs[2:]))
        quantized, x_scale, zero_point = builder.ops("DynamicQuantizeLinear", x, outputs=3)
        product = builder.op("MatMulInteger", quantized, matrix, zero_point)
        product = builder.op("Cast", product, to=FLOAT)
        product = builder.op("Mul", product, builder.op("Mul", x_scale, scales))
        for bias in addend:
            product = builder.op("Add", product, bias)
        old = node.outputs[0]
        product.type, product.shape = old.type, old.shape
        host.insert_before(node, builder.nodes)
        ir.convenience.replace_all_uses_with(old, product, replace_graph_outputs=True)
        host.remove(node, safe=True)
        product.name = old.name
    for turned in between:
        assert isinstance(turned.graph, ir.Graph)
        turned.graph.remove(turned, safe=True)
    graph.initializers.pop(name)
    return _register(graph, builder)


def _register(graph: ir.Graph, builder: GraphBuilder) -> list[ir.TensorProtocol]:
    """Hand the constants of `builder` to the graph, and return what they hold."""
    for stored in builder.initializers.values():
        graph.register_initializer(stored)
    constants = [stored.const_value for stored in builder.initializers.values()]
    return [tensor for tensor in constants if tensor is not None]


def _name_in(module: nn.Module, array: Float32) -> str | None:
    """Return the path of the parameter that a constant holds, as it is or transposed."""
    for name, parameter in module.named_parameters():
        value = parameter.detach().numpy()
        if value.shape == array.shape and np.array_equal(value, array):
            return name
        if value.shape == array.shape[::-1] and np.array_equal(value.T, array):
            return name
    return None
