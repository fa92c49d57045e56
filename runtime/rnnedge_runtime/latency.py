"""Measuring latency: interleaved rounds after a warm-up, as percentiles."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from rnnedge_runtime.binding import Array
from rnnedge_runtime.foreign.example_inputs import example_inputs
from rnnedge_runtime.loaded_model import LoadedModel


@dataclass(frozen=True, slots=True)
class Latency:
    """Wall-clock times of one call, in milliseconds.

    Attributes:
        count: Calls measured.
        p50: Median.
        p90: 90th percentile.
        p99: 99th percentile.
        largest: The slowest call.
    """

    count: int
    p50: float
    p90: float
    p99: float
    largest: float


def measure(
    calls: Mapping[str, Callable[[], object]],
    *,
    warmup: int = 5,
    seconds: float = 0.5,
    least: int = 10,
) -> dict[str, Latency]:
    """Time several calls in turn, so that other load on the machine slows all of them alike.

    Args:
        calls: What to time, by name.
        warmup: Calls of each that are not measured, 0 or more.
        seconds: Time to measure for, all calls together, above 0.
        least: The fewest calls of each to measure, 1 or more.

    Returns:
        The latency of each call, by name.
    """
    for call in calls.values():
        for _ in range(warmup):
            call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    stop = perf_counter() + seconds
    rounds = 0
    while rounds < least or perf_counter() < stop:
        for name, call in calls.items():
            start = perf_counter()
            call()
            times[name].append(perf_counter() - start)
        rounds += 1
    return {name: _latency(np.array(taken) * 1e3) for name, taken in times.items()}


def random_inputs(model: LoadedModel, time: int, batch: int, seed: int = 0) -> dict[str, Array]:
    """Make random data inputs of one shape.

    The axes of a model without a contract are found first, by running it.

    Args:
        model: The opened model.
        time: Steps, 0 or more.
        batch: Rows, 0 or more.
        seed: Seed of the random numbers.

    Returns:
        Floats drawn from a normal distribution, integers and flags that are 0 or 1, and single
        numbers as the graph compares them with, or 1.

    Raises:
        InputError: If an input holds no numbers.
    """
    model.probe_axes()
    return example_inputs(
        model.interface.data_inputs, time, batch, values=model.input_values, seed=seed
    )


def _latency(taken: NDArray[np.float64]) -> Latency:
    p50, p90, p99 = np.percentile(taken, [50, 90, 99])
    return Latency(len(taken), float(p50), float(p90), float(p99), float(taken.max()))
