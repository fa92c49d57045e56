"""`Progress`: how far a job is, for whoever watches it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TextIO, TypeAlias

from rnnedge_runtime.printable import printable_line

_EVERY = 0.2
"""Seconds between two lines on a terminal."""
_EVERY_IN_A_FILE = 30.0
"""Seconds between two lines where they are kept."""


@dataclass(slots=True)
class Progress:
    """How far a job is.

    Attributes:
        rows: Rows that this process is to score, or that were scored before it began.
        rows_done: Those of them that are done.
        steps_done: Steps that it ran.
        failed_rows: Rows with an error so far.
        began: When it began, by `time.monotonic`.
        resumed: Rows that were done before it began.
        parts: Parts of the share.
        parts_done: Those of them whose answers are written.
    """

    rows: int
    rows_done: int = 0
    steps_done: int = 0
    failed_rows: int = 0
    began: float = field(default_factory=time.monotonic)
    resumed: int = 0
    parts: int = 0
    parts_done: int = 0

    @property
    def seconds(self) -> float:
        """How long it has run."""
        return time.monotonic() - self.began

    @property
    def steps_a_second(self) -> float:
        """Steps that all workers ran in a second, on average."""
        return self.steps_done / max(self.seconds, 1e-9)

    @property
    def seconds_left(self) -> float | None:
        """How long the rest takes at the rate so far; None before the first row."""
        done = self.rows_done - self.resumed
        if done <= 0:
            return None
        return self.seconds * (self.rows - self.rows_done) / done

    def __str__(self) -> str:
        """Return one line."""
        left = self.seconds_left
        words = [
            f"{self.rows_done:,} of {self.rows:,} rows",
            f"{self.steps_a_second:,.0f} steps/s",
            "time left unknown" if left is None else f"{_time(left)} left",
            f"{self.failed_rows:,} error{'s' * (self.failed_rows != 1)}",
        ]
        return ", ".join(words)


Watch: TypeAlias = Callable[[Progress], None]


class ProgressLine:
    """Writes the progress: one line that changes on a terminal, now and then a line elsewhere."""

    def __init__(self, stream: TextIO | None = None) -> None:
        """Write to a stream; None is stderr."""
        self._stream = sys.stderr if stream is None else stream
        self._terminal = self._stream.isatty()
        self._next = time.monotonic() + (0 if self._terminal else _EVERY_IN_A_FILE)
        self._width = 0
        self._last = ""

    def __call__(self, progress: Progress) -> None:
        """Show the progress, unless it was shown just before."""
        now = time.monotonic()
        self._last = printable_line(str(progress))
        if now < self._next:
            return
        self._next = now + (_EVERY if self._terminal else _EVERY_IN_A_FILE)
        if self._terminal:
            self._stream.write("\r" + self._last.ljust(self._width))
            self._width = len(self._last)
        else:
            self._stream.write(self._last + "\n")
            self._last = ""
        self._stream.flush()

    def close(self) -> None:
        """Take the line off a terminal; elsewhere, end with how far the job came."""
        if self._terminal:
            self._stream.write("\r" + " " * self._width + "\r")
        elif self._last:
            self._stream.write(self._last + "\n")
        self._stream.flush()


def _time(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60:02} min"
