"""What is kept of the outputs of each row, as Arrow columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from rnnedge_runtime.binding import Array
from rnnedge_runtime.errors import OptionError, one_line, pass_on_interruption
from rnnedge_runtime.scoring.arrow_package import Column, DataType, arrow
from rnnedge_runtime.scoring.collecting import Collector
from rnnedge_runtime.scoring.python_function import find_function, is_function
from rnnedge_runtime.scoring.row_layout import RowOutput
from rnnedge_runtime.scoring.rows import CheckedRows

EXAMPLE_STEPS = 11
"""Of the row that shows what a function answers."""


class Keeper(Protocol):
    """What is kept.

    Attributes:
        every_step: Whether all steps of a row are needed for it.
        types: Column to its type.
    """

    every_step: bool
    types: dict[str, DataType]

    def columns(self, collector: Collector, rows: CheckedRows) -> dict[str, Column]:
        """Return the columns of a batch, null for rows with errors.

        Args:
            collector: The outputs of the good rows.
            rows: The rows of the batch; errors of the keeper itself are added.
        """


def check_keep(keep: str) -> str:
    """Check the form of `keep`.

    Raises:
        OptionError: If it is neither `last`, `all` nor `package.module:function`.
    """
    if not isinstance(keep, str) or (keep not in ("last", "all") and not is_function(keep)):
        raise OptionError(f"keep: expected last, all or package.module:function, got {keep!r}")
    return keep


def make_keeper(keep: str, outputs: Sequence[RowOutput], example: Mapping[str, Array]) -> Keeper:
    """Return what `keep` names.

    Args:
        keep: `last`, `all` or `package.module:function`.
        outputs: The outputs that are kept.
        example: What the model answered to one row, which shows the types of a function's answers.

    Raises:
        OptionError: If the function cannot be imported, or does not answer to the example.
    """
    check_keep(keep)
    if keep in ("last", "all"):
        return StepKeeper(outputs, every_step=keep == "all")
    return FunctionKeeper(keep, outputs, example)


class StepKeeper:
    """Keeps the last step of each output, or all steps."""

    def __init__(self, outputs: Sequence[RowOutput], *, every_step: bool) -> None:
        """Take the outputs, and whether all steps are kept."""
        self._outputs, self.every_step = outputs, every_step
        self.types = {output.spec.name: self._type(output) for output in outputs}

    def columns(self, collector: Collector, rows: CheckedRows) -> dict[str, Column]:
        """Return a column for each output."""
        return {output.spec.name: self._column(output, collector, rows) for output in self._outputs}

    def _type(self, output: RowOutput) -> DataType:
        levels = len(output.features) + (self.every_step and output.kind != "value")
        kind = arrow().from_numpy_dtype(output.dtype)
        for _ in range(levels):
            kind = arrow().list_(kind)
        return kind

    def _column(self, output: RowOutput, collector: Collector, rows: CheckedRows) -> Column:
        name = output.spec.name
        if output.kind == "own":
            return self._own(output, collector.ragged[name], rows)
        values = collector.values[name]
        if self.every_step and output.kind == "steps":
            return _with_null(_nested(values, output.features), rows, rows.lengths)
        return _scattered(_nested(values, output.features), rows)

    def _own(self, output: RowOutput, arrays: list[Array], rows: CheckedRows) -> Column:
        if not self.every_step:
            kept = [array[-1:] for array in arrays]
            for place, array in zip(rows.places.tolist(), kept, strict=True):
                if not len(array):
                    rows.errors.setdefault(place, f"{output.spec.name}: no steps came out")
            kept = [a if len(a) else np.zeros((1, *output.features), output.dtype) for a in kept]
            joined = np.concatenate(kept) if kept else np.zeros((0, *output.features), output.dtype)
            return _scattered(_nested(joined, output.features), rows)
        counts = np.fromiter(map(len, arrays), np.int64, len(arrays))
        joined = np.concatenate(arrays) if arrays else np.zeros((0, *output.features), output.dtype)
        return _with_null(_nested(joined, output.features), rows, counts)


class FunctionKeeper:
    """Keeps what a function of the user makes of the outputs of a row."""

    every_step = True

    def __init__(
        self, name: str, outputs: Sequence[RowOutput], example: Mapping[str, Array]
    ) -> None:
        """Import the function, and call it with an example."""
        self._name, self._outputs = name, outputs
        self._function: Callable[..., Any] = find_function("keep", name)
        try:
            answer = self._answer(example)
        except Exception as error:  # the function is the user's
            pass_on_interruption(error)
            raise OptionError(
                f"keep: {name} failed on a row of {EXAMPLE_STEPS} steps of example values: "
                f"{one_line(error)}"
            ) from error
        try:
            self.types = {column: _type_of(value) for column, value in answer.items()}
        except Exception as error:  # pyarrow raises several kinds
            pass_on_interruption(error)
            raise OptionError(
                f"keep: expected numbers, texts or arrays from {name}: {one_line(error)}"
            ) from error
        if not answer:
            raise OptionError(f"keep: expected one or more columns from {name}, got none")

    def columns(self, collector: Collector, rows: CheckedRows) -> dict[str, Column]:
        """Return a column for each answer of the function."""
        found: dict[str, list[Any]] = {column: [None] * rows.total for column in self.types}
        starts = collector.stops - rows.lengths
        for number, place in enumerate(rows.places.tolist()):
            row = {}
            for output in self._outputs:
                name = output.spec.name
                if output.kind == "own":
                    row[name] = collector.ragged[name][number]
                elif output.kind == "value":
                    row[name] = collector.values[name][number]
                else:
                    start, stop = int(starts[number]), int(collector.stops[number])
                    row[name] = collector.values[name][start:stop]
            try:
                for column, value in self._checked(row).items():
                    found[column][place] = value
            except Exception as error:  # the function is the user's
                pass_on_interruption(error)
                rows.errors.setdefault(place, f"keep: {self._name}: {one_line(error)}")
        return {
            column: arrow().array(values, self.types[column]) for column, values in found.items()
        }

    def _checked(self, row: Mapping[str, Array]) -> dict[str, Any]:
        """Return the answer for a row, of the types that the example had."""
        answer = self._answer(row)
        if set(answer) != set(self.types):
            raise ValueError(
                f"expected the columns {', '.join(self.types)}, got {', '.join(map(str, answer))}"
            )
        return {
            column: arrow().scalar(_plain(value), self.types[column]).as_py()
            for column, value in answer.items()
        }

    def _answer(self, row: Mapping[str, Array]) -> dict[str, Any]:
        """Call the function with the only output, or with all by name."""
        single = next(iter(row.values())) if len(row) == 1 else dict(row)
        answer = self._function(single)
        if isinstance(answer, Mapping):
            return {str(column): value for column, value in answer.items()}
        only = next(iter(row)) if len(row) == 1 else self._name.rpartition(":")[2].split(".")[-1]
        return {only: answer}


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _type_of(value: Any) -> DataType:
    """Return the type of a function's answer; Python's numbers are int64 and float64."""
    pa = arrow()
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "fiub":
        kind = pa.from_numpy_dtype(value.dtype)
        for _ in range(np.ndim(value)):
            kind = pa.list_(kind)
        return kind
    kind = pa.scalar(_plain(value)).type
    if pa.types.is_null(kind):
        raise ValueError("got None for the example")
    return kind


def _nested(values: Array, features: Sequence[int]) -> Column:
    """Return an array as a column with one item for each index of its first axis."""
    pa = arrow()
    column = pa.array(values.reshape(-1))
    for at in reversed(range(len(features))):
        count = len(values) * int(np.prod(features[:at], dtype=np.int64))
        offsets = np.arange(count + 1, dtype=np.int32) * np.int32(features[at])
        column = pa.ListArray.from_arrays(pa.array(offsets), column)
    return column


def _with_null(items: Column, rows: CheckedRows, counts: Array) -> Column:
    """Return lists of items, so many for each good row, and null for the others."""
    pa = arrow()
    widths = np.zeros(rows.total, np.int64)
    widths[rows.places] = counts
    offsets = np.zeros(rows.total + 1, np.int32)
    np.cumsum(widths, out=offsets[1:])
    mask = None
    if rows.errors:
        bad = np.ones(rows.total, bool)
        bad[rows.places] = False
        mask = pa.array(bad)
    return pa.ListArray.from_arrays(pa.array(offsets), items, mask=mask)


def _scattered(items: Column, rows: CheckedRows) -> Column:
    """Return an item for each good row, and null for the others."""
    if not rows.errors:
        return items
    at = np.full(rows.total, -1, np.int64)
    at[rows.places] = np.arange(len(rows.places))
    return items.take(arrow().array(at, mask=at < 0))
