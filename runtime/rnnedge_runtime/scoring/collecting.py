"""`Collector`: what a model answers to each row, as it comes out of packed calls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rnnedge_runtime.binding import Array
from rnnedge_runtime.scoring.row_layout import RowOutput
from rnnedge_runtime.scoring.rows import Places


class Collector:
    """Keeps the last step of each row, or all steps.

    Attributes:
        values: Output name to [rows, features], or for all steps [steps of all rows, features].
        ragged: Output name to the array of each row, of outputs with another number of steps.
    """

    def __init__(self, outputs: Sequence[RowOutput], lengths: Places, *, every_step: bool) -> None:
        """Make room for the outputs of rows.

        Args:
            outputs: The outputs to keep.
            lengths: Steps of each row.
            every_step: Whether all steps are kept.
        """
        self._outputs, self._every_step = outputs, every_step
        self.stops = np.cumsum(lengths)
        self._starts = self.stops - lengths
        self.values: dict[str, Array] = {}
        self.ragged: dict[str, list[Array]] = {}
        steps = int(lengths.sum())
        for output in outputs:
            name = output.spec.name
            if output.kind == "own":
                self.ragged[name] = [np.zeros(0)] * len(lengths)
                continue
            count = steps if every_step and output.kind == "steps" else len(lengths)
            self.values[name] = np.empty((count, *output.features), output.dtype)

    def take(
        self,
        arrays: Mapping[str, Array],
        members: Places,
        done: Places,
        run: Places,
        ended: Array,
    ) -> None:
        """Keep what belongs to rows.

        Args:
            arrays: The outputs of a call.
            members: The row in each slot.
            done: Steps of it before this call.
            run: Steps of it in this call; 0 in an empty slot.
            ended: Whether it ends in this call.
        """
        full = run > 0
        ends = np.flatnonzero(ended & full)
        for output in self._outputs:
            name = output.spec.name
            array = arrays[name].transpose(output.order)
            if output.kind == "own":
                for slot in ends.tolist():
                    self.ragged[name][members[slot]] = array[slot].copy()
            elif output.kind == "value":
                self.values[name][members[ends]] = array[ends]
            elif self._every_step:
                self._every(self.values[name], array, members, done, run)
            elif array.ndim == 1 + len(output.features):  # one step, without a time axis
                self.values[name][members[ends]] = array[ends]
            else:
                self.values[name][members[ends]] = array[ends, run[ends] - 1]

    def _every(
        self, values: Array, array: Array, members: Places, done: Places, run: Places
    ) -> None:
        first = self._starts[members] + done
        if array.ndim == values.ndim:  # one step, without a time axis
            full = np.flatnonzero(run)
            values[first[full]] = array[full]
            return
        for slot, (start, count) in enumerate(zip(first.tolist(), run.tolist(), strict=True)):
            values[start : start + count] = array[slot, :count]
