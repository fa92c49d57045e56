"""Edits of a finished model, as post-processing scripts make them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

OPERATORS = ("RNN", "LSTM", "GRU")
W, R, B, SEQUENCE_LENS, INITIAL_H, INITIAL_C = range(1, 7)
"""The inputs of a recurrent operator."""


class Edit:
    """A model that is open for changes."""

    def __init__(self, proto: onnx.ModelProto) -> None:
        self.model = ir.from_proto(proto)
        self.graph = self.model.graph
        self._made = 0

    def proto(self) -> onnx.ModelProto:
        return ir.to_proto(self.model)

    def nodes(self, *op_types: str) -> list[ir.Node]:
        """Return the nodes of the outermost graph that have one of these types."""
        return [node for node in self.graph if node.op_type in op_types]

    @property
    def recurrent(self) -> list[ir.Node]:
        """The recurrent operators in graph order, and so in the order of the layers."""
        return self.nodes(*OPERATORS)

    def bodies(self) -> list[ir.Graph]:
        """Return the bodies of the scans in graph order."""
        return [node.attributes["body"].as_graph() for node in self.nodes("Scan")]

    def array(self, node: ir.Node, slot: int) -> NDArray[Any]:
        return constant_of(node.inputs[slot]).copy()

    def put(self, node: ir.Node, slot: int, array: NDArray[Any]) -> None:
        """Make a constant the input of a node."""
        node.replace_input_with(slot, self.constant(array))

    def change(
        self, node: ir.Node, slot: int, change: Callable[[NDArray[Any]], NDArray[Any]]
    ) -> None:
        """Change the constant that is an input of a node."""
        self.put(node, slot, change(self.array(node, slot)))

    def constant(self, array: NDArray[Any]) -> ir.Value:
        self._made += 1
        name = f"edited_{self._made}"
        tensor = ir.tensor(np.asarray(array, order="C"), name=name)
        made = ir.Value(
            name=name,
            type=ir.TensorType(tensor.dtype),
            shape=ir.Shape(array.shape),
            const_value=tensor,
        )
        self.graph.register_initializer(made)
        return made

    def integers(self, *numbers: int) -> ir.Value:
        return self.constant(np.array(numbers, np.int64))

    def before(
        self, node: ir.Node, slot: int, op_type: str, *more: ir.Value | None, **attributes: Any
    ) -> ir.Value:
        """Put an operator between a node and one of its inputs."""
        value = self.op(node, op_type, node.inputs[slot], *more, **attributes)
        node.replace_input_with(slot, value)
        return value

    def op(
        self, node: ir.Node, op_type: str, *inputs: ir.Value | None, **attributes: Any
    ) -> ir.Value:
        """Put an operator before a node, which does not read it yet."""
        made = ir.node(op_type, inputs, attributes)
        self.graph.insert_before(node, made)
        return made.outputs[0]

    def after(
        self, value: ir.Value, op_type: str, *more: ir.Value | None, **attributes: Any
    ) -> ir.Value:
        """Put an operator between a value and all that read it, the caller of the model too."""
        own = _ancestors(more)
        readers = [(node, slot) for node, slot in value.uses() if node not in own]
        made = ir.node(op_type, [value, *more], attributes)
        result = made.outputs[0]
        for reader, slot in readers:
            reader.replace_input_with(slot, result)
        producers = [v.producer() for v in (value, *more) if v is not None and v.producer()]
        if producers:
            self.graph.insert_after(producers[-1], made)
        else:
            self.graph.insert_before(self.graph[0], made)
        self._give_out(value, result)
        return result

    def bypass(self, node: ir.Node) -> None:
        """Take out a node of one output: its readers read its first input."""
        value, result = node.inputs[0], node.outputs[0]
        self._give_out(result, value)
        ir.convenience.replace_all_uses_with(result, value)
        self.graph.remove(node, safe=True)

    def give_out(self, index: int, value: ir.Value) -> None:
        """Make a value the output `index` of the model, under the name of the old one."""
        self._give_out(self.graph.outputs[index], value)

    def _give_out(self, old: ir.Value, new: ir.Value) -> None:
        for index, output in enumerate(self.graph.outputs):
            if output is old:
                self.graph.outputs[index] = new
                name, old.name = old.name, f"{old.name}_before"
                new.name, new.type, new.shape = name, old.type, ir.Shape([None] * len(old.shape))

    def add_input(self, index: int, name: str, dtype: ir.DataType, axes: list[int | str]) -> None:
        """Add an input that no node reads."""
        value = ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(axes))
        self.graph.inputs.insert(index, value)


def _ancestors(values: Sequence[ir.Value | None]) -> set[ir.Node]:
    """Return the nodes that some values are computed by."""
    found: set[ir.Node] = set()
    waiting = list(values)
    while waiting:
        value = waiting.pop()
        node = value.producer() if value is not None else None
        if node is not None and node not in found:
            found.add(node)
            waiting += node.inputs
    return found


def constant_of(value: ir.Value) -> NDArray[Any]:
    """Return the array of an initializer, or of what a `Constant` gives."""
    if value.const_value is not None:
        return value.const_value.numpy()
    return value.producer().attributes["value"].as_tensor().numpy()
