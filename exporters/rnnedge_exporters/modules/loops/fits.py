"""Sizes as expressions of the axes, exact at every size that was traced."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import NamedTuple, TypeAlias


class Quotient(NamedTuple):
    """An axis with a number added, divided by another and rounded down, as `T // 2` is."""

    axis: str
    more: int
    by: int


Factor: TypeAlias = str | Quotient
Fit: TypeAlias = tuple[tuple[tuple[Factor, ...], int], ...]
"""Terms: the axes that are multiplied, and their coefficient. No axes is the constant."""

_DIVISORS = (2, 3, 4, 8)


def fit(values: Sequence[int], points: Sequence[Mapping[str, int]]) -> Fit | None:
    """Return the simplest sum of products of axes that gives `values`; None where there is none.

    Args:
        values: The value at each point.
        points: Size of each axis by name, at each point.
    """
    if len(set(values)) == 1:
        return (((), values[0]),) if values[0] else ()
    axes = sorted(points[0])
    products: list[tuple[Factor, ...]] = [
        product
        for count in range(1, len(axes) + 1)
        for product in itertools.combinations(axes, count)
    ]
    sums = (terms for count in (1, 2, 3) for terms in itertools.combinations(products, count))
    for terms in (*sums, *_rounded(axes)):
        for constant in ((), ((),)):
            found = _solved(values, points, (*terms, *constant))
            if found is not None:
                return found
    return None


def _rounded(axes: Sequence[str]) -> Iterator[tuple[tuple[Factor, ...], ...]]:
    """Yield the terms of sizes that are rounded down: a part of an axis, times another axis."""
    for axis in axes:
        others = [other for other in axes if other != axis]
        for by in _DIVISORS:
            for more in range(by):
                part = Quotient(axis, more, by)
                yield ((part,),)
                for other in others:
                    yield ((other, part),)


def value_of(fitted: Fit, sizes: Mapping[str, int]) -> int:
    """Return what an expression is at some sizes."""
    total = 0
    for axes, coefficient in fitted:
        for axis in axes:
            coefficient *= _factor(axis, sizes)
        total += coefficient
    return total


def name_of(factor: Factor) -> str:
    """Return the name of the axis that a factor is made of."""
    return factor.axis if isinstance(factor, Quotient) else factor


def _factor(factor: Factor, sizes: Mapping[str, int]) -> int:
    if isinstance(factor, Quotient):
        return (sizes[factor.axis] + factor.more) // factor.by
    return sizes[factor]


def _solved(
    values: Sequence[int],
    points: Sequence[Mapping[str, int]],
    terms: tuple[tuple[Factor, ...], ...],
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
