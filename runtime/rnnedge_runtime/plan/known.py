"""Which models a plan can be made of at all."""

from __future__ import annotations

from rnnedge_runtime.errors import PlanError
from rnnedge_runtime.onnx_file import Graph, Node, ValueInfo, all_nodes
from rnnedge_runtime.plan.operators import FOLDS, OPERATORS
from rnnedge_runtime.plan.values import Dtype

_KNOWN: dict[str, Dtype] = {
    "float32": "float32",
    "int64": "int64",
    "int32": "int64",
    "bool": "bool",
}
"""dtype of a graph input to the one that it is computed in."""


def dtype_of(info: ValueInfo) -> Dtype:
    """Return the dtype that a graph input is computed in."""
    if info.dtype not in _KNOWN:
        raise PlanError(
            f"input {info.name!r} is {info.dtype or 'of an unknown dtype'}, and the native engine "
            f"takes {', '.join(_KNOWN)}"
        )
    return _KNOWN[info.dtype]


def check_operators(graph: Graph) -> None:
    """Refuse operators that are not known, wherever they stand."""
    for node in all_nodes(graph):
        if node.operator not in OPERATORS and node.operator not in FOLDS:
            raise PlanError(_unknown(node), node.name or node.operator)


def _unknown(node: Node) -> str:
    return f"{node.label}: the native engine has no {node.operator}; ONNX Runtime runs the model"
