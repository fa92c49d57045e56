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

_MOST_COUNTS = 64
"""Numbers of streams whose calls are kept."""

_Step: TypeAlias = "Callable[[object, object], Array | None]"


class NativeRowSteps:
    """Runs a frame of each of some streams, as `RowSteps` describes."""

    def __init__(self, plan: Plan, pool: PoolRows, *, tiny: float, flushed_every: int) -> None:
        """Take the plan of a model that `takes_rows`."""
        self._plan, self._pool = plan, pool
        self._tiny, self._flushed_every = tiny, flushed_every
        self._steps: dict[int, _Step | None] = {}

    def __call__(self, streams: Any, frames: Any) -> Array | None:
        """Run a frame of each stream; None where they do not fit."""
        try:
            step = self._steps[len(streams)]
        except (KeyError, TypeError):
            step = self._prepared(streams)
        return None if step is None else step(streams, frames)

    def _prepared(self, streams: Any) -> _Step | None:
        """Return the step of so many rows, or None where there is none."""
        if not isinstance(streams, list | tuple) or not 0 < len(streams) <= len(self._pool.steps):
            return None
        while len(self._steps) >= _MOST_COUNTS:
            self._steps.pop(next(iter(self._steps)))
        made = self._steps[len(streams)] = self._laid_out(len(streams))
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


def _shape_of(spec: TensorSpec, count: int) -> tuple[int, ...]:
    sizes = {BATCH: count, TIME: 1}
    return tuple(sizes[axis] if isinstance(axis, str) else axis for axis in spec.axes)


def _frame_of(spec: TensorSpec) -> tuple[int, ...]:
    return tuple(axis for axis in spec.axes if isinstance(axis, int))
