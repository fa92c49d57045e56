"""`CheckedRows`: the rows of Arrow columns as arrays, checked before they share a call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rnnedge_runtime.binding import Array
from rnnedge_runtime.scoring.arrow_package import Batch, Column, arrow
from rnnedge_runtime.scoring.row_layout import RowInput, RowLayout
from rnnedge_runtime.streaming.silence_and_nan import is_finite

Places: TypeAlias = NDArray[np.int64]
Errors: TypeAlias = dict[int, str]
"""Row to what is wrong with it."""
_DTYPES = {"halffloat": "float16", "float": "float32", "double": "float64"}
"""Arrow's names of numpy's dtypes where they differ; `to_pandas_dtype` may need pandas."""


@dataclass(slots=True)
class CheckedRows:
    """Good rows, one after another.

    Attributes:
        values: For each input with steps, all steps of all rows, [steps, features].
        constants: For each other input, one value of each row, [rows, features].
        starts: Where each row starts in the values of each input with steps.
        lengths: Steps of each row, 1 or more.
        places: Which row of the batch each is.
        errors: What is wrong with the other rows of the batch.
        total: Rows of the batch, with those that are wrong.
    """

    values: dict[str, Array]
    constants: dict[str, Array]
    starts: dict[str, Places]
    lengths: Places
    places: Places
    errors: Errors = field(default_factory=dict)
    total: int = 0

    def only(self, kept: Places) -> CheckedRows:
        """Return some of the rows, by their number here."""
        return CheckedRows(
            self.values,
            {name: array[kept] for name, array in self.constants.items()},
            {name: starts[kept] for name, starts in self.starts.items()},
            self.lengths[kept],
            self.places[kept],
            self.errors,
            self.total,
        )

    def keep(self, kept: Places) -> None:
        """Leave only some of the rows, by their number here."""
        rest = self.only(kept)
        self.constants, self.starts = rest.constants, rest.starts
        self.lengths, self.places = rest.lengths, rest.places


@dataclass(slots=True)
class _Read:
    """The rows of one column; a row with an error has any start."""

    values: Array
    starts: Places
    lengths: Places
    errors: Errors


@dataclass(frozen=True, slots=True)
class _Ends:
    """After how many steps rows end.

    Attributes:
        name: Of the column.
        values: For each row; 0 where there is none.
        valid: Whether there is one.
    """

    name: str
    values: Places
    valid: NDArray[np.bool_]

    def cut(self, lengths: Places, errors: Errors) -> Places:
        """Return the lengths of rows, and add an error for each that ends beyond its steps."""
        wrong = (self.values < 1) | (self.values > lengths)
        for row in np.flatnonzero(wrong).tolist():
            got = self.values[row] if self.valid[row] else "null"
            errors.setdefault(row, f"{self.name}: expected 1 to {lengths[row]} steps, got {got}")
        return np.where(wrong, lengths, self.values)


@dataclass(frozen=True, slots=True)
class _Wrong:
    """Items that do not fit.

    Attributes:
        items: Their places, in order.
        text: Returns what is wrong with one of them: a row needs that of its first one alone.
    """

    items: Places
    text: Callable[[int], str]


def read_rows(
    batch: Batch, layout: RowLayout, columns: Mapping[str, str], *, longest: int
) -> CheckedRows:
    """Read and check the rows of a batch.

    Args:
        batch: A `pyarrow.RecordBatch` that has the columns.
        layout: What the model takes.
        columns: Input name to column; that of the lengths too where rows end earlier.
        longest: The most steps of a row.

    Returns:
        The rows that can be scored, and what is wrong with the others.
    """
    errors: Errors = {}
    read: dict[str, _Read] = {}
    ends = None
    if layout.lengths_name in columns:
        name = columns[layout.lengths_name]
        ends = _read_ends(name, batch.column(name), errors)
    for given in layout.inputs:
        name = given.spec.name
        read[name] = _read_column(columns[name], batch.column(columns[name]), given, ends)
        for row, text in read[name].errors.items():
            errors.setdefault(row, text)
    timed = [given.spec.name for given in layout.inputs if given.timed]
    lengths = read[timed[0]].lengths if timed else np.ones(batch.num_rows, np.int64)
    _check_lengths(layout, columns, read, longest, errors)
    good = np.ones(batch.num_rows, bool)
    good[list(errors)] = False
    places = np.flatnonzero(good)
    return CheckedRows(
        {name: read[name].values for name in timed},
        {name: r.values[r.starts[places]] for name, r in read.items() if name not in timed},
        {name: read[name].starts[places] for name in timed},
        lengths[places],
        places,
        errors,
        batch.num_rows,
    )


def _read_ends(name: str, column: Column, errors: Errors) -> _Ends | None:
    """Read the column that says after how many steps rows end."""
    column = _plain(column)
    if not arrow().types.is_integer(column.type):
        for row in range(len(column)):
            errors.setdefault(row, f"{name}: expected integers, got {column.type}")
        return None
    values = np.asarray(column.fill_null(0).to_numpy(zero_copy_only=False)).astype(np.int64)
    return _Ends(name, values, _valid(column))


def _check_lengths(
    layout: RowLayout,
    columns: Mapping[str, str],
    read: Mapping[str, _Read],
    longest: int,
    errors: Errors,
) -> None:
    """Add the rows that have too many steps or too few, or different numbers of them."""
    timed = [given for given in layout.inputs if given.timed]
    first = timed[0].spec.name if timed else ""
    for given in timed:
        column, lengths = columns[given.spec.name], read[given.spec.name].lengths
        most = longest if given.steps is None else given.steps
        least = given.steps if given.steps is not None and not layout.lengths else 1
        for row in np.flatnonzero((lengths > most) | (lengths < least)).tolist():
            expected = f"at most {most}" if least == 1 else f"{least}"
            why = "" if given.steps else ", which the memory budget takes"
            errors.setdefault(row, f"{column}: expected {expected} steps{why}, got {lengths[row]}")
        for row in np.flatnonzero(lengths != read[first].lengths).tolist():
            errors.setdefault(
                row,
                f"{column}: expected {read[first].lengths[row]} steps, as {columns[first]} has, "
                f"got {lengths[row]}",
            )


def steps_of(column: Column) -> Places:
    """Return how many items each row of a column has; 1 in a column without lists."""
    column = _plain(column)
    if _is_list(column.type):
        starts, stops = _bounds(column)
        return np.where(_valid(column), stops - starts, 0)
    return np.ones(len(column), np.int64)


def _read_column(name: str, column: Column, given: RowInput, ends: _Ends | None) -> _Read:
    column = _plain(column)
    errors: Errors = {}
    for row in np.flatnonzero(~_valid(column)).tolist():
        errors[row] = f"{name}: expected {given}, got null"
    levels = int(given.timed) + len(given.features)
    leaf = _leaf(column.type, levels)
    if leaf is None or not _fits(leaf, given.dtype):
        return _all_wrong(name, column, given, errors)
    if not given.timed:
        starts, lengths = np.arange(len(column)), np.ones(len(column), np.int64)
        items, low = column, 0
    else:
        starts, stops = _bounds(column)
        starts, stops = np.where(stops > starts, starts, 0), np.where(stops > starts, stops, 0)
        lengths = stops - starts
        for row in np.flatnonzero(lengths == 0).tolist():
            errors.setdefault(row, f"{name}: expected 1 or more steps, got 0")
        if ends is not None:
            lengths = ends.cut(lengths, errors)
        high = int(stops.max(initial=0))
        low = int(starts[lengths > 0].min(initial=high))
        items = column.values.slice(low, high - low)
    values, wrong = _features(items, given)
    read = _Read(values, starts - low, lengths, errors)
    while wrong is not None:  # what is wrong inside of steps shows when their widths are right
        _spread(name, wrong, read, given)
        items = _without_wrong(items, read)
        read.values, wrong = _features(items, given)
    _add_nan(name, read, given)
    return read


def _without_wrong(items: Column, read: _Read) -> Column:
    """Return the items of the rows that have no error yet, and place the rows in them."""
    good = np.ones(len(read.lengths), bool)
    good[list(read.errors)] = False
    kept = np.flatnonzero(good)
    lengths = read.lengths[kept]
    starts = np.cumsum(lengths) - lengths
    places = np.repeat(read.starts[kept] - starts, lengths) + np.arange(int(lengths.sum()))
    read.starts = np.zeros(len(good), np.int64)
    read.starts[kept] = starts
    read.lengths = np.where(good, read.lengths, 0)
    return items.take(arrow().array(places))


def _all_wrong(name: str, column: Column, given: RowInput, errors: Errors) -> _Read:
    for row in range(len(column)):
        errors.setdefault(row, f"{name}: expected {given}, got {column.type}")
    nothing = np.zeros(len(column), np.int64)
    return _Read(np.zeros((1, *given.features), given.dtype), nothing, nothing.copy(), errors)


def _features(items: Column, given: RowInput) -> tuple[Array, _Wrong | None]:
    """Return the items of a column as one array, or which of them do not fit."""
    count, column = len(items), _plain(items)
    each = 1  # items of `column` for one of `items`
    for size in given.features:
        even = _start_of_even(column, size)
        if even is not None:
            column = _plain(column.values.slice(even, len(column) * size))
            each *= size
            continue
        starts, stops = _bounds(column)
        widths = np.where(_valid(column), stops - starts, -1)
        wrong = np.flatnonzero(widths != size)
        if len(wrong):
            found = widths[wrong]

            def width(at: int, found: Places = found, size: int = size) -> str:
                got = "null" if found[at] < 0 else str(found[at])
                return f"got {got} where {size} number(s) belong"

            return np.zeros(0), _Wrong(wrong // each, width)
        places = (starts[:, None] + np.arange(size)).ravel()  # a view: in any order, with gaps
        column = _plain(column.values.take(arrow().array(places)))
        each *= size
    if column.null_count:
        missing = np.flatnonzero(~_valid(column))
        return np.zeros(0), _Wrong(missing // each, lambda at: "got null where a number belongs")
    array = np.asarray(column.to_numpy(zero_copy_only=False)).astype(given.dtype, copy=False)
    return array.reshape(count, *given.features), None


def _start_of_even(column: Column, size: int) -> int | None:
    """Return where the items of lists begin, if each list has so many, one after another.

    A window has millions of steps, so that nothing is made for each of them.
    """
    types = arrow().types
    if column.null_count or _is_view(column.type):
        return None
    if types.is_fixed_size_list(column.type):
        return column.offset * size if column.type.list_size == size else None
    offsets = column.offsets.to_numpy(zero_copy_only=False)
    return int(offsets[0]) if (np.diff(offsets) == size).all() else None


def _spread(name: str, wrong: _Wrong, read: _Read, given: RowInput) -> None:
    """Add an error to each row that has a wrong item: about the first one."""
    first = np.searchsorted(wrong.items, read.starts)
    beyond = np.searchsorted(wrong.items, read.starts + read.lengths)
    for row in np.flatnonzero(first < beyond).tolist():
        at = int(first[row])
        where = f" at step {wrong.items[at] - read.starts[row]}" * given.timed
        read.errors.setdefault(row, f"{name}: expected {given}, {wrong.text(at)}{where}")


def _add_nan(name: str, read: _Read, given: RowInput) -> None:
    values = read.values
    if is_finite(values):
        return
    wrong = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(1))

    def number(at: int) -> str:
        item = values[wrong[at]].ravel()
        return f"got {item[~np.isfinite(item)][0]}"

    _spread(name, _Wrong(wrong, number), read, given)


def _plain(column: Column) -> Column:
    """Return a column of lists or numbers for one of an extension type or a dictionary."""
    pa = arrow()
    if isinstance(column, pa.ExtensionArray):
        return _plain(column.storage)
    if isinstance(column, pa.DictionaryArray):
        return _plain(column.dictionary_decode())
    return column


def _leaf(kind: Any, levels: int) -> Any:
    """Return the type of the numbers inside so many lists, or None if there are others."""
    types = arrow().types
    for _ in range(levels):
        if isinstance(kind, arrow().BaseExtensionType):
            kind = kind.storage_type
        if not _is_list(kind):
            return None
        kind = kind.value_type
    if types.is_dictionary(kind):
        kind = kind.value_type
    return kind


def _fits(leaf: Any, dtype: np.dtype[Any]) -> bool:
    """Whether numbers of a type are those of a dtype, or can be without loss of any."""
    types = arrow().types
    if not (types.is_integer(leaf) or types.is_floating(leaf) or types.is_boolean(leaf)):
        return False
    found = np.dtype(_DTYPES.get(str(leaf), str(leaf)))
    alike = found.kind == dtype.kind or (found.kind == "u" and dtype.kind == "i")
    return alike and np.can_cast(found, dtype, "safe")


def _is_list(kind: Any) -> bool:
    types = arrow().types
    known = (types.is_list, types.is_large_list, types.is_fixed_size_list)
    return _is_view(kind) or any(is_one(kind) for is_one in known)


def _is_view(kind: Any) -> bool:
    types = arrow().types
    return bool(types.is_list_view(kind) or types.is_large_list_view(kind))


def _valid(column: Column) -> NDArray[np.bool_]:
    if not column.null_count:
        return np.ones(len(column), bool)
    valid: NDArray[np.bool_] = np.asarray(column.is_valid().to_numpy(zero_copy_only=False))
    return valid


def _bounds(column: Column) -> tuple[Places, Places]:
    """Return where each row of a column of lists starts and stops in its `values`."""
    if arrow().types.is_fixed_size_list(column.type):
        size = column.type.list_size
        starts = (np.arange(len(column)) + column.offset) * size
        stops = starts + size
    elif _is_view(column.type):  # pyarrow 26 casts them wrongly to lists
        starts = np.asarray(column.offsets.to_numpy(zero_copy_only=False)).astype(np.int64)
        stops = starts + np.asarray(column.sizes.to_numpy(zero_copy_only=False))
    else:
        offsets = np.asarray(column.offsets.to_numpy(zero_copy_only=False)).astype(np.int64)
        starts, stops = offsets[:-1], offsets[1:]
    return starts, np.where(_valid(column), stops, starts)
