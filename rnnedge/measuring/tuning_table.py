"""What tuning found, as a table and lines for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.table import Table

from rnnedge.measuring.tables import numbers, short

if TYPE_CHECKING:
    from rnnedge.measuring.tuning import Candidate, Tuning


def tuning_table(tuning: Tuning) -> Table:
    """Show every candidate, the default first."""
    shapes = [f"{shape.time}x{shape.batch} ms" for shape in tuning.shapes]
    title = f"{tuning.source}: medians, steps x rows"
    table = numbers(title, ["form", "threads", *shapes, "geometric mean ms", "speed", "chosen"])
    for candidate in tuning.candidates:
        speed = f"{tuning.default.mean_ms / candidate.mean_ms:.2f}x"
        times = map(short, (*candidate.p50_ms, candidate.mean_ms))
        mark = "default" if candidate is tuning.default else ""
        mark = "best" if candidate is tuning.best else mark
        table.add_row(candidate.lowering, _threads(candidate), *times, speed, mark)
    return table


def tuning_lines(tuning: Tuning) -> Iterator[str]:
    """Say what was written, what it gains, and what was left out."""
    best, default = tuning.best, tuning.default
    yield from (f"{form}: not measured: {why}" for form, why in tuning.left_out.items())
    yield f"machine: {tuning.machine}"
    before = f"{default.lowering}, threads left to ONNX Runtime"
    how = f"{tuning.speed:.2f} times as fast as without tuning ({before})"
    yield f"{best.lowering}, {_threads(best)} thread(s): {how}"
    yield f"wrote {tuning.output} (sha256 {tuning.sha256[:12]})"
    yield f"open it with Session({tuning.output!r}, threads={best.threads})"


def _threads(candidate: Candidate) -> str:
    return "its own" if candidate.threads is None else str(candidate.threads)
