"""The pyarrow package, imported where a call needs it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from types import ModuleType
from typing import Any, TypeAlias

from rnnedge_runtime.errors import MissingPackageError

Table: TypeAlias = Any
"""A `pyarrow.Table`."""
Batch: TypeAlias = Any
"""A `pyarrow.RecordBatch`."""
Column: TypeAlias = Any
"""A `pyarrow.Array`."""
DataType: TypeAlias = Any
"""A `pyarrow.DataType`."""
Schema: TypeAlias = Any
"""A `pyarrow.Schema`."""


@cache
def arrow() -> Any:
    """Return pyarrow.

    Raises:
        MissingPackageError: If it is not installed.
    """
    return _imported("pyarrow")


@cache
def parquet() -> Any:
    """Return `pyarrow.parquet`.

    Raises:
        MissingPackageError: If pyarrow is not installed.
    """
    return _imported("pyarrow.parquet")


def text_column(texts: Sequence[str | None]) -> Column:
    """Return texts as a column; a character that UTF-8 does not have is spelled out."""
    return arrow().array([None if text is None else utf8(text) for text in texts], arrow().string())


def utf8(text: str) -> str:
    """Return text with what UTF-8 does not have spelled out, such as a byte of a file's name."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def shown(values: Column) -> list[str]:
    """Return the values of a column as texts, those too that Python has no value for."""
    return [_shown(value) for value in values]


def _shown(value: Any) -> str:
    try:
        return str(value.as_py())
    except (ArithmeticError, ValueError, arrow().ArrowException):  # such as a date beyond 9999
        return f"{value.type} that cannot be shown"


def _imported(name: str) -> ModuleType:
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        raise MissingPackageError(
            "scoring", "pyarrow", "pip install 'rnnedge-runtime[score]'"
        ) from error
