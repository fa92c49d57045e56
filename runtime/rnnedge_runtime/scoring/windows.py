"""Cuts record batches into windows that the memory budget takes, and joins small ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from rnnedge_runtime.scoring.arrow_package import Batch, arrow
from rnnedge_runtime.scoring.rows import steps_of


def windows(
    batches: Iterable[Batch], column: str, *, most_steps: int, most_rows: int
) -> Iterator[Batch]:
    """Yield the same rows in other batches.

    Args:
        batches: Record batches; where the schema changes, a new window begins.
        column: The column whose items are the steps of a row.
        most_steps: The most steps of a window; one row may have more.
        most_rows: The most rows of a window.
    """
    waiting: list[Batch] = []
    rows = steps = 0
    for batch in batches:
        if waiting and waiting[0].schema != batch.schema:
            yield _joined(waiting)
            waiting, rows, steps = [], 0, 0
        ends = np.cumsum(steps_of(batch.column(column)))
        start = before = 0
        while start < len(ends):
            room = before + most_steps - steps
            stop = int(np.searchsorted(ends, room, side="right"))
            stop = min(stop, start + most_rows - rows)
            if stop <= start and not waiting:
                stop = start + 1
            if stop > start:
                waiting.append(batch.slice(start, stop - start))
                rows, steps = rows + stop - start, steps + int(ends[stop - 1]) - before
                start, before = stop, int(ends[stop - 1])
            if start < len(ends):
                yield _joined(waiting)
                waiting, rows, steps = [], 0, 0
    if waiting:
        yield _joined(waiting)


def _joined(batches: list[Batch]) -> Batch:
    return batches[0] if len(batches) == 1 else arrow().concat_batches(batches)
