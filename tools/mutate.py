"""Tests the tests: one small change of the code at a time, and whether a test notices it.

`python tools/mutate.py runtime/rnnedge_runtime/contract.py tests/runtime/test_hostile_contract.py`
changes comparisons, numbers, operators, conditions and returned values of the module, runs the
tests for each change in a child process, and lists the changes that they pass with. The module is
changed in memory, never on the disk.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib.abc
import importlib.machinery
import importlib.util
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType

import numpy  # noqa: F401 - children have it then
import onnxruntime  # noqa: F401
import pytest

_COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
_COMPUTED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}


def changes(node: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """Yield what may stand in the place of a node, and in words what is different."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in _COMPARED:
        other = copy.deepcopy(node)
        other.ops = [_COMPARED[type(node.ops[0])]()]
        yield other, ast.unparse(other)
    elif isinstance(node, ast.BinOp) and type(node.op) in _COMPUTED:
        other_sum = copy.deepcopy(node)
        other_sum.op = _COMPUTED[type(node.op)]()
        yield other_sum, ast.unparse(other_sum)
    elif isinstance(node, ast.BoolOp):
        flipped = copy.deepcopy(node)
        flipped.op = ast.And() if isinstance(node.op, ast.Or) else ast.Or()
        yield flipped, ast.unparse(flipped)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node.operand, ast.unparse(node.operand)
    elif isinstance(node, ast.Constant):
        yield from _other_constants(node)
    elif isinstance(node, ast.List | ast.Tuple) and len(node.elts) > 1:
        if isinstance(node.ctx, ast.Load):
            turned = copy.deepcopy(node)
            turned.elts.reverse()
            yield turned, ast.unparse(turned)
    elif isinstance(node, ast.stmt):
        yield from _other_statements(node)


def _other_constants(node: ast.Constant) -> Iterator[tuple[ast.AST, str]]:
    if isinstance(node.value, bool):
        yield ast.Constant(not node.value), str(not node.value)
    elif isinstance(node.value, int):
        yield ast.Constant(node.value + 1), str(node.value + 1)


def _other_statements(node: ast.stmt) -> Iterator[tuple[ast.AST, str]]:
    value = node.value if isinstance(node, ast.Return | ast.Expr) else None
    if isinstance(node, ast.Return) and value is not None:
        if not (isinstance(value, ast.Constant) and value.value is None):
            yield ast.Return(ast.Constant(None)), "return None"
    elif isinstance(node, ast.Raise) or (value is not None and not isinstance(value, ast.Constant)):
        yield ast.Pass(), "pass"


def mutants(source: str) -> Iterator[tuple[int, str, str, str]]:
    """Yield each changed source, with line, what stood there, and what stands there now."""
    tree = ast.parse(source)
    for parent in ast.walk(tree):
        for name, held in ast.iter_fields(parent):
            if name in ("annotation", "returns", "decorator_list", "bases"):
                continue
            places = list(enumerate(held)) if isinstance(held, list) else [(None, held)]
            for at, node in places:
                if not isinstance(node, ast.AST):
                    continue
                for other, words in changes(node):
                    before = ast.unparse(node)
                    _put(parent, name, at, other)
                    text = ast.unparse(ast.fix_missing_locations(tree))
                    _put(parent, name, at, node)
                    yield getattr(node, "lineno", 0), before, words, text


def _put(parent: ast.AST, name: str, at: int | None, node: ast.AST) -> None:
    if at is None:
        setattr(parent, name, node)
    else:
        getattr(parent, name)[at] = node


class _Changed(importlib.machinery.SourceFileLoader):
    """Loads a module from another source."""

    def __init__(self, name: str, path: str, text: str) -> None:
        super().__init__(name, path)
        self._text = text

    def get_code(self, fullname: str) -> CodeType:
        code: CodeType = compile(self._text, self.path, "exec")
        return code


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, loader: _Changed) -> None:
        self._loader = loader

    def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
        if fullname != self._loader.name:
            return None
        return importlib.util.spec_from_file_location(
            fullname, self._loader.path, loader=self._loader
        )


def survives(module: Path, text: str, tests: list[str], seconds: float) -> bool:
    """Whether the tests pass with another source of a module, in a child process."""
    parts = module.with_suffix("").parts
    root = next(n for n, part in enumerate(parts) if part.startswith("rnnedge"))
    child = os.fork()
    if child == 0:
        _run(_Changed(".".join(parts[root:]), str(module.absolute()), text), tests)
    until = time.monotonic() + seconds
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status == 0
        if time.monotonic() > until:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return False
        time.sleep(0.02)


def _run(loader: _Changed, tests: list[str]) -> None:
    """Run tests with a changed module, and end the process."""
    code = 1
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(null, stream)
        sys.meta_path.insert(0, _Finder(loader))
        code = int(pytest.main(["-q", "-x", "--no-header", "-p", "no:cacheprovider", *tests]))
    finally:
        os._exit(code)


def main() -> int:
    """Print the changes of a module that its tests do not notice; 1 if there are some."""
    parser = argparse.ArgumentParser(prog="python tools/mutate.py", description=__doc__)
    parser.add_argument("module", type=Path)
    parser.add_argument("tests", nargs="+", help="files, folders or options of pytest")
    parser.add_argument("--most", type=int, default=100, help="changes, chosen at random")
    parser.add_argument("--seconds", type=float, default=60, help="for the tests, each time")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    source = given.module.read_text("utf-8")
    if not survives(given.module, source, given.tests, given.seconds):
        parser.error("the tests do not pass without a change")
    found = list(mutants(source))
    if len(found) > given.most:
        found = sorted(random.Random(given.seed).sample(found, given.most))
    alive = 0
    for line, before, after, text in found:
        if survives(given.module, text, given.tests, given.seconds):
            alive += 1
            print(f"{given.module}:{line}: {before[:70]!r} as {after[:70]!r}", flush=True)
    print(f"{given.module}: {len(found)} changes, {alive} not noticed")
    return bool(alive)


if __name__ == "__main__":
    sys.exit(main())
