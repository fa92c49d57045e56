"""Arrays as a `RowSource`: npz files, and files of one row each that numpy or a function reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnnedge_runtime.array_file import read_arrays
from rnnedge_runtime.binding import Array
from rnnedge_runtime.errors import InputError, one_line, pass_on_interruption
from rnnedge_runtime.scoring.array_rows import READ_ERROR, ArrayRow, batch_of
from rnnedge_runtime.scoring.arrow_package import Batch, Schema, arrow, utf8
from rnnedge_runtime.scoring.python_function import find_function
from rnnedge_runtime.scoring.row_layout import LENGTHS, RowInput
from rnnedge_runtime.scoring.rows import steps_of
from rnnedge_runtime.scoring.scorer import ID
from rnnedge_runtime.scoring.sources import RowGroup

_BATCH_BYTES = 4 << 20


class FilesSource:
    """A folder of files of one row each, whose ids are the names of the files.

    Attributes:
        paths: The files.
        id_name: The name of the column of ids.
    """

    many_rows = False

    def __init__(
        self,
        folder: Path,
        paths: Sequence[Path],
        inputs: Sequence[RowInput],
        columns: Mapping[str, str],
        *,
        id: str | None,
        reader: str | None,
    ) -> None:
        """Take the files.

        Args:
            folder: What the names of the rows are relative to.
            paths: The files, in order.
            inputs: What the model takes.
            columns: Input name to the name of its column.
            id: The name of the column of ids, or None.
            reader: `package.module:function`, which returns the array of a file, or arrays by
                input name; None reads npy files.

        Raises:
            InputError: If the model takes several inputs, and npy files have one.
            OptionError: If the function cannot be imported.
        """
        self.paths, self.id_name = tuple(paths), id or ID
        self._folder, self._inputs, self._columns = folder, tuple(inputs), dict(columns)
        self._read: Callable[[str], Any] = _read_npy
        if reader is not None:
            self._read = find_function("reader", reader)
        elif len(inputs) > 1:
            names = ", ".join(given.spec.name for given in inputs)
            raise InputError(
                f"{folder}: expected the inputs {names}, and an npy file has one array: use "
                "Parquet, npz, or reader= (--reader)"
            )

    def groups(self) -> list[list[RowGroup]]:
        """Return one row for each file."""
        return [[RowGroup(1, max(1, path.stat().st_size))] for path in self.paths]

    def schema(self) -> Schema:
        """Return the id and the inputs."""
        example = [ArrayRow("", {}, "no row")]
        batch = batch_of(example, self._inputs, self._columns, self.id_name)
        return arrow().schema([field for field in batch.schema if field.name != READ_ERROR])

    def read(self, file: int, start: int, stop: int, *, ids_only: bool = False) -> Iterator[Batch]:
        """Yield the row of a file, as `RowSource.read` describes."""
        path = self.paths[file]
        name = utf8(path.relative_to(self._folder).as_posix())
        if ids_only:
            yield arrow().RecordBatch.from_pydict({self.id_name: [name]})
            return
        yield batch_of([self._row(path, name)], self._inputs, self._columns, self.id_name)

    def _row(self, path: Path, name: str) -> ArrayRow:
        try:
            found = self._read(str(path))
        except Exception as error:  # the function is the user's
            pass_on_interruption(error)
            return ArrayRow(name, {}, f"{name}: cannot be read: {one_line(error)}")
        if isinstance(found, Mapping):
            return ArrayRow(name, {str(key): np.asarray(value) for key, value in found.items()})
        if len(self._inputs) > 1:
            names = ", ".join(given.spec.name for given in self._inputs)
            return ArrayRow(name, {}, f"{name}: expected arrays by the names {names}, got one")
        return ArrayRow(name, {self._inputs[0].spec.name: np.asarray(found)})


class NpzSource:
    """Files of many rows: arrays with the axes of the inputs, or an array for each row.

    Attributes:
        paths: The files.
        id_name: The name of the column of ids; None where the files have none.
    """

    many_rows = True

    def __init__(
        self,
        paths: Sequence[Path],
        inputs: Sequence[RowInput],
        columns: Mapping[str, str],
        *,
        id: str | None,
        lengths: str | None = None,
    ) -> None:
        """Take the files.

        Args:
            paths: The files, in order.
            inputs: What the model takes.
            columns: Input name to the name of its array.
            id: The name of the array of ids; None takes `id` where it is there.
            lengths: The name of the array of lengths; None takes `lengths` where it is there.

        Raises:
            InputError: If a file cannot be read.
        """
        self.paths = tuple(paths)
        self._inputs, self._columns, self._id = tuple(inputs), dict(columns), id
        self._lengths = lengths
        self._loaded: tuple[Path, list[ArrayRow]] | None = None
        rows = self._rows(self.paths[0])
        self.id_name = (id or ID) if id is not None or (rows and rows[0].id is not None) else None

    def groups(self) -> list[list[RowGroup]]:
        """Return one group for each file."""
        found = []
        for path in self.paths:
            rows = self._rows(path)
            size = sum(array.nbytes for row in rows for array in row.arrays.values())
            found.append([RowGroup(len(rows), max(size, len(rows)))])
        return found

    def schema(self) -> Schema:
        """Return the id and the inputs."""
        rows = self._rows(self.paths[0])[:1] or [ArrayRow("", {}, "no row")]
        batch = self._batch(rows)
        return arrow().schema([field for field in batch.schema if field.name != READ_ERROR])

    def read(self, file: int, start: int, stop: int, *, ids_only: bool = False) -> Iterator[Batch]:
        """Yield a range of the rows of a file, as `RowSource.read` describes."""
        rows = self._rows(self.paths[file])[start:stop]
        if ids_only:
            rows = [ArrayRow(row.id, {}, "not read") for row in rows]
        while rows:
            size = max(1, sum(array.nbytes for array in rows[0].arrays.values()))
            count = max(1, min(4096, _BATCH_BYTES // size))
            yield self._batch(rows[:count])
            rows = rows[count:]

    def _batch(self, rows: Sequence[ArrayRow]) -> Batch:
        batch = batch_of(rows, self._inputs, self._columns, self.id_name or ID)
        if self._lengths is not None:  # by which the rows were cut
            first = batch.column(self._columns[self._inputs[0].spec.name])
            batch = batch.append_column(self._lengths, arrow().array(steps_of(first)))
        return batch if self.id_name is not None else batch.drop_columns([ID])

    def _rows(self, path: Path) -> list[ArrayRow]:
        if self._loaded is None or self._loaded[0] != path:
            self._loaded = None
            self._loaded = (path, self._split(path, _load(path)))
        return self._loaded[1]

    def _split(self, path: Path, arrays: dict[str, Array]) -> list[ArrayRow]:
        only = self._inputs[0] if len(self._inputs) == 1 else None
        if only is not None and path.suffix.lower() == ".npy":
            arrays = {self._columns[only.spec.name]: next(iter(arrays.values()))}
        found = [self._columns[given.spec.name] in arrays for given in self._inputs]
        if all(found):
            return self._batched(path, arrays)
        if (
            only is None
            or any(found)
            or self._id is not None
            or only.spec.name in self._columns_given
        ):
            missing = next(
                self._columns[given.spec.name]
                for given, there in zip(self._inputs, found, strict=True)
                if not there
            )
            names = ", ".join(arrays) or "none"
            raise InputError(f"{path}: expected an array {missing!r}, found {names}")
        return [ArrayRow(name, {only.spec.name: array}) for name, array in arrays.items()]

    @property
    def _length_name(self) -> str:
        inputs = (self._columns[given.spec.name] for given in self._inputs)
        return self._lengths or ("" if LENGTHS in inputs else LENGTHS)

    @property
    def _columns_given(self) -> set[str]:
        return {name for name, column in self._columns.items() if name != column}

    def _batched(self, path: Path, arrays: Mapping[str, Array]) -> list[ArrayRow]:
        """Return the rows of arrays with the axes of the inputs."""
        count: int | None = None
        counted = [arrays[name] for name in (self._length_name, self._id or ID) if name in arrays]
        told = next((len(array) for array in counted if array.ndim == 1), None)
        rows: dict[str, list[Array]] = {}
        for given in self._inputs:
            name = self._columns[given.spec.name]
            array = arrays[name]
            if array.ndim == len(given.spec.axes) - 1:
                array = np.expand_dims(array, given.batch_axis)
            if array.ndim != len(given.spec.axes):
                raise InputError(
                    f"{path}: {name}: expected {given.spec}, got {array.dtype}{list(array.shape)}"
                )
            moved = np.moveaxis(array, given.batch_axis, 0)
            if told is not None and len(moved) != told == len(array):
                moved = array  # rows first, whatever the model's order
            count = len(moved) if count is None else count
            if len(moved) != count:
                raise InputError(f"{path}: {name}: expected {count} rows, got {len(moved)}")
            rows[given.spec.name] = list(moved)
        lengths = self._of_rows(path, arrays, self._length_name, count, self._lengths)
        ids = self._of_rows(path, arrays, self._id or ID, count, self._id)
        if ids is not None:
            _check_ids(path, self._id or ID, ids)
        made = []
        for row in range(count or 0):
            one = {name: values[row] for name, values in rows.items()}
            error = "" if lengths is None else self._cut(one, lengths[row])
            made.append(ArrayRow(None if ids is None else ids[row].item(), one, error))
        return made

    def _of_rows(
        self,
        path: Path,
        arrays: Mapping[str, Array],
        name: str,
        count: int | None,
        wanted: str | None,
    ) -> Array | None:
        """Return an array with one item for each row, or None if there is none."""
        values = arrays.get(name)
        if values is None:
            if wanted is not None:
                names = ", ".join(arrays)
                raise InputError(f"{path}: expected an array {wanted!r}, found {names}")
            return None
        if values.shape != (count,):
            raise InputError(
                f"{path}: {name}: expected one for each of {count} rows, got "
                f"{values.dtype}{list(values.shape)}"
            )
        return values

    def _cut(self, row: dict[str, Array], length: Any) -> str:
        """End a row at its length; return what is wrong with that."""
        for given in self._inputs:
            if not given.timed:
                continue
            name, most = given.spec.name, len(row[given.spec.name])
            if not isinstance(length, np.integer) or not 0 <= length <= most:
                return f"{self._length_name}: expected 0 to {most} steps, got {length}"
            row[name] = row[name][: int(length)]
        return ""


def _check_ids(path: Path, name: str, ids: Array) -> None:
    """Check that a column can hold the ids, each as it is."""
    try:
        arrow().array(ids.tolist())
    except (arrow().ArrowException, OverflowError, TypeError, UnicodeError) as error:
        raise InputError(
            f"{path}: {name}: expected integers or text, got {ids.dtype}: {one_line(error)}"
        ) from error


def _load(path: Path) -> dict[str, Array]:
    try:
        arrays = read_arrays(path)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected an npz file: {one_line(error)}") from error
    return arrays if isinstance(arrays, dict) else {"": arrays}


def _read_npy(path: str) -> Array:
    array = read_arrays(path)
    if isinstance(array, dict):
        raise InputError(f"{path}: expected one array (.npy), got an .npz archive")
    return array
