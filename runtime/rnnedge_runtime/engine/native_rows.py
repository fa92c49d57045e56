"""`NativeRowSteps`: the steps of a pool by rnnedge-native, one call of the extension each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from rnnedge_native import Plan, step_rows
from rnnedge_runtime.binding import Array, dtype_of
from rnnedge_runtime.contract import BATCH, TIME, TensorSpec
from rnnedge_runtime.engine.protocol import PoolRows
from rnnedge_runtime.errors import ModelError

_EXACT = 32
"""Numbers of streams that a step is laid out for as they are; others leave a few rows unused."""
_FINE = 16
"""Past `_EXACT`, up to this number of streams no row is unused, and of more up to an eighth."""

_Step: TypeAlias = "Callable[[object, object], Array | None]"


class NativeRowSteps:
    """Runs a frame of each of some streams, as `RowSteps` describes."""

    def __init__(self, plan: Plan, pool: PoolRows, *, tiny: float, flushed_every: int) -> None:
        """Take the plan of a model that `takes_rows`."""
        self._plan, self._pool = plan, pool
        self._tiny, self._flushed_every = tiny, flushed_every
        self._steps: dict[int, _Step | None] = {}  # by the number of streams
        self._by_rows: dict[int, _Step | None] = {}  # by the rows that they are laid out for

    def __call__(self, streams: Any, frames: Any) -> Array | None:
        """Run a frame of each stream; None where they do not fit."""
        try:
            step = self._steps[len(streams)]
        except (KeyError, TypeError):
            step = self._prepared(streams)
        return None if step is None else step(streams, frames)

    def _prepared(self, streams: Any) -> _Step | None:
        """Return the step of so many streams, or None where there is none.

        A pool whose streams come and go sees any number of them, and laying out takes long.
        """
        if not isinstance(streams, list | tuple) or not 0 < len(streams) <= len(self._pool.steps):
            return None
        count = len(streams)
        rows = count
        if len(self._by_rows) >= _EXACT and count not in self._by_rows:
            rows = min(_rounded_up(count), len(self._pool.steps))
        if rows not in self._by_rows:
            self._by_rows[rows] = self._laid_out(rows)
        made = self._steps[count] = self._by_rows[rows]
        return made

    def _laid_out(self, count: int) -> _Step | None:
        pool = self._pool
        shapes = [_shape_of(pool.input, count)]
        for block, axis in zip(pool.blocks, pool.axes, strict=True):
            shapes.append((*block.shape[:axis], count, *block.shape[axis + 1 :]))
        try:
            layout = self._plan.layout(shapes)
        except ModelError:
            return None  # `Session.run` refuses it, and says why
        if [shape for _, shape, _ in layout.outputs] != [
            _shape_of(pool.output, count),
            *shapes[1:],
        ]:
            return None
        return step_rows(
            layout,
            np.zeros(_frame_of(pool.input), dtype_of(pool.input.dtype)),
            (count, *_frame_of(pool.output)),
            pool.slots,
            pool.blocks,
            pool.axes,
            pool.steps,
            tiny=self._tiny,
            flushed_every=self._flushed_every,
        )


def takes_rows(pool: PoolRows) -> bool:
    """Whether frames that lie side by side are the input of one step, and the output likewise."""
    for spec in (pool.input, pool.output):
        axes = [axis for axis in spec.axes if axis != TIME]
        if axes[:1] != [BATCH] or any(not isinstance(axis, int) for axis in axes[1:]):
            return False
    return TIME in pool.input.axes or TIME not in pool.output.axes


def _rounded_up(count: int) -> int:
    """Return the next of the numbers of rows that a step is laid out for, eight an octave."""
    if count <= _FINE:
        return count
    apart = 1 << max((count - 1).bit_length() - 4, 0)
    return -(-count // apart) * apart


def _shape_of(spec: TensorSpec, count: int) -> tuple[int, ...]:
    sizes = {BATCH: count, TIME: 1}
    return tuple(sizes[axis] if isinstance(axis, str) else axis for axis in spec.axes)


def _frame_of(spec: TensorSpec) -> tuple[int, ...]:
    return tuple(axis for axis in spec.axes if isinstance(axis, int))
