"""`package.module:name` on a command line: an object of Python code, or a call that makes one."""

from __future__ import annotations

import ast
import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, TypeAlias

from rnnedge_runtime.errors import RnnEdgeError, one_line, pass_on_interruption

_PLACE = re.compile(r"(?P<module>[A-Za-z_][\w.]*):(?P<name>[A-Za-z_][\w.]*)(?P<call>\(.*)?", re.S)


MakeError: TypeAlias = Callable[[str], RnnEdgeError]
"""The error that a caller wants, made of its text."""


@dataclass(frozen=True, slots=True)
class PythonObject:
    """An object by the name that a command line has for it.

    Attributes:
        text: As it was written.
        module: What is imported.
        name: Of the object in it, with dots for deeper ones.
        arguments: What it is called with, by position; None when the text has no parentheses.
        keywords: What it is called with, by name.
    """

    text: str
    module: str
    name: str
    arguments: tuple[Any, ...] | None = None
    keywords: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return the name, with the arguments where there are some."""
        place = f"{self.module}:{self.name}"
        given = [repr(argument) for argument in self.arguments or ()]
        given += [f"{name}={value!r}" for name, value in self.keywords.items()]
        called = self.arguments is not None or given
        return f"{place}({', '.join(given)})" if called else place


def parse_object(
    text: str, given: Mapping[str, Any] | None = None, *, error: MakeError
) -> PythonObject | None:
    """Read `package.module:name` or `package.module:Class(10, 20, bidirectional=True)`.

    Args:
        text: What the user wrote; arguments are literals of Python, and nothing is evaluated.
        given: More arguments by name.
        error: Makes the error that is raised.

    Returns:
        None when the text has another form.

    Raises:
        RnnEdgeError: When the arguments are not literals, or one is given twice.
    """
    match = _PLACE.fullmatch(text.strip())
    if match is None:
        return None
    arguments, keywords = (None, {}) if match["call"] is None else _read_call(text, match, error)
    twice = [name for name in given or () if name in keywords]
    if twice:
        raise error(f"{text}: --arg {twice[0]}: it is among the arguments already")
    return PythonObject(
        text, match["module"], match["name"], arguments, {**keywords, **(given or {})}
    )


def _read_call(
    text: str, match: re.Match[str], error: MakeError
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    wanted = (
        f"{text}: expected literals as arguments (numbers, strings, lists, ...), such as "
        f"'{match['module']}:{match['name']}(10, 20, bidirectional=True)'"
    )
    try:
        call = ast.parse(f"made{match['call']}", mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            raise error(wanted)
        arguments = tuple(ast.literal_eval(argument) for argument in call.args)
        keywords = {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise error(wanted) from None
    if len(keywords) < len(call.keywords) or "None" in keywords:  # one twice, or **more
        raise error(wanted)
    return arguments, keywords


def read_argument(text: str) -> Any:
    """Return the value of `--arg name=value`: a literal of Python, and else the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def find_object(wanted: PythonObject, *, error: MakeError) -> Any:
    """Import the module of an object and return the object itself.

    Args:
        wanted: The object.
        error: Makes the error that is raised.

    Raises:
        RnnEdgeError: When the module does not import, or has no such name.
    """
    if wanted.module.endswith(".py"):
        meant = f"{wanted.module.removesuffix('.py')}:{wanted.name}"
        raise error(f"{wanted.text}: names a file: write it as Python imports it, {meant}")
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # as `python -m` does: the user's code is where they are
    place = f"{wanted.module}:{wanted.name}"
    try:
        found: Any = importlib.import_module(wanted.module)
    except (Exception, SystemExit) as raised:  # a script without a main guard may exit
        pass_on_interruption(raised)
        advice = _where(wanted.module) if _is_missing(raised, wanted.module) else ""
        raise error(
            f"{place}: {wanted.module} does not import: {_said(raised)}{advice}"
        ) from raised
    for part in wanted.name.split("."):
        if not hasattr(found, part):
            close = get_close_matches(part, dir(found), n=1)
            meant = (
                f"; there is {wanted.module}:{wanted.name.replace(part, close[0])}" if close else ""
            )
            raise error(f"{place}: {wanted.module} has no {wanted.name}{meant}")
        found = getattr(found, part)
    return found


def _is_missing(raised: BaseException, module: str) -> bool:
    """Whether an import failed because the module itself, not one it imports, is not there."""
    name = raised.name if isinstance(raised, ModuleNotFoundError) else None
    return name is not None and (module == name or module.startswith(f"{name}."))


def _where(module: str) -> str:
    """Say where a module is looked for, and which file there has nearly its name."""
    known = [name[:-3] for name in os.listdir() if name.endswith(".py")]
    close = get_close_matches(module, known, n=1)
    if close:
        return f"; there is {close[0]}.py"
    return "; it is looked for in the current folder and in PYTHONPATH: cd to its folder first"


def call_object(made_by: Callable[..., Any], wanted: PythonObject, *, error: MakeError) -> Any:
    """Call a class or function with the arguments that the command line has for it.

    Args:
        made_by: What `find_object` returned.
        wanted: The object with its arguments.
        error: Makes the error that is raised.

    Raises:
        RnnEdgeError: When it takes other arguments, or raises; its own errors are passed on.
    """
    arguments = wanted.arguments or ()
    place = f"{wanted.module}:{wanted.name}"
    try:
        signature = inspect.signature(made_by)
    except (ValueError, TypeError):  # of a class in C
        signature = None
    if signature is not None:
        try:
            signature.bind(*arguments, **wanted.keywords)
        except TypeError as misfit:
            raise error(_takes(place, signature, misfit, wanted)) from None
    shown = "with its arguments" if arguments or wanted.keywords else "without arguments"
    try:
        return made_by(*arguments, **wanted.keywords)
    except RnnEdgeError:
        raise
    except Exception as raised:  # whatever the user's code raises
        pass_on_interruption(raised)
        raise error(f"{place}: calling it {shown} raised {_said(raised)}") from raised


def _takes(
    place: str, signature: inspect.Signature, misfit: TypeError, wanted: PythonObject
) -> str:
    needed = [
        p.name
        for p in signature.parameters.values()
        if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    name = wanted.name.rpartition(".")[2]
    takes = f"{name}{' '.join(str(signature).split())}"
    some = ", ".join(f"{p}=..." for p in needed)
    options = " ".join(f"--arg {p}=..." for p in needed)
    if not wanted.arguments and not wanted.keywords and needed:
        return f"{place}: it takes {takes}: write '{place}({some})', or {place} {options}"
    return f"{place}: {misfit}: it takes {takes}, such as '{place}({some})'"


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {one_line(error)}"
