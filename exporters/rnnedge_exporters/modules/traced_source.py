"""What a module's own source decides while it is traced, and need not.

- `int(size)` is that size, and `int(size * 0.5)` is one that the file computes: Python's `int`
  would take the example's number.
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
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from rnnedge_exporters.modules.loops.marks import codes_of, recompiled

_WHOLE = "__rnnedge_int__"
_OF_VALUES = "__rnnedge_of_values__"


@contextmanager
def opened_source(module: nn.Module) -> Iterator[None]:
    """Let the user's functions that `module` may call keep sizes open in the block.

    Args:
        module: A private copy; its classes are those of the user.
    """
    errors = (GuardOnDataDependentSymNode, DataDependentOutputException)
    with recompiled(module, _opened_codes, {_WHOLE: _whole, _OF_VALUES: errors}):
        yield


def _whole(kind: Any, number: Any) -> Any:
    """Return `kind(number)`, which is `int` unless a module has another under that name."""
    if kind is int and isinstance(number, torch.SymInt):
        return number
    if kind is int and isinstance(number, torch.SymFloat):
        return math.trunc(number)
    return kind(number)


@lru_cache(maxsize=32)
def _opened_codes(file: str, text: str) -> Mapping[tuple[str, int], CodeType]:
    return codes_of(file, text, _Opening())


class _Opening(ast.NodeTransformer):
    """Writes `int(x)` as a call of ours, and catches what an `assert` cannot decide."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        named_int = isinstance(node.func, ast.Name) and node.func.id == "int"
        if not named_int or len(node.args) != 1 or node.keywords:
            return node
        if isinstance(node.args[0], ast.Starred):
            return node
        call = ast.Call(ast.Name(_WHOLE, ast.Load()), [node.func, *node.args], [])
        return ast.copy_location(call, node)

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        self.generic_visit(node)
        passed = ast.ExceptHandler(ast.Name(_OF_VALUES, ast.Load()), None, [ast.Pass()])
        return ast.copy_location(ast.Try([node], [passed], [], []), node)
