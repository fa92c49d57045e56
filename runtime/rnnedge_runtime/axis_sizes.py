"""The size of an axis that is declared by an expression, such as `(time - 1)//2 + 1`."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Iterable, Mapping

from rnnedge_runtime.contract import TIME, Axis, TensorSpec
from rnnedge_runtime.errors import InputError

_OPERATORS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}


_LONGEST = 1000
"""Characters of an expression."""
_LARGEST = 2**62
"""What no size of memory, nor a part of the expression of one, is beyond."""


def size_of(axis: Axis, sizes: Mapping[str, int]) -> int | None:
    """Return the size of an axis, or None if it does not follow from `sizes`.

    Args:
        axis: A size, a name, or an expression of names.
        sizes: The sizes of the named axes.
    """
    if isinstance(axis, int):
        return axis
    if len(axis) > _LONGEST:
        return None
    try:
        return _value(ast.parse(axis, mode="eval").body, sizes)
    except (SyntaxError, KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    except (MemoryError, RecursionError):  # of Python's parser, on parentheses in parentheses
        return None


def check_steps_are_left(
    axes: Iterable[tuple[TensorSpec, Axis]], inputs: Iterable[TensorSpec], sizes: Mapping[str, int]
) -> None:
    """Check that a sequence is long enough for a model that drops steps, as a convolution does.

    Otherwise a layer inside may get no steps, on which ONNX Runtime may end the process.

    Args:
        axes: Outputs, and their axes whose sizes are computed from those of the inputs.
        inputs: The data inputs.
        sizes: The sizes of the named axes of the inputs.

    Raises:
        InputError: If an output would have no steps.
    """
    for spec, axis in axes:
        size = size_of(axis, sizes)
        if size is not None and size < 1:
            names = ", ".join(given.name for given in inputs if TIME in given.axes)
            raise InputError(
                f"{names}: expected more than {sizes.get(TIME)} step(s): {spec} would have "
                f"{axis} = {size}"
            )


def _value(node: ast.expr, sizes: Mapping[str, int]) -> int:
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    if isinstance(node, ast.Name):
        return sizes[node.id]
    if isinstance(node, ast.BinOp):
        return _computed(type(node.op), _value(node.left, sizes), _value(node.right, sizes))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand, sizes)
    raise TypeError(f"not arithmetic: {ast.dump(node)}")


def _computed(kind: type[ast.operator], left: int, right: int) -> int:
    """Compute one operation on sizes.

    Raises:
        ValueError: When the result is not a size, such as a huge power, which would take forever.
    """
    if kind is ast.Pow and abs(left) > 1 and not 0 <= right < _LARGEST.bit_length():
        raise ValueError(f"{left}**{right} is not a size")
    size = _OPERATORS[kind](left, right)
    if abs(size) > _LARGEST:
        raise ValueError(f"{size} is not a size")
    return size
