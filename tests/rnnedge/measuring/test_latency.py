"""Timing in turns: who runs when, how often, and what is said of it."""

from __future__ import annotations

import gc
from itertools import groupby
from time import sleep

import numpy as np
import pytest

from rnnedge.measuring.latency import Timed, time_in_turns


def _timed(milliseconds: list[float]) -> Timed:
    return Timed(np.array(milliseconds) / 1e3, cpu_seconds=0.5, turn_seconds=2.0)


@pytest.mark.parametrize("settle", [False, True], ids=["at_once", "settled"])
def test_sides_take_turns(settle: bool) -> None:
    order: list[str] = []
    calls = {name: lambda name=name: (sleep(1e-4), order.append(name)) for name in "abc"}
    time_in_turns(calls, seconds=0.15 if settle else 0.03, warmup=0, settle=settle)
    turns = [name for name, _ in groupby(order)]
    assert len(turns) > 6
    assert {"".join(turns[start : start + 3]) for start in (0, 3)} <= {"abc", "bca", "cab", "bac"}


def test_the_side_that_begins_changes() -> None:
    order: list[str] = []
    calls = {name: lambda name=name: (sleep(6e-3), order.append(name)) for name in "ab"}
    time_in_turns(calls, count=3, warmup=0)
    assert [name for name, _ in groupby(order)] == ["a", "b", "a", "b"]
    assert order == list("aabbbbaaaabb")


def test_count_is_kept() -> None:
    calls = {"a": lambda: None, "b": lambda: sleep(1e-3)}
    timed = time_in_turns(calls, count=7)
    assert {name: len(taken.seconds) for name, taken in timed.items()} == {"a": 7, "b": 7}


def test_warm_up_and_the_first_of_a_turn_are_not_counted() -> None:
    ran: list[str] = []
    calls = {name: lambda name=name: ran.append(name) for name in "ab"}
    time_in_turns(calls, count=5, warmup=3)
    assert ran.count("a") == 3 + 1 + 5


def test_one_side_alone_has_no_first_call() -> None:
    ran: list[int] = []
    time_in_turns({"a": lambda: ran.append(0)}, count=5, warmup=2)
    assert len(ran) == 7


def test_ten_calls_at_least() -> None:
    assert len(time_in_turns({"a": lambda: sleep(1e-3)}, seconds=1e-6)["a"].seconds) >= 10


def test_garbage_is_left_while_it_times() -> None:
    seen: list[bool] = []
    time_in_turns({"a": lambda: seen.append(gc.isenabled())}, count=1, warmup=0)
    assert seen == [False]
    assert gc.isenabled()


def test_latency_is_in_milliseconds() -> None:
    latency = _timed([1.0, 2.0, 3.0, 4.0]).latency()
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
    latency = _timed(list(np.linspace(1, 2, count))).latency()
    percentiles = [latency.p90_ms, latency.p99_ms, latency.p99_9_ms]
    assert [p is not None for p in percentiles] == [True] * known + [False] * (3 - known)


def test_percentiles_rise() -> None:
    latency = _timed(list(np.random.default_rng(0).random(2000))).latency()
    rising = [latency.p50_ms, latency.p90_ms, latency.p99_ms, latency.p99_9_ms, latency.largest_ms]
    assert rising == sorted(rising)  # type: ignore[type-var]


def test_processor_time_of_a_call_that_waits_is_small() -> None:
    timed = time_in_turns({"a": lambda: sleep(2e-3)}, count=10)["a"]
    assert timed.cpu_seconds < timed.turn_seconds / 2
