"""`Scorer`: a model that answers Arrow tables of sequences."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from rnnedge_runtime.argument import whole_number
from rnnedge_runtime.engine.options import EngineName, Model
from rnnedge_runtime.errors import EngineError, InputError, OptionError
from rnnedge_runtime.scoring.array_rows import READ_ERROR
from rnnedge_runtime.scoring.arrow_package import (
    Batch,
    DataType,
    Schema,
    Table,
    arrow,
    text_column,
    utf8,
)
from rnnedge_runtime.scoring.collecting import Collector
from rnnedge_runtime.scoring.keeping import Keeper, check_keep, make_keeper
from rnnedge_runtime.scoring.packing import PackOptions, Tally, pack
from rnnedge_runtime.scoring.proving import prove_packing
from rnnedge_runtime.scoring.row_layout import RowLayout
from rnnedge_runtime.scoring.rows import CheckedRows, read_rows
from rnnedge_runtime.scoring.sizes import bytes_of
from rnnedge_runtime.scoring.windows import windows
from rnnedge_runtime.session import Session

ERROR = "error"
"""The column that says what is wrong with a row."""
ID = "id"
"""The column of ids where none is named."""
_MOST_ROWS = 65_536
"""Rows of a window."""
_WINDOW = 16
"""The part of the budget that the values of a window may take."""
_OFFSETS = 8
"""Bytes of a step that say where it lies."""
_WHOLE = 8
"""The part of it that a call with whole rows may take, with what the engine needs inside."""
_INSIDE = 6
"""How many times its inputs and outputs an engine needs inside."""


@dataclass(frozen=True, slots=True)
class _Opened:
    session: Session
    layout: RowLayout
    keeper: Keeper
    options: PackOptions
    window_steps: int
    window_rows: int


class Scorer:
    """Scores tables of sequences: a table in, a table with the same rows in the same order out.

    It can be pickled, and opens the model at the first call, on one thread. Each row of a table is
    checked before it shares a call with others: a row that is missing, empty, of a wrong width or
    dtype, or that holds NaN or infinity, gets a text in the column `error` and null answers.

    Attributes:
        tally: How many steps were run, and how many of them past the end of a row.
        failed: How many rows had an error so far.
    """

    def __init__(  # noqa: PLR0913 - each is a separate option, given by name
        self,
        model: Model,
        *,
        columns: Mapping[str, str] | None = None,
        id: str | None = None,
        keep: str = "last",
        outputs: Sequence[str] | None = None,
        constants: Mapping[str, ArrayLike] | None = None,
        slots: int = 32,
        chunk: int = 64,
        budget: str | int = "512MB",
        runtime: EngineName = "auto",
    ) -> None:
        """Say what is scored, and how.

        Args:
            model: Path of an `.onnx` file, or its bytes.
            columns: Input name to the column that holds it; an input that is left out is in the
                column of its own name. A row has a list of steps, each a list of features, or a
                number where the input has no axis for features. By the name of the lengths, or
                `lengths`, a column of integers may say after how many steps each row ends.
            id: The column that is passed on as it is; None passes on a column `id` where there is
                one.
            keep: `last`: each output's last step; `all`: all of its steps;
                `package.module:function`: what a function answers to the output of a row, an array
                [time, features], or to all outputs by name where there are several; a number, a
                text or an array, or several by name.
            outputs: The outputs to keep, including the final states; None keeps all but the final
                states.
            constants: Inputs that are the same for every row, by name, such as `{"sr": 16000}`.
            slots: How many rows share a call, 1 or more.
            chunk: The most steps of a call in which rows carry their state on, 1 or more.
            budget: How much memory may be used, such as `512MB`, or bytes.
            runtime: The engine that computes the model, as `Session` takes it.

        Raises:
            OptionError: If an option has a wrong value.
        """
        self.model = model if isinstance(model, bytes) else os.path.abspath(model)
        self.columns, self.id, self.keep = dict(columns or {}), id, check_keep(keep)
        for name in (id, *self.columns.values()):
            if name is not None and (not isinstance(name, str) or name != utf8(name)):
                raise OptionError(f"columns: expected names in UTF-8, got {name!r}")
        self.outputs = None if outputs is None else tuple(outputs)
        self.constants = dict(constants or {})
        self.slots = whole_number("slots", slots, OptionError)
        self.chunk = whole_number("chunk", chunk, OptionError)
        self.runtime = runtime
        self.budget = bytes_of("budget (--memory)", budget)
        self.tally, self.failed = Tally(), 0
        self._opened: _Opened | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the options: the model is opened again where the scorer is used."""
        return _make, (
            self.model,
            {
                "columns": self.columns,
                "id": self.id,
                "keep": self.keep,
                "outputs": self.outputs,
                "constants": self.constants,
                "slots": self.slots,
                "chunk": self.chunk,
                "budget": self.budget,
                "runtime": self.runtime,
            },
        )

    def __repr__(self) -> str:
        """Name the model and what is kept."""
        model = "bytes" if isinstance(self.model, bytes) else repr(self.model)
        return f"Scorer({model}, columns={self.columns}, id={self.id!r}, keep={self.keep!r})"

    @property
    def session(self) -> Session:
        """The opened model."""
        return self._open().session

    @property
    def layout(self) -> RowLayout:
        """How rows are packed."""
        return self._open().layout

    def input_columns(self) -> dict[str, str]:
        """Return the column of each input, and that of the lengths where one is named."""
        layout = self._open().layout
        columns = {given.spec.name: self.column_of(given.spec.name) for given in layout.inputs}
        if layout.lengths_name in self.columns:
            columns[layout.lengths_name] = self.columns[layout.lengths_name]
        return columns

    def column_of(self, name: str) -> str:
        """Return the column that holds an input."""
        return self.columns.get(name, name)

    def arrow(self, table: Table) -> Table:
        """Score a table.

        Args:
            table: A `pyarrow.Table` or `pyarrow.RecordBatch` with the columns of the inputs.

        Returns:
            A `pyarrow.Table` with a row for each row: the id where there is one, a column for each
            output, and `error`, which is null where the row was scored.

        Raises:
            MissingPackageError: If pyarrow, or the package of the engine, is not installed.
            ModelError: If the model cannot be opened.
            InputError: If the table lacks a column.
            EngineError: If the engine fails on a single row of a type that it should take.
        """
        pa = arrow()
        if isinstance(table, pa.RecordBatch):
            table = pa.Table.from_batches([table])
        schema = self.schema(table.schema)
        return pa.Table.from_batches(self._scored(table.to_batches(), schema), schema)

    __call__ = arrow

    def batches(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Score record batches as they come, as `arrow` scores a table.

        Args:
            batches: `pyarrow.RecordBatch`es of one schema.

        Yields:
            The answers in the same order, in batches of other sizes.

        Raises:
            InputError: If a batch lacks a column.
        """
        schema = None
        iterator = iter(batches)
        for first in iterator:
            schema = self.schema(first.schema)
            yield from self._scored(_chained(first, iterator), schema)

    def schema(self, given: Schema) -> Schema:
        """Return the schema of the answers.

        Args:
            given: The `pyarrow.Schema` of the tables.

        Raises:
            InputError: If it lacks a column.
        """
        pa = arrow()
        opened = self._open()
        self.check_columns(given)
        fields = []
        id_column = self.id_of(given)
        if id_column is not None:
            fields.append(given.field(id_column).with_metadata(None))
        fields += [pa.field(name, kind) for name, kind in opened.keeper.types.items()]
        fields.append(pa.field(ERROR, pa.string()))
        names = [field.name for field in fields]
        for name in names:
            if names.count(name) > 1:
                raise InputError(
                    f"the answers would have two columns named {name}: rename the column of ids"
                )
        return pa.schema(fields)

    def types(self) -> dict[str, DataType]:
        """Return the type of each column of answers, without the id and the error."""
        return dict(self._open().keeper.types)

    def check_columns(self, given: Schema) -> None:
        """Check that tables of a schema have the columns.

        Raises:
            InputError: If one is missing.
        """
        wanted = [*self.input_columns().values()]
        wanted += [self.id] if self.id is not None else []
        for name in wanted:
            count = given.names.count(name)
            if count != 1:
                found = ", ".join(given.names) or "none"
                raise InputError(
                    f"expected {'a' if count == 0 else 'one'} column {name!r}, found {found}"
                    + self._remedy(name, count)
                )

    def id_of(self, given: Schema) -> str | None:
        """Return the column of ids in tables of a schema, or None."""
        if self.id is not None:
            return self.id
        return ID if given.names.count(ID) == 1 and ID not in self.columns.values() else None

    def _remedy(self, name: str, count: int) -> str:
        inputs = [g.spec.name for g in self._open().layout.inputs]
        if count or name not in inputs or name in self.columns:
            return ""
        return f": columns={{{name!r}: ...}} (--column {name}=...) names another"

    def _scored(self, batches: Iterable[Batch], schema: Schema) -> Iterator[Batch]:
        opened = self._open()
        column = self.column_of(opened.layout.inputs[0].spec.name)
        for window in windows(
            batches, column, most_steps=opened.window_steps, most_rows=opened.window_rows
        ):
            if window.num_rows:
                yield self._window(opened, window, schema)

    def _window(self, opened: _Opened, window: Batch, schema: Schema) -> Batch:
        pa = arrow()
        columns = self.input_columns()
        longest = opened.options.most_steps
        if opened.layout.packing == "continuous":
            longest = np.iinfo(np.int64).max
        rows = read_rows(window, opened.layout, columns, longest=longest)
        if READ_ERROR in window.schema.names:
            for row, text in enumerate(window.column(READ_ERROR).to_pylist()):
                if text is not None:  # the row is null, which is no news
                    rows.errors[row] = text
        collector = self._run(opened, rows)
        made = opened.keeper.columns(collector, rows)
        arrays = []
        for field in schema:
            if field.name in made:
                arrays.append(made[field.name])
            elif field.name == ERROR:
                errors = rows.errors
                arrays.append(
                    text_column([errors.get(row) for row in range(rows.total)])
                    if errors
                    else pa.nulls(rows.total, pa.string())
                )
            else:
                arrays.append(window.column(field.name))
        self.failed += len(rows.errors)
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _run(self, opened: _Opened, rows: CheckedRows) -> Collector:
        """Run rows; those on which the engine fails are taken out, and get its message."""
        while True:
            collector = Collector(
                opened.layout.outputs, rows.lengths, every_step=opened.keeper.every_step
            )
            try:
                tally = pack(opened.session, opened.layout, rows, opened.options, collector)
            except (EngineError, InputError):
                if not self._take_out_failing(opened, rows):
                    raise
            else:
                self.tally.add(tally)
                return collector

    def _take_out_failing(self, opened: _Opened, rows: CheckedRows) -> bool:
        """Move the rows on which the engine fails to the errors; return whether there are some."""
        good = np.ones(len(rows.places), bool)
        for row in range(len(rows.places)):
            alone = rows.only(np.array([row]))
            collector = Collector(
                opened.layout.outputs, alone.lengths, every_step=opened.keeper.every_step
            )
            try:
                pack(opened.session, opened.layout, alone, opened.options, collector)
            except (EngineError, InputError) as error:
                rows.errors[int(rows.places[row])] = str(error)
                good[row] = False
        if good.all():
            return False
        rows.keep(np.flatnonzero(good))
        return True

    def _open(self) -> _Opened:
        if self._opened is not None:
            return self._opened
        arrow()
        session = Session(self.model, threads=1, engine=self.runtime)
        layout, example = prove_packing(session, self.outputs, self.constants, slots=self.slots)
        known = {given.spec.name for given in layout.inputs}
        unknown = set(self.columns) - known - {layout.lengths_name}
        if unknown:
            names = ", ".join(given.spec.name for given in layout.inputs)
            raise InputError(
                f"columns (--column INPUT=COLUMN): the model has the inputs {names}, got "
                f"{', '.join(sorted(unknown))}"
            )
        keeper = make_keeper(self.keep, layout.outputs, example)
        step = layout.bytes_in + _OFFSETS + layout.bytes_out * keeper.every_step
        whole = _INSIDE * (layout.bytes_in + layout.bytes_out)
        self._opened = _Opened(
            session,
            layout,
            keeper,
            PackOptions(self.slots, self.chunk, max(1, self.budget // _WHOLE // whole)),
            window_steps=max(1, self.budget // _WINDOW // step),
            window_rows=max(1, min(_MOST_ROWS, self.budget // _WINDOW // layout.bytes_out)),
        )
        return self._opened


def _make(model: Model, options: Mapping[str, Any]) -> Scorer:
    return Scorer(model, **options)


def _chained(first: Batch, rest: Iterator[Batch]) -> Iterator[Batch]:
    yield first
    yield from rest
