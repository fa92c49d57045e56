"""Shrinking a failure to the smallest case that still fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from rnnedge.parity.cases import Case

_TRIES = 80


def smallest_failing(failing: Sequence[Case], fails: Callable[[Case], bool]) -> Case:
    """Return the smallest case that fails.

    Args:
        failing: Cases that fail, one or more.
        fails: Runs a case and says whether it fails; one that PyTorch refuses does not.
    """
    simple = min(failing, key=_cost)
    tried = sorted(_below(simple), key=_cost)[:_TRIES]
    return next((candidate for candidate in tried if fails(candidate)), simple)


def _below(case: Case) -> set[Case]:
    """Return the cases that are simpler: shorter, fewer rows, and with less that is special."""
    sizes = [
        (time, batch)
        for time in sorted({*range(1, min(case.time, 8) + 1), case.time})
        for batch in sorted({*range(1, min(case.batch, 4) + 1), case.batch})
    ]
    plain = Case(1, 1)
    special = [case]
    for name in ("values", "way", "chunk", "ragged", "random_state"):
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
