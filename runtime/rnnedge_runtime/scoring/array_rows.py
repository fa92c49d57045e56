"""Rows that are numpy arrays, as Arrow batches; what an array is not is an error of its row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnedge_runtime.binding import Array
from rnnedge_runtime.scoring.arrow_package import Batch, Column, arrow, text_column
from rnnedge_runtime.scoring.row_layout import RowInput

READ_ERROR = "rnnedge.read_error"
"""The column of batches that says why a row could not be read; null where it was."""


@dataclass(slots=True)
class ArrayRow:
    """One row.

    Attributes:
        id: Its name.
        arrays: Its arrays by input name.
        error: Why they could not be read, or nothing.
    """

    id: Any
    arrays: Mapping[str, Array]
    error: str = ""


def batch_of(
    rows: Sequence[ArrayRow], inputs: Sequence[RowInput], columns: Mapping[str, str], id_name: str
) -> Batch:
    """Return rows as a record batch.

    Args:
        rows: The rows, one or more.
        inputs: What the model takes.
        columns: Input name to the name of its column.
        id_name: The name of the column of ids.
    """
    pa = arrow()
    errors = [row.error or _misfit(row, inputs, columns) for row in rows]
    made = {id_name: pa.array([row.id for row in rows])}
    for given in inputs:
        arrays = [
            None if error else np.asarray(row.arrays[given.spec.name])
            for row, error in zip(rows, errors, strict=True)
        ]
        made[columns[given.spec.name]] = _column(arrays, given)
    made[READ_ERROR] = text_column([error or None for error in errors])
    return pa.RecordBatch.from_pydict(made)


def _misfit(row: ArrayRow, inputs: Sequence[RowInput], columns: Mapping[str, str]) -> str:
    for given in inputs:
        name = columns[given.spec.name]
        if given.spec.name not in row.arrays:
            return f"{name}: expected {given}, got nothing of this name"
        array = np.asarray(row.arrays[given.spec.name])
        fits = array.ndim == int(given.timed) + len(given.features)
        if fits:
            fits = array.shape[int(given.timed) :] == given.features
        alike = array.dtype.kind == given.dtype.kind or (array.dtype.kind, given.dtype.kind) == (
            "u",
            "i",
        )
        if not (fits and alike and np.can_cast(array.dtype, given.dtype, "safe")):
            return f"{name}: expected {given}, got {array.dtype}{list(array.shape)}"
    return ""


def _column(arrays: Sequence[Array | None], given: RowInput) -> Column:
    """Return arrays as a column: null for a row without one."""
    pa = arrow()
    good = [array.astype(given.dtype, copy=False) for array in arrays if array is not None]
    missing = np.array([array is None for array in arrays])
    if not given.timed:
        good = [array[None] for array in good]
    flat = np.concatenate(good) if good else np.zeros((0, *given.features), given.dtype)
    column = pa.array(flat.reshape(-1))
    for size in reversed(given.features):
        column = pa.FixedSizeListArray.from_arrays(column, size)
    if given.timed:
        counts = [0 if array is None else len(array) for array in arrays]
        offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int64())
        return pa.LargeListArray.from_arrays(offsets, column, mask=pa.array(missing))
    at = np.full(len(arrays), -1, np.int64)
    at[~missing] = np.arange(len(good))
    return column.take(pa.array(at, mask=missing))
