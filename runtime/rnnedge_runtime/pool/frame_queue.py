"""`FrameQueue`: frames wait a short time for others, so that they run as one batch."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter, deque
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from threading import (
    TIMEOUT_MAX,
    Condition,
    Event,
    ExceptHookArgs,
    Thread,
    current_thread,
    excepthook,
)
from time import monotonic
from typing import TYPE_CHECKING, Protocol, TypeAlias

from rnnedge_runtime.errors import StreamError, pass_on_interruption

if TYPE_CHECKING:
    from rnnedge_runtime.pool.batching import Frame
    from rnnedge_runtime.streaming.step_output import Answer

_Promise: TypeAlias = "Future[Answer] | asyncio.Future[Answer]"
_Result: TypeAlias = "Answer | Exception"


class Steps(Protocol):
    """The pool that a queue runs frames of."""

    def __len__(self) -> int:
        """Return how many streams are open."""

    def __contains__(self, stream: object) -> bool:
        """Whether a stream is open."""

    def step(self, frames: Mapping[int, Frame]) -> dict[int, Answer]:
        """Run a frame of each of some streams, and return their outputs."""


@dataclass(slots=True, eq=False)
class _Waiting:
    """One frame.

    Attributes:
        pool: The pool of its stream, which lives as long as one of its frames waits.
        stream: Its stream.
        frame: A checked copy.
        since: When it was submitted, by `time.monotonic`.
        answer: The future that the caller holds.
        admitted: Set when it has a place among the `max_waiting`; None if nobody waits for that.
    """

    pool: Steps
    stream: int
    frame: Frame
    since: float
    answer: _Promise
    admitted: Event | None = None

    def wanted(self) -> bool:
        """Whether the caller still waits for the output."""
        if isinstance(self.answer, Future):
            return self.answer.set_running_or_notify_cancel()
        return not self.answer.cancelled()


class FrameQueue:
    """Runs frames of a pool in a separate thread.

    A batch runs when each open stream has a frame in it, when its oldest frame has waited for
    `max_delay_ms`, or when `max_waiting` frames are waiting. A stream has one frame in a batch; its
    next frame waits for the next batch.

    The thread keeps no pool alive: it holds one by its frames that wait, and by nothing else.
    """

    def __init__(self, max_delay_ms: float, max_waiting: int) -> None:
        """Start the thread."""
        self._max_delay = min(max_delay_ms / 1e3, TIMEOUT_MAX)
        self._max_waiting = max_waiting
        self._frames: deque[_Waiting] = deque()
        self._outside: deque[_Waiting] = deque()
        self._of: Counter[int] = Counter()
        self._changed = Condition()
        self._closing = False
        self._thread = Thread(target=self._work, name="rnnedge pool", daemon=True)
        self._thread.start()

    def put(self, pool: Steps, stream: int, frame: Frame, timeout: float | None) -> Future[Answer]:
        """Add a frame; wait for a place for `timeout` seconds, or without a limit for None.

        A frame whose caller is interrupted is not run, unless it runs already.

        Raises:
            StreamError: If there was no place, or the pool was shut down.
        """
        answer: Future[Answer] = Future()
        admitted = Event()
        waiting = _Waiting(pool, stream, frame, monotonic(), answer, admitted)
        try:
            self._add(waiting)
            if current_thread() is not self._thread:  # a callback of a future would wait for itself
                self._wait_for_a_place(waiting, admitted, timeout)
        except BaseException:  # the caller is not given the future
            answer.cancel()
            raise
        return answer

    def _wait_for_a_place(self, waiting: _Waiting, admitted: Event, timeout: float | None) -> None:
        if admitted.wait(None if timeout is None else min(timeout, TIMEOUT_MAX)):
            return
        with self._changed:
            if waiting in self._outside:
                self._outside.remove(waiting)
                raise StreamError(
                    f"stream {waiting.stream}: {self._max_waiting} frame(s) are waiting, and none "
                    f"finished in {timeout:g} s: submit them slower, or raise max_waiting"
                )

    def line_up(self, pool: Steps, stream: int, frame: Frame) -> asyncio.Future[Answer]:
        """Add a frame, which waits for a place if there is none; call it in an event loop.

        Raises:
            StreamError: If the pool was shut down.
        """
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._add(_Waiting(pool, stream, frame, monotonic(), answer))
        return answer

    def end(self) -> None:
        """Let the thread end as soon as nothing waits."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()

    def close(self) -> None:
        """Run the waiting frames, and end the thread."""
        self.end()
        if current_thread() is self._thread:
            self._work()  # called by a callback of a future: the frames run here
        else:
            self._thread.join()

    def look_again(self) -> None:
        """Check again whether the waiting frames are a batch, after a stream was closed."""
        with self._changed:
            self._changed.notify_all()

    def _add(self, waiting: _Waiting) -> None:
        with self._changed:
            if self._closing:
                raise StreamError("the pool was shut down: make another with Session.pool")
            self._outside.append(waiting)
            self._admit()
            # Waking the thread for every frame would cost more than the frame.
            if len(self._frames) == 1 or self._complete():
                self._changed.notify_all()

    def _admit(self) -> None:
        """Give places to the frames that wait for one, in their order."""
        while self._outside and len(self._frames) < self._max_waiting:
            waiting = self._outside.popleft()
            self._frames.append(waiting)
            self._of[waiting.stream] += 1
            if waiting.admitted is not None:
                waiting.admitted.set()

    def _complete(self) -> bool:
        """Whether waiting longer would add nothing to the next batch."""
        full = len(self._frames) >= self._max_waiting
        return full or self._closing or len(self._of) >= len(self._frames[0].pool)

    def _work(self) -> None:
        while self._run_next():
            pass  # with no batch in a variable, which would keep the pool alive

    def _run_next(self) -> bool:
        """Run the next batch; False if the queue is closed and nothing waits."""
        batch = self._next()
        if batch:
            self._run(batch)
        return bool(batch)

    def _next(self) -> list[_Waiting]:
        """Return the next batch; an empty one if the queue is closed and nothing waits."""
        with self._changed:
            while not self._frames:
                if self._closing:
                    return []
                self._changed.wait()
            until = self._frames[0].since + self._max_delay
            while not self._complete():
                left = until - monotonic()
                if left <= 0:
                    break
                self._changed.wait(left)
            taken: dict[int, _Waiting] = {}
            later: deque[_Waiting] = deque()
            for waiting in self._frames:
                if waiting.stream in taken:
                    later.append(waiting)
                    continue
                taken[waiting.stream] = waiting
                self._of[waiting.stream] -= 1
            self._frames = later
            self._of = +self._of  # without the zeros
            self._admit()
            return list(taken.values())

    def _run(self, batch: list[_Waiting]) -> None:
        batch = [each for each in batch if each.wanted()]  # a cancelled frame changes no state
        if batch:
            results = _answered(batch[0].pool, {each.stream: each.frame for each in batch})
            _hand_over([(each.answer, results[each.stream]) for each in batch])


def _answered(pool: Steps, frames: Mapping[int, Frame]) -> dict[int, _Result]:
    """Step; if the model fails, step each stream alone, so that one does not affect others."""
    answers: dict[int, _Result] = {
        stream: StreamError(f"stream {stream}: was closed while its frame waited")
        for stream in frames
        if stream not in pool
    }
    if answers:
        return answers | _answered(pool, {s: f for s, f in frames.items() if s not in answers})
    try:
        return {**pool.step(frames)}
    except StreamError:  # a stream was closed meanwhile
        return _answered(pool, frames)
    except Exception as error:  # the thread goes on, for the others
        pass_on_interruption(error)
        if len(frames) == 1:
            return dict.fromkeys(frames, error)
    for stream, frame in frames.items():
        answers |= _answered(pool, {stream: frame})
    return answers


def _hand_over(results: list[tuple[_Promise, _Result]]) -> None:
    """Set the results of futures; an event loop is woken once for all of its futures."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Promise, _Result]]] = {}
    for promise, result in results:
        if isinstance(promise, asyncio.Future):
            by_loop.setdefault(promise.get_loop(), []).append((promise, result))
            continue
        try:
            _keep(promise, result)
        except BaseException:  # such as SystemExit of a callback; `Future` keeps exceptions itself
            kind, error, trace = sys.exc_info()
            assert kind is not None
            excepthook(ExceptHookArgs((kind, error, trace, current_thread())))
    for loop, own in by_loop.items():
        with suppress(RuntimeError):  # the loop is closed, and nobody waits anymore
            loop.call_soon_threadsafe(_keep_all, own)


def _keep_all(results: list[tuple[_Promise, _Result]]) -> None:
    for promise, result in results:
        if not promise.done():  # it may have been cancelled meanwhile
            _keep(promise, result)


def _keep(promise: _Promise, result: _Result) -> None:
    if isinstance(result, Exception):
        promise.set_exception(result)
    else:
        promise.set_result(result)
