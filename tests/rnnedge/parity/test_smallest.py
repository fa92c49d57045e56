"""The smallest case that fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from rnnedge.parity import Case
from rnnedge.parity.diagnosis.budget import Budget
from rnnedge.parity.diagnosis.smallest import smallest_failing

LARGE = Case(31, 4, random_state=True, ragged=True)


def _shrink(fails: Callable[[Case], bool], *failing: Case) -> Case:
    assert all(fails(case) for case in failing)
    return smallest_failing(failing, fails, Budget(60))


@pytest.mark.parametrize(
    ("fails", "expected"),
    [
        (lambda case: True, Case(1, 1)),
        (lambda case: case.time > 1, Case(2, 1)),
        (lambda case: case.batch > 1, Case(1, 2)),
        (lambda case: case.time >= 3 and case.batch >= 2, Case(3, 2)),
        (lambda case: case.time > case.batch, Case(2, 1)),
        (lambda case: case.time == case.batch > 1, Case(2, 2)),
        (lambda case: case.random_state, Case(1, 1, random_state=True)),
        (lambda case: case.ragged and case.batch > 1, Case(1, 2, ragged=True)),
        (lambda case: case.time == 31, Case(31, 1)),
        (lambda case: case.time == 31 and case.ragged, Case(31, 1, ragged=True)),
        (lambda case: case.time == 31 and case.batch > 1, Case(31, 2)),
    ],
    ids=[
        *("always", "steps", "rows", "both", "more steps", "square"),
        *("state", "ragged"),
        *("one length", "ragged at one length", "rows at one length"),
    ],
)
def test_smallest_is_found(fails: Callable[[Case], bool], expected: Case) -> None:
    square = Case(4, 4, random_state=True, ragged=True)
    failing = [case for case in (LARGE, square) if fails(case)]
    assert _shrink(fails, *failing) == expected


@pytest.mark.parametrize(
    "special",
    [{"values": "saturated"}, {"way": "repeated"}, {"chunk": 7}],
    ids=["values", "way", "chunk"],
)
def test_what_is_special_is_left_out_where_it_does_not_matter(special: dict) -> None:
    assert _shrink(lambda case: case.time > 1, Case(64, 2, **special)) == Case(2, 1)


@pytest.mark.parametrize(
    "special",
    [{"values": "saturated"}, {"way": "repeated"}, {"chunk": 7}],
    ids=["values", "way", "chunk"],
)
def test_what_is_special_is_kept_where_it_matters(special: dict) -> None:
    ((name, value),) = special.items()
    found = _shrink(lambda case: getattr(case, name) == value, Case(64, 2, **special))
    assert found == Case(1, 1, **special)


def test_case_that_nothing_smaller_shares_is_kept() -> None:
    assert _shrink(lambda case: case == LARGE, LARGE) == LARGE


def test_search_starts_from_the_smallest_that_failed() -> None:
    tried: list[Case] = []

    def fails(case: Case) -> bool:
        tried.append(case)
        return False

    small = Case(2, 3)
    assert smallest_failing([LARGE, small, Case(300, 2)], fails, Budget(60)) == small
    assert max(case.time * case.batch for case in tried) <= 6


def test_search_ends() -> None:
    """Each try runs the model and PyTorch."""
    tried: list[Case] = []

    def fails(case: Case) -> bool:
        tried.append(case)
        return False

    everything = replace(LARGE, time=300, chunk=7, values="tiny", way="threads")
    assert smallest_failing([everything], fails, Budget(60)) == everything
    assert len(tried) <= 100


def test_search_ends_with_its_budget_and_says_how_far_it_got() -> None:
    budget = Budget(0)
    assert smallest_failing([LARGE], lambda case: pytest.fail("was run"), budget) == LARGE
    assert "0 of 80 smaller cases run" in budget.unfinished[0]
