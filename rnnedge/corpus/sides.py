"""The two sides of a comparison: a model that is run, or answers that were kept."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from rnnedge.corpus.differences import SideAnswers
from rnnedge_runtime.engine.options import EngineName
from rnnedge_runtime.errors import InputError
from rnnedge_runtime.scoring.arrow_package import Batch, Table, arrow
from rnnedge_runtime.scoring.scorer import ERROR, Scorer
from rnnedge_runtime.session import Session

Errors: TypeAlias = list["str | None"]


@dataclass(frozen=True, slots=True)
class OutputShape:
    """What one row gets of one output.

    Attributes:
        features: The axes of one step, or of the only value.
        stepped: Whether there is a value for each step.
    """

    features: tuple[int, ...]
    stepped: bool


class ModelSide:
    """A model that is run on the rows.

    Attributes:
        name: The file.
        engine: What computes it, in words.
        seconds: How long that took so far.
        shapes: What a row gets of each output, by name.
        scorer: What runs it.
    """

    def __init__(
        self,
        model: str,
        columns: Mapping[str, str],
        *,
        id: str | None,
        engine: EngineName,
        budget: str | int,
    ) -> None:
        """Open the model.

        Args:
            model: The `.onnx` file.
            columns: Input name to column; those of other models are left out.
            id: The column of ids, as `Scorer` takes it.
            engine: What computes it.
            budget: How much memory may be used, as `Scorer` takes it.

        Raises:
            InputError: If no input has one of the names.
        """
        self.name, self.seconds = model, 0.0
        self._make = partial(Scorer, model, id=id, budget=budget, runtime=engine)
        inputs = [
            spec.name for spec in Session(model, engine=engine, threads=1).interface.data_inputs
        ]
        self._columns = _columns_of(model, inputs, columns)
        self.scorer = self._make(columns=self._columns, keep="all")
        session = self.scorer.session
        self.engine = f"{session.engine.title.removeprefix('The ')} on {session.device}"
        self.shapes = {
            output.spec.name: OutputShape(output.features, output.kind != "value")
            for output in self.scorer.layout.outputs
        }

    @property
    def columns(self) -> dict[str, str]:
        """The column of each input."""
        names = (given.spec.name for given in self.scorer.layout.inputs)
        return {name: self.scorer.column_of(name) for name in names}

    def keep_last(self) -> None:
        """Keep the last step of each row alone."""
        self.scorer = self._make(columns=self._columns, keep="last")
        self.shapes = {
            name: OutputShape(shape.features, stepped=False) for name, shape in self.shapes.items()
        }

    def answer(self, rows: Batch) -> tuple[dict[str, SideAnswers], Errors]:
        """Run the model on rows."""
        start = time.perf_counter()
        table = self.scorer.arrow(rows)
        self.seconds += time.perf_counter() - start
        return _read(table, self.shapes)


class KeptSide:
    """Answers that `score` wrote, here or on another device.

    Attributes:
        name: The folder.
        engine: That nothing is computed, in words.
        seconds: 0.
        shapes: What a row has of each output, by name.
    """

    def __init__(
        self,
        name: str,
        batches: Iterator[Batch],
        shapes: Mapping[str, OutputShape],
        id: str | None,
    ) -> None:
        """Take the answers.

        Args:
            name: The folder.
            batches: Its record batches, in the order of the rows.
            shapes: What a row has of each output.
            id: The column with the name of each row, where the corpus has it too.
        """
        self.name, self.engine, self.seconds = name, "kept answers", 0.0
        self.shapes = shapes
        self._batches, self._id = batches, id
        self._waiting: list[Batch] = []

    def answer(self, rows: Batch) -> tuple[dict[str, SideAnswers], Errors]:
        """Return the answers to the next rows.

        Raises:
            InputError: If there are fewer answers than rows, or they are those to other rows.
        """
        missing, taken = rows.num_rows, []
        while missing:
            batch = self._waiting.pop() if self._waiting else next(self._batches, None)
            if batch is None:
                raise InputError(
                    f"{self.name}: expected an answer for each row, found fewer: it belongs to "
                    "another corpus, or scoring did not finish"
                )
            taken.append(batch.slice(0, missing))
            self._check_ids(rows.slice(rows.num_rows - missing), taken[-1])
            if batch.num_rows > missing:
                self._waiting.append(batch.slice(missing))
            missing -= taken[-1].num_rows
        return _read(arrow().Table.from_batches(taken), self.shapes)

    def _check_ids(self, rows: Batch, answers: Batch) -> None:
        if self._id is None:
            return
        names = zip(
            rows.column(self._id).to_pylist(), answers.column(self._id).to_pylist(), strict=False
        )
        for wanted, found in names:
            if wanted != found:
                raise InputError(
                    f"{self.name}: expected the answer to {wanted}, found that to {found}: it "
                    "belongs to another corpus"
                )

    def check_end(self) -> None:
        """Check that no answer is left.

        Raises:
            InputError: If there are more answers than rows.
        """
        if self._waiting or next(self._batches, None) is not None:
            raise InputError(
                f"{self.name}: expected an answer for each row, found more: it belongs to another "
                "corpus"
            )


Side: TypeAlias = ModelSide | KeptSide


def _columns_of(model: str, inputs: Sequence[str], columns: Mapping[str, str]) -> dict[str, str]:
    """Return the columns that belong to a model; a single input takes a single column."""
    known = {name: column for name, column in columns.items() if name in inputs}
    if not known and len(inputs) == 1 and len(columns) == 1:
        return {inputs[0]: next(iter(columns.values()))}
    if columns and not known:
        raise InputError(
            f"{model}: expected a column for one of the inputs {', '.join(inputs)}, got "
            f"{', '.join(columns)}"
        )
    return known


def _read(table: Table, shapes: Mapping[str, OutputShape]) -> tuple[dict[str, SideAnswers], Errors]:
    errors = table.column(ERROR).to_pylist() if ERROR in table.column_names else []
    answers = {name: _answers(name, table.column(name), shape) for name, shape in shapes.items()}
    return answers, errors or [None] * table.num_rows


def _answers(name: str, column: Any, shape: OutputShape) -> SideAnswers:
    """Return a column as one array, and the steps of each row."""
    pa = arrow()
    joined = column.combine_chunks()
    if isinstance(joined, pa.ChunkedArray):
        joined = pa.concat_arrays(joined.chunks) if joined.num_chunks else pa.array([], joined.type)
    valid = np.asarray(joined.is_valid().to_numpy(zero_copy_only=False))
    lengths = valid.astype(np.int64)
    values = joined.drop_null()
    if shape.stepped:
        lengths[valid] = values.value_lengths().to_numpy(zero_copy_only=False)
        values = values.flatten()
    for _ in shape.features:
        values = values.flatten()
    array = np.asarray(values.to_numpy(zero_copy_only=False))
    try:
        return SideAnswers(array.reshape(int(lengths.sum()), *shape.features), lengths)
    except ValueError as error:
        raise InputError(
            f"{name}: expected {list(shape.features)} numbers for each step, found another count"
        ) from error
