"""JSON that a stranger may have written: parsed with limits, and read field by field."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

LONGEST_TEXT = 4000
"""Characters of a name or a sentence."""
LARGEST = 2**31 - 1
"""The largest number that a field holds: ONNX Runtime takes no axis beyond it."""
_MOST = 100_000
"""Items of a list."""


def parse(text: str, *, longest: int) -> Any:
    """Parse JSON.

    Args:
        text: The JSON.
        longest: The most characters that are looked at.

    Returns:
        Dicts, lists, texts, numbers, booleans and None.

    Raises:
        ValueError: For anything else than JSON, with each key once in an object, and for what is
            longer than `longest` or nested too deeply to be read.
    """
    if len(text) > longest:
        raise ValueError(f"expected at most {longest:,} characters, got {len(text):,}")
    try:
        return json.loads(text, object_pairs_hook=_without_doubles)
    except RecursionError:
        raise ValueError("nested too deeply") from None


class Record:
    """An object of JSON, whose fields are read one by one.

    Args:
        value: What stands where an object is expected.
        place: Where it stands, for messages: `interface.inputs[2]`.

    Raises:
        ValueError: When it is not an object.
    """

    def __init__(self, value: Any, place: str = "") -> None:
        if not isinstance(value, dict):
            raise ValueError(f"{place or 'it'}: expected an object, got {_kind(value)}")
        self._values, self._place = value, place

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def value(self, name: str) -> Any:
        """Return a field of any type."""
        if name not in self._values:
            raise ValueError(f"{self._at(name)} missing")
        return self._values[name]

    def text(self, name: str, *, empty: bool = False) -> str:
        """Return a field that is printable text."""
        return printable(self.value(name), self._at(name), empty=empty)

    def whole(self, name: str, *, least: int = 0) -> int:
        """Return a field that is a whole number from `least` to `LARGEST`."""
        return whole(self.value(name), self._at(name), least=least)

    def flag(self, name: str) -> bool:
        """Return a field that is true or false."""
        value = self.value(name)
        if not isinstance(value, bool):
            raise ValueError(f"{self._at(name)}: expected true or false, got {_kind(value)}")
        return value

    def items(self, name: str) -> list[tuple[Any, str]]:
        """Return the items of a field that is a list, and where each stands."""
        value = self.value(name)
        if not isinstance(value, list):
            raise ValueError(f"{self._at(name)}: expected a list, got {_kind(value)}")
        if len(value) > _MOST:
            raise ValueError(f"{self._at(name)}: expected at most {_MOST:,} items")
        return [(item, f"{self._at(name)}[{number}]") for number, item in enumerate(value)]

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a field that is a list of printable texts."""
        return tuple(printable(item, place) for item, place in self.items(name))

    def record(self, name: str) -> Record:
        """Return a field that is an object."""
        return Record(self.value(name), self._at(name))

    def records(self, name: str) -> list[Record]:
        """Return a field that is a list of objects."""
        return [Record(item, place) for item, place in self.items(name)]

    def text_by_name(self, name: str) -> Mapping[str, str]:
        """Return a field that is an object of printable texts."""
        values = self.value(name)
        record = Record(values, self._at(name))
        return {printable(key, self._at(name)): record.text(key) for key in values}

    def _at(self, name: str) -> str:
        return f"{self._place}.{name}" if self._place else name


def printable(value: Any, place: str, *, empty: bool = False) -> str:
    """Return text that a terminal shows as it is.

    Args:
        value: What stands there.
        place: Where, for messages.
        empty: Whether it may be empty.

    Returns:
        The text.

    Raises:
        ValueError: When it is not text, empty, longer than `LONGEST_TEXT`, or holds control
            characters.
    """
    if not isinstance(value, str):
        raise ValueError(f"{place}: expected text, got {_kind(value)}")
    if not value and not empty:
        raise ValueError(f"{place}: expected text, got none")
    if len(value) > LONGEST_TEXT:
        raise ValueError(f"{place}: expected at most {LONGEST_TEXT} characters, got {len(value):,}")
    if not value.isprintable():
        raise ValueError(f"{place}: expected printable text, got {ascii(value)[:80]}")
    return value


def whole(value: Any, place: str, *, least: int = 0) -> int:
    """Return a whole number.

    Args:
        value: What stands there.
        place: Where, for messages.
        least: The smallest number that is taken.

    Returns:
        The number.

    Raises:
        ValueError: When it is not an integer, below `least` or above `LARGEST`.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{place}: expected a whole number, got {_kind(value)}")
    if not least <= value <= LARGEST:
        got = value if abs(value) < 10**20 else "a number of more than 20 digits"
        raise ValueError(f"{place}: expected {least} to {LARGEST}, got {got}")
    return value


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false"}
    return "null" if value is None else names.get(type(value), "a number")


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a key occurs twice in one object")
    return made
