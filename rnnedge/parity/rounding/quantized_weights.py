"""The weights that a file holds in fewer bits, read from its graph, whoever wrote it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, numpy_helper
from onnx.reference import ReferenceEvaluator

from rnnedge_exporters.onnx_model.loading import load_if_readable
from rnnedge_exporters.onnx_model.movement import moved
from rnnedge_exporters.onnx_model.nodes import attribute, attributes, subgraphs

Array = NDArray[Any]
Float32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class StoredWeight:
    """Weights of a file that are stored in int8 or float16.

    Attributes:
        values: What they stand for, float32, in the layout of the file.
        half: How far rounding may have moved each of them, of the same shape.
        ends: Where a value is the largest or smallest of its kind, to which larger ones were cut.
        dtype: `int8` or `float16`.
        multiplied: Whether a product of integers or of halves takes them, and so rounds what it
            multiplies them with; else they are widened first.
        block: How many numbers that product rounds over one range; 0 for all that it takes.
        parts: Where it takes its input several times, as parts, the weights of each; else empty.
        factors: What the input is multiplied by in each part; in the last one it is what rounding
            takes from the input.
    """

    values: Float32
    half: Float32
    ends: NDArray[np.bool_]
    dtype: str
    multiplied: bool = False
    block: int = 0
    parts: tuple[Float32, ...] = ()
    factors: tuple[float, ...] = ()


def read_stored(path: str | os.PathLike[str]) -> list[StoredWeight]:
    """Read a file; one that onnx cannot read holds nothing that is known."""
    model = load_if_readable(path)
    return [] if model is None else list(stored_weights(model.graph))


def stored_weights(
    graph: onnx.GraphProto, outer: Mapping[str, Array] | None = None
) -> Iterator[StoredWeight]:
    """Yield the weights that a graph holds in int8 or float16, including those of inner graphs.

    Args:
        graph: A graph.
        outer: What the graphs around it hold, by name.
    """
    held = _Held(graph, outer or {})
    for node in graph.node:
        for values, scale, zero, multiplied in held.read(node):
            yield _integers(values, scale, zero, multiplied=multiplied)
        if node.op_type == "MatMulNBits":
            yield from held.blocks(node)
        if node.op_type == "DynamicQuantizeLSTM" and (weight := held.in_parts(node)) is not None:
            yield weight
        if node.op_type == "Cast" or node.domain:
            continue
        multiplied = node.op_type in _MULTIPLIERS
        halves = (a for n in node.input if (a := held.halves.get(n)) is not None)
        yield from (_halves(array, multiplied=multiplied) for array in halves)
    for node in graph.node:
        if node.op_type == "Cast" and (array := held.halves.get(node.input[0])) is not None:
            yield _halves(array, multiplied=False)
        for inner in subgraphs(node):
            yield from stored_weights(inner, held.constants)


def _halves(array: Array, *, multiplied: bool) -> StoredWeight:
    half: Float32 = np.spacing(np.abs(array)).astype(np.float32) / np.float32(2)
    values = array.astype(np.float32)
    return StoredWeight(values, half, np.zeros(array.shape, bool), "float16", multiplied)


def _integers(values: Array, scale: Array, zero: Array, *, multiplied: bool) -> StoredWeight:
    """Widen integers; `scale` and `zero` have 1 for the axes that they are shared over."""
    wide = (values.astype(np.float32) - zero.astype(np.float32)) * scale
    shared = tuple(axis for axis in range(values.ndim) if scale.shape[axis] == 1)
    # A channel of zeros has any scale, and stands for nothing else.
    used = np.abs(wide).max(axis=shared, keepdims=True, initial=0) > 0
    half: Array = np.broadcast_to(np.where(used, np.abs(scale) / 2, 0), wide.shape)
    ends = (values == values.max(initial=0)) | (values == values.min(initial=0))
    return StoredWeight(wide.astype(np.float32), half.astype(np.float32), ends, "int8", multiplied)


_FOLDED = ("Cast", "Mul", "Round", "Sub", "Concat")
_PARTS = 3
_INTEGERS = 4
"""Accuracy level of a `MatMulNBits` that rounds its input to 8 bits."""
_MULTIPLIERS = ("MatMul", "Gemm", "RNN", "LSTM", "GRU")
_Read = tuple[Array, Array, Array, bool]


class _Held:
    """The constants of one graph, and what its nodes make of them."""

    def __init__(self, graph: onnx.GraphProto, outer: Mapping[str, Array]) -> None:
        own = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                own[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        self.constants: dict[str, Array] = {**outer, **own}
        self.halves = {n: a for n, a in self.constants.items() if a.dtype == np.float16}
        self._makers = {name: node for node in graph.node for name in node.output}
        self._users: dict[str, list[NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self._users.setdefault(name, []).append(node)

    def read(self, node: NodeProto) -> Iterator[_Read]:
        """Yield integers that a node takes as weights: values, scale, zero point, multiplied."""
        taken = _OPERANDS.get(node.op_type)
        if node.op_type == "Cast":
            yield from self._widened(node)
        elif node.op_type == "DequantizeLinear":
            yield from self._dequantized(node)
        elif node.op_type in ("MatMulInteger", "ConvInteger"):
            yield from self._product(node)
        elif taken is not None:
            for weight, scale, zero in taken:
                yield from self._given(node, weight, scale, zero)

    def blocks(self, node: NodeProto) -> Iterator[StoredWeight]:
        """Yield what a `MatMulNBits` of 4 or 8 bits holds: [rows, features], scales by block."""
        packed, scale = self._constant(node, 1), self._constant(node, 2)
        given = attributes(node)
        rows, features, bits = given["N"], given["K"], given.get("bits", 4)
        if packed is None or scale is None or bits not in (4, 8):
            return
        values = packed.reshape(rows, -1)
        zero = self._constant(node, 3)
        if bits == 4:  # the lower half comes first
            values = np.stack([values & 15, values >> 4], 2).reshape(rows, -1)
            if zero is not None and zero.dtype == np.uint8:
                zero = np.stack([zero & 15, zero >> 4], -1)
        middle = np.float32(1 << (bits - 1))
        scale = scale.reshape(rows, -1)
        if zero is None:
            shift = np.full_like(scale, middle)
        else:
            shift = zero.reshape(rows, -1)[:, : scale.shape[1]].astype(np.float32)
        scales, shifts = (
            np.repeat(part, given["block_size"], 1)[:, :features] for part in (scale, shift)
        )
        values = values[:, :features]
        yield StoredWeight(
            values=((values - shifts) * scales).astype(np.float32),
            half=np.abs(scales).astype(np.float32) / 2,
            ends=(values == values.max(initial=0)) | (values == values.min(initial=255)),
            dtype="int8",
            multiplied=given.get("accuracy_level", 0) == _INTEGERS,
            block=given["block_size"],
        )

    def _constant(self, node: NodeProto, place: int) -> Array | None:
        return self.constants.get(node.input[place]) if place < len(node.input) else None

    def _folded(self, name: str) -> Array | None:
        """Return a constant, or what is made of constants alone."""
        if name in self.constants:
            return self.constants[name]
        maker = self._makers.get(name)
        if maker is None or maker.op_type not in _FOLDED:
            return None
        made = {given: self._folded(given) for given in maker.input}
        if any(array is None for array in made.values()):
            return None
        evaluator: Any = ReferenceEvaluator(maker)
        folded: Array = evaluator.run(None, made)[0]
        return folded

    def in_parts(self, node: NodeProto) -> StoredWeight | None:
        """Return the input weights of an LSTM of integers that takes its input in parts."""
        taken = self._makers.get(node.input[0])
        joined = self._makers.get(taken.input[0]) if taken and taken.op_type == "Mul" else None
        if taken is None or joined is None or joined.op_type != "Concat":
            return None
        weights, scale = self._folded(node.input[1]), self._constant(node, 8)
        factors = self._constant(taken, 1)
        if weights is None or scale is None or factors is None or len(joined.input) != _PARTS:
            return None
        scale = scale.reshape(len(weights), 1, -1)
        main, bit, small = np.split(weights.astype(np.float32), _PARTS, axis=1)
        one, less, more = (float(factor) for factor in factors[:: len(factors) // _PARTS])
        steps = np.abs(bit)[bit != 0]
        half = less * float(steps.min(initial=1 / less)) / 2
        whole = main + less * bit
        if one != 1 or (np.abs(more * small - main) > more / 2).any():
            return None  # the parts are not those of one weight
        return StoredWeight(
            values=whole * scale,
            half=np.broadcast_to(half * np.abs(scale), whole.shape),
            ends=np.abs(whole) == np.abs(whole).max(initial=0),
            dtype="int8",
            multiplied=True,
            parts=(main * scale, bit * scale, small * scale),
            factors=(one, less, more),
        )

    def _widened(self, node: NodeProto) -> Iterator[_Read]:
        values = self._constant(node, 0)
        if values is None or values.dtype not in (np.int8, np.uint8):
            return
        for user in self._users.get(node.output[0], []):
            other = [self.constants.get(n) for n in user.input if n != node.output[0]]
            if user.op_type == "Mul" and other and other[0] is not None:
                scale = other[0].reshape((1,) * (values.ndim - other[0].ndim) + other[0].shape)
                yield values, scale, np.zeros_like(scale), False

    def _dequantized(self, node: NodeProto) -> Iterator[_Read]:
        values = self._constant(node, 0)
        scale = self._constant(node, 1)
        if values is None and scale is not None and scale.size == 1:
            # Rows of an embedding are widened once looked up, and may be moved in between.
            maker = self._makers.get(node.input[0])
            while maker is not None and len(moved(maker)) == 1 and values is None:
                values = self._constant(maker, 0)
                maker = self._makers.get(maker.input[0])
        if values is None or scale is None or values.dtype not in (np.int8, np.uint8):
            return
        zero = self._constant(node, 2)
        zero = np.zeros(scale.shape, np.float32) if zero is None else zero
        axis = attribute(node, "axis", 1)
        yield values, _along(scale, values, axis), _along(zero, values, axis), False

    def _product(self, node: NodeProto) -> Iterator[_Read]:
        values = self._constant(node, 1)
        scale = self._scale_after(node.output[0])
        if values is None or scale is None:
            return
        zero = self._constant(node, 3)
        zero = np.zeros(1, np.float32) if zero is None else zero
        axis = 0 if node.op_type == "ConvInteger" else values.ndim - 1
        yield values, _along(scale, values, axis), _along(zero, values, axis), True

    def _scale_after(self, name: str) -> Array | None:
        """Return the constant that what a product gives is multiplied by, besides other scales."""
        for user in self._users.get(name, []):
            if user.op_type == "Cast":
                return self._scale_after(user.output[0])
            if user.op_type != "Mul":
                continue
            other = next(n for n in user.input if n != name)
            maker = self._makers.get(other)
            joined = maker.input if maker is not None and maker.op_type == "Mul" else [other]
            found = [self.constants[n] for n in joined if n in self.constants]
            return found[0] if found else self._scale_after(user.output[0])
        return None

    def _given(self, node: NodeProto, weight: int, scale: int, zero: int) -> Iterator[_Read]:
        values, scales = self._constant(node, weight), self._constant(node, scale)
        if values is None or scales is None:
            return
        zeros = self._constant(node, zero)
        zeros = np.zeros(scales.shape, np.float32) if zeros is None else zeros
        if values.ndim == 3:  # [directions, features, gates*hidden], scales by direction
            shape = (len(values), 1, -1)
            yield values, scales.reshape(shape), zeros.reshape(shape), True
        else:
            yield values, _along(scales, values, 1), _along(zeros, values, 1), True


_OPERANDS = {
    "DynamicQuantizeLSTM": ((1, 8, 9), (2, 10, 11)),
    "DynamicQuantizeMatMul": ((1, 2, 3),),
    "MatMulIntegerToFloat": ((1, 3, 5),),
}
"""For operators of ONNX Runtime's own, the places of weights, their scale and their zero point:
https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md."""


def _along(scale: Array, values: Array, axis: int) -> Array:
    """Shape a scale for one tensor, or one along an axis, so that it broadcasts with `values`."""
    if scale.size == 1:
        return scale.reshape((1,) * values.ndim)
    shape = [1] * values.ndim
    shape[axis] = scale.size
    return scale.reshape(shape)
