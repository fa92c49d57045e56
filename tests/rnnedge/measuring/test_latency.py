"""What benchmarks report of the calls that were timed."""

from __future__ import annotations

import numpy as np
import pytest

from rnnedge.measuring.latency import CallLatency
from rnnedge_runtime.latency import Timed


def _timed(milliseconds: list[float]) -> CallLatency:
    timed = Timed(np.array(milliseconds) / 1e3, cpu_seconds=0.5, turn_seconds=2.0)
    return CallLatency.of(timed)


def test_latency_is_in_milliseconds() -> None:
    latency = _timed([1.0, 2.0, 3.0, 4.0])
    assert latency.count == 4
    assert latency.p50_ms == pytest.approx(2.5)
    assert latency.largest_ms == pytest.approx(4.0)
    assert latency.cpu_ms == pytest.approx(125.0)
    assert latency.cpu_cores == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("count", "known"),
    [(9, 0), (10, 1), (99, 1), (100, 2), (999, 2), (1000, 3)],
)
def test_percentile_that_too_few_calls_cannot_tell_is_none(count: int, known: int) -> None:
    latency = _timed(list(np.linspace(1, 2, count)))
    percentiles = [latency.p90_ms, latency.p99_ms, latency.p99_9_ms]
    assert [p is not None for p in percentiles] == [True] * known + [False] * (3 - known)


def test_percentiles_rise() -> None:
    latency = _timed(list(np.random.default_rng(0).random(2000)))
    rising = [latency.p50_ms, latency.p90_ms, latency.p99_ms, latency.p99_9_ms, latency.largest_ms]
    assert rising == sorted(rising)  # type: ignore[type-var]
