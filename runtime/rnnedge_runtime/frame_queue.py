"""`FrameQueue`: frames that wait a little for others, so that they run as one batch."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from threading import Condition, Event, Thread, current_thread
from time import monotonic
from typing import TYPE_CHECKING

from rnnedge_runtime.errors import StreamError

if TYPE_CHECKING:
    from rnnedge_runtime.pool import StreamPool
    from rnnedge_runtime.rows import Frame
    from rnnedge_runtime.stream import Answer


@dataclass(slots=True, eq=False)
class _Waiting:
    """One frame.

    Attributes:
        stream: Whose it is.
        frame: Frame, and the queue's own.
        since: When it was given, by `time.monotonic`.
        answer: What its giver holds.
        admitted: Set when it has its place among the `max_waiting`.
    """

    stream: int
    frame: Frame
    since: float
    answer: Future[Answer] = field(default_factory=Future)
    admitted: Event = field(default_factory=Event)


class FrameQueue:
    """Runs frames of a pool in a thread of its own.

    A batch is run when each open stream has a frame in it, when its oldest frame has waited for
    `max_delay_ms`, or when no more may wait. A stream has one frame in a batch; its next one waits
    for the next batch.
    """

    def __init__(self, pool: StreamPool, max_delay_ms: float, max_waiting: int) -> None:
        """Start the thread."""
        self._pool, self._max_delay, self._max_waiting = pool, max_delay_ms / 1e3, max_waiting
        self._frames: deque[_Waiting] = deque()
        self._outside: deque[_Waiting] = deque()
        self._of: Counter[int] = Counter()
        self._changed = Condition()
        self._closing = False
        self._thread = Thread(target=self._work, name="rnnedge pool", daemon=True)
        self._thread.start()

    def put(self, stream: int, frame: Frame, timeout: float | None) -> Future[Answer]:
        """Add a frame; wait for room for `timeout` seconds, None is for ever.

        Raises:
            StreamError: When there was no room, or the pool was shut down.
        """
        waiting = self._add(stream, frame)
        if current_thread() is self._thread:
            return waiting.answer  # a callback of an answer, which would wait for itself
        if not waiting.admitted.wait(timeout):
            with self._changed:
                if waiting in self._outside:
                    self._outside.remove(waiting)
                    raise StreamError(
                        f"stream {stream}: {self._max_waiting} frame(s) wait already, and none "
                        f"was done in {timeout} s: give them slower, or raise max_waiting"
                    )
        return waiting.answer

    def line_up(self, stream: int, frame: Frame) -> Future[Answer]:
        """Add a frame that waits outside where there is no room."""
        return self._add(stream, frame).answer

    def close(self) -> None:
        """Run what waits, and end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if current_thread() is self._thread:
            self._work()  # a callback of an answer: what waits is run from here
        else:
            self._thread.join()

    def look_again(self) -> None:
        """Look whether the frames that wait are a batch, now that a stream was closed."""
        with self._changed:
            self._changed.notify_all()

    def _add(self, stream: int, frame: Frame) -> _Waiting:
        waiting = _Waiting(stream, frame, monotonic())
        with self._changed:
            if self._closing:
                raise StreamError("the pool was shut down: make another with Session.pool")
            self._outside.append(waiting)
            self._admit()
        return waiting

    def _admit(self) -> None:
        """Let in who waits outside, in the order in which they came."""
        while self._outside and not self._full():
            waiting = self._outside.popleft()
            self._frames.append(waiting)
            self._of[waiting.stream] += 1
            waiting.admitted.set()
        self._changed.notify_all()

    def _full(self) -> bool:
        return len(self._frames) >= self._max_waiting

    def _work(self) -> None:
        while batch := self._next():
            self._run(batch)

    def _next(self) -> list[_Waiting]:
        """Return the next batch; an empty one when the queue is closed and nothing waits."""
        with self._changed:
            while not self._frames:
                if self._closing:
                    return []
                self._changed.wait()
            until = self._frames[0].since + self._max_delay
            while not (self._closing or self._full() or len(self._of) >= len(self._pool)):
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
        closed, running = [], {}
        with self._pool._lock:  # so that no stream is closed between the look and the step
            for each in batch:
                if not each.answer.set_running_or_notify_cancel():
                    continue  # its giver no longer wants it, and the stream did not move
                if each.stream in self._pool:
                    running[each.stream] = each
                else:
                    closed.append(each)
            answers = self._answered({stream: each.frame for stream, each in running.items()})
        for each in closed:
            each.answer.set_exception(
                StreamError(f"stream {each.stream}: was closed while its frame waited")
            )
        for stream, each in running.items():
            answer = answers[stream]
            if isinstance(answer, Exception):
                each.answer.set_exception(answer)
            else:
                each.answer.set_result(answer)

    def _answered(self, frames: Mapping[int, Frame]) -> Mapping[int, Answer | Exception]:
        """Step; where the model fails, each stream alone, so that one does not harm the others."""
        try:
            return self._pool.step(frames)
        except Exception as error:  # the thread goes on, for the others
            if len(frames) == 1:
                return dict.fromkeys(frames, error)
        answers: dict[int, Answer | Exception] = {}
        for stream, frame in frames.items():
            answers |= self._answered({stream: frame})
        return answers
