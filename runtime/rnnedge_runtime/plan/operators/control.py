"""Branches: a condition that the shapes tell leaves one of them."""

from __future__ import annotations

from collections.abc import Sequence

from rnnedge_runtime.errors import PlanError
from rnnedge_runtime.onnx_file import Node
from rnnedge_runtime.plan.tracer import Operator, Tracer
from rnnedge_runtime.plan.values import Constant, Value


def _if(tracer: Tracer, node: Node, inputs: Sequence[Value | None]) -> list[Value]:
    condition = inputs[0]
    if not isinstance(condition, Constant) or condition.array.size != 1:
        raise PlanError(f"{node.label}: its condition depends on the data", node.name)
    taken = bool(condition.array.reshape(-1)[0])
    name = "then_branch" if taken else "else_branch"
    return tracer.branch(node.attributes[name].value, int(taken))


OPERATORS: dict[str, Operator] = {"If": _if}
