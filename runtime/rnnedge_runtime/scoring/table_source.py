"""Parquet and Arrow files as a `RowSource`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from rnnedge_runtime.errors import InputError, RnnEdgeError, one_line
from rnnedge_runtime.scoring.arrow_package import Batch, Schema, arrow, parquet
from rnnedge_runtime.scoring.sources import RowGroup

_READ_AT_ONCE = 4 << 20
"""Bytes of rows that are decoded together."""
_MOST_ROWS = 65_536
_BUFFER = 1 << 20
"""Bytes of a compressed column that are read from the disk together."""


class TableSource:
    """Files of tables.

    Attributes:
        paths: The files.
        id_name: The column of ids, or None.
    """

    many_rows = True

    def __init__(
        self,
        kind: str,
        paths: Sequence[Path],
        columns: Mapping[str, str],
        id_of: Callable[[Schema], str | None],
    ) -> None:
        """Take the files.

        Args:
            kind: `parquet` or `arrow`.
            paths: The files, in order.
            columns: The columns that are read, each with the input that it holds.
            id_of: Returns the column of ids of a schema, or None.
        """
        self.paths = tuple(paths)
        self._columns = dict(columns)
        self._open = _ParquetTable if kind == "parquet" else _ArrowTable
        self._table: tuple[Path, _Table] | None = None
        self.id_name = id_of(self._opened(self.paths[0]).schema)

    def groups(self) -> list[list[RowGroup]]:
        """Return the groups of rows of each file, as `RowSource.groups` describes."""
        found = []
        for path in self.paths:
            table = self._opened(path)
            self._check(path, table.schema)
            with _reading(path):
                found.append(table.groups(self._wanted))
        return found

    def schema(self) -> Schema:
        """Return the columns that are read; files may differ in those of the inputs."""
        first = self._opened(self.paths[0]).schema
        for path in self.paths[1:] if self.id_name is not None else ():
            kind = self._opened(path).schema.field(self.id_name).type
            if kind != first.field(self.id_name).type:
                raise InputError(
                    f"{path}: expected {first.field(self.id_name).type} in column "
                    f"{self.id_name!r}, as in {self.paths[0]}, found {kind}"
                )
        return arrow().schema([first.field(name) for name in self._wanted])

    def read(self, file: int, start: int, stop: int, *, ids_only: bool = False) -> Iterator[Batch]:
        """Yield a range of rows, as `RowSource.read` describes."""
        path = self.paths[file]
        table = self._opened(path)
        self._check(path, table.schema)
        with _reading(path):
            if ids_only:
                self._table = None  # what follows reads all columns again
                wanted = [] if self.id_name is None else [self.id_name]
                batches = _ids(self._open(path), wanted, start, stop)
            else:
                batches = table.read(self._wanted, start, stop)
            for batch in batches:
                batch.validate(full=True)  # offsets and text, which nothing has looked at
                yield batch

    @property
    def _wanted(self) -> list[str]:
        return [*([self.id_name] if self.id_name is not None else []), *self._columns]

    def _opened(self, path: Path) -> _Table:
        if self._table is None or self._table[0] != path:
            self._table = None  # closes the file
            with _reading(path):
                table = self._open(path)
                _ = table.schema.names  # which may not be UTF-8
                self._table = (path, table)
        return self._table[1]

    def _check(self, path: Path, schema: Schema) -> None:
        for name in self._wanted:
            if schema.names.count(name) != 1:
                found = ", ".join(schema.names) or "none"
                remedy = self._remedy(name, schema)
                raise InputError(f"{path}: expected a column {name!r}, found {found}: {remedy}")

    def _remedy(self, name: str, schema: Schema) -> str:
        """Say how another column is named, with one that has the shape of an input."""
        if name == self.id_name:
            return "--id NAME (in Python, id=) names another"
        lists = [field.name for field in schema if hasattr(field.type, "value_type")]
        given = self._columns[name]
        column = lists[0] if len(lists) == 1 else "COLUMN"
        return f"--column {given}={column} (in Python, columns={{{given!r}: {column!r}}}) names it"


def _ids(table: _Table, wanted: list[str], start: int, stop: int) -> Iterator[Batch]:
    if wanted:
        yield from table.read(wanted, start, stop)
    else:
        yield arrow().RecordBatch.from_struct_array(
            arrow().array([{}] * (stop - start), arrow().struct([]))
        )


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except RnnEdgeError:
        raise
    except (OSError, UnicodeError, arrow().ArrowException) as error:  # three trees of errors
        raise InputError(f"{path}: cannot be read: {one_line(error)}") from error


@dataclass(slots=True)
class _Cursor:
    """Where the reading of a Parquet file stands.

    Attributes:
        key: The columns.
        at: The next row.
        batches: What follows `rest`.
        rest: Rows that were decoded and not yet asked for.
    """

    key: tuple[str, ...]
    at: int
    batches: Iterator[Batch]
    rest: Batch | None = None


class _ParquetTable:
    """A Parquet file; a range that starts where the last one ended reads nothing twice."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: Any = parquet().ParquetFile(path, buffer_size=_BUFFER)
        self.schema = self._file.schema_arrow
        metadata = self._file.metadata
        self._rows = [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)]
        self._cursor: _Cursor | None = None

    def groups(self, columns: Sequence[str]) -> list[RowGroup]:
        return [RowGroup(rows, self._bytes(n, columns)) for n, rows in enumerate(self._rows)]

    def _bytes(self, number: int, columns: Sequence[str]) -> int:
        group = self._file.metadata.row_group(number)
        parts = (group.column(n) for n in range(group.num_columns))
        return sum(p.total_uncompressed_size for p in parts if _root(p.path_in_schema, columns))

    def read(self, columns: Sequence[str], start: int, stop: int) -> Iterator[Batch]:
        key = tuple(columns)
        if self._cursor is not None and (self._cursor.key != key or self._cursor.at > start):
            self._cursor = None
        group, first = 0, 0
        while group < len(self._rows) - 1 and first + self._rows[group] <= start:
            first += self._rows[group]
            group += 1
        if self._cursor is None or self._cursor.at < first:
            self._cursor = _Cursor(key, first, self._batches(group, key))
        cursor = self._cursor
        while cursor.at < stop:
            batch = next(cursor.batches, None) if cursor.rest is None else cursor.rest
            if batch is None:
                raise InputError(
                    f"{self._path}: expected {stop} rows or more, as it states, found {cursor.at}"
                )
            low, high = max(start, cursor.at) - cursor.at, min(stop, cursor.at + len(batch))
            high -= cursor.at
            cursor.at += high
            cursor.rest = batch.slice(high) if high < len(batch) else None
            if low < high:
                yield batch.slice(low, high - low)

    def _batches(self, group: int, columns: Sequence[str]) -> Iterator[Batch]:
        for number in range(group, len(self._rows)):
            each = max(1, self._bytes(number, columns) // max(1, self._rows[number]))
            yield from self._file.iter_batches(
                max(1, min(_MOST_ROWS, _READ_AT_ONCE // each)),
                row_groups=[number],
                columns=list(columns),
                use_threads=False,
            )


class _ArrowTable:
    """An Arrow file or stream, uncompressed or compressed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        pa = arrow()
        self._file: Any = None
        try:
            self._file = pa.ipc.open_file(pa.OSFile(str(path)))
            self.schema = self._file.schema
        except pa.ArrowInvalid:
            with pa.ipc.open_stream(pa.OSFile(str(path))) as stream:
                self.schema = stream.schema
        self._counts: list[int] | None = None

    def groups(self, columns: Sequence[str]) -> list[RowGroup]:
        found = []
        for batch in self._mapped(columns):
            batch.validate()  # or its size is not known
            found.append(RowGroup(len(batch), batch.select(list(columns)).nbytes))
        self._counts = [group.rows for group in found]
        return found

    def _mapped(self, columns: Sequence[str]) -> Iterator[Batch]:
        """Yield all batches from mapped memory, where only what is compressed is read for it."""
        fields = [self.schema.get_field_index(name) for name in columns]
        options = arrow().ipc.IpcReadOptions(included_fields=sorted(fields))
        with arrow().memory_map(str(self._path)) as mapped:
            if self._file is None:
                yield from arrow().ipc.open_stream(mapped, options=options)
                return
            with arrow().ipc.open_file(mapped, options=options) as file:
                yield from (file.get_batch(number) for number in range(file.num_record_batches))

    def read(self, columns: Sequence[str], start: int, stop: int) -> Iterator[Batch]:
        if self._counts is None:
            self._counts = [len(batch) for batch in self._mapped(columns[:1])]
        first, number = 0, 0
        while number < len(self._counts) - 1 and first + self._counts[number] <= start:
            first += self._counts[number]
            number += 1
        for batch in self._batches(number):
            if first >= stop:
                return
            low, high = max(start, first) - first, min(stop, first + len(batch)) - first
            if low < high:
                yield batch.slice(low, high - low).select(list(columns))
            first += len(batch)

    def _batches(self, number: int) -> Iterator[Batch]:
        if self._file is not None:
            yield from (
                self._file.get_batch(n) for n in range(number, self._file.num_record_batches)
            )
            return
        with arrow().ipc.open_stream(arrow().OSFile(str(self._path))) as stream:
            for at, batch in enumerate(stream):
                if at >= number:
                    yield batch


_Table: TypeAlias = "_ParquetTable | _ArrowTable"


def _root(path: str, columns: Sequence[str]) -> bool:
    """Whether a leaf of a Parquet file belongs to one of some columns."""
    return any(path == name or path.startswith(f"{name}.") for name in columns)
