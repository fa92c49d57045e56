"""Which axes of the inputs of a graph are batch and time: what its recurrent operators see of them.

The axes of what an operator runs over are followed back to the inputs of the graph, through nodes
that keep an axis, or move it. What a node does to an axis is not guessed: where it is not known
here, the walk ends.

Operators: https://onnx.ai/onnx/operators/onnx__LSTM.html (and `__Scan`, `__Loop`)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from rnnedge_runtime.contract import BATCH, TIME
from rnnedge_runtime.foreign.scope import CELLS, FIRST_STATE, MOST_STEPS, Scope
from rnnedge_runtime.onnx_file import GraphFile, Node

Roles: TypeAlias = dict[tuple[str, int], "Role"]
"""By the name of an input and the position of an axis."""
_LENGTHS, _X = 4, 0
_KEPT = {
    *("Identity", "Cast", "CastLike", "Dropout", "Relu", "LeakyRelu", "Elu", "Selu", "Gelu"),
    *("Sigmoid", "HardSigmoid", "Tanh", "Softmax", "LogSoftmax", "Softplus", "Softsign", "Clip"),
    *("Neg", "Abs", "Exp", "Log", "Sqrt", "Reciprocal", "Erf", "Sin", "Cos", "Round", "Sign"),
    *("LayerNormalization", "BatchNormalization", "InstanceNormalization", "PRelu", "Slice"),
    *("Split", "Pad", "DynamicQuantizeLinear", "QuantizeLinear", "DequantizeLinear", "CumSum"),
    *("ReverseSequence", "GroupNormalization", "SkipLayerNormalization", "RMSNormalization"),
}
"""Operators whose outputs have the axes of their first input, as far as these are batch or time."""
_BROADCAST = {"Add", "Sub", "Mul", "Div", "Pow", "Min", "Max", "Mod", "Where", "Concat", "Sum"}
"""Operators whose inputs of full rank have the axes of the output."""
_CONVOLUTIONS = {"Conv", "ConvTranspose", "ConvInteger", "MaxPool", "AveragePool"}
_PRODUCTS = {"MatMul", "MatMulInteger", "MatMulNBits", "Gemm"}


@dataclass(frozen=True, slots=True)
class Role:
    """What an axis is.

    Attributes:
        name: `batch` or `time`.
        seen_by: The operators that see it so; axes that one operator sees have one size.
    """

    name: str
    seen_by: frozenset[int]


@dataclass(frozen=True, slots=True)
class _At:
    """An axis of a value.

    Attributes:
        scope: Where the value is.
        name: Its name.
        axis: The position of the axis.
        rank: How many axes it has; None where that is not known.
        mixed: Whether a convolution may run along the axis: over steps, not over rows.
    """

    scope: Scope
    name: str
    axis: int
    rank: int | None
    mixed: bool = True


BATCHED_SCAN = 8
"""The operator set whose Scan has the batch as the first axis of all that it takes, then time."""


def find_axis_roles(file: GraphFile) -> Roles:
    """Find the axes of graph inputs that recurrent operators see as batch or time.

    Args:
        file: The graph.

    Returns:
        The axes that are seen in one way alone: rows of one operator may be steps of another.
    """
    found: dict[tuple[str, int], dict[str, set[int]]] = {}
    whole = Scope(file.graph)
    steps = iter(range(MOST_STEPS))
    for number, (scope, node) in enumerate(whole.whole(file.functions)):
        for role, at in _seen_by(scope, node, file.opset):
            for place in _back(replace(at, mixed=role == TIME), file, whole, steps):
                found.setdefault(place, {}).setdefault(role, set()).add(number)
    return {
        place: Role(*next((name, frozenset(seen)) for name, seen in roles.items()))
        for place, roles in found.items()
        if len(roles) == 1
    }


def _seen_by(scope: Scope, node: Node, opset: int) -> Iterator[tuple[str, _At]]:
    """Yield the axes that a recurrent operator has as batch or time."""
    kind = node.domain, node.op_type
    if kind in CELLS:
        layout = node.attributes.get("layout")
        by_row = layout is not None and any(layout.integers)
        yield TIME, _At(scope, node.input(_X), int(by_row), 3)
        yield BATCH, _At(scope, node.input(_X), int(not by_row), 3)
        yield BATCH, _At(scope, node.input(_LENGTHS), 0, 1)
        for position in (FIRST_STATE, FIRST_STATE + 1):
            yield BATCH, _At(scope, node.input(position), int(not by_row), 3)
    elif kind == ("", "Scan"):
        yield from (_scanned if opset != BATCHED_SCAN else _scanned_by_row)(scope, node)
    elif kind == ("", "Loop"):
        yield from _looped(scope, node)


def _scanned(scope: Scope, node: Node) -> Iterator[tuple[str, _At]]:
    count = sum(node.attributes["num_scan_inputs"].integers) if node.attributes else 0
    names = node.inputs[-count:] if count else ()
    given = node.attributes.get("scan_input_axes")
    axes = given.integers if given is not None else (0,) * len(names)
    for name, axis in zip(names, axes, strict=False):
        if axis >= 0:
            yield TIME, _At(scope, name, axis, None)
        if axis in (0, 1):
            yield BATCH, _At(scope, name, 1 - axis, 3)


def _scanned_by_row(scope: Scope, node: Node) -> Iterator[tuple[str, _At]]:
    """Yield what the first form of Scan takes: lengths, states, then what is scanned."""
    count = sum(node.attributes["num_scan_inputs"].integers) if node.attributes else 0
    for place, name in enumerate(node.inputs):
        yield BATCH, _At(scope, name, 0, 1 if place == 0 else None)
        if place >= len(node.inputs) - count:
            yield TIME, _At(scope, name, 1, None)


def _looped(scope: Scope, node: Node) -> Iterator[tuple[str, _At]]:
    """Yield what the body of a Loop picks one entry of at each step."""
    for graph in node.graphs:
        inner = scope.inner(node, graph)
        for picking in graph.nodes:
            if picking.op_type != "Gather" or not graph.input_names:
                continue
            if _moved(inner, picking.input(1)) == graph.input_names[0]:
                axis = _first(picking, "axis")
                if axis >= 0:
                    yield TIME, _At(inner, picking.input(0), axis, None)
                if axis in (0, 1):
                    yield BATCH, _At(inner, picking.input(0), 1 - axis, 3)


def _moved(scope: Scope, name: str) -> str:
    """Return what a number of the step comes from."""
    for _ in range(MOST_STEPS):
        node = scope.made.get(name)
        if node is None or node.op_type not in ("Identity", "Cast", "Unsqueeze", "Squeeze"):
            break
        name = node.input(0)
    return name


def _back(
    start: _At, file: GraphFile, whole: Scope, steps: Iterator[int]
) -> Iterator[tuple[str, int]]:
    """Follow an axis back; yields the graph inputs and positions that it comes from.

    All walks together take no more than `steps`: a file may hold many that are long.
    """
    waiting = [start]
    seen: set[_At] = set()
    while waiting and next(steps, None) is not None:
        at = waiting.pop()
        if not at.name or at in seen:
            continue
        seen.add(at)
        node = at.scope.made.get(at.name)
        if node is not None:
            waiting += _before(at, node, file)
        elif (source := at.scope.source(at.name)) is not None:
            waiting.append(replace(at, scope=source[0], name=source[1]))
        elif at.scope is whole and at.name in file.graph.input_names:
            rank = len(file.graph.shape(at.name))
            if at.axis < rank and at.rank in (rank, None):
                yield at.name, at.axis


def _before(at: _At, node: Node, file: GraphFile) -> Iterator[_At]:
    """Yield the axes of the inputs of a node that are an axis of its output."""
    inside = list(at.scope.inside(node, file.functions))
    if inside and node.op_type not in ("Scan", "Loop"):
        index = node.outputs.index(at.name)
        for inner in inside:
            if index < len(inner.graph.output_names):
                yield replace(at, scope=inner, name=inner.graph.output_names[index])
    elif (node.domain, node.op_type) in CELLS:
        yield from _before_cell(at, node)
    elif node.op_type in _KEPT:
        yield replace(at, name=node.input(0))
    elif node.op_type in _BROADCAST:
        for name in node.inputs:
            yield replace(at, name=name)
    elif node.op_type in _MOVES:
        moved = _MOVES[node.op_type](at, node)
        if moved is not None:
            yield moved


def _before_cell(at: _At, node: Node) -> Iterator[_At]:
    layout = node.attributes.get("layout")
    if layout is not None and any(layout.integers):
        return
    is_sequence = node.outputs.index(at.name) == 0
    axis = ({0: 0, 2: 1} if is_sequence else {1: 1}).get(at.axis)
    if axis is not None:
        yield _of(at, node, axis, 3)


def _transpose(at: _At, node: Node) -> _At | None:
    given = node.attributes.get("perm")
    if given is None:
        return None if at.rank is None else _of(at, node, at.rank - 1 - at.axis, at.rank)
    order = given.integers
    return _of(at, node, order[at.axis], len(order)) if at.axis < len(order) else None


def _squeeze(at: _At, node: Node) -> _At | None:
    axes = _axes(at, node)
    if axes is None or (at.rank is None and min(axes, default=0) < 0):
        return None
    rank = None if at.rank is None else at.rank + len(axes)
    dropped = {axis + (rank or 0) if axis < 0 else axis for axis in axes}
    left = [axis for axis in range(at.axis + len(axes) + 1) if axis not in dropped]
    return _of(at, node, left[at.axis], rank)


def _unsqueeze(at: _At, node: Node) -> _At | None:
    axes = _axes(at, node)
    if axes is None or (at.rank is None and min(axes, default=0) < 0):
        return None
    added = {axis + (at.rank or 0) if axis < 0 else axis for axis in axes}
    if at.axis in added:
        return None
    before = sum(axis < at.axis for axis in added)
    return _of(at, node, at.axis - before, None if at.rank is None else at.rank - len(added))


def _axes(at: _At, node: Node) -> tuple[int, ...] | None:
    given = node.attributes.get("axes")
    return given.integers if given is not None else at.scope.numbers(node.input(1))


def _reshape(at: _At, node: Node) -> _At | None:
    """Keep an axis whose size is said to stay, and those before the first that may change."""
    shape = at.scope.numbers(node.input(1))
    if shape is None or at.axis >= len(shape) or shape[at.axis] or _first(node, "allowzero"):
        return None
    return _of(at, node, at.axis, None)


def _gather(at: _At, node: Node) -> _At | None:
    """Rows of a table have the axes of the indices."""
    if not _is_constant(at.scope, node.input(0)) or _first(node, "axis"):
        return None
    return replace(at, name=node.input(1), rank=None if at.rank is None else at.rank - 1)


def _is_constant(scope: Scope, name: str) -> bool:
    for _ in range(MOST_STEPS):
        node = scope.made.get(name)
        if node is not None:
            if node.op_type not in ("DequantizeLinear", "Cast", "Identity"):
                return node.op_type == "Constant"
            name = node.input(0)
        elif name in scope.graph.initializers:
            return True
        elif (outer := scope.source(name)) is not None:
            scope, name = outer
        else:
            break
    return False


def _convolve(at: _At, node: Node) -> _At | None:
    is_kept = at.axis == 0 or (at.axis > 1 and at.mixed)
    return _of(at, node, at.axis, at.rank) if is_kept else None


def _multiply(at: _At, node: Node) -> _At | None:
    is_last = at.rank is not None and at.axis == at.rank - 1
    return None if is_last or _first(node, "transA") else _of(at, node, at.axis, at.rank)


def _of(at: _At, node: Node, axis: int, rank: int | None) -> _At:
    return replace(at, name=node.input(0), axis=axis, rank=rank)


def _first(node: Node, name: str) -> int:
    """Return an attribute that is one integer; 0 where it is left out."""
    given = node.attributes.get(name)
    return given.integers[0] if given is not None and given.integers else 0


_MOVES: Mapping[str, Callable[[_At, Node], _At | None]] = {
    "Transpose": _transpose,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Reshape": _reshape,
    "Gather": _gather,
    **dict.fromkeys(_CONVOLUTIONS, _convolve),
    **dict.fromkeys(_PRODUCTS, _multiply),
}
