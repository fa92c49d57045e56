"""A thin builder over onnx-ir: nodes and constants with names that a person can read.

Names are `scope/OpType` with a number where one comes again, so the same source gives the same
names, and the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from rnnedge_exporters.onnx_model.int8_grid import STORED_LIMIT, quantize_channels
from rnnedge_exporters.onnx_model.movement import moved
from rnnedge_exporters.option_values import Storage
from rnnedge_runtime.contract import BATCH, TIME, Axis

FLOAT = ir.DataType.FLOAT
INT64 = ir.DataType.INT64
_BOUNDED = ("LSTM", "GRU", "DynamicQuantizeLSTM")
_BOUNDED_OUTPUTS = (0, 1)
"""The cell state of an LSTM is the third, and has no bound."""
MICROSOFT = "com.microsoft"
"""Domain of ONNX Runtime's own operators."""


def uses_microsoft(nodes: Iterable[ir.Node]) -> bool:
    """Whether one of the nodes, or of those in their bodies, is ONNX Runtime's own."""
    view = ir.GraphView([], [], nodes=tuple(nodes))
    return any(node.domain == MICROSOFT for node in ir.traversal.RecursiveGraphIterator(view))


def is_layer_output(made: ir.Value) -> bool:
    """Whether a value is what an `LSTM` or `GRU` of the usual activations gives, or moved parts."""
    node = made.producer()
    if node is None:
        return False
    if node.op_type in _BOUNDED:
        return made.index() in _BOUNDED_OUTPUTS and "activations" not in node.attributes
    before = moved(node)
    return bool(before) and all(map(is_layer_output, before))


def value(name: str, dtype: ir.DataType, axes: Sequence[int | str | None]) -> ir.Value:
    """Make a graph input or output with a type and a shape."""
    return ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(axes))


class GraphBuilder:
    """Collects the nodes and constants of one graph.

    Args:
        scope: What the names begin with.
        names: The names that are taken already; a body of a Scan shares those of its outer graph.
        storage: How `weight` writes weights.
        axes: Names of the time and batch axes that the shapes of inner values are written with:
            a module has several of either, and one name must mean one size in a whole file.
    """

    def __init__(
        self,
        scope: str = "",
        names: dict[str, int] | None = None,
        storage: Storage = "float32",
        axes: tuple[Axis, Axis] = (TIME, BATCH),
    ) -> None:
        """Start an empty graph."""
        self.time, self.batch = axes
        self.nodes: list[ir.Node] = []
        self.initializers: dict[str, ir.Value] = {}
        self._root = f"{scope}/" if scope else ""
        self._scopes = [scope] if scope else []
        self._names: dict[str, int] = {} if names is None else names
        self.storage: Storage = storage

    @property
    def dtype(self) -> ir.DataType:
        """What the layers compute in."""
        return ir.DataType.FLOAT16 if self.storage == "half" else FLOAT

    @property
    def scope_name(self) -> str:
        """The scope that names begin with now."""
        return "/".join(self._scopes)

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Put `name` in front of the names that are made inside."""
        self._scopes.append(name)
        try:
            yield
        finally:
            self._scopes.pop()

    def ops(
        self,
        op_type: str,
        *inputs: ir.Value | None,
        outputs: int,
        domain: str = "",
        **attributes: Any,
    ) -> tuple[ir.Value, ...]:
        """Add a node of several outputs; trailing inputs that are None are left out."""
        given = list(inputs)
        while given and given[-1] is None:
            given.pop()
        name = self._name(op_type)
        node = ir.node(op_type, given, attributes, domain=domain, num_outputs=outputs, name=name)
        for index, output in enumerate(node.outputs):
            output.name = name if outputs == 1 else f"{name}:{index}"
        self.nodes.append(node)
        return tuple(node.outputs)

    def op(self, op_type: str, *inputs: ir.Value | None, **attributes: Any) -> ir.Value:
        """Add a node of one output."""
        return self.ops(op_type, *inputs, outputs=1, **attributes)[0]

    def constant(self, name: str, array: NDArray[Any]) -> ir.Value:
        """Add an initializer called `scope/name`."""
        full = self._name(name)
        tensor = ir.tensor(np.asarray(array, order="C"), name=full)
        made = ir.Value(
            name=full,
            type=ir.TensorType(tensor.dtype),
            shape=ir.Shape(array.shape),
            const_value=tensor,
        )
        self.initializers[full] = made
        return made

    def weight(
        self,
        name: str,
        array: NDArray[np.float32],
        summed: int | tuple[int, ...] | None = None,
    ) -> ir.Value:
        """Add weights as `storage` says, and return them in `dtype`.

        What widens them has constant inputs: ONNX Runtime computes it once, when it opens the
        model, in the bodies of Scan and If too.

        Args:
            name: The last part of the name; `W` are input weights.
            array: float32 weights.
            summed: The axes that a product sums over; None for a bias, which stays float32 unless
                the layers compute in half.
        """
        if self.storage == "half":
            return self.constant(name, array.astype(np.float16))
        if self.storage == "float32" or summed is None:
            return self.constant(name, array)
        if self.storage == "float16" or (self.storage == "int8_float16" and name == "W"):
            return self.op("Cast", self.constant(name, array.astype(np.float16)), to=FLOAT)
        values, scale = quantize_channels(array, summed, STORED_LIMIT)
        stored = self.op("Cast", self.constant(name, values), to=FLOAT)
        return self.op("Mul", stored, self.constant(f"{name}_scale", scale))

    def integers(self, *numbers: int) -> ir.Value:
        """Return an int64 [n] initializer, shared by all that ask for the same numbers."""
        full = f"{self._root}const/" + "_".join(map(str, numbers))
        if full not in self.initializers:
            array = np.array(numbers, np.int64)
            self.initializers[full] = ir.Value(
                name=full,
                type=ir.TensorType(INT64),
                shape=ir.Shape(array.shape),
                const_value=ir.tensor(array, name=full),
            )
        return self.initializers[full]

    def body(self, name: str) -> GraphBuilder:
        """Start the body of a control-flow node; its names stay clear of those out here."""
        axes = (self.time, self.batch)
        return GraphBuilder(f"{self.scope_name}/{name}", self._names, self.storage, axes)

    def graph(
        self, name: str, inputs: Sequence[ir.Value], outputs: Sequence[ir.Value], opset: int
    ) -> ir.Graph:
        """Close the graph; constants that nothing reads are left out."""
        given = {id(output) for output in outputs}
        read = [made for made in self.initializers.values() if made.uses() or id(made) in given]
        return ir.Graph(
            inputs,
            outputs,
            nodes=self.nodes,
            initializers=read,
            opset_imports={"": opset} | ({MICROSOFT: 1} if uses_microsoft(self.nodes) else {}),
            name=name,
        )

    def _name(self, last: str) -> str:
        base = "/".join([*self._scopes, last])
        count = self._names.get(base, 0)
        self._names[base] = count + 1
        return f"{base}_{count}" if count else base
