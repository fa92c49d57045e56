"""Each loop in the user's source says which turn it is in, while a module is watched."""

from __future__ import annotations

import ast
import inspect
import linecache
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from types import CodeType, FunctionType
from typing import Any

from torch import nn

_MARK = "__rnnedge_mark__"
_EXCHANGED = "__rnnedge_exchanged__"
"""Says among the globals of a function that its code is exchanged, and by what."""
_OTHERS = ("torch", "rnnedge", "rnnedge_exporters", "rnnedge_runtime", "builtins", "typing")
_LOOPS = (ast.For, ast.While, ast.comprehension)

Site = tuple[str, int]
"""File and line at which a loop starts."""
Turn = tuple[int, int]
"""Which of the loops of its surroundings it is, and which turn of it."""
Key = tuple[Any, ...]
"""A loop: the turns that it is in, then which loop of the last one it is."""


def varying(counts: Sequence[Mapping[Key, int]]) -> list[Key]:
    """Return the outermost loops whose number of turns is not the same in all runs."""
    found: list[Key] = []
    different = {
        key
        for key in counts[0]
        if all(key in other for other in counts) and len({other[key] for other in counts}) > 1
    }
    for key in sorted(different, key=lambda key: (len(key), str(key))):
        above = [(*key[:depth], key[depth][0]) for depth in range(len(key) - 1)]
        if not any(outer in different for outer in above):
            found.append(key)
    return found


@dataclass(slots=True, eq=False)
class _Entry:
    """A loop that is running."""

    rank: int
    turn: int = -1
    inner: int = 0
    """How many loops this turn has started."""


@dataclass
class Turns:
    """The loops that are running, and those that ran.

    Attributes:
        counts: How many turns each loop took, by the path to it.
        sites: Where each loop is in the source, by the path to it.
    """

    counts: dict[Key, int] = field(default_factory=dict)
    sites: dict[Key, Site] = field(default_factory=dict)
    _running: list[_Entry] = field(default_factory=list)
    _outer: int = 0

    @property
    def path(self) -> tuple[Turn, ...]:
        """The loops that are running, the outermost first, and the turn of each."""
        return tuple((entry.rank, entry.turn) for entry in self._running)

    @property
    def keys(self) -> list[Key]:
        """The loops that are running, the outermost first."""
        path = self.path
        return [(*path[:depth], rank) for depth, (rank, _) in enumerate(path)]

    def mark(self, file: str, line: int, items: Iterable[Any]) -> Iterator[Any]:
        """Yield `items`, and note the turn that each is for."""
        iterator = iter(items)
        entry = _Entry(self._next_rank())
        before = self.path
        identity = (*before, entry.rank)
        self.sites[identity] = (file, line)
        self.counts[identity] = 0
        while True:
            try:
                item = next(iterator)  # what makes the item is not a part of the turn
            except StopIteration:
                return
            entry.turn += 1
            entry.inner = 0
            self.counts[identity] = entry.turn + 1
            self._running.append(entry)
            try:
                yield item
            finally:
                self._running.remove(entry)

    def _next_rank(self) -> int:
        if not self._running:
            self._outer += 1
            return self._outer - 1
        self._running[-1].inner += 1
        return self._running[-1].inner - 1


def has_loops(module: nn.Module) -> bool:
    """Whether the source of a user's class in `module` has a loop or a comprehension at all."""
    return any(
        isinstance(node, _LOOPS)
        for file in {function.__code__.co_filename for function in _functions(module)}
        for node in ast.walk(_parsed(file))
    )


@contextmanager
def marked(module: nn.Module) -> Iterator[Turns]:
    """Let the loops in the user's functions that `module` may call say which turn they are in.

    The code of the functions is exchanged, and put back after the block. Functions of torch and of
    other packages that a file imports are left as they are.

    Args:
        module: A private copy; its classes are those of the user.
    """
    turns = Turns()
    with recompiled(module, _marked_codes, {_MARK: turns.mark}):
        yield turns


@contextmanager
def recompiled(
    module: nn.Module,
    codes: Callable[[str, str], Mapping[tuple[str, int], CodeType]],
    names: Mapping[str, Any],
) -> Iterator[None]:
    """Exchange the code of the user's functions that `module` may call, for the block.

    Code that is exchanged already is left as it is.

    Args:
        module: A private copy; its classes are those of the user.
        codes: Returns the code of each function of a file and its text, as `codes_of` does.
        names: What the code calls, put among the globals of each function.
    """
    before: list[tuple[FunctionType, CodeType]] = []
    spaces: list[dict[str, Any]] = []
    try:
        for function in _functions(module):
            code, space = function.__code__, function.__globals__
            known = codes(code.co_filename, _text(code.co_filename)).get(
                (code.co_name, code.co_firstlineno)
            )
            exchanged = space.get(_EXCHANGED, names) is not names
            if known is None or known.co_freevars != code.co_freevars or exchanged:
                continue
            before.append((function, code))
            if _EXCHANGED not in space:
                space.update({**names, _EXCHANGED: names})
                spaces.append(space)
            function.__code__ = known
        yield
    finally:
        for function, code in before:
            function.__code__ = code
        for space in spaces:
            for name in (*names, _EXCHANGED):
                space.pop(name, None)


def _functions(module: nn.Module) -> Iterator[FunctionType]:
    """Yield the functions of the files that the classes of `module` are in."""
    seen: set[int] = set()
    for kind in dict.fromkeys(cls for inner in module.modules() for cls in type(inner).__mro__):
        if kind.__module__.split(".")[0] in _OTHERS:
            continue
        spaces: list[Mapping[str, Any]] = [vars(kind)]
        method = next((f for f in map(_plain, vars(kind).values()) if f is not None), None)
        if method is not None:
            spaces.append(_defined_beside(method))
        for space in spaces:
            for value in list(space.values()):
                for function in _within(value):
                    if id(function) not in seen:
                        seen.add(id(function))
                        yield function


def _defined_beside(method: FunctionType) -> dict[str, Any]:
    """Return what the file of a method defines itself."""
    file = method.__code__.co_filename
    return {
        name: value
        for name, value in method.__globals__.items()
        if any(function.__code__.co_filename == file for function in _within(value))
    }


def _within(value: Any) -> Iterator[FunctionType]:
    if inspect.isclass(value):
        if value.__module__.split(".")[0] not in _OTHERS:
            yield from filter(None, map(_plain, vars(value).values()))
        return
    function = _plain(value)
    if function is not None:
        yield function


def _plain(value: Any) -> FunctionType | None:
    if isinstance(value, staticmethod | classmethod):
        value = value.__func__
    if isinstance(value, property):
        value = value.fget
    value = inspect.unwrap(value) if callable(value) and hasattr(value, "__wrapped__") else value
    if not isinstance(value, FunctionType) or value.__module__ is None:
        return None
    return None if value.__module__.split(".")[0] in _OTHERS else value


def _text(file: str) -> str:
    return "".join(linecache.getlines(file))


@lru_cache(maxsize=32)
def _tree(text: str) -> ast.Module:
    try:
        return ast.parse(text)
    except SyntaxError:
        return ast.Module([], [])


def _parsed(file: str) -> ast.Module:
    """Return the source of a file as a tree; an empty one where there is none."""
    return _tree(_text(file))


def parsed(site: Site) -> ast.Module:
    """Return the tree of the file that a loop is in."""
    return _parsed(site[0])


def codes_of(
    file: str, text: str, transformer: ast.NodeTransformer
) -> Mapping[tuple[str, int], CodeType]:
    """Return the code of each function of a file, changed, by its name and first line.

    Args:
        file: Its path.
        text: Its source.
        transformer: What changes its tree.
    """
    try:
        tree = transformer.visit(ast.parse(text))
        whole = compile(ast.fix_missing_locations(tree), file, "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return {}
    found: dict[tuple[str, int], CodeType] = {}
    waiting = [whole]
    while waiting:
        code = waiting.pop()
        inner = [one for one in code.co_consts if isinstance(one, CodeType)]
        found.update({(one.co_name, one.co_firstlineno): one for one in inner})
        waiting += inner
    return found


@lru_cache(maxsize=32)
def _marked_codes(file: str, text: str) -> Mapping[tuple[str, int], CodeType]:
    return codes_of(file, text, _Marking(file))


class _Marking(ast.NodeTransformer):
    """Puts a mark around what each loop goes through."""

    def __init__(self, file: str) -> None:
        self._file = file

    def visit_For(self, node: ast.For) -> ast.AST:
        self.generic_visit(node)
        node.iter = self._marked(node.iter, node.lineno)
        return node

    def visit_comprehension(self, node: ast.comprehension) -> ast.AST:
        self.generic_visit(node)
        if not node.is_async:
            node.iter = self._marked(node.iter, node.iter.lineno)
        return node

    def visit_While(self, node: ast.While) -> ast.AST:
        """Write `while C` as `for _ in iter(lambda: bool(C), False)`.

        A function would not see the names of a class, nor assign (`:=`); such a
        condition is left as it is.
        """
        self.generic_visit(node)
        if any(
            isinstance(one, ast.NamedExpr | ast.Await | ast.Yield) for one in ast.walk(node.test)
        ):
            return node
        condition = ast.Lambda(
            ast.arguments([], [], None, [], [], None, []),
            ast.Call(ast.Name("bool", ast.Load()), [node.test], []),
        )
        again = ast.Call(ast.Name("iter", ast.Load()), [condition, ast.Constant(value=False)], [])
        target = ast.Name("__rnnedge_turn__", ast.Store())
        loop = ast.For(target, self._marked(again, node.lineno), node.body, node.orelse)
        return ast.copy_location(loop, node)

    def _marked(self, items: ast.expr, line: int) -> ast.expr:
        call = ast.Call(
            ast.Name(_MARK, ast.Load()), [ast.Constant(self._file), ast.Constant(line), items], []
        )
        return ast.copy_location(call, items)
