"""The weights of the original as the rounded file holds them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from rnnedge.parity.onnx_reference.subgraph_products import turn
from rnnedge_exporters.onnx_model.int8_grid import COMPUTED_LIMIT, STORED_LIMIT, halved, rounded
from rnnedge_exporters.onnx_model.nodes import attribute, is_standard
from rnnedge_exporters.onnx_model.recurrent_nodes import OPERATORS
from rnnedge_exporters.onnx_model.serialize import serialize_model

_CHANNELS: dict[tuple[str, int], Callable[[ir.Node, int], tuple[int, ...]]] = {
    **{(op, place): lambda node, rank: (0, 1) for op in OPERATORS for place in (1, 2)},
    ("MatMul", 1): lambda node, rank: (*range(rank - 2), rank - 1),
    ("Gemm", 1): lambda node, rank: (0 if attribute(node, "transB", 0) else 1,),
    ("Conv", 1): lambda node, rank: (0,),
    ("ConvTranspose", 1): lambda node, rank: (1,),
    ("Gather", 0): lambda node, rank: (0,),
}
"""For an operator and the place of its weights, the axes that keep their own scales. Said here
once more: where what rounds weights is wrong about an axis, the two must not agree."""
_MOVED = 2.0**-22
"""Two units in the last place of a float32, as a part of a number."""


@dataclass(slots=True)
class Rounded:
    """What was rounded.

    Attributes:
        count: How many weights.
        dtypes: What the file holds them in.
        terms: Terms of the widest sum, of those that were not rounded too.
    """

    count: int = 0
    dtypes: set[str] = field(default_factory=set)
    terms: int = 1


def round_weights(
    model: ir.Model, file: Mapping[str, ir.TensorProtocol | None], inner: list[ir.Node]
) -> Rounded:
    """Round the weights that the file stores.

    Args:
        model: The original; its weights are changed.
        file: The constants of the rounded file, by name.
        inner: Takes the nodes of inner graphs that multiply integers in the file.

    """
    found = Rounded()
    for graph in model.graphs():
        for name, constant in list(graph.initializers.items()):
            stored, own = file.get(name), constant.const_value
            channels = _channels(constant)
            if own is None or channels is None or own.dtype != ir.DataType.FLOAT:
                continue
            array = own.numpy()
            summed = tuple(axis for axis in range(array.ndim) if axis not in channels)
            found.terms = max(found.terms, int(np.prod([array.shape[axis] for axis in summed])))
            multiplied = f"{name}/int8" in file
            if not multiplied and (stored is None or stored.dtype == ir.DataType.FLOAT):
                continue
            half = stored is not None and stored.dtype == ir.DataType.FLOAT16
            limit = COMPUTED_LIMIT if multiplied else STORED_LIMIT
            after = halved(array) if half else rounded(array, summed, limit)
            inner += [n for n in _products(constant) if multiplied and n.graph is not model.graph]
            constant.const_value = ir.tensor(after, name=name)
            found.count += 1
            found.dtypes.add("float16" if half else "int8")
    return found


def _products(constant: ir.Value) -> Iterator[ir.Node]:
    """Yield the nodes that multiply by weights, as they are or transposed."""
    for node in constant.consumers():
        if node.op_type == "Transpose":
            yield from node.outputs[0].consumers()
        else:
            yield node


def _channels(constant: ir.Value) -> tuple[int, ...] | None:
    """Return the axes of weights that have their own scales; None for anything but a weight."""
    rank = len(constant.shape or ())
    for node, place in constant.uses():
        if not is_standard(node):
            continue
        if (node.op_type, place) in _CHANNELS and rank > 1:
            return _CHANNELS[node.op_type, place](node, rank)
        if node.op_type == "Transpose" and rank == 2:
            for product, inner in node.outputs[0].uses():
                if (product.op_type, inner) == ("MatMul", 1):
                    return (0,)
    return None


def moved(model: ir.Model, seed: int) -> bytes:
    """Return a model with every weight off by up to two units in the last place of a float32."""
    random = np.random.default_rng(seed)
    kept: list[tuple[ir.Value, Any]] = []
    for graph in model.graphs():
        for name, constant in graph.initializers.items():
            own = constant.const_value
            if own is None or own.dtype != ir.DataType.FLOAT or not own.shape:
                continue
            kept.append((constant, own))
            array = own.numpy()
            noise = 1 + random.uniform(-_MOVED, _MOVED, array.shape)
            constant.const_value = ir.tensor((array * noise).astype(np.float32), name=name)
    content = serialize_model(model)
    for constant, own in kept:
        constant.const_value = own
    return content


def shaken(model: ir.Model, seed: int) -> bytes:
    """Return a model, moved, that rounds activations up or down at random."""
    turn(model, 1, seed)
    content = moved(model, seed)
    turn(model, 0)
    return content
