"""What a module's own source decides while it is traced, and need not.

- `int(size)` is that size, and `int(size * 0.5)` is one that the file computes: Python's `int`
  would take the example's number.
- `math.ceil(size / 4)` is computed in whole numbers, as `-(-size // 4)` is: torch works for minutes
  on a nest of divisions with a fraction.
- An `assert` on the values of a tensor says nothing of what the module computes, and is left out;
  the file answers where the module would stop.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from types import CodeType
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException
from torch.fx.experimental.symbolic_shapes import (
    GuardOnDataDependentSymNode,
    statically_known_true,
)

from rnnedge_exporters.modules.loops.marks import codes_of, recompiled

_WHOLE = "__rnnedge_int__"
_QUOTIENT = "__rnnedge_quotient__"
_OF_VALUES = "__rnnedge_of_values__"


@contextmanager
def opened_source(module: nn.Module) -> Iterator[None]:
    """Let the user's functions that `module` may call keep sizes open in the block.

    Args:
        module: A private copy; its classes are those of the user.
    """
    errors = (GuardOnDataDependentSymNode, DataDependentOutputException)
    names = {_WHOLE: _whole, _QUOTIENT: _quotient, _OF_VALUES: errors}
    with recompiled(module, _opened_codes, names):
        yield


def _whole(kind: Any, number: Any) -> Any:
    """Return `kind(number)`, which is `int` unless a module has another under that name."""
    if kind is int and isinstance(number, torch.SymInt):
        return number
    if kind is int and isinstance(number, torch.SymFloat):
        return math.trunc(number)
    return kind(number)


def _quotient(rounding: Any, number: Any, divisor: Any) -> Any:
    """Return `rounding(number / divisor)`."""
    sizes = isinstance(number, torch.SymInt) and type(divisor) is int and divisor > 0
    if sizes and rounding is math.ceil:
        return -(-number // divisor)
    if sizes and (rounding is math.floor or (rounding is int and _is_never_negative(number))):
        return number // divisor
    quotient = number / divisor
    return _whole(rounding, quotient) if rounding is int else rounding(quotient)


def _is_never_negative(size: torch.SymInt) -> bool:
    return statically_known_true(size >= 0)


@lru_cache(maxsize=32)
def _opened_codes(file: str, text: str) -> Mapping[tuple[str, int], CodeType]:
    return codes_of(file, text, _Opening())


class _Opening(ast.NodeTransformer):
    """Writes `int(x)` as a call of ours, and catches what an `assert` cannot decide."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if len(node.args) != 1 or node.keywords or isinstance(node.args[0], ast.Starred):
            return node
        number, is_int = node.args[0], _is_int(node.func)
        divides = isinstance(number, ast.BinOp) and isinstance(number.op, ast.Div)
        if isinstance(number, ast.BinOp) and divides and (is_int or _is_of_math(node.func)):
            return _call(_QUOTIENT, node, node.func, number.left, number.right)
        return _call(_WHOLE, node, node.func, number) if is_int else node

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        self.generic_visit(node)
        passed = ast.ExceptHandler(ast.Name(_OF_VALUES, ast.Load()), None, [ast.Pass()])
        return ast.copy_location(ast.Try([node], [passed], [], []), node)


def _is_int(function: ast.expr) -> bool:
    return isinstance(function, ast.Name) and function.id == "int"


def _is_of_math(function: ast.expr) -> bool:
    """Whether it may be `math.ceil` or `math.floor`, by any name of the module."""
    name = function.attr if isinstance(function, ast.Attribute) else None
    return name in ("ceil", "floor") or (
        isinstance(function, ast.Name) and function.id in ("ceil", "floor")
    )


def _call(name: str, place: ast.AST, *arguments: ast.expr) -> ast.AST:
    call = ast.Call(ast.Name(name, ast.Load()), list(arguments), [])
    return ast.copy_location(call, place)
