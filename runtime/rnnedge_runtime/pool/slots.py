"""The states of all streams of a pool, a slot each, and which slot is whose."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from operator import setitem
from threading import RLock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rnnedge_runtime.binding import Array
from rnnedge_runtime.contract import BATCH
from rnnedge_runtime.errors import StreamError
from rnnedge_runtime.pool.batching import to_front
from rnnedge_runtime.streaming.silence_and_nan import FLUSHED_EVERY, flush_tiny

if TYPE_CHECKING:
    from rnnedge_runtime.loaded_model import LoadedModel


class Slots:
    """Rows of the states of a model, taken by streams.

    Attributes:
        blocks: For each state of the model, those of all slots.
        axes: For each of them the axis of the slots.
        steps: int64 [slots], how many steps were made in each.
        of_stream: Stream to slot.
        opened: How many streams were ever opened; the number of the next one.
        left: Slots of streams that were closed since `begin`, which are not free before `end`; None
            outside of a step.
        lock: Held by whoever changes them, never while the model runs: an event loop may wait for
            it.
    """

    def __init__(self, model: LoadedModel, capacity: int) -> None:
        """Allocate the states.

        Args:
            model: The opened model, whose states have a batch axis each.
            capacity: How many slots there are.
        """
        specs = model.interface.state_inputs
        self.blocks = model.zero_state(capacity)
        self.axes = tuple(spec.axes.index(BATCH) for spec in specs)
        self.steps = np.zeros(capacity, np.int64)
        self.of_stream: dict[int, int] = {}
        self.opened = 0
        self.left: list[int] | None = None
        self.lock = RLock()
        self._capacity = capacity
        self._rows = [to_front(*pair) for pair in zip(self.blocks, self.axes, strict=True)]
        self._free: list[int] = []  # slots of streams that were closed
        self._used = 0  # slots that were ever taken, the first ones

    @property
    def has_room(self) -> bool:
        """Whether a slot is free."""
        return bool(self._free) or self._used < self._capacity

    def open(self, state: Sequence[Array] | None) -> None:
        """Take a slot for the stream `opened`.

        Args:
            state: The initial state, for one row each; None is zeros.

        Raises:
            StreamError: If no slot is free.
        """
        with self.lock:
            if not self.has_room:
                raise StreamError(
                    f"the pool is full with {self._capacity} stream(s): close one, or make a "
                    "larger pool with Session.pool(capacity=...)"
                )
            again = bool(self._free)
            slot = self._free[-1] if again else self._used
            self.steps[slot] = 0
            self.put(slot, state)
            # Python runs signal handlers, which may raise, after calls: from here on there is
            # none, so that a stream has its slot and its number, or neither.
            self.of_stream[self.opened] = slot
            self.opened += 1
            if again:
                del self._free[-1]
            else:
                self._used += 1

    def close(self, stream: int) -> None:
        """Give the slot of a stream back.

        Args:
            stream: The stream.

        Raises:
            StreamError: If it is not open.
        """
        with self.lock:
            slot = self.slot(stream)
            del self.of_stream[stream]
            (self._free if self.left is None else self.left).append(slot)

    def begin(self) -> None:
        """Keep the slots of streams that are closed from now on, until `end`.

        Those of a step that was interrupted before its end are free now.
        """
        if self.left is not None:
            self.end()
        self.left = []

    def end(self) -> None:
        """Free the slots of streams that were closed during a step."""
        with self.lock:
            self._free += self.left or ()
            self.left = None

    def slot(self, stream: int) -> int:
        """Return the slot of a stream.

        Args:
            stream: The stream.

        Raises:
            StreamError: If it is not open.
        """
        try:
            return self.of_stream[stream]
        except (KeyError, TypeError):  # TypeError: a list, for example
            raise _not_open(stream) from None

    def places(self, streams: Sequence[int]) -> NDArray[np.intp]:
        """Return the slots of some streams.

        Args:
            streams: The streams.

        Raises:
            StreamError: If one is not open.
        """
        try:
            return np.array([self.of_stream[stream] for stream in streams], np.intp)
        except KeyError as missing:
            raise _not_open(missing.args[0]) from None

    def states(self, places: NDArray[np.intp] | list[int]) -> tuple[Array, ...]:
        """Return copies of the states of some slots, joined on the batch axis."""
        return tuple(
            [
                np.take(block, places, axis)
                for block, axis in zip(self.blocks, self.axes, strict=True)
            ]
        )

    def put(self, slot: int, state: Sequence[Array] | None) -> None:
        """Set the states of a slot.

        Args:
            slot: The slot.
            state: One array for each, of one row; None is zeros.
        """
        for index, (rows, axis) in enumerate(zip(self._rows, self.axes, strict=True)):
            rows[slot] = 0 if state is None else to_front(state[index], axis)[0]

    def keep(self, places: Sequence[NDArray[np.intp]], states: Sequence[Sequence[Array]]) -> None:
        """Store the states of all groups; every few steps of a stream, tiny numbers become zero.

        The steps of each stream are counted, so that its state does not depend on other streams.

        Args:
            places: The slots of each group.
            states: The states of each, joined on the batch axis.
        """
        targets: list[Array] = []
        slots_of: list[NDArray[np.intp]] = []
        values: list[Array] = []
        for slots, state in zip(places, states, strict=True):
            steps = self.steps[slots] + 1
            due = steps % FLUSHED_EVERY == 0
            some = bool(due.any())
            targets.append(self.steps)
            slots_of.append(slots)
            values.append(steps)
            for rows, axis, array in zip(self._rows, self.axes, state, strict=True):
                after = to_front(array, axis)
                if some:
                    picked = after[due]
                    flush_tiny(picked)
                    after[due] = picked
                targets.append(rows)
                slots_of.append(slots)
                values.append(after)
        # One call of C code, within which no signal handler raises: all states are stored, or none.
        deque(map(setitem, targets, slots_of, values), maxlen=0)  # type: ignore[arg-type]


def _not_open(stream: object) -> StreamError:
    return StreamError(f"stream {stream!r}: is not open in this pool")
