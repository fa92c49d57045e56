"""Walks a graph at given shapes and writes down the kernel calls that it takes.

What the shapes tell, such as a Reshape's sizes or which branch an If takes, is computed here; a
transpose, slice or squeeze is another view of the same memory. What is left are calls over buffers,
which get fixed places at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, Protocol

import numpy as np

from rnnedge_runtime.errors import PlanError
from rnnedge_runtime.onnx_file import Graph, Node
from rnnedge_runtime.plan.packing import Packer
from rnnedge_runtime.plan.placing import place_in_arena, without_unused
from rnnedge_runtime.plan.values import (
    DTYPE_CODE,
    ITEM,
    Array,
    Buffer,
    Call,
    Constant,
    Deferred,
    Dtype,
    Tensor,
    Value,
    as_float32,
    dense_strides,
    merged,
)

MOST_ELEMENTS = 1 << 30
"""Of one tensor; a larger one is refused."""
HEAVY = 200_000
"""Multiplications of a run from which other Python threads may run meanwhile."""
(
    LAYER,
    PRODUCT,
    ACTIVATE,
    ARITHMETIC,
    COPY,
    FILL,
    GATHER,
    SOFTMAX,
    NORMALIZE,
    REDUCE,
    DEPTHWISE,
    COMPARE,
    WHERE,
    CAST,
) = range(14)
"""The operations of `program.h`."""


class Operator(Protocol):
    """What lays the nodes of one operator out."""

    def __call__(
        self, tracer: Tracer, node: Node, inputs: Sequence[Value | None]
    ) -> Sequence[Value]:
        """Return the outputs of a node; an input is None where it is left out."""
        ...


@dataclass(slots=True)
class Kept:
    """What a plan keeps from one layout to the next: folded constants and packed weights."""

    folded: dict[tuple[int, ...], list[Constant]] = field(default_factory=dict)
    packed: dict[tuple[object, ...], tuple[object, tuple[object, ...]]] = field(
        default_factory=dict
    )


@dataclass(frozen=True, slots=True)
class Recipe:
    """A graph that was laid out.

    Attributes:
        arguments: All that `_engine.Program` is built from but the set of instructions.
        outputs: Name, shape and dtype of each output.
        calls: The calls, whose buffers have their places.
    """

    arguments: dict[str, Any]
    outputs: tuple[tuple[str, tuple[int, ...], Dtype], ...]
    calls: tuple[Call, ...]

    @property
    def arena(self) -> int:
        """Bytes of the memory that lies between the calls."""
        return int(self.arguments["arena"])


class Tracer:
    """Lays a graph out at given shapes.

    Args:
        operators: By operator, what lays its nodes out.
        folds: By operator, what computes it from constants.
        packer: What weights are packed by.
        kept: What other layouts of the same plan have made.
    """

    def __init__(
        self,
        operators: Mapping[str, Operator],
        folds: Mapping[str, Any],
        packer: Packer,
        kept: Kept,
    ) -> None:
        """Start with no calls."""
        self._operators, self._folds = operators, folds
        self.packer = packer
        self._kept = kept
        self._calls: list[Call] = []
        self._producers: dict[Buffer, Call] = {}
        self._constants: dict[int, Buffer] = {}
        self._owners: list[Array] = []
        self._path: tuple[int, ...] = ()
        self._label = ""
        self._scope: Mapping[str, Value] = {}

    # --- graphs ---

    def run(self, graph: Graph, inputs: Mapping[str, tuple[tuple[int, ...], Dtype]]) -> Recipe:
        """Lay out a whole model.

        Args:
            graph: Its graph.
            inputs: Shape and dtype of each of its inputs.

        Raises:
            PlanError: For what the native engine does not know.
        """
        scope: dict[str, Value] = {}
        buffers = []
        for index, (name, (shape, dtype)) in enumerate(inputs.items()):
            buffer = Buffer("input", prod(shape) * ITEM[dtype], index=index)
            buffers.append(buffer)
            scope[name] = Tensor(shape, dtype, buffer, 0, dense_strides(shape))
        with np.errstate(divide="raise", invalid="raise", over="ignore", under="ignore"):
            values = self.run_graph(graph, scope)
        return self._finish(graph, buffers, values)

    def run_graph(self, graph: Graph, scope: Mapping[str, Value]) -> list[Value]:
        """Lay out a graph whose names, but for its own, are in `scope`; return its outputs."""
        names: dict[str, Value] = dict(scope)
        for name, tensor in graph.initializers.items():
            names[name] = self._initializer(tensor.array)
        outer = self._path
        for index, node in enumerate(graph.nodes):
            self._path = (*outer, index)
            values = [_value(names, node, name) for name in node.inputs]
            self._scope = names
            results = self._run_node(node, values)
            self._scope = names
            for name, value in zip(node.outputs, results, strict=False):
                names[name] = value
        self._path = outer
        missing = [info.name for info in graph.outputs if info.name not in names]
        if missing:
            raise PlanError(f"the graph gives {missing[0]!r}, which no node makes")
        return [names[info.name] for info in graph.outputs]

    def branch(
        self, graph: Graph, index: int, bound: Mapping[str, Value] | None = None
    ) -> list[Value]:
        """Lay out a body of a node that sees all names around it, and those that are `bound`."""
        scope, path = self._scope, self._path
        self._path = (*path, -1 - index)
        values = self.run_graph(graph, {**scope, **(bound or {})})
        self._scope, self._path = scope, path
        return values

    @property
    def path(self) -> tuple[int, ...]:
        """Where the node that is being laid out stands, body within body."""
        return self._path

    @property
    def scope(self) -> Mapping[str, Value]:
        """The names that are known at the node which is being laid out."""
        return self._scope

    def _initializer(self, array: Array) -> Constant:
        key = ("initializer", id(array))
        if array.dtype == np.float16:
            array = self.keep(key, (array,), lambda: array.astype(np.float32))
        return Constant(array, static=True)

    def _run_node(self, node: Node, values: Sequence[Value | None]) -> Sequence[Value]:
        self._label = node.label
        known = all(isinstance(value, Constant) for value in values if value is not None)
        try:
            if known and node.operator in self._folds:
                return self._fold(node, values)
            return self._operator(node, values)(self, node, values)
        except PlanError as error:
            if error.node is None:
                error.node = node.name or node.operator
            raise
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise PlanError(
                f"{node.label}: the native engine cannot lay it out: {error}",
                node.name or node.operator,
            ) from error

    def _operator(self, node: Node, values: Sequence[Value | None]) -> Operator:
        """Return what lays a node with these inputs out."""
        for value in values:
            if isinstance(value, Deferred):
                if node.operator not in value.takers:
                    raise PlanError(f"{node.label}: takes a quantized value, but is not a product")
                return value.takers[node.operator]
            if isinstance(value, Tensor) and value.applied and not _may_take(node, value):
                raise PlanError(f"{node.label}: takes an RNN's sums before its nonlinearity")
        if node.operator not in self._operators:
            raise PlanError(f"{node.label}: the native engine has no {node.operator}")
        return self._operators[node.operator]

    def _fold(self, node: Node, values: Sequence[Value | None]) -> Sequence[Constant]:
        arrays = [value.array if isinstance(value, Constant) else None for value in values]
        static = all(value.static for value in values if isinstance(value, Constant))
        if static and self._path in self._kept.folded:
            return self._kept.folded[self._path]
        results = [
            Constant(array.astype(np.float32) if array.dtype == np.float16 else array, static)
            for array in self._folds[node.operator](node, arrays)
        ]
        if static:
            self._kept.folded[self._path] = results
        return results

    # --- tensors ---

    def new(self, shape: Iterable[int], dtype: Dtype = "float32") -> Tensor:
        """Return a dense tensor in its own memory."""
        shape = tuple(int(size) for size in shape)
        if min(shape, default=1) < 0 or prod(shape) > MOST_ELEMENTS:
            raise PlanError(f"a tensor of shape {list(shape)} is too large")
        buffer = Buffer("arena", prod(shape) * ITEM[dtype])
        return Tensor(shape, dtype, buffer, 0, dense_strides(shape))

    def tensor(self, value: Value | None) -> Tensor:
        """Return a value as a tensor; a constant gets memory."""
        if isinstance(value, Tensor):
            return value
        if value is None:
            raise PlanError("an input is missing")
        if isinstance(value, Deferred):
            raise PlanError("a quantized value is not a result by itself")
        array = value.array
        if array.dtype.kind == "f":
            if array.dtype == np.float64:
                raise PlanError("float64 is not computed by the native engine")
            dtype: Dtype = "float32"
        elif array.dtype.kind in "iu":
            dtype = "int64"
        elif array.dtype.kind == "b":
            dtype = "bool"
        else:
            raise PlanError(f"a constant of {array.dtype}")
        buffer = self._constants.get(id(array))
        if buffer is None:
            made = np.ascontiguousarray(array, dtype)
            buffer = Buffer("constant", made.nbytes, made)
            self._constants[id(array)] = buffer
            self._owners.append(array)  # so that no other array gets its identity
        return Tensor(array.shape, dtype, buffer, 0, dense_strides(array.shape))

    def floats(self, value: Value | None) -> Tensor:
        """Return a value as a tensor of float32."""
        tensor = self.tensor(value)
        if tensor.dtype != "float32":
            raise PlanError(f"expected float32, got {tensor.dtype}")
        return tensor

    def dense(self, tensor: Tensor) -> Tensor:
        """Return a tensor whose elements lie one after the other."""
        if tensor.is_dense:
            return tensor
        made = self.new(tensor.shape, tensor.dtype)
        self.copy(tensor, made)
        return made

    def copy(self, source: Tensor, target: Tensor) -> None:
        """Copy a tensor into another one of the same shape."""
        sizes, (given, made) = merged(source.shape, source.strides, target.strides)
        self.emit(
            Call(
                COPY,
                DTYPE_CODE[source.dtype],
                sizes,
                (source.place, target.place),
                shaped(given, made),
                len(sizes),
                work=source.count // 4,
            )
        )

    def constant(self, key: tuple[object, ...], array: Array) -> Tensor:
        """Return an array, made from weights, as a tensor; `key` finds it in later layouts."""
        kept = self.keep(key, (), lambda: as_float32(array))
        return self.tensor(Constant(kept, static=True))

    def keep(self, key: tuple[object, ...], owners: tuple[object, ...], make: Any) -> Any:
        """Return what was made under `key`, or make it; `owners` live as long as it does."""
        if key not in self._kept.packed:
            self._kept.packed[key] = (make(), owners)
        return self._kept.packed[key][0]

    # --- calls ---

    def emit(self, call: Call) -> None:
        """Write a call down."""
        if len(call.sizes) > 8:
            raise PlanError(f"a tensor with {len(call.sizes)} axes that lie apart")
        call.node = self._label
        self._calls.append(call)
        for buffer in call.written():
            self._producers[buffer] = call

    def producer(self, tensor: Tensor) -> Call | None:
        """Return the call that made a tensor as a whole, or None."""
        call = self._producers.get(tensor.buffer)
        if call is None or tensor.count * ITEM[tensor.dtype] != tensor.buffer.size:
            return None
        return call

    # --- the end ---

    def _finish(self, graph: Graph, inputs: list[Buffer], values: Sequence[Value]) -> Recipe:
        outputs = []
        for index, (info, value) in enumerate(zip(graph.outputs, values, strict=True)):
            tensor = self.tensor(value)
            if tensor.applied:
                raise PlanError(f"{info.name}: is an RNN's sums before its nonlinearity")
            outputs.append((info.name, tensor.shape, tensor.dtype))
            self._label = f"output {info.name!r}"
            self._put_out(tensor, index)
        calls = without_unused(self._calls)
        arena = place_in_arena(calls)
        constants = self._number_constants(calls)
        first = 1 + len(constants)
        numbers = {"arena": 0, "constant": 1, "input": first, "output": first + len(inputs)}
        arguments = {
            "arena": arena,
            "constants": tuple(constants),
            "inputs": tuple(buffer.size for buffer in inputs),
            "outputs": tuple(prod(shape) * ITEM[dtype] for _, shape, dtype in outputs),
            "calls": tuple(_encoded(call, numbers) for call in calls),
            "heavy": sum(call.work for call in calls) > HEAVY,
        }
        return Recipe(arguments, tuple(outputs), tuple(calls))

    def _put_out(self, tensor: Tensor, index: int) -> None:
        """Let the output be made in its place, or copy it there."""
        buffer, size = tensor.buffer, tensor.count * ITEM[tensor.dtype]
        if (
            buffer.home == "arena"
            and buffer.parent is None
            and tensor.is_dense
            and tensor.offset == 0
            and buffer.size == size
        ):
            buffer.home, buffer.index = "output", index
            return
        home = Buffer("output", size, index=index)
        strides = dense_strides(tensor.shape)
        self.copy(tensor, Tensor(tensor.shape, tensor.dtype, home, 0, strides))

    @staticmethod
    def _number_constants(calls: Sequence[Call]) -> list[Array]:
        found: dict[Buffer, None] = {}
        for call in calls:
            for place in call.places:
                if place is not None and place[0].home == "constant":
                    found[place[0]] = None
        arrays = []
        for index, buffer in enumerate(found):
            buffer.index = index
            assert buffer.array is not None
            arrays.append(buffer.array)
        return arrays


def shaped(*strides: Sequence[int]) -> list[int]:
    """Return the strides of each operand as a call over a shape takes them, 8 for each."""
    return [step for own in strides for step in (*own, *[0] * (8 - len(own)))]


def _encoded(call: Call, numbers: Mapping[str, int]) -> tuple[Any, ...]:
    places: list[int] = []
    for place in call.places:
        if place is None:
            places += (-1, 0)
            continue
        buffer, offset = place
        root, more = buffer.root()
        offset += more
        if root.home == "arena":
            places += (0, root.index + offset)
        else:
            places += (numbers[root.home] + root.index, offset)
    return (
        call.operation,
        call.kind,
        tuple(call.sizes),
        call.axes,
        tuple(places),
        tuple(call.distances),
        *call.numbers,
        call.packed,
    )


def _value(names: Mapping[str, Value], node: Node, name: str) -> Value | None:
    if not name:
        return None
    if name not in names:
        raise PlanError(f"{node.label}: takes {name!r}, which nothing makes", node.name)
    return names[name]


def _may_take(node: Node, value: Tensor) -> bool:
    return node.operator == "Concat" or node.operator.lower() == value.applied
