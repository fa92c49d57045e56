"""`Job`: one call of `score`, as every worker gets it; and how one of its parts is done."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from rnnedge_runtime.atomic_file import atomic_file
from rnnedge_runtime.errors import InputError, ModelError, one_line
from rnnedge_runtime.json_record import Record, parse
from rnnedge_runtime.scoring.array_source import FilesSource, NpzSource
from rnnedge_runtime.scoring.arrow_package import (
    Batch,
    Schema,
    arrow,
    parquet,
    shown,
    text_column,
)
from rnnedge_runtime.scoring.plan import Part, ScoringPlan, content_digest
from rnnedge_runtime.scoring.scorer import ERROR, ID, Scorer
from rnnedge_runtime.scoring.sources import RowSource, find_files
from rnnedge_runtime.scoring.table_source import TableSource
from rnnedge_runtime.write_target import Kinds

MARK = b"rnnedge.score"
"""The key of a part's metadata that says which plan it belongs to, and what is in it."""
_LONGEST_MARK = 10_000
"""Characters."""
_PARQUET: Kinds = {".parquet": lambda file: _is_parquet(file)}

Piece: TypeAlias = "tuple[int, int]"
"""The first row of some rows that are scored together, and the row after the last one."""
Told: TypeAlias = Callable[[int, int, int], None]
"""Is called while a part is done: rows, steps and errors since the last call."""


@dataclass(frozen=True, slots=True)
class PartResult:
    """What was done of a part.

    Attributes:
        number: Of the part.
        rows: Its rows.
        failed: How many of them have an error.
        steps: Steps that were run.
        computed: Steps that the engine computed for them, with padding.
        seconds: How long it took.
    """

    number: int
    rows: int
    failed: int
    steps: int
    computed: int
    seconds: float = 0.0


@dataclass(frozen=True)
class Job:
    """What is scored, and where the answers go.

    Attributes:
        model: Path of the model file.
        data: Path of DATA.
        out: The folder of the answers.
        plan: The plan.
        options: What `Scorer` takes, by name.
        reader: The function that reads a file, or None.
        strict: Whether the first row with an error stops the job.
        stamps: Path of each file of DATA to its size and time of change.
    """

    model: str
    data: str
    out: str
    plan: ScoringPlan
    options: Mapping[str, Any]
    reader: str | None = None
    strict: bool = False
    stamps: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def path_of(self, part: Part) -> Path:
        """Return the file of a part's answers; the names sort in the order of the rows."""
        width = max(5, len(str(len(self.plan.parts) - 1)))
        return Path(self.out) / f"part-{part.number:0{width}}.parquet"

    def done(self, part: Part) -> PartResult | None:
        """Return what is there of a part, or None if nothing is that belongs to the plan."""
        path = self.path_of(part)
        if not path.is_file():
            return None
        try:
            text = (parquet().read_metadata(path).metadata or {}).get(MARK, b"{}").decode()
            mark = Record(parse(text, longest=_LONGEST_MARK))
            if mark.text("plan") != self.plan.digest or mark.whole("part") != part.number:
                return None
            failed = mark.whole("failed")
            return PartResult(
                part.number, part.rows, failed, _count(mark, "steps"), _count(mark, "computed")
            )
        except (OSError, ValueError, arrow().ArrowException):  # no part, or none of this plan
            return None


class PartScorer:
    """Does parts of a job, one after another, in one process."""

    def __init__(self, job: Job) -> None:
        """Take the job; the model is opened for the first part.

        Raises:
            ModelError: If the model is not that of the plan.
        """
        self._job = job
        self._model_stamp: tuple[int, int] | None = None
        self._check_model()
        self._scorer = Scorer(job.model, **job.options)

    @cached_property
    def _source(self) -> RowSource:
        return open_source(self._job.data, self._scorer, self._job.reader)

    def do(
        self,
        part: Part,
        *,
        told: Told | None = None,
        pieces: Sequence[Piece] | None = None,
        errors: Mapping[int, str] | None = None,
    ) -> PartResult:
        """Score a part, and write its answers: a whole file, or none.

        Args:
            part: The part.
            told: Is called while it is done.
            pieces: Rows that are scored together; None is all of them.
            errors: Rows that are not touched, and why.

        Returns:
            What was done.

        Raises:
            InputError: If a file of DATA cannot be read or was changed, or for a row with an error
                if the job is strict.
            WriteError: If the answers cannot be written.
        """
        began = time.perf_counter()
        tally = self._scorer.tally
        steps, computed = tally.steps, tally.computed
        failed = 0
        schema = self.schema()
        with (
            atomic_file(self._job.path_of(part), _PARQUET) as file,
            parquet().ParquetWriter(file, schema, use_dictionary=False) as writer,
        ):
            at, before = part.start, tally.steps
            for batch in self._answers(part, schema, pieces, errors or {}):
                wrong = len(batch) - batch.column(ERROR).null_count
                if wrong and self._job.strict:
                    raise self._first_error(batch, at)
                writer.write_batch(batch)
                failed, at = failed + wrong, at + len(batch)
                if told is not None:
                    told(len(batch), tally.steps - before, wrong)
                before = tally.steps
            self._check_unchanged(part)
            result = PartResult(
                part.number,
                part.rows,
                failed,
                tally.steps - steps,
                tally.computed - computed,
                time.perf_counter() - began,
            )
            writer.add_key_value_metadata({MARK: self._mark(result)})
        return result

    def probe(self, start: int, stop: int) -> None:
        """Score rows without keeping the answers, to see whether the process survives them."""
        for _ in self._scored(start, stop):
            pass

    def schema(self) -> Schema:
        """Return the schema of the answers."""
        pa = arrow()
        source = self._source
        schema = self._scorer.schema(source.schema())
        if source.id_name is None:
            return pa.schema([pa.field(ID, pa.int64()), *schema])
        return schema

    def _answers(
        self,
        part: Part,
        schema: Schema,
        pieces: Sequence[Piece] | None,
        errors: Mapping[int, str],
    ) -> Iterator[Batch]:
        ranges = [(part.start, part.stop)] if pieces is None else list(pieces)
        for start, stop in sorted([*ranges, *((row, row + 1) for row in errors)]):
            if start in errors:
                yield self._untouched(start, errors[start], schema)
                continue
            at = start
            for batch in self._scored(start, stop):
                yield self._with_id(batch, at, schema)
                at += len(batch)

    def _with_id(self, batch: Batch, at: int, schema: Schema) -> Batch:
        pa = arrow()
        if self._source.id_name is not None:
            return batch
        numbers = pa.array(range(at, at + len(batch)), pa.int64())
        return pa.RecordBatch.from_arrays([numbers, *batch.columns], schema=schema)

    def _untouched(self, row: int, error: str, schema: Schema) -> Batch:
        """Return the answer for a row that is not scored."""
        pa = arrow()
        arrays = []
        read = next(self._read(row, row + 1, ids_only=True))
        for field_ in schema:
            if field_.name == ERROR:
                arrays.append(text_column([error]))
            elif field_.name == self._source.id_name:
                arrays.append(read.column(field_.name))
            elif self._source.id_name is None and field_.name == ID:
                arrays.append(pa.array([row], pa.int64()))
            else:
                arrays.append(pa.nulls(1, field_.type))
        return pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _scored(self, start: int, stop: int) -> Iterator[Batch]:
        return self._scorer.batches(self._read(start, stop))

    def _read(self, start: int, stop: int, *, ids_only: bool = False) -> Iterator[Batch]:
        first = 0
        for number, file in enumerate(self._job.plan.files):
            low, high = max(start, first) - first, min(stop, first + file.rows) - first
            if low < high:
                yield from self._source.read(number, low, high, ids_only=ids_only)
            first += file.rows

    def _first_error(self, batch: Batch, at: int) -> InputError:
        texts = batch.column(ERROR).to_pylist()
        row = next(n for n, text in enumerate(texts) if text is not None)
        name = self._source.id_name
        called = "" if name is None else f" ({name} {shown(batch.column(name).slice(row, 1))[0]})"
        return InputError(f"row {at + row}{called}: {texts[row]}; strict stops at the first error")

    def _check_model(self) -> None:
        path = self._job.model
        stamp = stamp_of(Path(path))
        if stamp != self._model_stamp:
            if content_digest(read_model(path)) != self._job.plan.model:
                raise ModelError(f"{path}: was replaced since the job began")
            self._model_stamp = stamp

    def _check_unchanged(self, part: Part) -> None:
        self._check_model()
        first = 0
        for path, file in zip(self._source.paths, self._job.plan.files, strict=True):
            if first < part.stop and part.start < first + file.rows:
                stamp = self._job.stamps.get(str(path))
                if stamp is not None and stamp != stamp_of(path):
                    raise InputError(f"{path}: was changed since the job began")
            first += file.rows

    def _mark(self, result: PartResult) -> str:
        return json.dumps(
            {
                "plan": self._job.plan.digest,
                "part": result.number,
                "rows": result.rows,
                "failed": result.failed,
                "steps": result.steps,
                "computed": result.computed,
            }
        )


def open_source(data: str, scorer: Scorer, reader: str | None) -> RowSource:
    """Open DATA for a scorer.

    Args:
        data: A file or a folder.
        scorer: What takes its rows.
        reader: `package.module:function` that reads a file, or None.

    Raises:
        InputError: If it cannot be read, or does not fit.
        OptionError: If the function cannot be imported.
    """
    kind, paths = find_files(data, reader=reader)
    inputs = scorer.layout.inputs
    columns = scorer.input_columns()
    lengths = columns.pop(scorer.layout.lengths_name, None)
    folder = Path(data) if Path(data).is_dir() else Path(data).parent
    if kind in ("parquet", "arrow"):
        held = {column: name for name, column in reversed(columns.items())}
        if lengths is not None:
            held.setdefault(lengths, "lengths")
        return TableSource(kind, paths, held, scorer.id_of)
    if kind == "npz":
        return NpzSource(paths, inputs, columns, id=scorer.id, lengths=lengths)
    if lengths is not None:
        raise InputError(f"{data}: expected no column of lengths: each file is one row")
    return FilesSource(folder, paths, inputs, columns, id=scorer.id, reader=reader)


def read_model(path: str) -> bytes:
    """Return the content of a model file.

    Raises:
        ModelError: If it cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror or one_line(error)}") from error


def stamp_of(path: Path) -> tuple[int, int]:
    """Return size and time of change of a file; zeros if it is gone."""
    try:
        found = path.stat()
    except OSError:
        return (0, 0)
    return found.st_size, found.st_mtime_ns


def _count(mark: Record, name: str) -> int:
    """Return a number of steps, which may be larger than an axis."""
    value = mark.value(name)
    if not isinstance(value, int) or value < 0:
        raise ValueError(f"{name}: expected a number of steps")
    return value


def _is_parquet(file: BinaryIO) -> bool:
    return file.read(4) == b"PAR1"
