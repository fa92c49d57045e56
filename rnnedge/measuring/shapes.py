"""Batch and length of a call."""

from __future__ import annotations

import re
from dataclasses import dataclass

from rnnedge_runtime.errors import InputError

_TEXT = re.compile(r"(\d+)x(\d+)")


@dataclass(frozen=True, slots=True)
class Shape:
    """What one call gets.

    Attributes:
        time: Steps, 1 or more.
        batch: Rows, 1 or more.
    """

    time: int
    batch: int

    def __str__(self) -> str:
        """Return `time 100, batch 1`."""
        return f"time {self.time}, batch {self.batch}"

    @classmethod
    def parse(cls, text: str) -> Shape:
        """Read `100x1`: steps, then rows.

        Raises:
            InputError: When it is not that.
        """
        match = _TEXT.fullmatch(text.strip())
        if not match or "0" in (match[1].lstrip("0") or "0", match[2].lstrip("0") or "0"):
            raise InputError(f"{text}: expected steps and rows, each 1 or more, such as 100x1")
        return cls(int(match[1]), int(match[2]))
