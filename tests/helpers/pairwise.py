"""Small sets of cases that still contain every pair of values of a full matrix.

`make test` runs the small set; `make test-all` (`pytest --full`) runs every case. A case that is
left out is marked `full`, so that pytest reports it as deselected.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

import pytest

Values = Sequence[Hashable]


def pairwise(
    cases: Iterable[Any], values: Callable[[Any], Values] | None = None, *, together: int = 2
) -> list[Any]:
    """Mark as `full` the cases that are not needed to contain every pair of values.

    Args:
        cases: The full matrix, for `pytest.mark.parametrize` or the parameters of a fixture. The
            members of a tuple are several arguments.
        values: Gives the option values of a case, always in the same order. By default the fields
            of a dataclass, or the members of a tuple.
        together: How many options are combined with each other: 2 covers every pair of values, 3
            every triple.

    Returns:
        All cases in their order; those that are left out by default are marked.
    """
    known = list(cases)
    kept = covering([tuple((values or _values)(case)) for case in known], together)
    return [case if at in kept else _marked(case) for at, case in enumerate(known)]


def covering(rows: Sequence[Values], together: int = 2) -> set[int]:
    """Choose rows that contain every combination of values that occurs in all of them.

    The row that adds most combinations is taken first, the earlier of two equal ones.

    Args:
        rows: Option values, equally many in each row.
        together: How many options make a combination.

    Returns:
        The positions of the chosen rows.
    """
    missing = [set(_combinations(row, together)) for row in rows]
    covered: set[Hashable] = set()
    # Numbers of new combinations only become smaller: the best one is looked at again when taken.
    queue = [(-len(new), at) for at, new in enumerate(missing)]
    heapq.heapify(queue)
    chosen: set[int] = set()
    while queue:
        promised, at = heapq.heappop(queue)
        missing[at] -= covered
        if len(missing[at]) < -promised:
            heapq.heappush(queue, (-len(missing[at]), at))
        elif missing[at]:
            covered |= missing[at]
            chosen.add(at)
    return chosen


def _values(case: Any) -> Values:
    if hasattr(case, "marks"):
        raise TypeError(f"expected plain values, got {case}: its marks would be lost")
    if dataclasses.is_dataclass(case):
        return [getattr(case, field.name) for field in dataclasses.fields(case)]
    return tuple(case)


def _combinations(row: Values, together: int) -> Iterable[Hashable]:
    return itertools.combinations(enumerate(row), min(together, len(row)))


def _marked(case: Any) -> Any:
    arguments = case if isinstance(case, tuple) else (case,)
    return pytest.param(*arguments, marks=pytest.mark.full)
