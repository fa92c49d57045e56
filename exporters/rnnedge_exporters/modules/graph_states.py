"""Where the states and lengths of a layer come from in the graph, and what they are called."""

from __future__ import annotations

import onnx_ir as ir

from rnnedge_exporters.errors import ExportError
from rnnedge_exporters.modules.capture import LENGTHS_GIVEN
from rnnedge_runtime.contract import Interface

_PASS_ON = ("Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Expand", "Transpose", "Slice")
"""Operators that change nothing about whether a value is zero, or which input it comes from."""


def is_zeros(state: ir.Value) -> bool:
    """Whether a state is zeros that the module makes itself, whatever its inputs are."""
    if state.const_value is not None:
        return not state.const_value.numpy().any()
    node = state.producer()
    if node is None:
        return False
    if node.op_type == "ConstantOfShape":
        filled = node.attributes.get("value")
        return filled is None or not filled.as_tensor().numpy().any()
    if node.op_type == "Constant":
        tensor = node.attributes.get("value")
        return tensor is not None and not tensor.as_tensor().numpy().any()
    first = node.inputs[0] if node.inputs else None
    return node.op_type in _PASS_ON and first is not None and is_zeros(first)


def origin(made: ir.Value) -> ir.Value:
    """Return the value that `made` is a part or another shape of."""
    node = made.producer()
    if node is None or node.op_type not in _PASS_ON or node.inputs[0] is None:
        return made
    return origin(node.inputs[0])


def input_behind_lengths(node: ir.Node, graph: ir.Graph) -> str | None:
    """Return the graph input that the lengths of a packed sequence are, sorted or as given."""
    if not node.attributes[LENGTHS_GIVEN].as_int():
        return None
    found = node.inputs[1]
    while found is not None and found.producer() is not None:
        producer = found.producer()
        if producer is None or producer.op_type not in (*_PASS_ON, "TopK", "Gather", "Max", "Clip"):
            return None
        found = producer.inputs[0]
    plain = found is not None and found in graph.inputs and found.dtype == ir.DataType.INT64
    return found.name if plain and found is not None else None


def letters(count: int) -> list[str]:
    """Name the states of a layer: h and c, or s0, s1, … where there are more."""
    return ["h", "c"][:count] if count <= 2 else [f"s{number}" for number in range(count)]


def name_state(layer: str, letter: str) -> str:
    """Name the lifted initial state of a layer; its final state ends in `_n`."""
    return f"{layer}.{letter}_0" if layer else f"{letter}_0"


def check_pairs(interface: Interface) -> None:
    """Refuse a state whose output could not be its next input."""
    specs = {spec.name: spec for spec in (*interface.inputs, *interface.outputs)}
    for pair in interface.states:
        before, after = specs[pair.input], specs[pair.output]
        if before.axes != after.axes or before.dtype != after.dtype:
            raise ExportError(
                f"states: {after} cannot be handed on to {before}: give example_inputs with a "
                "batch of 2 or more everywhere, or name the axes with dynamic_axes"
            )
