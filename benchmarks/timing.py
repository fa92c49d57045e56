"""Timing calls in blocks that take turns, so that what slows the machine slows all of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from time import perf_counter, process_time
from typing import NamedTuple

BLOCK_SECONDS = 0.004
LEAST = 3
"""Blocks of each side."""


class Time(NamedTuple):
    """Milliseconds of one call, the median over the blocks: wall time and process CPU time."""

    wall: float
    cpu: float


def time_in_blocks(
    calls: Mapping[str, Callable[[], object]], seconds: float, block_seconds: float = BLOCK_SECONDS
) -> dict[str, Time]:
    """Time several calls in turns.

    Args:
        calls: What to time, by name.
        seconds: For all of them together, after a warm-up; more where few blocks fit.
        block_seconds: Of one turn.
    """
    wall: dict[str, list[float]] = {name: [] for name in calls}
    cpu: dict[str, list[float]] = {name: [] for name in calls}
    block = {}
    for name, call in calls.items():
        call()
        start = perf_counter()
        call()
        block[name] = max(1, int(block_seconds / (perf_counter() - start)))
    stop, rounds = perf_counter() + seconds, 0
    while rounds < LEAST or perf_counter() < stop:
        for name, call in calls.items():
            busy, start = process_time(), perf_counter()
            for _ in range(block[name]):
                call()
            wall[name].append((perf_counter() - start) / block[name])
            cpu[name].append((process_time() - busy) / block[name])
        rounds += 1
    return {
        name: Time(statistics.median(wall[name]) * 1e3, statistics.median(cpu[name]) * 1e3)
        for name in calls
    }
