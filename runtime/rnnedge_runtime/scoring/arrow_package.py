"""The pyarrow package, imported where a call needs it."""

from __future__ import annotations

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


def _imported(name: str) -> ModuleType:
    from importlib import import_module

    try:
        return import_module(name)
    except ImportError as error:
        raise MissingPackageError(
            "scoring", "pyarrow", "pip install 'rnnedge-runtime[score]'"
        ) from error
