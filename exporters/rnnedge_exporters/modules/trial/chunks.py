"""Whether a file run chunk after chunk gives what the whole sequence gives: it is run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnnedge_exporters.errors import TrialError
from rnnedge_exporters.modules.tracing import Traced
from rnnedge_exporters.modules.trial.differences import (
    Arrays,
    FileSide,
    TorchSide,
    close,
    differences,
)
from rnnedge_exporters.modules.trial.tensors import Tensors, made, sizes_of
from rnnedge_runtime.chunking import cut, join, pieces
from rnnedge_runtime.contract import BATCH, TIME, Axis, TensorSpec

_CUTS = ((3, 1, 5, 2), (6, 7))
LONG_CUTS = ((1, 2, 7, 190),)
"""What is picked by a position within all of them is seen."""
_RAGGED = ((4, 2, 3), (3, 2, 1), (1, 2, 1))
"""Steps of three rows in three chunks: the order of the rows by length differs in each, and in all
together it is the first, then the second, as a sorted PackedSequence wants them. The longest row of
the last chunk is not the longest of all: `output[:, -1]` is padding of the whole, then."""
_ROWS = 3


class ChunkTrial:
    """A file whose states are handed from chunk to chunk, compared with the module on the whole.

    Args:
        traced: What torch saw of the module.
        module: The module.
        file: The file, with its states as inputs and outputs.
    """

    def __init__(self, traced: Traced, module: TorchSide, file: FileSide) -> None:
        """Run nothing yet."""
        self._traced, self._module, self._file = traced, module, file
        face = file.interface
        self._axes = {s.name: _named(s.axes, traced) for s in (*face.inputs, *face.outputs)}
        self._timed = [spec for spec in face.data_inputs if any(map(traced.is_time, spec.axes))]
        self._lengths = face.lengths
        self._finals = {pair.output: pair.input for pair in face.states}

    def difference(self, cuts: Sequence[Sequence[int]] = _CUTS) -> str | None:
        """Say where chunks differ from the whole sequence; None where they do not.

        Args:
            cuts: Steps of each chunk, for each way to cut.
        """
        if not self._timed:  # each call is a step
            return None
        try:
            for seed, cut in enumerate(cuts):
                found = self._cut(cut, seed)
                if found:
                    return found
            if self._lengths is not None and self._rows(self._timed[0].name) is not None:
                return self._ragged()
        except TrialError as error:
            return f"a chunk is refused ({error})"
        return None

    def _cut(self, sizes: Sequence[int], seed: int) -> str | None:
        tensors = self._whole(sum(sizes), seed)
        if self._lengths is not None:  # every row is full
            tensors[self._lengths] = torch.full_like(tensors[self._lengths], sum(sizes))
        expected = self._expected(tensors)
        states = self._file.initial(tensors, self._sizes(tensors))
        parts = []
        timed = {spec.name: tensors[spec.name] for spec in self._timed}
        for steps, piece in zip(sizes, pieces(sizes), strict=True):
            chunk = tensors | cut(timed, self._axes, piece)
            if self._lengths is not None:
                chunk[self._lengths] = torch.full_like(tensors[self._lengths], steps)
            answers = self._file.run(chunk, states)
            mixed = self._rows_apart(chunk, states, answers)
            if mixed:
                return mixed
            states = {into: answers[out] for out, into in self._finals.items()}
            parts.append(answers)
        joined = self._joined(parts, expected)
        found = differences(self._module, tensors, expected, joined)
        shown = ", ".join(map(str, sizes))
        return f"chunks of {shown} steps give another result: {found[0]}" if found else None

    def _ragged(self) -> str | None:
        """Give rows other numbers of steps in each chunk, and compare row by row."""
        assert self._lengths is not None
        ends = np.array(_RAGGED)  # [chunk, row]
        tensors = self._whole(int(ends.sum(0).max()), seed=1)
        tensors[self._lengths] = torch.as_tensor(ends.sum(0)).to(tensors[self._lengths].dtype)
        expected = self._expected(tensors)
        states = self._file.initial(tensors, self._sizes(tensors))
        parts, starts = [], np.zeros(_ROWS, int)
        for steps in ends:
            chunk = dict(tensors)
            for spec in self._timed:
                chunk[spec.name] = self._gathered(tensors[spec.name], spec, starts, steps)
            chunk[self._lengths] = torch.as_tensor(steps).to(tensors[self._lengths].dtype)
            answers = self._file.run(chunk, states)
            states = {into: answers[out] for out, into in self._finals.items()}
            parts.append(answers)
            starts = starts + steps
        for name, wanted in expected.items():
            for row in range(_ROWS):
                given, whole = self._row(name, row, parts, ends, wanted)
                if not close(given, whole):
                    return f"rows that end at other steps in each chunk change {name}"
        return None

    def _row(
        self, name: str, row: int, parts: list[Arrays], ends: NDArray[Any], wanted: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return what the chunks, and the whole, gave for one row up to its end."""
        rows, time = self._rows(name), self._time(name)
        if rows is None:
            return parts[-1][name], wanted
        picked = [np.take(part[name], row, rows) for part in parts]
        whole = np.take(wanted, row, rows)
        if time is None:
            return picked[-1], whole
        axis = time - (rows < time)
        pieces = [
            np.take(piece, range(end), axis)
            for piece, end in zip(picked, ends[:, row], strict=True)
        ]
        return np.concatenate(pieces, axis), np.take(whole, range(ends[:, row].sum()), axis)

    def _rows_apart(self, chunk: Tensors, states: Arrays, answers: Arrays) -> str | None:
        """Say whether rows of a batch mix: a pool of streams gathers some, in any order."""
        names = [*chunk, *states]
        if any(self._rows(name) is None for name in (spec.name for spec in self._timed)):
            return None
        some = [1, 0]
        fewer = {
            name: t if (axis := self._rows(name)) is None or name not in names
            else t.index_select(axis, torch.tensor(some))
            for name, t in chunk.items() if name in self._axes
        }  # fmt: skip
        before = {
            name: array if (axis := self._rows(name)) is None else np.take(array, some, axis)
            for name, array in states.items()
        }
        alone = self._file.run(fewer, before)
        for name, answer in answers.items():
            axis = self._rows(name)
            if axis is not None and not close(alone[name], np.take(answer, some, axis)):
                return f"rows of a batch mix: with other rows in the batch, {name} is another"
        return None

    def _time(self, name: str) -> int | None:
        """Return the axis of time, or None."""
        return self._axes[name].index(TIME) if TIME in self._axes[name] else None

    def _rows(self, name: str) -> int | None:
        """Return the axis of the rows, or None."""
        return self._axes[name].index(BATCH) if BATCH in self._axes[name] else None

    def _whole(self, steps: int, seed: int) -> Tensors:
        traced, example = self._traced, self._module.example
        axes = traced.input_axes
        sizes = {
            axis: steps if traced.is_time(axis) else _ROWS if traced.is_rows(axis) else size
            for axis, size in sizes_of(example, axes).items()
        }
        return made(example, axes, sizes, seed=seed + 1, lengths=self._lengths, times=traced.times)

    def _expected(self, tensors: Tensors) -> Arrays:
        expected, _ = self._module.run(tensors)
        return {name: value for name, value in expected.items() if name in self._axes}

    def _sizes(self, tensors: Tensors) -> dict[str, int]:
        return sizes_of(tensors, self._traced.input_axes)

    def _gathered(
        self, tensor: Tensor, spec: TensorSpec, starts: NDArray[Any], steps: NDArray[Any]
    ) -> Tensor:
        """Cut another part of each row; rows that have fewer steps get some of what follows."""
        time, rows = self._time(spec.name), self._rows(spec.name)
        assert time is not None
        if rows is None:
            return tensor.narrow(time, 0, int(steps.max()))
        whole = tensor.shape[time]
        cut = []
        for row, start in enumerate(starts):
            picks = torch.arange(int(start), int(start) + int(steps.max())) % whole
            cut.append(tensor.select(rows, row).index_select(time - (rows < time), picks))
        return torch.stack(cut, rows)

    def _joined(self, parts: Sequence[Arrays], expected: Arrays) -> Arrays:
        """Join each output; the last part of a state, and of one whose parts do not fit."""
        joined: Arrays = {}
        for name in expected:
            own = [{name: part[name]} for part in parts]
            axes = {} if name in self._finals else self._axes
            try:
                joined |= join(own, axes)
            except ValueError:
                joined |= own[-1]
        return joined


def _named(axes: Sequence[Axis], traced: Traced) -> tuple[Axis, ...]:
    """Return axes by what they are: time and rows get the same name in every input and output."""
    return tuple(
        TIME if traced.is_time(axis) else BATCH if traced.is_rows(axis) else axis for axis in axes
    )
