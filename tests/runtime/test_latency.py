"""Timing in turns: who runs when, and how often."""

from __future__ import annotations

import gc
from itertools import groupby
from time import sleep

import numpy as np
import pytest

from rnnedge_runtime.latency import Timed, measure, time_in_turns


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


def test_processor_time_of_a_call_that_waits_is_small() -> None:
    timed = time_in_turns({"a": lambda: sleep(2e-3)}, count=10)["a"]
    assert timed.cpu_seconds < timed.turn_seconds / 2


def test_percentiles_are_in_milliseconds() -> None:
    latency = Timed(np.array([1.0, 2.0, 3.0, 4.0]) / 1e3, 0.0, 0.0).latency()
    assert latency.count == 4
    assert latency.p50 == pytest.approx(2.5)
    assert latency.largest == pytest.approx(4.0)


def test_one_call_is_measured_ten_times_at_least() -> None:
    assert measure(lambda: sleep(1e-3), seconds=1e-6).count >= 10
