"""Shrinking a failure to the smallest case that still fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from rnnedge.parity.cases import Case
from rnnedge.parity.diagnosis.budget import Budget

_TRIES = 80
_SHARE = 0.3
"""What part of the budget the search may take."""
_SPECIAL = ("values", "way", "chunk", "ragged", "random_state")


def smallest_failing(
    failing: Sequence[Case], fails: Callable[[Case], bool], budget: Budget
) -> Case:
    """Return the smallest case that fails, of those that there is time to try.

    Args:
        failing: Cases that fail, one or more.
        fails: Runs a case and says whether it fails; one that PyTorch refuses does not.
        budget: What the search may take a share of.
    """
    simple = min(failing, key=_cost)
    candidates = sorted(_below(simple), key=_cost)[:_TRIES]
    for done, candidate in enumerate(candidates):
        if not budget.left(_SHARE):
            budget.stopped("the smallest case", f"{done} of {len(candidates)} smaller cases run")
            return simple
        if fails(candidate):
            return candidate
    return _smaller_by_steps(simple, fails, budget)


def _smaller_by_steps(case: Case, fails: Callable[[Case], bool], budget: Budget) -> Case:
    """Leave out what is special, one thing at a time, and then time and rows.

    Where only long or wide cases fail, the cheapest tries tell nothing.
    """
    plain = Case(1, 1)
    steps: list[tuple[str, Sequence[Any]]] = [(name, [getattr(plain, name)]) for name in _SPECIAL]
    steps += [("time", range(1, min(case.time, 9))), ("batch", range(1, min(case.batch, 5)))]
    for done, (name, values) in enumerate(steps):
        if not budget.left(_SHARE):
            budget.stopped("the smallest case", f"{done} of {len(steps)} of its parts left out")
            return case
        simpler = (replace(case, **{name: value}) for value in values)
        case = next((s for s in simpler if s != case and fails(s)), case)
    return case


def _below(case: Case) -> set[Case]:
    """Return the cases that are simpler: shorter, fewer rows, and with less that is special."""
    sizes = [
        (time, batch)
        for time in sorted({*range(1, min(case.time, 8) + 1), case.time})
        for batch in sorted({*range(1, min(case.batch, 4) + 1), case.batch})
    ]
    plain = Case(1, 1)
    special = [case]
    for name in _SPECIAL:
        dropped = [replace(c, **{name: getattr(plain, name)}) for c in special]
        special += [d for d in dropped if d not in special]
    return {
        replace(c, time=time, batch=batch)
        for c in special
        for time, batch in sizes
        if _cost(replace(c, time=time, batch=batch)) < _cost(case)
    }


def _cost(case: Case) -> tuple[int, int, int, int]:
    special = sum(
        (
            case.random_state,
            case.ragged,
            bool(case.chunk),
            case.values != "normal",
            case.way != "plain",
        )
    )
    return case.time * case.batch, special, case.time, case.batch
