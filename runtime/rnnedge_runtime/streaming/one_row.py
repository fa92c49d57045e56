"""Frames and outputs of a stream of one row, which may come without their batch axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from rnnedge_runtime.binding import Array, as_array, by_name, dtype_of
from rnnedge_runtime.contract import BATCH, TIME, TensorSpec
from rnnedge_runtime.errors import InputError
from rnnedge_runtime.streaming.step_output import Answer, Out

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


class OneRow:
    """Adds the batch axis to frames, and takes it off the outputs."""

    def __init__(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
        """Find the batch axes in single steps."""
        self._inputs = inputs
        self._only = outputs[0].name if outputs else ""
        self._places = {
            spec.name: [axis for axis in spec.axes if axis != TIME].index(BATCH)
            for spec in (*inputs, *outputs)
            if BATCH in spec.axes
        }

    def rows(self, frame: ArrayLike | Mapping[str, ArrayLike]) -> dict[str, Array] | None:
        """Return single steps with their batch axes, or None for anything that is not such steps.

        Args:
            frame: What was passed to `Stream.step`.
        """
        given = by_name(self._inputs, frame)
        if set(given) != {spec.name for spec in self._inputs}:
            return None
        rows = {}
        for spec in self._inputs:
            row = as_array(spec.name, given[spec.name], InputError)
            if not _is_row(spec, row):
                return None
            rows[spec.name] = np.expand_dims(row, self._places[spec.name])
        return rows

    def into(self, out: Out) -> Out:
        """Return views of `out` with a batch axis."""
        if out is None:
            return None
        if isinstance(out, Mapping):
            return {name: self._expanded(name, array) for name, array in out.items()}
        return self._expanded(self._only, out)

    def answer(self, answer: Answer) -> Answer:
        """Return outputs without their batch axes."""
        if isinstance(answer, dict):
            return {name: self._squeezed(name, array) for name, array in answer.items()}
        return self._squeezed(self._only, answer)

    def _expanded(self, name: str, array: Array) -> Array:
        if name not in self._places or not isinstance(array, np.ndarray):
            return array
        place = self._places[name]
        return np.expand_dims(array, place) if place <= array.ndim else array

    def _squeezed(self, name: str, array: Array) -> Array:
        return np.squeeze(array, self._places[name]) if name in self._places else array


def _is_row(spec: TensorSpec, row: Array) -> bool:
    if BATCH not in spec.axes or row.dtype != dtype_of(spec.dtype):
        return False
    axes = [axis for axis in spec.axes if axis not in (BATCH, TIME)]
    return row.ndim == len(axes) and all(
        size == axis for axis, size in zip(axes, row.shape, strict=True) if isinstance(axis, int)
    )
