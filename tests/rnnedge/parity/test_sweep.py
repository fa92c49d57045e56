"""The sweep: which cases are run, with which numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from torch import nn

from rnnedge.parity import Case
from rnnedge.parity.cases import default_cases, make_inputs
from rnnedge_exporters.layers.interface import layer_interface
from rnnedge_exporters.layers.weights import read_layer
from rnnedge_runtime.contract import Interface


def _interface(*, lengths: bool = True, states: bool = True) -> Interface:
    return layer_interface(read_layer(nn.GRU(3, 4)), lengths=lengths, states=states)


FULL = default_cases(_interface(), streams=True)
QUICK = default_cases(_interface(), streams=True, quick=True)


@pytest.mark.parametrize("values", ["normal", "zero", "saturated", "tiny", "extreme", "held"])
def test_sweep_has_values(values: str) -> None:
    assert values in {case.values for case in FULL}


@pytest.mark.parametrize("way", ["plain", "permuted", "repeated", "threads"])
def test_sweep_has_way(way: str) -> None:
    assert way in {case.way for case in FULL}


@pytest.mark.parametrize(
    "has",
    [
        lambda case: case == Case(1, 1),
        lambda case: case.batch == 1 and case.time > 1,
        lambda case: case.time == 1 and case.batch > 1,
        lambda case: case.time > 200,
        lambda case: case.batch > 64,
        lambda case: case.ragged and case.batch > 1,
        lambda case: case.random_state and not case.ragged,
        lambda case: case.chunk == 1,
        lambda case: case.chunk > 1 and case.time % case.chunk != 0,
    ],
    ids=["smallest", "one row", "one step", "long", "wide", "ragged", "state", "steps", "rest"],
)
def test_sweep_has_shape(has: Callable[[Case], bool]) -> None:
    assert any(has(case) for case in FULL)


def test_no_case_comes_twice() -> None:
    assert len(set(FULL)) == len(FULL)


def test_quick_sweep_is_a_part_of_the_full_one() -> None:
    assert set(QUICK) < set(FULL)
    assert len(QUICK) <= len(FULL) / 3


def test_quick_sweep_has_every_kind_of_input() -> None:
    for kind in ("random_state", "ragged", "chunk"):
        assert any(getattr(case, kind) for case in QUICK)
    assert {case.values for case in QUICK} == {"normal", "saturated"}
    assert {case.way for case in QUICK} == {"plain", "repeated"}


def test_rows_of_a_module_keep_their_order() -> None:
    """They may have to be sorted by length, or look at each other."""
    cases = default_cases(_interface(), streams=True, permute=False)
    assert {case.way for case in cases} == {"plain", "repeated", "threads"}


@pytest.mark.parametrize(
    ("interface", "streams", "kind"),
    [
        (_interface(lengths=False), True, "ragged"),
        (_interface(states=False), True, "random_state"),
        (_interface(states=False), True, "chunk"),
        (_interface(), False, "chunk"),
    ],
    ids=["lengths", "states", "chunks without states", "chunks of both directions"],
)
def test_what_a_model_does_not_take_is_left_out(
    interface: Interface, streams: bool, kind: str
) -> None:
    assert not any(getattr(case, kind) for case in default_cases(interface, streams=streams))


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        ("normal", 0.5, 6),
        ("zero", 0, 0),
        ("saturated", 15, 200),
        ("tiny", 1e-40, 1.1e-38),  # below the smallest normal float32
        ("extreme", 5e5, 1e7),
        ("held", 15, 200),
    ],
)
def test_values_are_of_their_size(values: Any, low: float, high: float) -> None:
    inputs = make_inputs(_interface(), Case(7, 3, random_state=True, values=values))
    assert low <= np.abs(inputs["input"]).max() <= high
    assert np.abs(inputs["h_0"]).max() <= min(high, 200)


def test_same_case_gives_the_same_numbers() -> None:
    one, other = (make_inputs(_interface(), FULL[-1]) for _ in range(2))
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_state_is_zero_unless_it_is_random() -> None:
    assert not make_inputs(_interface(), Case(5, 2))["h_0"].any()
    assert make_inputs(_interface(), Case(5, 2, random_state=True))["h_0"].all()


@pytest.mark.parametrize("case", [c for c in FULL if c.ragged and c.batch > 1], ids=str)
def test_ragged_rows_have_a_full_and_an_empty_one(case: Case) -> None:
    lengths = make_inputs(_interface(), case)["lengths"]
    assert lengths.max() == case.time
    assert lengths.min() == 0


def test_all_rows_are_empty_in_a_case() -> None:
    (case,) = (c for c in FULL if c.ragged and c.batch == 1)
    assert make_inputs(_interface(), case)["lengths"].tolist() == [0]


def test_held_inputs_change_every_32_steps() -> None:
    (case,) = (c for c in FULL if c.values == "held")
    steps = make_inputs(_interface(), case)["input"]
    changed = (np.diff(steps, axis=0) != 0).all(axis=(1, 2))
    assert np.flatnonzero(changed).tolist() == [31, 63, 95]


def test_rows_are_full_unless_they_are_ragged() -> None:
    assert make_inputs(_interface(), Case(5, 3))["lengths"].tolist() == [5, 5, 5]


@pytest.mark.parametrize(
    ("case", "text"),
    [
        (Case(1, 1), "time 1, batch 1"),
        (Case(9, 4, random_state=True, way="permuted"), "random state, rows permuted"),
        (Case(64, 2, chunk=7), "time 64, batch 2, chunks of 7"),
        (Case(7, 3, ragged=True, values="tiny"), "time 7, batch 3, tiny values, ragged"),
        (Case(2, 2, way="repeated"), "run 3 times"),
        (Case(2, 2, way="threads"), "2 threads"),
    ],
    ids=["plain", "permuted", "chunks", "values", "repeated", "threads"],
)
def test_case_says_what_is_special(case: Case, text: str) -> None:
    assert str(case).endswith(text)
