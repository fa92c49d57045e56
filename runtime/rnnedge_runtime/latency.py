"""Measuring latency: several calls in turns after a warm-up, as percentiles."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter, process_time, sleep

import numpy as np
from numpy.typing import NDArray

from rnnedge_runtime.binding import Array
from rnnedge_runtime.foreign.example_inputs import example_inputs
from rnnedge_runtime.loaded_model import LoadedModel

_LEAST = 10
"""Calls of each side that are measured at least."""
_TURN_SECONDS = 0.005
_SETTLED_TURN_SECONDS = 0.05
"""Longer, since between two such turns the threads of a pool are waited for."""
_SETTLE_SECONDS = 0.2
"""Seconds after which threads that still run are no longer waited for."""


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


@dataclass(frozen=True, slots=True)
class Timed:
    """What was measured of one side.

    Attributes:
        seconds: float64 [calls], wall time of each call in the order in which they ran.
        cpu_seconds: Processor time of the process over those calls.
        turn_seconds: Wall time over those calls, with what is between two of them.
    """

    seconds: NDArray[np.float64]
    cpu_seconds: float
    turn_seconds: float

    def latency(self) -> Latency:
        """Return the percentiles of the wall time."""
        milliseconds = self.seconds * 1e3
        p50, p90, p99 = (float(part) for part in np.percentile(milliseconds, [50, 90, 99]))
        return Latency(len(milliseconds), p50, p90, p99, float(milliseconds.max()))


def measure(call: Callable[[], object], *, seconds: float = 0.5) -> Latency:
    """Time one call, after a warm-up.

    Args:
        call: What to time.
        seconds: Time to measure for, above 0; 10 calls are measured at least.

    Returns:
        Its latency.
    """
    return time_in_turns({"call": call}, seconds=seconds)["call"].latency()


def time_in_turns(
    calls: Mapping[str, Callable[[], object]],
    *,
    seconds: float = 0.5,
    count: int | None = None,
    warmup: int = 5,
    settle: bool = False,
) -> dict[str, Timed]:
    """Time several calls in turns of a few, so that what slows the machine slows all of them.

    The first call of a turn is not counted: it finds the caches that another side left. Python's
    collector of garbage rests meanwhile, as it does in `timeit`.

    Args:
        calls: What to time, by name; one or more.
        seconds: Time to measure each for, above 0; 10 calls of each are measured at least.
        count: Calls of each to measure instead, 1 or more.
        warmup: Calls of each before anything is measured, 0 or more.
        settle: Whether threads of the side before are waited for at each turn. Those of ONNX
            Runtime look for work some 40 ms after a call with several threads, and would take a
            core from the next side.
    """
    sides = {name: _Side(call) for name, call in calls.items()}
    turn = _SETTLED_TURN_SECONDS if settle else _TURN_SECONDS
    for call in calls.values():
        for _ in range(warmup):
            call()
    order = list(sides.values())
    several = len(order) > 1
    with _no_garbage_collection():
        while any(side.wants(seconds, count) for side in order):
            for side in order:
                if settle and several:
                    _settle()
                side.take_turn(turn, count, discard_first=several)
            order.append(order.pop(0))  # nobody is always the one behind the slowest
    return {name: side.timed() for name, side in sides.items()}


@dataclass(slots=True)
class _Side:
    """One call, and what was measured of it so far."""

    call: Callable[[], object]
    walls: list[float] = field(default_factory=list)
    cpu: float = 0.0
    turns: float = 0.0

    def wants(self, seconds: float, count: int | None) -> bool:
        """Whether more calls are to be measured."""
        if count is not None:
            return len(self.walls) < count
        return len(self.walls) < _LEAST or sum(self.walls) < seconds

    def take_turn(self, turn: float, count: int | None, *, discard_first: bool) -> None:
        """Measure calls for `turn` seconds."""
        call, walls = self.call, self.walls
        if discard_first:
            call()
        cpu_before, began = process_time(), perf_counter()
        now = began
        while now < began + turn and (count is None or len(walls) < count):
            start = perf_counter()
            call()
            now = perf_counter()
            walls.append(now - start)
        self.cpu += process_time() - cpu_before
        self.turns += perf_counter() - began

    def timed(self) -> Timed:
        return Timed(np.array(self.walls), self.cpu, self.turns)


def _settle() -> None:
    """Wait until no thread of this process runs."""
    end = perf_counter() + _SETTLE_SECONDS
    quiet = 0
    while quiet < 2 and perf_counter() < end:
        before = process_time()
        sleep(0.001)
        quiet = quiet + 1 if process_time() - before < 2e-4 else 0


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


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
        model.interface.data_inputs,
        time,
        batch,
        values=model.input_values,
        axis_sizes=model.frame_sizes,
        seed=seed,
    )
