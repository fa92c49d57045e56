"""Sizes as expressions of the axes, exact at every size that was traced."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TypeAlias

Fit: TypeAlias = tuple[tuple[tuple[str, ...], int], ...]
"""Terms: the axes that are multiplied, and their coefficient. No axes is the constant."""


def fit(values: Sequence[int], points: Sequence[Mapping[str, int]]) -> Fit | None:
    """Return the simplest sum of products of axes that gives `values`; None where there is none.

    Args:
        values: The value at each point.
        points: Size of each axis by name, at each point.
    """
    if len(set(values)) == 1:
        return (((), values[0]),) if values[0] else ()
    axes = sorted(points[0])
    products = [
        product
        for count in range(1, len(axes) + 1)
        for product in itertools.combinations(axes, count)
    ]
    for count in (1, 2, 3):
        for terms in itertools.combinations(products, count):
            for constant in ((), ((),)):
                found = _solved(values, points, (*terms, *constant))
                if found is not None:
                    return found
    return None


def value_of(fitted: Fit, sizes: Mapping[str, int]) -> int:
    """Return what an expression is at some sizes."""
    total = 0
    for axes, coefficient in fitted:
        for axis in axes:
            coefficient *= sizes[axis]
        total += coefficient
    return total


def _solved(
    values: Sequence[int], points: Sequence[Mapping[str, int]], terms: tuple[tuple[str, ...], ...]
) -> Fit | None:
    """Solve for integer coefficients; there must be more points than terms."""
    rows = []
    for value, point in zip(values, points, strict=True):
        row = [Fraction(value_of(((term, 1),), point)) for term in terms]
        rows.append([*row, Fraction(value)])
    if len({tuple(row[:-1]) for row in rows}) <= len(terms) - 1:
        return None
    pivots = 0
    for column in range(len(terms)):
        pivot = next((r for r in range(pivots, len(rows)) if rows[r][column]), None)
        if pivot is None:
            return None
        rows[pivots], rows[pivot] = rows[pivot], rows[pivots]
        head = rows[pivots]
        for r, row in enumerate(rows):
            if r != pivots and row[column]:
                factor = row[column] / head[column]
                rows[r] = [a - factor * b for a, b in zip(row, head, strict=True)]
        pivots += 1
    if any(row[-1] for row in rows[pivots:]):
        return None
    found = [rows[n][-1] / rows[n][n] for n in range(len(terms))]
    if any(one.denominator != 1 or not one for one in found):
        return None
    return tuple((term, int(one)) for term, one in zip(terms, found, strict=True))
