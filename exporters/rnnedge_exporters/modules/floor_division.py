"""Python's `//` on sizes rounds down; ONNX's `Div` on integers rounds towards zero."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram

from rnnedge_exporters.modules.source_lines import environment


def round_down(program: ExportedProgram) -> None:
    """Rewrite `a // b` as `(a - a % b) // b` where `a` or `b` may be negative, as in `-(-n // 4)`.

    `Mod` has the sign of its divisor in ONNX, as in Python, so what is divided then has no rest.
    torch's translation leaves the division as it is (torch 2.13 to 2.15, onnxscript 0.7.2).

    Args:
        program: The exported program; its graph is changed.
    """
    divisions = [node for node in program.graph.nodes if node.target is operator.floordiv]
    for node in divisions:
        if all(_never_negative(program, operand) for operand in node.args):
            continue
        a, b = node.args
        with program.graph.inserting_before(node):
            rest = program.graph.call_function(operator.mod, (a, b))
            whole = program.graph.call_function(operator.sub, (a, rest))
        value_a, value_b = (_value(operand) for operand in node.args)
        rest.meta = {**node.meta, "val": value_a % value_b}
        whole.meta = {**node.meta, "val": value_a - value_a % value_b}
        node.args = (whole, b)


def _value(operand: Any) -> Any:
    return operand.meta["val"] if isinstance(operand, fx.Node) else operand


def _never_negative(program: ExportedProgram, operand: Any) -> bool:
    value = _value(operand)
    if isinstance(value, torch.SymInt):
        return bool(environment(program).bound_sympy(value.node.expr).lower >= 0)
    return isinstance(value, int) and value >= 0
