"""Where the states and lengths of a layer come from in the graph, and what they are called."""

from __future__ import annotations

import onnx_ir as ir

from rnnedge_exporters.errors import ExportError
from rnnedge_exporters.modules.capture import LENGTHS_GIVEN
from rnnedge_exporters.onnx_model.movement import moved
from rnnedge_runtime.contract import Interface

_SORTED_OR_BOUNDED = ("TopK", "Max", "Clip")
"""What packing does to lengths."""


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
    before = moved(node)
    return bool(before) and all(map(is_zeros, before))


def origin(made: ir.Value) -> ir.Value:
    """Return the value that `made` is a part or another shape of."""
    node = made.producer()
    before = moved(node) if node is not None else []
    return origin(before[0]) if len(before) == 1 else made


def input_behind_lengths(node: ir.Node, graph: ir.Graph) -> str | None:
    """Return the graph input that the lengths of a packed sequence are, sorted or as given.

    Lengths with more axes, of the words of sentences, are data: what is packed are other rows.
    """
    place = node.attributes[LENGTHS_GIVEN].as_int()
    if not place:
        return None
    found = node.inputs[place]
    while found is not None and (producer := found.producer()) is not None:
        sorted_or_bounded = producer.op_type in _SORTED_OR_BOUNDED
        before = producer.inputs[:1] if sorted_or_bounded else moved(producer)
        if len(before) != 1:
            return None
        found = before[0]
    if found is None or found not in graph.inputs or found.dtype != ir.DataType.INT64:
        return None
    return found.name if found.shape is not None and len(found.shape) == 1 else None


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
