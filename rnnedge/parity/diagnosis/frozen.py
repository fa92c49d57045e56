"""Axes that a model has fixed: which lengths and batches it takes, found by trying."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from rnnedge.parity.cases import Case
from rnnedge.parity.collect import Answers
from rnnedge_runtime.contract import BATCH, TIME, Interface

_LONGEST, _WIDEST = 32, 6
"""How far lengths and batches are tried, where the file declares nothing."""

Judge = Callable[[Case], Answers | None]


@dataclass(frozen=True, slots=True)
class Frozen:
    """An axis that has one size only.

    Attributes:
        axis: `time` or `batch`, or both joined by `and`.
        sizes: The sizes at which the model is right.
        otherwise: What it does at another size.
    """

    axis: str
    sizes: str
    otherwise: str


def accepted_cases(declared: Interface, fitted: Interface, ask: Judge) -> Iterator[Answers]:
    """Yield cases that the model answers, of one that refuses some of the sweep.

    Args:
        declared: What the file declares; sizes that it fixes are tried first.
        fitted: The same axes as the source has them.
        ask: Runs a case; None when PyTorch refuses it.
    """
    fixed: dict[str, set[int]] = {TIME: set(), BATCH: set()}
    for own, free in zip(
        (*declared.inputs, *declared.outputs), (*fitted.inputs, *fitted.outputs), strict=True
    ):
        for size, axis in zip(own.axes, free.axes, strict=True):
            if isinstance(size, int) and axis in (TIME, BATCH):
                fixed[str(axis)].add(size)
    times = [*sorted(fixed[TIME]), *range(1, _LONGEST + 1)]
    batches = [*sorted(fixed[BATCH]), *range(1, _WIDEST + 1)]
    pairs = list(itertools.product(dict.fromkeys(batches), dict.fromkeys(times)))
    pairs += [(size, size) for size in range(_WIDEST + 1, _LONGEST + 1)]
    states, lengths = bool(fitted.states), bool(fitted.lengths)
    for batch, time in pairs:
        answers = ask(Case(time, batch, random_state=states, ragged=lengths and batch > 1))
        if answers is not None and answers.model is not None:
            yield answers


def frozen_axis(failures: Mapping[Case, str | None]) -> Frozen | None:
    """Tell from which cases are right whether time or batch is fixed.

    Args:
        failures: What the model does in each case where it is wrong, None where it is right.
    """
    right = [case for case, failure in failures.items() if failure is None]
    wrong = [case for case, failure in failures.items() if failure is not None]
    if not right or not wrong:
        return None
    otherwise = failures[min(wrong, key=lambda case: (case.time * case.batch, case.time))] or ""
    refuses = all((failures[case] or "").startswith(("raised", "shape")) for case in wrong)
    for axis in (TIME, BATCH):
        good, bad = ({getattr(case, axis) for case in cases} for cases in (right, wrong))
        if not good & bad and _is_fixed(good, bad, refuses=refuses):
            return Frozen(axis, _sizes(good), otherwise)
    pairs = {(case.time, case.batch) for case in right}
    if len(pairs) == 1 and pairs != {(1, 1)}:
        time, batch = next(iter(pairs))
        return Frozen("time and batch", f"{time} and {batch}", otherwise)
    return None


def _is_fixed(good: set[int], bad: set[int], *, refuses: bool) -> bool:
    """Whether sizes look fixed: one of them, or all up to a largest.

    A mistake in how steps follow each other is not seen in a single step either; there, the others
    have to be refused.
    """
    if len(good) == 1 or max(good) < min(bad):
        return refuses or good != {1}
    return False


def _sizes(good: set[int]) -> str:
    return str(max(good)) if len(good) == 1 else f"up to {max(good)}"
