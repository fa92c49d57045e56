"""A child process that does parts of a job: what its parent asks for, and `main` inside it.

It is started as a plain program, so that no script has to guard its main part, and ends with its
parent.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO, Literal, NoReturn

from rnnedge_runtime.atomic_file import remove_own_leftovers
from rnnedge_runtime.errors import (
    DiedError,
    EngineError,
    RnnEdgeError,
    one_line,
    pass_on_interruption,
)
from rnnedge_runtime.scoring.job import Job, PartResult, PartScorer, Piece, Told
from rnnedge_runtime.scoring.plan import Part

_PROGRAM = (
    "import pickle, sys; sys.path[:] = pickle.load(sys.stdin.buffer); "
    "from rnnedge_runtime.scoring.worker_process import main; main()"
)


@dataclass(frozen=True, slots=True)
class PartTask:
    """What a worker is asked for.

    Attributes:
        kind: `part` writes the answers of a part; `probe` scores some rows and keeps nothing.
        part: The part.
        pieces: As `PartScorer.do` takes them; for a probe the one range of rows.
        errors: As `PartScorer.do` takes them.
    """

    kind: Literal["part", "probe"]
    part: Part
    pieces: tuple[Piece, ...] | None = None
    errors: Mapping[int, str] | None = None


class WorkerProcess:
    """A child process, seen from its parent."""

    def __init__(self, job: Job) -> None:
        """Start it."""
        environment = os.environ | {"ORT_DISABLE_TELEMETRY": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to, self._from = self._process.stdin, self._process.stdout
        with suppress(BrokenPipeError):
            pickle.dump([path or os.getcwd() for path in sys.path], self._to)
            self._send(job)

    def ask(self, task: PartTask, told: Told | None = None) -> PartResult | None:
        """Have a task done, and return its result; a probe has none.

        Args:
            task: The task.
            told: Is called while it is done, as `PartScorer.do` calls it.

        Raises:
            DiedError: If the process ends before.
            RnnEdgeError: What the task raised.
        """
        try:
            self._send(task)
            while True:
                kind, content = pickle.load(self._from)
                if kind == "told":
                    if told is not None:
                        told(*content)
                elif kind == "error":
                    raise raised(*content)
                else:
                    result: PartResult | None = content
                    return result
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            raise DiedError(_ended(self.stop())) from None

    def stop(self) -> int | None:
        """End the process, and return its exit code."""
        for stream in (self._to, self._from):
            with suppress(OSError):
                stream.close()
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(5)
        self._process.kill()
        return self._process.wait()

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()

    def _send(self, message: object) -> None:
        pickle.dump(message, self._to)
        self._to.flush()


def main() -> None:
    """Do what the parent asks for, until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to the parent too
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the user's functions print is not an answer
    job: Job = pickle.load(requests)
    tasks = _Tasks(requests, job.out)
    scorer: PartScorer | None = None
    lock = threading.Lock()

    def send(kind: str, content: object) -> None:
        try:
            with lock:
                pickle.dump((kind, content), answers)
                answers.flush()
        except BrokenPipeError:
            _end(job.out)

    while True:
        task = tasks.next()
        try:
            scorer = PartScorer(job) if scorer is None else scorer
            result = do_task(scorer, task, lambda *counts: send("told", counts))
        except Exception as error:  # it is raised again in the parent
            pass_on_interruption(error)
            send("error", described(error))
        else:
            send("done", result)


def do_task(scorer: PartScorer, task: PartTask, told: Told | None) -> PartResult | None:
    """Do a task, and return its result; a probe has none."""
    if task.kind == "part":
        return scorer.do(task.part, told=told, pieces=task.pieces, errors=task.errors)
    for start, stop in task.pieces or ():
        scorer.probe(start, stop)
    return None


class _Tasks:
    """Reads tasks in a thread, so that the process ends as soon as its parent is gone."""

    def __init__(self, stream: BinaryIO, out: str) -> None:
        self._stream, self._out = stream, out
        self._task: PartTask | None = None
        self._ready, self._taken = threading.Semaphore(0), threading.Semaphore(1)
        threading.Thread(target=self._read, daemon=True).start()

    def next(self) -> PartTask:
        self._ready.acquire()
        task = self._task
        self._taken.release()
        assert task is not None
        return task

    def _read(self) -> None:
        while True:
            self._taken.acquire()
            try:
                self._task = pickle.load(self._stream)
            except BaseException:  # this thread has no caller, and the process ends
                _end(self._out)
            self._ready.release()


def _end(out: str) -> NoReturn:
    """End this process at once: nobody waits for what it does."""
    remove_own_leftovers(out)
    os._exit(0)


def described(error: Exception) -> tuple[type[RnnEdgeError], str]:
    """Return an error as what can be sent to another process."""
    if isinstance(error, RnnEdgeError):
        return type(error), str(error)
    return EngineError, f"{type(error).__name__}: {one_line(error)}"


def raised(kind: type[RnnEdgeError], text: str) -> RnnEdgeError:
    """Return the error that another process described."""
    error = kind.__new__(kind)  # some are made of other arguments than their text
    error.args = (text,)
    return error


def _ended(code: int | None) -> str:
    if code is not None and code < 0:
        with suppress(ValueError):
            return f"signal {signal.Signals(-code).name}"
    return f"exit code {code}"
