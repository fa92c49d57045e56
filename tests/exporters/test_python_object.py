"""`package.module:Class(10, 20)`: what it names, and what it never evaluates."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from rnnedge_exporters.python_object import (
    PythonObject,
    call_object,
    find_object,
    parse_object,
    read_argument,
)
from rnnedge_runtime.errors import InputError


def _parse(text: str, given: dict[str, Any] | None = None) -> PythonObject:
    wanted = parse_object(text, given, error=InputError)
    assert wanted is not None
    return wanted


CALLS: dict[str, tuple[str, tuple[Any, ...] | None, dict[str, Any]]] = {
    "none": ("a.b:C", None, {}),
    "empty": ("a.b:C()", (), {}),
    "positions": ("a.b:C(10, -2.5)", (10, -2.5), {}),
    "names": ("a.b:C(size=10, two=True)", (), {"size": 10, "two": True}),
    "both": ("a.b:C(10, name='x')", (10,), {"name": "x"}),
    "containers": ("a.b:C([1, (2, 3)], {'a': None})", ([1, (2, 3)], {"a": None}), {}),
    "text_with_brackets": ("a.b:C(') os.system(', n=')')", (") os.system(",), {"n": ")"}),
    "lines": ("a.b:C(1,\n  2)", (1, 2), {}),
}


@pytest.mark.parametrize(("text", "arguments", "keywords"), CALLS.values(), ids=CALLS)
def test_call(text: str, arguments: Any, keywords: dict[str, Any]) -> None:
    wanted = _parse(text)
    assert (wanted.module, wanted.name) == ("a.b", "C")
    assert (wanted.arguments, wanted.keywords) == (arguments, keywords)


@pytest.mark.parametrize("text", ["a", "a:", ":b", "a b:c", "a:b/c", "C:\\a", "a:1", "a.toml"])
def test_text_of_another_form(text: str) -> None:
    assert parse_object(text, error=InputError) is None


@pytest.mark.parametrize(
    "call",
    [
        "(torch.float32)",
        "(__import__('os').system('touch sprung'))",
        "(10",
        "()()",
        "().forward(1)",
        "(1) + (2)",
        "(*[1])",
        "(**{'a': 1})",
        "(a for a in b)",
        "(x := 3)",
        "(2 ** 99)",
        f"({'[' * 3000}{']' * 3000})",
        "(size=1, size=2)",
    ],
    ids=lambda call: call[:20],
)
def test_arguments_that_are_no_literals(call: str) -> None:
    words = r"^a:B\(.*: expected literals as arguments \(numbers, strings, lists, \.\.\.\), such as"
    with pytest.raises(InputError, match=words):
        parse_object(f"a:B{call}", error=InputError)


def test_argument_given_twice() -> None:
    with pytest.raises(InputError, match=r"^a:B\(size=1\): --arg size: it is among the argumen"):
        _parse("a:B(size=1)", {"size": 2})


@pytest.mark.parametrize(
    ("text", "value"),
    [("20", 20), ("[1, 2]", [1, 2]), ("lstm", "lstm"), ("'3'", "3"), ("a(b)", "a(b)"), ("", "")],
)
def test_argument_by_name(text: str, value: Any) -> None:
    assert read_argument(text) == value


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a:B", "a:B"), ("a:B()", "a:B()"), ("a:B( 1, c = 'x')", "a:B(1, c='x')")],
)
def test_shown(text: str, shown: str) -> None:
    assert str(_parse(text)) == shown


def test_found_and_called() -> None:
    wanted = _parse("math:hypot(3, 4)")
    found = find_object(wanted, error=InputError)
    assert found is math.hypot
    assert call_object(found, wanted, error=InputError) == 5


def _takes(size: int, *rest: int, bias: bool = True, **more: int) -> int:
    return size + len(rest) + len(more)


@pytest.mark.parametrize("text", ["a:b(1)", "a:b(size=1)", "a:b(1, 2, 3)", "a:b(1, other=3)"])
def test_arguments_that_fit(text: str) -> None:
    call_object(_takes, _parse(text), error=InputError)


def _two(size: int, bias: bool = True) -> int:
    return size


MISFITS = {
    "none": (
        "a:b",
        "a:b: it takes b(size: 'int', bias: 'bool' = True) -> 'int': write 'a:b(size=...)', or a:b "
        "--arg size=...",
    ),
    "another": ("a:b(sizes=3)", "a:b: missing a required argument: 'size': it takes b(size: "),
    "many": ("a:b(1, 2, 3)", "a:b: too many positional arguments: it takes b(size: 'int', bias"),
    "twice": ("a:b(1, size=3)", "a:b: multiple values for argument 'size': it takes b(size: 'in"),
}


@pytest.mark.parametrize(("text", "words"), MISFITS.values(), ids=MISFITS)
def test_arguments_that_do_not_fit(text: str, words: str) -> None:
    with pytest.raises(InputError, match=f"^{re.escape(words)}"):
        call_object(_two, _parse(text), error=InputError)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "math:sqrt(-1)",
            "math:sqrt: calling it with its arguments raised ValueError: math domain",
        ),
        ("math:pi", "math:pi: calling it without arguments raised TypeError: 'float' object is no"),
    ],
    ids=["raises", "no_function"],
)
def test_call_that_raises(text: str, words: str) -> None:
    wanted = _parse(text)
    found = find_object(wanted, error=InputError)
    with pytest.raises(InputError, match=f"^{re.escape(words)}"):
        call_object(found, wanted, error=InputError)
