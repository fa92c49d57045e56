"""What the user keeps in a model file: labels, a sample rate, how inputs are normalised."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rnnedge_runtime.errors import ContractError, OptionError
from rnnedge_runtime.json_record import parse

USER_KEY = "rnnedge.metadata"
"""Where it lies among the `metadata_props` of the file."""
LONGEST = 1 << 20
"""Characters of all of it, as JSON."""
_LONGEST_NAME = 200
_DEEPEST = 8


def to_json(metadata: Mapping[str, Any]) -> str:
    """Return metadata as one line of JSON whose bytes depend on its values alone.

    Args:
        metadata: By name: texts, numbers, booleans, None, and lists and mappings of these.

    Raises:
        OptionError: For a name or a text that cannot be printed, another type, NaN or infinity, or
            more than `LONGEST` characters.
    """
    if not isinstance(metadata, Mapping):
        raise OptionError(f"metadata: expected a dict, got {type(metadata).__name__}")
    try:
        _check(metadata, "metadata", 0)
        text = json.dumps(metadata, sort_keys=True, allow_nan=False, separators=(",", ":"))
    except ValueError as error:
        raise OptionError(str(error)) from None
    if len(text) > LONGEST:
        raise OptionError(f"metadata: expected at most {LONGEST:,} characters, got {len(text):,}")
    return text


def from_json(text: str, *, source: str) -> dict[str, Any]:
    """Read metadata back.

    Args:
        text: The value under `USER_KEY`.
        source: The file, for the message.

    Raises:
        ContractError: If it is not what `to_json` writes.
    """
    try:
        values = parse(text, longest=LONGEST)
        if not isinstance(values, dict):
            raise ValueError("expected an object")
        _check(values, "metadata", 0)
    except ValueError as error:
        raise ContractError(
            f"{source} has no readable metadata under {USER_KEY!r} ({error}): export it again"
        ) from error
    return values


def metadata_lines(metadata: Mapping[str, Any]) -> list[str]:
    """Return a line for each entry: texts as they are, all else as JSON."""
    return [
        f"metadata {name}: {value if isinstance(value, str) else json.dumps(value)}"
        for name, value in metadata.items()
    ]


def _check(value: Any, place: str, depth: int) -> None:
    """Check that a value is JSON that can be printed.

    Raises:
        ValueError: If it is not.
    """
    if depth > _DEEPEST:
        raise ValueError(f"{place}: nested deeper than {_DEEPEST}")
    if isinstance(value, str):
        _check_text(value, place)
    elif isinstance(value, Mapping):
        for name, item in value.items():
            if not isinstance(name, str) or not 0 < len(name) <= _LONGEST_NAME:
                raise ValueError(f"{place}: expected names of 1 to {_LONGEST_NAME} characters")
            _check_text(name, place)
            _check(item, f"{place}[{name!r}]", depth + 1)
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            _check(item, f"{place}[{number}]", depth + 1)
    elif not (value is None or isinstance(value, bool | int | float)):
        raise ValueError(
            f"{place}: expected text, numbers, lists or dicts, got {type(value).__name__}"
        )
    elif isinstance(value, float) and not abs(value) < float("inf"):
        raise ValueError(f"{place}: expected a finite number, got {value}")


def _check_text(text: str, place: str) -> None:
    if not text.isprintable():
        raise ValueError(f"{place}: expected printable text, got {ascii(text)[:80]}")
