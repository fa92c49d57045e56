"""The recurrent parts of a graph: operator nodes, and recurrences that an exporter unrolled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from rnnedge_exporters.onnx_model.file import OnnxFile
from rnnedge_exporters.onnx_model.movement import MOVEMENT, is_movement
from rnnedge_exporters.onnx_model.nodes import attributes, label
from rnnedge_exporters.onnx_model.recurrent_nodes import activations_of, directions_of, is_recurrent

_SQUASHING = ("Tanh", "Sigmoid", "Relu")


@dataclass(frozen=True, slots=True)
class RecurrentNode:
    """A `RNN`, `LSTM` or `GRU` node; what it lacks is an empty name.

    Operators: https://onnx.ai/onnx/operators/onnx__LSTM.html (and `__RNN`, `__GRU`).
    """

    node: onnx.NodeProto
    name: str
    op: str
    options: dict[str, Any]
    inner: bool

    def tensor(self, position: int) -> str:
        """Return the name of an input."""
        return self.node.input[position] if position < len(self.node.input) else ""

    def output(self, position: int) -> str:
        """Return the name of an output."""
        return self.node.output[position] if position < len(self.node.output) else ""

    @property
    def lengths(self) -> str:
        """`sequence_lens`."""
        return self.tensor(4)

    @property
    def initial(self) -> tuple[str, ...]:
        """`initial_h`, and `initial_c` of an LSTM."""
        return (self.tensor(5), self.tensor(6)) if self.op == "LSTM" else (self.tensor(5),)

    @property
    def final(self) -> tuple[str, ...]:
        """`Y_h`, and `Y_c` of an LSTM."""
        return (self.output(1), self.output(2)) if self.op == "LSTM" else (self.output(1),)

    @property
    def direction(self) -> str:
        """`forward`, `reverse` or `bidirectional`."""
        return str(self.options.get("direction", "forward"))

    @property
    def directions(self) -> int:
        """1 or 2."""
        return directions_of(self.node)

    @property
    def activations(self) -> list[str]:
        """The activations of each direction, the defaults when none are named."""
        return activations_of(self.node)


@dataclass(frozen=True, slots=True)
class Chain:
    """A recurrence that was unrolled: products with the same weights, each fed by the last.

    Attributes:
        weight: Name of the recurrent weights.
        products: The `MatMul` or `Gemm` nodes, in the order of their steps.
        steps: Steps of the recurrence, the first one among them where it was computed at export.
        source: The tensor whose time axis the steps are cut from.
        axis: That axis.
    """

    weight: str
    products: tuple[onnx.NodeProto, ...]
    steps: int
    source: str
    axis: int


def find_cells(file: OnnxFile) -> tuple[RecurrentNode, ...]:
    """Return the operator nodes of a model, including those of inner graphs."""
    outer = {id(node) for node in file.proto.graph.node}
    return tuple(
        RecurrentNode(node, label(node), node.op_type, attributes(node), id(node) not in outer)
        for node in file.nodes()
        if is_recurrent(node)
    )


def find_chains(file: OnnxFile) -> tuple[Chain, ...]:
    """Return the unrolled recurrences of a model, of three products or more.

    A stack of layers that share their weights is not one: its steps take no slice of the input.
    """
    uses: dict[str, list[onnx.NodeProto]] = {}
    alike = _same_values(file)
    for node in file.proto.graph.node:
        weight = product_weight(file, node)
        if weight is not None:
            uses.setdefault(alike.get(weight, weight), []).append(node)
    chains = []
    for weight, products in uses.items():
        linked = _linked(file, products)
        if len(linked) < 3:
            continue
        cuts = Counter(cut for node in linked for cut in set(_cuts(file, node)))
        if not cuts or max(cuts.values()) < 2:
            continue
        (source, axis), _ = cuts.most_common(1)[0]
        first = file.producer.get(linked[0].input[0])
        folded = first is not None and _squashed(file, first)  # computed at export
        chains.append(Chain(weight, tuple(linked), len(linked) + folded, source, axis))
    return tuple(chains)


def product_weight(file: OnnxFile, node: onnx.NodeProto) -> str | None:
    """Return the constant matrix that a `MatMul` or `Gemm` multiplies by, or None."""
    if node.op_type not in ("MatMul", "Gemm") or not file.is_constant(node.input[1]):
        return None
    value = file.constant(node.input[1])
    return node.input[1] if value is not None and value.ndim == 2 else None


def matrix(file: OnnxFile, node: onnx.NodeProto) -> NDArray[np.float32]:
    """Return the weights of a product as PyTorch has them, [out, in]."""
    value = file.constant(node.input[1])
    assert value is not None
    rows_first = node.op_type == "Gemm" and attributes(node).get("transB", 0)
    return np.ascontiguousarray(value if rows_first else value.T, np.float32)


def follow_back(file: OnnxFile, name: str) -> Iterator[tuple[str, onnx.NodeProto | None]]:
    """Yield a tensor and what it was moved from, each with the node that makes it."""
    node = file.producer.get(name)
    yield name, node
    while node is not None and is_movement(node):
        moving = [n for n in node.input if n and not file.is_constant(n)]
        if not moving:
            return
        name, node = moving[0], file.producer.get(moving[0])
        yield name, node


def joined(file: OnnxFile, product: onnx.NodeProto) -> tuple[str | None, str | None]:
    """Return the bias that is added to a product, and what else is added behind it."""
    bias = product.input[2] if product.op_type == "Gemm" and len(product.input) > 2 else None
    waiting = list(file.consumers.get(product.output[0], []))
    before = {product.output[0]}
    while waiting:
        node = waiting.pop(0)
        if node.op_type == "Add":
            other = next((name for name in node.input if name not in before), None)
            if other is None or not file.is_constant(other):
                return bias, other
            bias = bias or other
        elif not is_movement(node):
            continue
        before.update(node.output)
        for name in node.output:
            waiting += file.consumers.get(name, [])
    return bias, None


def _linked(file: OnnxFile, products: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Keep the products that each depend on the one before."""
    linked = products[:1]
    for node in products[1:]:
        if _depends(file, node.input[0], linked[-1].output[0]):
            linked.append(node)
    return linked


def _depends(file: OnnxFile, name: str, target: str, limit: int = 200) -> bool:
    """Whether `name` is computed from `target`, through at most `limit` tensors."""
    seen: set[str] = set()
    waiting = [name]
    while waiting and len(seen) < limit:
        name = waiting.pop(0)
        if name == target:
            return True
        node = file.producer.get(name)
        if name in seen or node is None:
            continue
        seen.add(name)
        waiting += [n for n in node.input if n]
    return False


def _cuts(file: OnnxFile, product: onnx.NodeProto) -> Iterator[tuple[str, int]]:
    """Yield the tensors, with the axis, that the input of a step may be cut from.

    The gates of one step are cut from a product of that step; what several steps are cut from is
    the sequence.
    """
    _, name = joined(file, product)
    while name is not None:
        last: onnx.NodeProto | None = None
        for _, node in follow_back(file, name):
            last = node
            if node is not None and (axis := _cut_axis(file, node)) is not None:
                yield node.input[0], axis
        if last is None or last.op_type not in ("MatMul", "Gemm", "Add"):
            return
        # A projection of each step, or its bias: go on behind it.
        name = next((n for n in last.input if n and not file.is_constant(n)), None)


def _cut_axis(file: OnnxFile, node: onnx.NodeProto) -> int | None:
    """Return the axis along which a node takes one piece of its input out, or None."""
    if node.op_type in ("Gather", "Split", "SplitToSequence"):
        if node.op_type == "Gather" and not file.is_constant(node.input[1]):
            return None
        return int(attributes(node).get("axis", 0))
    if node.op_type != "Slice":
        return None
    if len(node.input) < 4:
        axes = attributes(node).get("axes")
        return int(axes[0]) if axes else None
    value = file.constant(node.input[3])
    steps = file.constant(node.input[4]) if len(node.input) > 4 else None
    if value is None or value.size != 1 or (steps is not None and steps.min() < 0):
        return None
    return int(value.reshape(-1)[0])


def _squashed(file: OnnxFile, node: onnx.NodeProto) -> bool:
    """Whether a state comes out of an activation, and not from an input or zeros."""
    for _ in range(4):
        if node.op_type in _SQUASHING:
            return True
        if node.op_type not in (*MOVEMENT, "Mul", "Add"):
            return False
        before = next((file.producer[n] for n in node.input if n in file.producer), None)
        if before is None:
            return False
        node = before
    return False


def _same_values(file: OnnxFile) -> dict[str, str]:
    """Map each constant matrix to the first one that holds the same numbers."""
    first: dict[tuple[tuple[int, ...], bytes], str] = {}
    alike = {}
    for name, tensor in file.constants():
        if len(tensor.dims) == 2:
            value = file.constant(name)
            if value is not None:
                alike[name] = first.setdefault((value.shape, value.tobytes()), name)
    return alike
