"""Operators that move numbers and change none, whatever is asked of the numbers behind them."""

from __future__ import annotations

from typing import overload

import onnx
import onnx_ir as ir

from rnnedge_exporters.onnx_model.nodes import Node, is_standard

MOVEMENT = (
    *("Identity", "Cast", "Transpose", "Reshape", "Squeeze", "Unsqueeze", "Flatten"),
    *("Slice", "Gather", "Split", "Concat", "Expand", "ReverseSequence"),
    *("SplitToSequence", "SequenceAt"),
)
"""Every number of their output is one of their input, in another place, shape or dtype."""


def is_movement(node: Node) -> bool:
    """Whether a node moves numbers and changes none."""
    return node.op_type in MOVEMENT and is_standard(node)


@overload
def moved(node: onnx.NodeProto) -> list[str]: ...
@overload
def moved(node: ir.Node) -> list[ir.Value]: ...
def moved(node: Node) -> list[str] | list[ir.Value]:
    """Return what a node moves: every input of a `Concat`, the first one of other operators.

    Returns:
        Names, or the values of onnx-ir; empty where the node computes something.
    """
    if not is_movement(node):
        return []
    count = None if node.op_type == "Concat" else 1
    if isinstance(node, ir.Node):
        return [value for value in node.inputs[:count] if value is not None]
    return list(node.input[:count])
