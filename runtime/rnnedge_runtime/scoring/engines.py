"""`ScoringEngine`: what runs the parts of a job, and the engine of this machine.

An engine is a function that is given a job and its open parts, and has each of them written by
`PartScorer.do`, in whatever process or machine. It reports what is done as it goes, and raises what
a part raises. Where a process dies, its part is done again; where it dies again, `halve` finds the
rows that end it.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol, TypeAlias

from rnnedge_runtime.errors import EngineError
from rnnedge_runtime.scoring.job import Job, PartResult, Piece
from rnnedge_runtime.scoring.plan import Part
from rnnedge_runtime.scoring.worker_process import DiedError, Task, WorkerProcess


class Report(Protocol):
    """Takes what is done. It may be called from any thread."""

    def told(self, part: Part, rows: int, steps: int, failed: int) -> None:
        """Take what was done of a part since the last call."""

    def again(self, part: Part) -> None:
        """Take back what was counted of a part: it is done again."""

    def done(self, part: Part, result: PartResult) -> None:
        """Take the result of a part, which is written."""


ScoringEngine: TypeAlias = Callable[[Job, Sequence[Part], Report, int], None]
"""Does parts, the first ones first: job, parts, report, workers."""


def run_local(job: Job, parts: Sequence[Part], report: Report, workers: int) -> None:
    """Do parts in child processes of this machine.

    Args:
        job: The job.
        parts: Its open parts, in the order in which they are begun.
        report: Takes what is done.
        workers: How many processes, 1 or more.

    Raises:
        RnnEdgeError: What a part raised; the others are stopped.
        EngineError: If a part ends its process, whichever rows are left out.
    """
    waiting: queue.SimpleQueue[Part] = queue.SimpleQueue()
    for part in parts:
        waiting.put(part)
    slots = [_Slot(job, waiting, report) for _ in range(min(workers, len(parts)))]
    try:
        for slot in slots:
            slot.start()
        while any(slot.is_alive() for slot in slots):
            if any(slot.error is not None for slot in slots):
                break
            for slot in slots:
                slot.join(0.05)
    finally:
        for slot in slots:
            slot.end()
        for slot in slots:
            slot.join()
    for slot in slots:
        if slot.error is not None:
            raise slot.error


Probe: TypeAlias = Callable[[Piece], None]
"""Scores a range of rows somewhere, and raises `DiedError` if that ends the process."""


def halve(piece: Piece, probe: Probe, died: DiedError) -> tuple[list[Piece], dict[int, str]]:
    """Find the rows that end the process that scores them.

    Args:
        piece: Rows that ended it.
        probe: Scores some of them.
        died: How it ended.

    Returns:
        The ranges of rows that can be scored, and what is wrong with the others.
    """
    start, stop = piece
    if stop - start <= 1:
        return [], {start: f"ended the process that scored it: {died}"}
    good: list[Piece] = []
    bad: dict[int, str] = {}
    middle = (start + stop) // 2
    for half in ((start, middle), (middle, stop)):
        try:
            probe(half)
        except DiedError as again:
            found, errors = halve(half, probe, again)
            good += found
            bad |= errors
        else:
            good.append(half)
    return good, bad


class _Slot(threading.Thread):
    """One worker: its process, and a new one where that ends."""

    def __init__(self, job: Job, waiting: queue.SimpleQueue[Part], report: Report) -> None:
        super().__init__(daemon=True)
        self._job, self._waiting, self._report = job, waiting, report
        self._process: WorkerProcess | None = None
        self._ended = False
        self._lock = threading.Lock()
        self.error: Exception | None = None

    def run(self) -> None:
        """Do parts until there are none."""
        try:
            while not self._ended:
                try:
                    part = self._waiting.get_nowait()
                except queue.Empty:
                    break
                self._report.done(part, self._do(part))
        except Exception as error:  # it is raised in the caller's thread
            if not self._ended:
                self.error = error
        finally:
            if self._process is not None:
                self._process.stop()

    def end(self) -> None:
        """Stop at once."""
        with self._lock:
            self._ended = True
            if self._process is not None:
                with suppress(OSError):
                    self._process.kill()

    def _do(self, part: Part) -> PartResult:
        task = Task("part", part)
        try:
            return self._written(task)
        except DiedError:
            self._report.again(part)
        try:  # what ended it may have had nothing to do with the part
            return self._written(task)
        except DiedError as died:
            self._report.again(part)
            return self._do_halved(part, died)

    def _do_halved(self, part: Part, died: DiedError) -> PartResult:
        good, bad = halve((part.start, part.stop), self._probe(part), died)
        if not part.rows or len(bad) == part.rows > 1:
            raise EngineError(f"part {part.number}: each row of it ends its process: {died}")
        try:
            return self._written(Task("part", part, tuple(good), bad))
        except DiedError as again:
            raise EngineError(
                f"part {part.number}: ended its process with every row that does so alone left "
                f"out: {again}"
            ) from None

    def _probe(self, part: Part) -> Probe:
        def probe(piece: Piece) -> None:
            self._ask(Task("probe", part, (piece,)))

        return probe

    def _written(self, task: Task) -> PartResult:
        result = self._ask(task)
        assert result is not None
        return result

    def _ask(self, task: Task) -> PartResult | None:
        with self._lock:
            if self._ended:
                raise DiedError(None)
            if self._process is None:
                self._process = WorkerProcess(self._job)
            process = self._process

        def told(rows: int, steps: int, failed: int) -> None:
            self._report.told(task.part, rows, steps, failed)

        try:
            return process.ask(task, told)
        except DiedError:
            self._process = None
            raise
