"""Runs rows of any lengths through a model, many in each call, with little padding.

Continuous packing keeps some slots: each call runs a chunk of steps of every slot, and a slot whose
row ends is filled with the next row, while the others carry their state on. The longest rows start
first, so that no long one is left at the end; then the batch becomes smaller. Ended rows cost what
running ones do, so the chunk is what nearly all slots have left.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from rnnedge_runtime.binding import Array
from rnnedge_runtime.contract import BATCH
from rnnedge_runtime.loaded_model import LoadedModel
from rnnedge_runtime.scoring.collecting import Collector
from rnnedge_runtime.scoring.row_layout import RowInput, RowLayout
from rnnedge_runtime.scoring.rows import CheckedRows, Places

_SHORTEST_CHUNK = 8
"""Steps: shorter chunks spend more on the call than they save of padding."""
_EARLY = 8
"""A chunk ends when one in so many slots has ended."""
_MOST_PADDED = 0.1
"""Padding of a call with whole rows."""
_SHORT_ROWS = 2
"""How many times as many rows as slots a call takes when they are short: at 7 steps, a GRU of 256
took 4.11 microseconds a step with 32 rows, 3.99 with 64, and 4.19 with 128."""
_FEW = 16
"""Slots up to which a batch becomes smaller with each row that ends; a larger one by an eighth or
more, since an engine lays out each shape."""
_APART = 4
"""Steps between the lengths of chunks, likewise."""


@dataclass(slots=True)
class Tally:
    """What was run.

    Attributes:
        steps: Steps of rows.
        computed: Steps that the engine computed, with those past the end of a row.
    """

    steps: int = 0
    computed: int = 0

    def add(self, other: Tally) -> None:
        """Add what another call ran."""
        self.steps += other.steps
        self.computed += other.computed


@dataclass(frozen=True, slots=True)
class PackOptions:
    """How rows are packed.

    Attributes:
        slots: Rows of a call.
        chunk: The most steps of a call in which rows carry their state on.
        most_steps: The most steps of a call with whole rows, all rows together.
    """

    slots: int
    chunk: int
    most_steps: int


def pack(
    model: LoadedModel,
    layout: RowLayout,
    rows: CheckedRows,
    options: PackOptions,
    collector: Collector,
) -> Tally:
    """Run rows, and give what comes out to a collector.

    Args:
        model: The model.
        layout: How its rows are packed.
        rows: The rows.
        options: How many share a call.
        collector: Takes the outputs.

    Returns:
        How many steps were run.

    Raises:
        EngineError: If the engine fails.
    """
    order = np.argsort(-rows.lengths, kind="stable")
    packer = _Packer(model, layout, rows, collector)
    if layout.single_steps:  # without a state that is carried on, there is one row in a call
        slots = 1 if layout.packing == "alone" else options.slots
        _run_continuous(packer, order, replace(options, slots=slots, chunk=1))
        return packer.tally
    if layout.packing == "continuous":
        long = order[: np.searchsorted(-rows.lengths[order], -options.chunk)]
        _run_continuous(packer, long, options)
        order = order[len(long) :]
    for group in _groups(rows.lengths[order], layout, options):
        packer.run_whole(order[group])
    return packer.tally


def _run_continuous(packer: _Packer, order: Places, options: PackOptions) -> None:
    """Run rows through slots, in this order."""
    slots = _Slots(packer, order, min(options.slots, packer.layout.most or options.slots))
    while slots.fill():
        left = slots.left[slots.left > 0]
        early = int(np.partition(left, len(left) // _EARLY)[len(left) // _EARLY])
        least = 1 if len(left) == 1 else _SHORTEST_CHUNK
        steps = max(early, least)
        if steps > _SHORTEST_CHUNK and len(left) > 1:
            steps -= steps % _APART
        slots.run(min(steps, options.chunk, int(left.max())))


def _groups(lengths: Places, layout: RowLayout, options: PackOptions) -> Iterator[slice]:
    """Yield ranges of rows, longest first, that share a call."""
    start = 0
    while start < len(lengths):
        longest = max(1, int(lengths[start]))
        steps = layout.inputs[0].steps or longest
        most = options.slots
        if longest < options.chunk:
            most = min(_SHORT_ROWS * most, max(most, most * options.chunk // (2 * longest)))
        most = max(1, min(most, options.most_steps // steps, layout.most or most))
        if layout.packing == "alone":
            most = 1
        candidates = lengths[start : start + most]
        if layout.packing == "equal":
            fits = candidates == longest
        else:
            computed = longest * np.arange(1, len(candidates) + 1)
            fits = np.cumsum(candidates) >= (1 - _MOST_PADDED) * computed
        count = len(candidates) if fits.all() else int(np.argmin(fits))
        yield slice(start, start + count)
        start += count


class _Packer:
    """Runs rows that are named by their number."""

    def __init__(
        self, model: LoadedModel, layout: RowLayout, rows: CheckedRows, collector: Collector
    ) -> None:
        self.model, self.layout, self.rows, self.tally = model, layout, rows, Tally()
        self.collector = collector

    def run_whole(self, members: Places) -> None:
        """Run whole rows from a state of zeros."""
        lengths = self.rows.lengths[members]
        steps = next((g.steps for g in self.layout.inputs if g.steps), None) or int(lengths.max())
        self.call(members, np.zeros_like(lengths), lengths, steps, None)

    def call(
        self,
        members: Places,
        done: Places,
        left: Places,
        steps: int,
        state: tuple[Array, ...] | None,
    ) -> tuple[Array, ...]:
        """Run some steps of some rows, and return the state after them.

        Args:
            members: The row in each slot.
            done: Steps of it that were run before; they lead to `state`.
            left: Steps of it that were not; 0 in an empty slot.
            steps: How many are run.
            state: The state of the slots.
        """
        run = np.minimum(left, steps)
        inputs = {
            given.spec.name: self._input(given, members, done, run, steps)
            for given in self.layout.inputs
        }
        inputs.update(self.layout.constants)
        lengths = run if self.layout.lengths and not self.layout.single_steps else None
        result = self.model.run(inputs, lengths=lengths, state=state)
        self.collector.take(result.outputs, members, done, run, left <= steps)
        self.tally.steps += int(run.sum())
        self.tally.computed += steps * len(run)
        return result.state

    def _input(
        self, given: RowInput, members: Places, done: Places, run: Places, steps: int
    ) -> Array:
        name = given.spec.name
        if not given.timed:
            array = self.rows.constants[name][members]
            return array if given.batch_axis == 0 else np.moveaxis(array, 0, given.batch_axis)
        # Steps past the end of a row repeat its last one, which is a number like any other.
        ahead = np.arange(steps)
        last = np.maximum(run - 1, 0)
        first = self.rows.starts[name][members] + done
        values = self.rows.values[name]
        if self.layout.single_steps:
            array = values[first]
            return array if given.batch_axis == 0 else np.moveaxis(array, 0, given.batch_axis)
        if given.time_first:
            at = first + np.minimum(ahead[:, None], last)
        else:
            at = first[:, None] + np.minimum(ahead, last[:, None])
        return values.take(at, axis=0, mode="clip")


class _Slots:
    """Rows that run side by side, each at a different step."""

    def __init__(self, packer: _Packer, order: Places, count: int) -> None:
        self._packer, self._order, self._next = packer, order, 0
        specs = packer.model.interface.state_inputs
        self._axes = [spec.axes.index(BATCH) if BATCH in spec.axes else None for spec in specs]
        self._specs = specs
        self._members = np.zeros(0, np.int64)
        self._done = np.zeros(0, np.int64)
        self.left = np.zeros(0, np.int64)
        self._state: tuple[Array, ...] = ()
        self._resize(np.zeros(count, np.int64), fresh=True)

    def fill(self) -> bool:
        """Fill the slots whose rows ended; return whether there is something to run."""
        free = np.flatnonzero(self.left == 0)
        count = min(len(free), len(self._order) - self._next)
        if count:
            filled = free[:count]
            members = self._order[self._next : self._next + count]
            self._next += count
            self._members[filled], self._done[filled] = members, 0
            self.left[filled] = self._packer.rows.lengths[members]
            for array, axis in zip(self._state, self._axes, strict=True):
                array[... if axis is None else (slice(None),) * axis + (filled,)] = 0
        active = len(self.left) - len(free) + count
        if 0 < active < len(self.left) and (active <= _FEW or active * 8 <= len(self.left) * 7):
            self._resize(np.argsort(self.left == 0, kind="stable")[:active])
        return active > 0

    def run(self, steps: int) -> None:
        """Run so many steps in every slot."""
        state = self._packer.call(self._members, self._done, self.left, steps, self._state)
        # The arrays of a native engine's result belong to the caller, and are written above.
        self._state = state
        run = np.minimum(self.left, steps)
        self._done += run
        self.left -= run

    def _resize(self, kept: Places, *, fresh: bool = False) -> None:
        if fresh:
            self._members, self._done, self.left = kept.copy(), kept.copy(), kept.copy()
            self._state = tuple(self._packer.model.zero_state(len(kept)))
            return
        self._members, self._done = self._members[kept], self._done[kept]
        self.left = self.left[kept]
        self._state = tuple(
            np.ascontiguousarray(array.take(kept, axis))
            for array, axis in zip(self._state, self._axes, strict=True)
        )
