"""`StreamPool`: streams that come and go over one model, stepped together."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from operator import setitem
from threading import RLock
from typing import TYPE_CHECKING, NoReturn
from weakref import finalize

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rnnedge_runtime.argument import duration, whole_number
from rnnedge_runtime.binding import Array, State
from rnnedge_runtime.contract import BATCH
from rnnedge_runtime.engine.protocol import PoolRows
from rnnedge_runtime.errors import InputError, StateError, StreamError
from rnnedge_runtime.loaded_model import LoadedModel
from rnnedge_runtime.pool.batching import (
    Frame,
    Group,
    check_batch_axes,
    grouped,
    owned,
    rows_in_front,
    stacked,
    taken_apart,
    to_front,
)
from rnnedge_runtime.pool.process_ends import end_with_the_process
from rnnedge_runtime.streaming.constant_inputs import take_constants
from rnnedge_runtime.streaming.silence_and_nan import FLUSHED_EVERY, TINY, flush_tiny
from rnnedge_runtime.streaming.step_output import Answer, only

if TYPE_CHECKING:
    from rnnedge_runtime.engine.protocol import RowSteps
    from rnnedge_runtime.pool.frame_queue import FrameQueue


class StreamPool:
    """Streams over one model, each with its own state, stepped together.

    Made by `Session.pool`. A step takes frames of any of the streams and runs them as one batch;
    the state of other streams does not change by a bit. A pool may be used from any number of
    threads.

    The output of a stream does not depend on the other streams in the batch: bit for bit for LSTM
    and GRU, to about 1e-7 for a plain RNN.

    Example:
        >>> pool = session.pool(capacity=8)
        >>> caller = pool.open()
        >>> pool.step({caller: np.zeros(8, np.float32)})[caller].shape
        (16,)
        >>> pool.close(caller)
        >>> pool
        StreamPool(0 of 8 streams, frames of input float32[time, batch, 8])
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
        """Allocate the states of all streams.

        Args:
            model: The opened model.
            capacity: The most streams that may be open at once, 1 or more. Each takes
                `Session.info.state_bytes`.
            max_delay_ms: Milliseconds that a frame passed to `submit` waits for others, 0 or more.
            max_waiting: The most frames that may wait, 1 or more.
            constants: Inputs without a batch axis that are the same at every step, by name.

        Raises:
            StateError: If the model has no states to keep, reads the future, or has a state or an
                output without a batch axis.
            InputError: If a number is out of its range, an input has no batch axis and is not a
                constant, or a constant has a batch axis or does not fit.
        """
        capacity = whole_number("capacity", capacity)
        self._limits = (
            duration("max_delay_ms", max_delay_ms),
            whole_number("max_waiting", max_waiting),
        )
        model.check_streamable()
        model.probe_axes()
        interface = model.interface
        self._inputs, self._constants, _ = take_constants(interface, constants, {BATCH: 1})
        for spec in interface.data_inputs:
            if spec.name in self._constants and BATCH in spec.axes:
                raise InputError(
                    f"constants: {spec} has a {BATCH} axis: pass it with the frames of each stream"
                )
        remedy = ": pass it once, as Session.pool(constants={name: value})"
        check_batch_axes(self._inputs, InputError, remedy)
        check_batch_axes((*interface.state_inputs, *interface.data_outputs), StateError)
        self._model = model
        self._capacity = capacity
        self._outputs = interface.data_outputs
        self._blocks = model.zero_state(self._capacity)
        self._rows = [
            to_front(block, spec.axes.index(BATCH))
            for spec, block in zip(interface.state_inputs, self._blocks, strict=True)
        ]
        self._axes = [spec.axes.index(BATCH) for spec in interface.state_inputs]
        self._free: list[int] = []  # slots of streams that were closed
        self._used = 0  # slots that were ever taken, the first ones
        self._left: list[int] | None = None  # slots of streams that were closed during this step
        self._inside = False  # whether a step runs
        self._slots: dict[int, int] = {}
        self._opened = 0
        self._steps = np.zeros(self._capacity, np.int64)
        self._stepping = RLock()  # one step at a time
        self._lock = RLock()  # never held while the model runs: an event loop may wait for it
        self._queue: FrameQueue | None = None
        self._shut = ""  # why, once it is
        self._row_steps = self._engine_steps()
        end_with_the_process(self)

    def __repr__(self) -> str:
        """Say how many streams are open, and what a frame is."""
        inputs = ", ".join(map(str, self._inputs))
        open_streams = "closed" if self._shut else f"{len(self._slots)} of {self._capacity} streams"
        return f"StreamPool({open_streams}, frames of {inputs})"

    def __len__(self) -> int:
        """Return how many streams are open."""
        return len(self._slots)

    def __contains__(self, stream: object) -> bool:
        """Whether a stream is open."""
        return stream in self._slots

    def open(self, state: State | None = None) -> int:
        """Open a stream.

        Args:
            state: The initial state, each [layers, 1, hidden] as `Stream.state` returns it; None is
                zeros.

        Returns:
            Its number, which no other stream of this pool ever has.

        Raises:
            StreamError: If the pool is full, or was shut down.
            StateError: If the state does not fit.
        """
        rows = None if state is None else self._checked_state(state)
        if self._left and not self._has_room():
            with self._stepping:
                if not self._inside:  # a step of this thread
                    self._free_slots()  # of streams that were closed during a step that has ended
        stream, opened = -1, False
        try:
            with self._lock:
                self._check_not_shut()
                if not self._has_room():
                    raise StreamError(
                        f"the pool is full with {self._capacity} stream(s): close one, or make a "
                        "larger pool with Session.pool(capacity=...)"
                    )
                again = bool(self._free)
                slot = self._free[-1] if again else self._used
                self._steps[slot] = 0
                self._put(slot, rows)
                # Python runs signal handlers, which may raise, after calls: from here on there is
                # none, so that a stream has its slot and its number, or neither.
                stream = self._opened
                self._slots[stream] = slot
                self._opened += 1
                if again:
                    del self._free[-1]
                else:
                    self._used += 1
                opened = True
        except BaseException:  # the caller is not given the number
            if opened:
                self.close(stream)
            raise
        return stream

    def close(self, stream: int) -> None:
        """Close a stream: its state is lost, and its waiting frames are refused.

        Args:
            stream: The stream.

        Raises:
            StreamError: If it is not open.
        """
        with self._lock:
            slot = self._slot(stream)
            del self._slots[stream]
            (self._free if self._left is None else self._left).append(slot)
            frames = self._queue
        if frames is not None:
            frames.look_again()

    def state(self, stream: int) -> tuple[Array, ...]:
        """Return a copy of a stream's state.

        Args:
            stream: The stream.

        Returns:
            One array [layers, 1, hidden] for each state of the model.

        Raises:
            StreamError: If it is not open.
        """
        with self._lock:
            slot = [self._slot(stream)]
            pairs = zip(self._blocks, self._axes, strict=True)
            return tuple(np.take(block, slot, axis) for block, axis in pairs)

    def set_state(self, stream: int, state: State) -> None:
        """Set a stream's state, after a step that is running.

        Args:
            stream: The stream.
            state: The state, each [layers, 1, hidden].

        Raises:
            StreamError: If the stream is not open.
            StateError: If the state does not fit; the old state is kept.
        """
        rows = self._checked_state(state)
        with self._stepping, self._lock:
            self._put(self._slot(stream), rows)

    def reset(self, stream: int) -> None:
        """Set a stream's state to zeros, after a step that is running.

        Args:
            stream: The stream.

        Raises:
            StreamError: If it is not open.
        """
        with self._stepping, self._lock:
            self._put(self._slot(stream), None)

    def step(self, frames: Mapping[int, Frame]) -> dict[int, Answer]:
        """Run one frame for each of some streams, in one batch for each chunk length.

        Args:
            frames: Stream to frame: float32 [features] for one step, or [time, features] for a
                chunk; for a model of several inputs, a mapping by name.

        Returns:
            Stream to output, without a batch axis, and without a time axis for one step; for a
            model of several outputs, a dict by name. The outputs are views of the batch's output.

        Raises:
            StreamError: If a stream is not open; no state changes.
            InputError: If a frame does not fit, or holds NaN or infinity; its attribute `streams`
                has the streams. No state changes.
            EngineError: If the engine fails; no state changes.
        """
        if type(frames) is not dict and not isinstance(frames, Mapping):
            raise InputError(
                f"expected a mapping of streams to frames, got {type(frames).__name__}"
            )
        streams = list(frames)
        at_once = self._run_at_once(streams, list(frames.values()))
        if at_once is not None:
            return dict(zip(streams, at_once, strict=True))
        groups = grouped(self._inputs, frames)
        answers: dict[int, Answer] = {}
        for group, outputs in zip(groups, self._run(groups), strict=True):
            answered = taken_apart(self._outputs, outputs, group)
            answers |= zip(group.streams, answered, strict=True)
        return answers if len(groups) == 1 else {stream: answers[stream] for stream in frames}

    def step_rows(
        self, streams: Sequence[int], frames: ArrayLike | Mapping[str, ArrayLike]
    ) -> Answer:
        """Do the same as `step` with frames in one array, which are checked together.

        Args:
            streams: The stream of each row, each of them once.
            frames: float32 [streams, features] for one step, or [streams, time, features] for
                chunks; for a model of several inputs, a mapping by name.

        Returns:
            The output with its rows as the first axis, in the order of `streams`; for a model of
            several outputs, a dict by name.

        Raises:
            StreamError: If a stream is not open; no state changes.
            InputError: If the frames do not fit, or hold NaN or infinity; no state changes.
            EngineError: If the engine fails; no state changes.
        """
        at_once = self._run_at_once(streams, frames)
        if at_once is not None:
            return at_once
        group = stacked(self._inputs, streams, frames)
        (outputs,) = self._run([group])
        rows = rows_in_front(self._outputs, outputs, group)
        return only(rows)

    def submit(self, stream: int, frame: Frame, *, timeout: float | None = None) -> Future[Answer]:
        """Queue a frame, to be run with frames of other streams that come within `max_delay_ms`.

        Frames of one stream run in the order in which they were submitted.

        Args:
            stream: The stream.
            frame: As `step` takes it; it is copied.
            timeout: Seconds to wait for a place if `max_waiting` frames are waiting; None waits
                without a limit, 0 does not wait.

        Returns:
            The future output. If the engine fails on a batch, each of its frames is run alone, so
            that only the frames it fails on end with an `EngineError`.

        Raises:
            StreamError: If the stream is not open, or there was no place.
            InputError: If the frame does not fit, or holds NaN or infinity.
        """
        seconds = None if timeout is None else duration("timeout", timeout, endless=True)
        frames = self._waiting()
        self._slot(stream)
        return frames.put(self, stream, owned(self._inputs, stream, frame), seconds)

    async def step_async(self, stream: int, frame: Frame) -> Answer:
        """Do the same as `submit` in asyncio, and await the output.

        If `max_waiting` frames are waiting, this one waits for a place without a limit.

        Args:
            stream: The stream.
            frame: As `step` takes it; it is copied.

        Returns:
            The output, as `step` returns it for one stream.

        Raises:
            StreamError: If the stream is not open, or the pool was shut down.
            InputError: If the frame does not fit, or holds NaN or infinity.
            EngineError: If the engine fails on this frame.
        """
        frames = self._waiting()
        self._slot(stream)
        frame = owned(self._inputs, stream, frame)
        return await frames.line_up(self, stream, frame)

    def shutdown(self) -> None:
        """Run the waiting frames, and close all streams."""
        self._run_what_waits()
        with self._lock:
            self._slots.clear()

    def end(self) -> None:
        """Run the waiting frames, and let no other thread step after them, for ever.

        Called at the end of the process: a thread that is inside the engine while the interpreter
        ends may abort it.
        """
        self._run_what_waits()
        self._stepping.acquire()  # never released

    def _run_what_waits(self) -> None:
        with self._lock:
            self._shut = self._shut or "the pool was shut down: make another with Session.pool"
            frames = self._queue
        if frames is not None:
            frames.close()
        self._queue = None

    def start_in_child(self) -> None:
        """Make a copy of the pool usable in a forked process, which has one thread.

        Frames that waited run in the original process. A copy that was made during a step may hold
        half of its states: it is shut down.
        """
        quiet = self._stepping.acquire(blocking=False) and self._lock.acquire(blocking=False)
        self._stepping, self._lock = RLock(), RLock()  # threads that hold the old ones are gone
        self._queue = None
        if not quiet:
            self._shut = (
                "the process was forked during a step of this pool: make another with Session.pool"
            )
            self._slots.clear()

    def __reduce__(self) -> NoReturn:
        """Refuse to be copied and pickled: two pools never share states."""
        raise StreamError(
            "a pool cannot be copied or pickled: make another with Session.pool, and pass the "
            "states to its streams: other.open(pool.state(stream))"
        )

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

    def _engine_steps(self) -> RowSteps | None:
        if self._constants or len(self._inputs) != 1 or len(self._outputs) != 1:
            return None
        rows = PoolRows(
            self._inputs[0],
            self._outputs[0],
            {pair.input: pair.output for pair in self._model.interface.states},
            self._blocks,
            tuple(self._axes),
            self._slots,
            self._steps,
        )
        return self._model.engine.row_steps(rows, tiny=TINY, flushed_every=FLUSHED_EVERY)

    def _run_at_once(self, streams: object, frames: object) -> Array | None:
        """Run a frame of each stream in one call of the engine, which checks them; or None."""
        if self._row_steps is None:
            return None
        with self._stepping:
            try:
                if self._left is None:  # as `_begin` does it, which would cost as much again
                    self._left = []
                self._inside = True
                return self._row_steps(streams, frames)
            finally:
                self._inside = False
                self._free_slots()

    def _has_room(self) -> bool:
        return bool(self._free) or self._used < self._capacity

    def _begin(self) -> None:
        """Keep the slots of streams that are closed from now on, until `_free_slots`.

        Those of a step that was interrupted before its end are free now.
        """
        if self._left is not None:
            self._free_slots()
        self._left = []
        self._inside = True

    def _free_slots(self) -> None:
        """Free the slots of streams that were closed during a step."""
        with self._lock:
            self._free += self._left or ()
            self._left = None

    def _run(self, groups: Sequence[Group]) -> list[dict[str, Array]]:
        """Run each group and keep its states; returns the outputs."""
        results = []
        with self._stepping:
            try:
                places, before = self._states_of(groups)
                for group, state in zip(groups, before, strict=True):
                    results.append(self._model.run(self._with_constants(group.batch), state=state))
                with self._lock:
                    self._keep(places, [result.state for result in results])
            finally:
                self._inside = False
                self._free_slots()
        return [result.outputs for result in results]

    def _with_constants(self, batch: dict[str, Array]) -> dict[str, Array]:
        """Return all inputs, in the order of the graph, which `Session.run` checks fastest."""
        if not self._constants:
            return batch
        given = batch | self._constants
        return {spec.name: given[spec.name] for spec in self._model.interface.data_inputs}

    def _states_of(
        self, groups: Sequence[Group]
    ) -> tuple[list[NDArray[np.intp]], list[tuple[Array, ...]]]:
        """Return the slots and states of each group; no slot is reused before `_free_slots`."""
        with self._lock:
            places = [self._places(group.streams) for group in groups]
            pairs = list(zip(self._blocks, self._axes, strict=True))
            states = [
                tuple([np.take(block, slots, axis) for block, axis in pairs]) for slots in places
            ]
            self._begin()
            return places, states

    def _keep(self, places: Sequence[NDArray[np.intp]], states: Sequence[Sequence[Array]]) -> None:
        """Store the states of all groups; every few steps of a stream, tiny numbers become zero.

        The steps of each stream are counted, so that its state does not depend on other streams.
        """
        targets: list[Array] = []
        slots_of: list[NDArray[np.intp]] = []
        values: list[Array] = []
        for slots, state in zip(places, states, strict=True):
            steps = self._steps[slots] + 1
            due = steps % FLUSHED_EVERY == 0
            some = bool(due.any())
            targets.append(self._steps)
            slots_of.append(slots)
            values.append(steps)
            for rows, axis, array in zip(self._rows, self._axes, state, strict=True):
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

    def _places(self, streams: list[int]) -> NDArray[np.intp]:
        try:
            return np.array([self._slots[stream] for stream in streams], np.intp)
        except KeyError as missing:
            raise _not_open(missing.args[0]) from None

    def _slot(self, stream: int) -> int:
        try:
            return self._slots[stream]
        except (KeyError, TypeError):  # TypeError: a list, for example
            raise _not_open(stream) from None

    def _check_not_shut(self) -> None:
        if self._shut:
            raise StreamError(self._shut)

    def _waiting(self) -> FrameQueue:
        """Return the queue; its thread starts with the first frame."""
        from rnnedge_runtime.pool.frame_queue import FrameQueue

        with self._lock:
            if self._queue is None:
                self._check_not_shut()
                self._queue = frames = FrameQueue(*self._limits)
                finalize(self, frames.end).atexit = False  # `end_with_the_process` waits for it
            return self._queue


def _not_open(stream: object) -> StreamError:
    return StreamError(f"stream {stream!r}: is not open in this pool")
