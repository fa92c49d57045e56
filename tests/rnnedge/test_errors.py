"""The whole tree of errors: `rnnedge.errors` draws it, has every class, and misses none of ours."""

import ast
import builtins
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import rnnedge
from rnnedge import errors
from rnnedge.errors import RnnEdgeError

ROOT = Path(__file__).parents[2]
FOLDERS = ("rnnedge", "exporters/rnnedge_exporters", "runtime/rnnedge_runtime")
HOMES = {"rnnedge.errors", "rnnedge_exporters.errors", "rnnedge_runtime.errors"}
INNER = {
    "DiedError",
    "MismatchError",
    "MixingError",
    "NoMatchError",
    "NotMendedError",
    "RefusedError",
    "UnknownError",
}
"""Caught before they reach a caller: not among the public names of `rnnedge`."""
CLASSES = {
    name: value
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, Exception)
}


def exception_classes(source: str) -> set[str]:
    """Return the exception classes that are defined in `source`, private ones left out."""
    return {
        node.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ClassDef)
        and not node.name.startswith("_")
        and any(
            re.search(r"(Error|Exception|Warning|Interrupt|Exit)$", ast.unparse(base))
            for base in node.bases
        )
    }


def defined() -> Iterator[tuple[str, str]]:
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to((ROOT / folder).parent).with_suffix("").parts
            for name in sorted(exception_classes(path.read_text(encoding="utf-8"))):
                yield ".".join(parts), name


def drawn(text: str) -> dict[str, tuple[str, str]]:
    """Return what a drawn tree says: name to parent and built-in."""
    tree: dict[str, tuple[str, str]] = {}
    path: list[str] = []
    pattern = r"^    ((?:[│ ]   )*)([├└]── )?(\w+)(?: \((\w+)\))?(?: {2,}.*)?$"
    for indent, branch, name, builtin in re.findall(pattern, text, re.MULTILINE):
        depth = len(indent) // 4 + bool(branch)
        path[depth:] = [name]
        tree[name] = (path[depth - 1] if depth else "", builtin)
    return tree


TREE = drawn(errors.__doc__ or "")


def test_every_class_of_ours_is_in_the_tree() -> None:
    found = dict.fromkeys(defined())
    assert {module for module, _ in found} == HOMES, "errors are defined in these modules only"
    assert {name: module for module, name in found} == {
        name: value.__module__ for name, value in CLASSES.items()
    }


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_a_class_has_the_one_parent(name: str) -> None:
    assert issubclass(CLASSES[name], RnnEdgeError | Warning)


def test_the_tree_draws_every_class_and_nothing_else() -> None:
    assert set(TREE) - {"UserWarning"} == set(CLASSES)


@pytest.mark.parametrize("name", sorted(CLASSES))
def test_a_class_hangs_where_it_is_drawn(name: str) -> None:
    parent, builtin = TREE[name]
    bases = [base.__name__ for base in CLASSES[name].__bases__]
    if name == "RnnEdgeError":
        assert (parent, bases) == ("", ["Exception"])
    else:
        assert bases == [parent, builtin] if builtin else bases == [parent]


@pytest.mark.parametrize("name", sorted(set(CLASSES) - {"RnnEdgeError"}))
def test_a_class_is_also_a_built_in(name: str) -> None:
    """One that says more than `Exception`: whoever has not read this tree can catch it."""
    inherited = [base for base in CLASSES[name].__mro__ if base.__module__ == builtins.__name__]
    assert inherited[0] is not Exception


@pytest.mark.parametrize("name", sorted(set(CLASSES) - INNER))
def test_a_class_is_a_name_of_the_package(name: str) -> None:
    assert getattr(rnnedge, name) is CLASSES[name]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("class A(ValueError): pass", {"A"}),
        ("def f():\n    class Late(errors.RnnEdgeError, KeyError): ...", {"Late"}),
        ("class Told(UserWarning): ...", {"Told"}),
        ("class _Signal(Exception): ...", set()),
        ("class Report(dict): ...", set()),
    ],
)
def test_a_class_is_found(source: str, found: set[str]) -> None:
    assert exception_classes(source) == found


def test_a_drawing_is_read() -> None:
    text = """
    Top                   what it is
    ├── A (ValueError)    one
    │   └── B             two
    └── C (OSError)       three
    """
    assert drawn(text) == {
        "Top": ("", ""),
        "A": ("Top", "ValueError"),
        "B": ("A", ""),
        "C": ("Top", "OSError"),
    }
