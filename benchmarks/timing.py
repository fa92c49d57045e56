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
    """Milliseconds of one call: wall time and process CPU time."""

    wall: float
    cpu: float


def time_in_blocks(
    calls: Mapping[str, Callable[[], object]], seconds: float, block_seconds: float = BLOCK_SECONDS
) -> dict[str, Time]:
    """Return the medians of `blocks_in_turns`."""
    blocks = blocks_in_turns(calls, seconds, block_seconds)
    return {name: Time(*map(statistics.median, zip(*b, strict=True))) for name, b in blocks.items()}


def blocks_in_turns(
    calls: Mapping[str, Callable[[], object]], seconds: float, block_seconds: float = BLOCK_SECONDS
) -> dict[str, list[Time]]:
    """Time several calls in turns, and return each block: the same place is the same turn.

    A turn begins with calls that are not counted: who comes after a side with wide vector
    instructions finds a slower processor for half a millisecond, and other data in the caches.

    Args:
        calls: What to time, by name.
        seconds: For all of them together, after a warm-up; more where few blocks fit.
        block_seconds: Of one turn.
    """
    blocks: dict[str, list[Time]] = {name: [] for name in calls}
    block = {}
    for name, call in calls.items():
        call()
        start = perf_counter()
        call()
        block[name] = max(1, int(block_seconds / (perf_counter() - start)))
    stop, rounds = perf_counter() + seconds, 0
    while rounds < LEAST or perf_counter() < stop:
        for name, call in calls.items():
            for _ in range(block[name] // 3):
                call()
            busy, start = process_time(), perf_counter()
            for _ in range(block[name]):
                call()
            taken = perf_counter() - start, process_time() - busy
            blocks[name].append(Time(*(part * 1e3 / block[name] for part in taken)))
        rounds += 1
    return blocks
