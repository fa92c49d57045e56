"""`StreamPool`: streams that come and go over one session, stepped together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from threading import RLock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnnedge_runtime.binding import Array, State
from rnnedge_runtime.contract import BATCH, TIME, TensorSpec
from rnnedge_runtime.errors import InputError, StateError, StreamError
from rnnedge_runtime.loaded_model import LoadedModel
from rnnedge_runtime.pool.batching import (
    Frame,
    Group,
    grouped,
    owned,
    rows_in_front,
    stacked,
    taken_apart,
    to_front,
)
from rnnedge_runtime.streaming.constant_inputs import take_constants
from rnnedge_runtime.streaming.silence_and_nan import FLUSHED_EVERY, flush_tiny
from rnnedge_runtime.streaming.step_output import Answer, only

if TYPE_CHECKING:
    from rnnedge_runtime.pool.frame_queue import FrameQueue


class StreamPool:
    """Streams over one session, each with a state of its own, stepped together.

    Made by `Session.pool`. A step takes frames of any of the streams, runs them as one batch, and
    leaves the others as they are, to the bit. A pool may be used from any number of threads.

    What a stream is answered does not depend on who else is in the batch: to the bit for LSTM and
    GRU, and to about 1e-7 for a plain RNN.
    """

    def __init__(
        self,
        model: LoadedModel,
        *,
        capacity: int = 1024,
        max_delay_ms: float = 2.0,
        max_waiting: int = 1024,
        constants: Mapping[str, ArrayLike] | None = None,
    ) -> None:
        """Make room for streams.

        Args:
            model: The opened model.
            capacity: The most streams that may be open at once, 1 or more. Each holds
                `Session.info.state_bytes`.
            max_delay_ms: Milliseconds that a frame given to `submit` waits for others, 0 or more.
            max_waiting: The most frames that may wait, 1 or more.
            constants: Inputs without a batch axis that are the same at every step, by name.

        Raises:
            StateError: When the model has no states to keep, reads the future, or has a state or
                an output without a batch axis.
            InputError: When a number is out of its range, an input has no batch axis and is no
                constant, or a constant has one or does not fit.
        """
        for name, number in (("capacity", capacity), ("max_waiting", max_waiting)):
            if not isinstance(number, int | np.integer) or number < 1:
                raise InputError(f"{name}: expected an integer of 1 or more, got {number!r}")
        if not isinstance(max_delay_ms, int | float) or not 0 <= max_delay_ms < np.inf:
            raise InputError(f"max_delay_ms: expected 0 or more, got {max_delay_ms!r}")
        model.check_streamable()
        face = model.interface
        self._inputs, self._constants = take_constants(face, constants, {BATCH: 1})
        for spec in face.data_inputs:
            if spec.name in self._constants and BATCH in spec.axes:
                raise InputError(
                    f"constants: {spec} has a {BATCH} axis: each stream gives its own with a frame"
                )
        remedy = "; give it once, as Session.pool(constants={name: value})"
        _check_batch_axes(self._inputs, InputError, remedy)
        _check_batch_axes((*face.state_inputs, *face.data_outputs), StateError)
        self._model = model
        self._capacity = int(capacity)
        self._outputs = face.data_outputs
        self._blocks = model.zero_state(self._capacity)
        self._rows = [
            to_front(block, spec.axes.index(BATCH))
            for spec, block in zip(face.state_inputs, self._blocks, strict=True)
        ]
        self._axes = [spec.axes.index(BATCH) for spec in face.state_inputs]
        self._free = list(range(self._capacity))[::-1]
        self._left: list[int] | None = None  # slots of streams closed during a step, until it ends
        self._slots: dict[int, int] = {}
        self._opened = 0
        self._steps = np.zeros(self._capacity, np.int64)
        self._stepping = RLock()  # one step at a time
        self._lock = RLock()  # never held while the model runs: an event loop may want it
        self._limits = (float(max_delay_ms), int(max_waiting))
        self._queue: FrameQueue | None = None
        self._shut = False

    def __len__(self) -> int:
        """Return how many streams are open."""
        return len(self._slots)

    def __contains__(self, stream: object) -> bool:
        """Whether a stream is open."""
        return stream in self._slots

    def open(self, state: State | None = None) -> int:
        """Open a stream.

        Args:
            state: What it starts from, each [layers, 1, hidden] as `Stream.state` gives it; None is
                zeros.

        Returns:
            Its number; no other stream of this pool ever has the same.

        Raises:
            StreamError: When the pool is full, or was shut down.
            StateError: When the state does not fit.
        """
        rows = None if state is None else self._checked_state(state)
        if not self._free and self._left:
            with self._stepping:
                pass  # what was closed during a step is free at its end
        with self._lock:
            self._check_not_shut()
            if not self._free:
                raise StreamError(
                    f"the pool is full with {self._capacity} stream(s): close one, or make it "
                    "larger with Session.pool(capacity=...)"
                )
            stream, slot = self._opened, self._free.pop()
            self._opened += 1
            self._slots[stream] = slot
            self._steps[slot] = 0
            self._put(slot, rows)
        return stream

    def close(self, stream: int) -> None:
        """Close a stream; its state is gone, and frames of it that wait are refused.

        Raises:
            StreamError: When it is not open.
        """
        with self._lock:
            slot = self._slot(stream)
            del self._slots[stream]
            (self._free if self._left is None else self._left).append(slot)
            frames = self._queue
        if frames is not None:
            frames.look_again()

    def state(self, stream: int) -> tuple[Array, ...]:
        """Return a copy of a stream's state, each [layers, 1, hidden].

        Raises:
            StreamError: When the stream is not open.
        """
        with self._lock:
            slot = [self._slot(stream)]
            pairs = zip(self._blocks, self._axes, strict=True)
            return tuple(np.take(block, slot, axis) for block, axis in pairs)

    def set_state(self, stream: int, state: State) -> None:
        """Set a stream's state; waits for a step that runs.

        Raises:
            StreamError: When the stream is not open.
            StateError: When the state does not fit; the old one stays.
        """
        rows = self._checked_state(state)
        with self._stepping, self._lock:
            self._put(self._slot(stream), rows)

    def reset(self, stream: int) -> None:
        """Go back to a state of zeros; waits for a step that runs.

        Raises:
            StreamError: When the stream is not open.
        """
        with self._stepping, self._lock:
            self._put(self._slot(stream), None)

    def step(self, frames: Mapping[int, Frame]) -> dict[int, Answer]:
        """Run a frame of each of some streams, in one batch for each size of chunk.

        Args:
            frames: Stream to frame: float32 [features] for one step, or [time, features] for a
                chunk; for a model of several inputs, a mapping by name.

        Returns:
            Stream to output, without a batch axis, and without a time axis for one step; for a
            model of several outputs, a dict by name. They are views of the batch's output.

        Raises:
            StreamError: When a stream is not open; no state changes.
            InputError: When a frame does not fit, or holds NaN or infinity; its attribute `streams`
                says which. No state changes.
            EngineError: When ONNX Runtime fails; no state changes.
        """
        groups = grouped(self._inputs, frames)
        answers: dict[int, Answer] = {}
        for group, outputs in zip(groups, self._run(groups), strict=True):
            answered = taken_apart(self._outputs, outputs, group)
            answers |= zip(group.streams, answered, strict=True)
        return answers if len(groups) == 1 else {stream: answers[stream] for stream in frames}

    def step_rows(
        self, streams: Sequence[int], frames: ArrayLike | Mapping[str, ArrayLike]
    ) -> Answer:
        """Do as `step` does with frames that lie in one array, without a look at each.

        Args:
            streams: Whose each row is; none comes twice.
            frames: float32 [streams, features] for one step, or [streams, time, features] for
                chunks; for a model of several inputs, a mapping by name.

        Returns:
            The output with its rows in front, in the order of `streams`; for a model of several
            outputs, a dict by name.

        Raises:
            StreamError: When a stream is not open; no state changes.
            InputError: When the frames do not fit, or hold NaN or infinity; no state changes.
            EngineError: When ONNX Runtime fails; no state changes.
        """
        group = stacked(self._inputs, streams, frames)
        (outputs,) = self._run([group])
        rows = rows_in_front(self._outputs, outputs, group)
        return only(rows)

    def submit(self, stream: int, frame: Frame, *, timeout: float | None = None) -> Future[Answer]:
        """Give a frame to be run with those of other streams that come within `max_delay_ms`.

        Frames of one stream are run in the order in which they were given.

        Args:
            stream: The stream.
            frame: As `step` takes it; it is copied.
            timeout: Seconds to wait for room where `max_waiting` frames wait already; None is for
                ever, 0 not at all.

        Returns:
            What the frame will be answered. Where ONNX Runtime fails on a batch, each of its
            frames is run alone, so that only those that it refuses end with an `EngineError`.

        Raises:
            StreamError: When the stream is not open, or there was no room.
            InputError: When the frame does not fit, or holds NaN or infinity.
        """
        frames = self._waiting()
        self._slot(stream)
        return frames.put(stream, owned(self._inputs, stream, frame), timeout)

    async def step_async(self, stream: int, frame: Frame) -> Answer:
        """Do as `submit` does, and await the answer, for servers that use asyncio.

        Where `max_waiting` frames wait already, this one waits for its turn to.
        """
        frames = self._waiting()
        self._slot(stream)
        frame = owned(self._inputs, stream, frame)
        return await frames.line_up(stream, frame)

    def shutdown(self) -> None:
        """Answer the frames that wait, and close all streams."""
        with self._lock:
            frames, self._queue, self._shut = self._queue, None, True
        if frames is not None:
            frames.close()
        with self._lock:
            self._slots.clear()

    def __enter__(self) -> StreamPool:
        """Return the pool itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Shut down."""
        self.shutdown()

    def _checked_state(self, state: State) -> list[Array]:
        return list(self._model.binder.state(state, {BATCH: 1}).values())

    def _put(self, slot: int, state: list[Array] | None) -> None:
        for index, (rows, axis) in enumerate(zip(self._rows, self._axes, strict=True)):
            rows[slot] = 0 if state is None else to_front(state[index], axis)[0]

    def _run(self, groups: Sequence[Group]) -> list[dict[str, Array]]:
        """Run each group and keep its states; returns the outputs."""
        results = []
        with self._stepping, self._states_of(groups) as (places, before):
            for group, state in zip(groups, before, strict=True):
                results.append(self._model.run(self._with_constants(group.batch), state=state))
            with self._lock:
                for slots, result in zip(places, results, strict=True):
                    self._keep(slots, result.state)
        return [result.outputs for result in results]

    def _with_constants(self, batch: dict[str, Array]) -> dict[str, Array]:
        """Return all inputs, in the order in which `Session.run` knows them soonest."""
        if not self._constants:
            return batch
        given = batch | self._constants
        return {spec.name: given[spec.name] for spec in self._model.interface.data_inputs}

    @contextmanager
    def _states_of(
        self, groups: Sequence[Group]
    ) -> Iterator[tuple[list[NDArray[np.intp]], list[tuple[Array, ...]]]]:
        """Give the slots and states of each group; no slot changes hands before the block ends."""
        with self._lock:
            places = [self._places(group.streams) for group in groups]
            pairs = list(zip(self._blocks, self._axes, strict=True))
            states = [
                tuple([np.take(block, slots, axis) for block, axis in pairs]) for slots in places
            ]
            self._left = []
        try:
            yield places, states
        finally:
            with self._lock:
                self._free += self._left
                self._left = None

    def _keep(self, slots: NDArray[np.intp], state: Iterable[Array]) -> None:
        """Put the states of a group back, those that have had enough steps without tiny numbers.

        Each stream's steps are counted, so that its numbers do not depend on the others'.
        """
        steps = self._steps[slots] + 1
        self._steps[slots] = steps
        due = steps % FLUSHED_EVERY == 0
        some = bool(due.any())
        for rows, axis, array in zip(self._rows, self._axes, state, strict=True):
            after = to_front(array, axis)
            if some:
                picked = after[due]
                flush_tiny(picked)
                after[due] = picked
            rows[slots] = after

    def _places(self, streams: list[int]) -> NDArray[np.intp]:
        try:
            return np.array([self._slots[stream] for stream in streams], np.intp)
        except KeyError as missing:
            raise _not_open(missing.args[0]) from None

    def _slot(self, stream: int) -> int:
        try:
            return self._slots[stream]
        except KeyError:
            raise _not_open(stream) from None

    def _check_not_shut(self) -> None:
        if self._shut:
            raise StreamError("the pool was shut down: make another with Session.pool")

    def _waiting(self) -> FrameQueue:
        """Return the queue; its thread starts with the first frame."""
        from rnnedge_runtime.pool.frame_queue import FrameQueue

        with self._lock:
            if self._queue is None:
                self._check_not_shut()
                self._queue = FrameQueue(self, *self._limits)
            return self._queue


def _not_open(stream: object) -> StreamError:
    return StreamError(f"stream {stream!r}: is not open in this pool")


def _check_batch_axes(
    specs: Iterable[TensorSpec], error: type[InputError | StateError], remedy: str = ""
) -> None:
    for spec in specs:
        if spec.axes.count(BATCH) != 1:
            raise error(
                f"{spec}: has no axis called {BATCH}, so that streams cannot share a call"
                + remedy * (TIME not in spec.axes)
            )
