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

from rnnedge_runtime.errors import DiedError, EngineError, pass_on_interruption
from rnnedge_runtime.machine import usable_cores
from rnnedge_runtime.scoring.job import Job, PartResult, Piece, Told
from rnnedge_runtime.scoring.plan import Part
from rnnedge_runtime.scoring.worker_process import PartTask, WorkerProcess


class PartReport(Protocol):
    """Takes what is done. It may be called from any thread."""

    def told(self, part: Part, rows: int, steps: int, failed: int) -> None:
        """Take what was done of a part since the last call."""

    def again(self, part: Part) -> None:
        """Take back what was counted of a part: it is done again."""

    def done(self, part: Part, result: PartResult) -> None:
        """Take the result of a part, which is written."""


class PartWorker(Protocol):
    """Does one task at a time, in a process that may end."""

    def ask(self, task: PartTask, told: Told | None = None) -> PartResult | None:
        """Have a task done, as `WorkerProcess.ask` does."""

    def stop(self) -> object:
        """End when nothing is done."""

    def kill(self) -> None:
        """End at once, from another thread."""


ScoringEngine: TypeAlias = Callable[[Job, Sequence[Part], PartReport, "int | None"], None]
"""Does parts, the first ones first: job, parts, report, workers (None for as many as there are
cores)."""


def run_local(job: Job, parts: Sequence[Part], report: PartReport, workers: int | None) -> None:
    """Do parts in child processes of this machine.

    Args:
        job: The job.
        parts: Its open parts, in the order in which they are begun.
        report: Takes what is done.
        workers: How many processes, 1 or more; None is one for each usable core.

    Raises:
        RnnEdgeError: What a part raised; the others are stopped.
        EngineError: If a part ends its process, whichever rows are left out.
    """
    run_workers(lambda: WorkerProcess(job), parts, report, workers or usable_cores())


def run_workers(
    start: Callable[[], PartWorker], parts: Sequence[Part], report: PartReport, workers: int
) -> None:
    """Do parts with workers, one thread for each.

    Args:
        start: Starts a worker.
        parts: The parts, in the order in which they are begun.
        report: Takes what is done.
        workers: How many, 1 or more.

    Raises:
        RnnEdgeError: As `run_local` raises it.
    """
    waiting: queue.SimpleQueue[Part] = queue.SimpleQueue()
    for part in parts:
        waiting.put(part)
    slots = [_Slot(start, waiting, report) for _ in range(min(workers, len(parts)))]
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
    """One worker, and a new one where its process ends."""

    def __init__(
        self, make: Callable[[], PartWorker], waiting: queue.SimpleQueue[Part], report: PartReport
    ) -> None:
        super().__init__(daemon=True)
        self._make, self._waiting, self._report = make, waiting, report
        self._worker: PartWorker | None = None
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
            pass_on_interruption(error)
            if not self._ended:
                self.error = error
        finally:
            if self._worker is not None:
                self._worker.stop()

    def end(self) -> None:
        """Stop at once."""
        with self._lock:
            self._ended = True
            if self._worker is not None:
                with suppress(OSError):
                    self._worker.kill()

    def _do(self, part: Part) -> PartResult:
        task = PartTask("part", part)
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
            return self._written(PartTask("part", part, tuple(good), bad))
        except DiedError as again:
            raise EngineError(
                f"part {part.number}: ended its process with every row that does so alone left "
                f"out: {again}"
            ) from None

    def _probe(self, part: Part) -> Probe:
        def probe(piece: Piece) -> None:
            self._ask(PartTask("probe", part, (piece,)))

        return probe

    def _written(self, task: PartTask) -> PartResult:
        result = self._ask(task)
        assert result is not None
        return result

    def _ask(self, task: PartTask) -> PartResult | None:
        with self._lock:
            if self._ended:
                raise DiedError("it was stopped")
            if self._worker is None:
                self._worker = self._make()
            worker = self._worker

        def told(rows: int, steps: int, failed: int) -> None:
            self._report.told(task.part, rows, steps, failed)

        try:
            return worker.ask(task, told)
        except DiedError:
            self._worker = None
            raise
