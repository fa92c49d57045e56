"""The size that a declared axis has, such as `(time - 1)//2 + 1`."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping

from rnnedge_runtime.contract import Axis

_OPERATORS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}


def size_of(axis: Axis, sizes: Mapping[str, int]) -> int | None:
    """Return the size of an axis, or None when it does not follow from `sizes`.

    Args:
        axis: A size, a name, or an expression of names.
        sizes: The sizes that the names stand for.
    """
    if isinstance(axis, int):
        return axis
    try:
        return _value(ast.parse(axis, mode="eval").body, sizes)
    except (SyntaxError, KeyError, TypeError, ZeroDivisionError):
        return None


def _value(node: ast.expr, sizes: Mapping[str, int]) -> int:
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    if isinstance(node, ast.Name):
        return sizes[node.id]
    if isinstance(node, ast.BinOp):
        return _OPERATORS[type(node.op)](_value(node.left, sizes), _value(node.right, sizes))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand, sizes)
    raise TypeError(f"no arithmetic: {ast.dump(node)}")
