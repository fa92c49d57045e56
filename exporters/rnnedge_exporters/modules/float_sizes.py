"""Sizes that a module computes in floating point are computed in float64 in the file, too.

Python's floats have 64 bits. torch's translation of `math.floor(x.shape[1] * 0.29)` computes in
float32, which gives 29 instead of 28 for a length of 100 (torch 2.13 to 2.15, onnxscript 0.7.2).
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import fx
from torch.export import ExportedProgram

_COMPUTED: dict[Any, str] = {
    operator.add: "Add",
    operator.sub: "Sub",
    operator.mul: "Mul",
    operator.truediv: "Div",
    operator.pow: "Pow",
    operator.neg: "Neg",
}
_ROUNDED: dict[Any, str] = {math.floor: "Floor", math.ceil: "Ceil", math.trunc: ""}
"""What makes a size of a number; a cast to an integer leaves the fraction out."""


def compute_in_float64(model: ir.Model, program: ExportedProgram) -> None:
    """Compute what is rounded to a size in float64.

    Args:
        model: What torch translated, with the names of the program's nodes; it is changed.
        program: The program that it was translated from.
    """
    rewritten = _Rewritten(model.graph)
    for node in program.graph.nodes:
        if node.op == "call_function" and node.target in _ROUNDED:
            rewritten.round(node)


class _Rewritten:
    """The numbers of a graph that are computed in float64."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._values = {value.name: value for node in graph for value in node.outputs if value.name}
        self._doubles: dict[fx.Node, ir.Value] = {}

    def round(self, node: fx.Node) -> None:
        """Make a size of a number in float64, where all that it is computed of is known."""
        (number,) = node.args
        size = self._values.get(node.name)
        if size is None or not self._is_known(number):
            return
        place = size.producer()
        assert place is not None
        double = self._double(number, place)
        rounding = _ROUNDED[node.target]
        rounded = self._node(rounding, [double], place) if rounding else double
        place.replace_input_with(0, rounded)

    def _is_known(self, number: Any) -> bool:
        if not isinstance(number, fx.Node):
            return isinstance(number, int | float)
        if isinstance(number.meta.get("val"), torch.SymInt):
            return number.name in self._values
        return (number.target is torch.sym_float or number.target in _COMPUTED) and all(
            map(self._is_known, number.args)
        )

    def _double(self, number: Any, place: ir.Node) -> ir.Value:
        """Return a number as a scalar of float64, computed in front of a node."""
        if not isinstance(number, fx.Node):
            return self._constant(number, place)
        if number not in self._doubles:
            self._doubles[number] = self._computed(number, place)
        return self._doubles[number]

    def _computed(self, number: fx.Node, place: ir.Node) -> ir.Value:
        if isinstance(number.meta.get("val"), torch.SymInt):
            to = {"to": ir.DataType.DOUBLE}
            return self._node("Cast", [self._values[number.name]], place, to)
        operands = [self._double(operand, place) for operand in number.args]
        if number.target is torch.sym_float:
            return operands[0]
        return self._node(_COMPUTED[number.target], operands, place)

    def _constant(self, number: float, place: ir.Node) -> ir.Value:
        value = ir.tensor(np.array(number, np.float64))
        return self._node("Constant", [], place, {"value": value})

    def _node(
        self,
        operator_name: str,
        inputs: list[ir.Value],
        place: ir.Node,
        attributes: dict[str, Any] | None = None,
    ) -> ir.Value:
        node = ir.node(operator_name, inputs, attributes)
        self._graph.insert_before(place, node)
        return node.outputs[0]
