"""`StreamPool`: streams that come and go over one model, stepped together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from threading import RLock
from typing import TYPE_CHECKING, NoReturn
from weakref import finalize

from numpy.typing import ArrayLike

from rnnedge_runtime.argument import duration, whole_number
from rnnedge_runtime.binding import Array, State
from rnnedge_runtime.contract import BATCH
from rnnedge_runtime.errors import InputError, StateError, StreamError
from rnnedge_runtime.loaded_model import LoadedModel
from rnnedge_runtime.pool.batch_step import BatchStep
from rnnedge_runtime.pool.batching import (
    Frame,
    check_batch_axes,
    grouped,
    owned,
    rows_in_front,
    stacked,
    taken_apart,
)
from rnnedge_runtime.pool.process_ends import end_with_the_process
from rnnedge_runtime.pool.slots import Slots
from rnnedge_runtime.streaming.constant_inputs import take_constants
from rnnedge_runtime.streaming.step_output import Answer, only

if TYPE_CHECKING:
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
        self._inputs, given, _ = take_constants(interface, constants, {BATCH: 1})
        for spec in interface.data_inputs:
            if spec.name in given and BATCH in spec.axes:
                raise InputError(
                    f"constants: {spec} has a {BATCH} axis: pass it with the frames of each stream"
                )
        remedy = ": pass it once, as Session.pool(constants={name: value})"
        check_batch_axes(self._inputs, InputError, remedy)
        check_batch_axes((*interface.state_inputs, *interface.data_outputs), StateError)
        self._model = model
        self._capacity = capacity
        self._outputs = interface.data_outputs
        self._slots = Slots(model, capacity)
        self._steps = BatchStep(model, self._slots, self._inputs, given)
        self._queue: FrameQueue | None = None
        self._shut = ""  # why, once it is
        end_with_the_process(self)

    def __repr__(self) -> str:
        """Say how many streams are open, and what a frame is."""
        inputs = ", ".join(map(str, self._inputs))
        open_streams = "closed" if self._shut else f"{len(self)} of {self._capacity} streams"
        return f"StreamPool({open_streams}, frames of {inputs})"

    def __len__(self) -> int:
        """Return how many streams are open."""
        return len(self._slots.of_stream)

    def __contains__(self, stream: object) -> bool:
        """Whether a stream is open."""
        return stream in self._slots.of_stream

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
        slots = self._slots
        if slots.left and not slots.has_room:
            with self._steps.lock:
                if not self._steps.inside:  # a step of this thread
                    slots.end()  # the step that these streams were closed during has ended
        stream, opened = -1, False
        try:
            with slots.lock:
                self._check_not_shut()
                stream = slots.opened
                try:
                    slots.open(rows)
                finally:
                    opened = slots.opened > stream
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
        with self._slots.lock:
            self._slots.close(stream)
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
        with self._slots.lock:
            return self._slots.states([self._slots.slot(stream)])

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
        with self._steps.lock, self._slots.lock:
            self._slots.put(self._slots.slot(stream), rows)

    def reset(self, stream: int) -> None:
        """Set a stream's state to zeros, after a step that is running.

        Args:
            stream: The stream.

        Raises:
            StreamError: If it is not open.
        """
        with self._steps.lock, self._slots.lock:
            self._slots.put(self._slots.slot(stream), None)

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
        at_once = self._steps.at_once(streams, list(frames.values()))
        if at_once is not None:
            return dict(zip(streams, at_once, strict=True))
        groups = grouped(self._inputs, frames)
        answers: dict[int, Answer] = {}
        for group, outputs in zip(groups, self._steps.run(groups), strict=True):
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
        at_once = self._steps.at_once(streams, frames)
        if at_once is not None:
            return at_once
        group = stacked(self._inputs, streams, frames)
        (outputs,) = self._steps.run([group])
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
        self._slots.slot(stream)
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
        self._slots.slot(stream)
        frame = owned(self._inputs, stream, frame)
        return await frames.line_up(self, stream, frame)

    def shutdown(self) -> None:
        """Run the waiting frames, and close all streams."""
        self._run_what_waits()
        with self._slots.lock:
            self._slots.of_stream.clear()

    def end(self) -> None:
        """Run the waiting frames, and let no other thread step after them, for ever.

        Called at the end of the process: a thread that is inside the engine while the interpreter
        ends may abort it.
        """
        self._run_what_waits()
        self._steps.lock.acquire()  # never released

    def _run_what_waits(self) -> None:
        with self._slots.lock:
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
        slots = self._slots
        steps = self._steps
        quiet = steps.lock.acquire(blocking=False) and slots.lock.acquire(blocking=False)
        steps.lock, slots.lock = RLock(), RLock()  # threads that hold the old ones are gone
        self._queue = None
        if not quiet:
            self._shut = (
                "the process was forked during a step of this pool: make another with Session.pool"
            )
            slots.of_stream.clear()

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

    def _check_not_shut(self) -> None:
        if self._shut:
            raise StreamError(self._shut)

    def _waiting(self) -> FrameQueue:
        """Return the queue; its thread starts with the first frame."""
        from rnnedge_runtime.pool.frame_queue import FrameQueue

        with self._slots.lock:
            if self._queue is None:
                self._check_not_shut()
                self._queue = frames = FrameQueue(*self._limits)
                finalize(self, frames.end).atexit = False  # `end_with_the_process` waits for it
            return self._queue
