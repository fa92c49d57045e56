"""How much memory the process takes while something is done."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory of the process, in bytes.

    Attributes:
        before: Before the work.
        peak: The most while it was done.
    """

    before: int
    peak: int

    @property
    def added(self) -> int:
        """Bytes that the work took at its peak, above what was there before."""
        return max(self.peak - self.before, 0)


def import_engine() -> None:
    """Import ONNX Runtime, whose own memory is not that of a model."""
    with suppress(ImportError):  # opening a model says what is missing
        from rnnedge_runtime.engine import library  # noqa: F401


def with_memory(work: Callable[[], T]) -> tuple[T, Memory | None]:
    """Do `work`, and return what it gives with the memory that the process took meanwhile.

    On Linux the peak is that of the work alone; elsewhere, that of the process up to its end. None
    where the system tells none.
    """
    with suppress(OSError):  # the peak of what came before
        _RESET.write_text("5")
    before = _resident("VmRSS")
    done = work()
    peak = _resident("VmHWM")
    return done, None if before is None or peak is None else Memory(before, peak)


def _resident(field: str) -> int | None:
    try:
        for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) * 1024
    except OSError:  # not Linux
        pass
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
