"""The latency of a call as benchmarks report it: percentiles and processor time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rnnedge_runtime.latency import Timed


@dataclass(frozen=True, slots=True)
class CallLatency:
    """Times of one call, in milliseconds.

    A percentile is None where fewer calls were measured than one of them could be beyond it: 100
    for the 99th, 1,000 for the 99.9th.

    Attributes:
        count: Calls measured.
        p50_ms: Median.
        p90_ms: 90th percentile.
        p99_ms: 99th percentile.
        p99_9_ms: 99.9th percentile.
        largest_ms: The slowest call.
        cpu_ms: Processor time of one call, of all threads of the process together; the mean.
        cpu_cores: Processor time as a part of wall time: the cores that were kept busy.
    """

    count: int
    p50_ms: float
    p90_ms: float | None
    p99_ms: float | None
    p99_9_ms: float | None
    largest_ms: float
    cpu_ms: float
    cpu_cores: float

    @classmethod
    def of(cls, timed: Timed) -> CallLatency:
        """Sum up what was measured of one side."""
        milliseconds = timed.seconds * 1e3
        count = len(milliseconds)

        def percentile(share: float) -> float | None:
            known = round(count * (1 - share), 6) >= 1
            return float(np.quantile(milliseconds, share)) if known else None

        return cls(
            count=count,
            p50_ms=float(np.median(milliseconds)),
            p90_ms=percentile(0.9),
            p99_ms=percentile(0.99),
            p99_9_ms=percentile(0.999),
            largest_ms=float(milliseconds.max()),
            cpu_ms=timed.cpu_seconds * 1e3 / count,
            cpu_cores=timed.cpu_seconds / timed.turn_seconds,
        )
