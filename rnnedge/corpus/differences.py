"""`Differences`: how far two sets of answers are apart, added up batch by batch.

Memory does not grow with the corpus: what is kept of each output are counts on logarithmic scales,
one entry for a range of steps, and the rows that differ most.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Counts: TypeAlias = NDArray[np.int64]
Float64: TypeAlias = NDArray[np.float64]

EACH_STEP = 32
"""Steps with a separate entry in the error over time; later ones have eight for each doubling."""
_PER_DOUBLING = 8
_LOWEST, _HIGHEST, PER_DECADE = -12, 6, 8
"""Decades of the histogram of differences, and its bins for each."""
BINS = (_HIGHEST - _LOWEST) * PER_DECADE
WORST = 10
"""Rows that are named."""


@dataclass(frozen=True, slots=True)
class SideAnswers:
    """What a batch of rows got of one output.

    Attributes:
        values: All steps of all rows, [steps, features...].
        lengths: int64 [rows], the steps of each row; 0 for one without an answer.
    """

    values: NDArray[Any]
    lengths: Counts

    @property
    def starts(self) -> Counts:
        """Where each row starts in `values`."""
        return np.cumsum(self.lengths) - self.lengths

    def rows(self, kept: NDArray[np.bool_]) -> SideAnswers:
        """Return some of the rows."""
        return SideAnswers(self.values[np.repeat(kept, self.lengths)], self.lengths[kept])


@dataclass(frozen=True, slots=True)
class WorstRow:
    """A row with one of the largest differences.

    Attributes:
        difference: The largest absolute difference in it; infinite where only one side answered.
        row: Its number in the corpus, from 0.
        id: What the id column says, or the number as text.
        output: The output with that difference; empty where only one side answered.
        steps: Steps of the answer.
        step: The step with the difference, from 0.
        differs: Whether the largest score of the last step differs.
        a: What side A says at that step: the index of its largest score and the score, or its
            error.
        b: What side B says there.
    """

    difference: float
    row: int
    id: str
    output: str
    steps: int
    step: int
    differs: bool
    a: str
    b: str


@dataclass(frozen=True, slots=True)
class _Apart:
    """How far the rows of a batch are apart in one output.

    Attributes:
        rows: The largest difference of each row.
        steps: The step of it.
        differs: Whether the largest score of the last step differs.
    """

    rows: Float64
    steps: Counts
    differs: NDArray[np.bool_]


class OutputDifferences:
    """How far the answers of one output are apart.

    Attributes:
        name: The output.
        rows: Rows that both sides answered.
        steps: Steps of these rows.
        kind: `scores` where rows are compared by their largest score, `values` where each number
            of an integer output must be the same, `number` where a row is one number, which has
            no largest.
        rows_differ: Rows whose largest score differs, at the last step.
        steps_differ: Steps whose largest score differs.
        largest: The largest absolute difference.
        total: The sum of the largest differences of all steps.
        histogram: Rows by their largest difference; the first entry counts those that are equal to
            the bit, the last those that are not finite.
        over_time: For each range of steps of `step_ranges`, the largest difference, the sum of
            the largest differences of its steps, and how many these are.
    """

    def __init__(self, name: str) -> None:
        """Count nothing yet."""
        self.name = name
        self.kind: Literal["scores", "values", "number"] = "number"
        self.rows = self.steps = self.rows_differ = self.steps_differ = 0
        self.largest = self.total = 0.0
        self.histogram = np.zeros(BINS + 2, np.int64)
        self.over_time = np.zeros((0, 3))

    def add(self, a: SideAnswers, b: SideAnswers) -> _Apart:
        """Add rows that both sides answered, each with the same steps."""
        self.kind = _kind(a.values, b.values)
        apart = _step_differences(a.values, b.values)
        starts, lengths = a.starts, a.lengths
        differ = _scores_differ(a.values, b.values, self.kind)
        rows = np.maximum.reduceat(apart, starts)
        row_of_step = np.repeat(np.arange(len(lengths)), lengths)
        at_largest = np.flatnonzero(apart == rows[row_of_step])
        first = at_largest[np.searchsorted(row_of_step[at_largest], np.arange(len(lengths)))]
        last_differs = differ[starts + lengths - 1]
        self.rows += len(lengths)
        self.steps += len(apart)
        self.rows_differ += int(last_differs.sum())
        self.steps_differ += int(differ.sum())
        self.largest = max(self.largest, float(rows.max()))
        self.total += float(apart.sum())
        self.histogram += np.bincount(_bins(rows), minlength=BINS + 2)
        self._add_over_time(apart, np.arange(len(apart)) - starts[row_of_step])
        return _Apart(rows, first - starts, last_differs)

    def _add_over_time(self, apart: Float64, step: Counts) -> None:
        ranges = _range_of(step)
        count = int(ranges.max()) + 1
        if count > len(self.over_time):
            grown = np.zeros((count, 3))
            grown[: len(self.over_time)] = self.over_time
            self.over_time = grown
        np.maximum.at(self.over_time[:, 0], ranges, apart)
        self.over_time[:count, 1] += np.bincount(ranges, apart, minlength=count)
        self.over_time[:count, 2] += np.bincount(ranges, minlength=count)

    def quantile(self, share: float) -> float:
        """Return what the largest difference of so large a share of the rows is at most.

        It is the upper end of a bin of the histogram, an eighth of a decade wide.
        """
        if not self.rows:
            return 0.0
        reached = np.cumsum(self.histogram) >= math.ceil(share * self.rows)
        at = int(np.argmax(reached))
        if at == 0:
            return 0.0
        return min(bin_edge(at), self.largest) if at <= BINS else self.largest


class Differences:
    """How far two sets of answers are apart.

    Attributes:
        outputs: What differs in each output, by name.
        rows: Rows of the corpus so far.
        compared: Rows that both sides answered.
        one_sided: Rows that only one side answered, or that have other steps.
        failed: Rows that neither side answered.
    """

    def __init__(self, outputs: Sequence[str]) -> None:
        """Count nothing yet."""
        self.outputs = {name: OutputDifferences(name) for name in outputs}
        self.rows = self.compared = self.one_sided = self.failed = 0
        self._worst: list[tuple[float, int, WorstRow]] = []

    @property
    def worst(self) -> tuple[WorstRow, ...]:
        """The rows that differ most, worst first."""
        return tuple(row for _, _, row in sorted(self._worst, reverse=True))

    def add(
        self,
        ids: Sequence[str],
        a: Mapping[str, SideAnswers],
        b: Mapping[str, SideAnswers],
        errors: tuple[Sequence[str | None], Sequence[str | None]],
    ) -> None:
        """Add a batch of rows.

        Args:
            ids: What each row is called.
            a: The answers of side A by output.
            b: The answers of side B.
            errors: For each side, what is wrong with each row, or None.
        """
        bad = [np.array([error is not None for error in side], bool) for side in errors]
        for side, answers in zip(bad, (a, b), strict=True):
            for name in self.outputs:
                side |= answers[name].lengths == 0
        same = np.ones(len(ids), bool)
        for name in self.outputs:
            same &= a[name].lengths == b[name].lengths
        good = ~bad[0] & ~bad[1]
        for row in np.flatnonzero(bad[0] != bad[1]).tolist():
            said = [
                (texts[row] or "no answer") if side[row] else "an answer"
                for side, texts in zip(bad, errors, strict=True)
            ]
            self._add_one_sided(ids[row], row, said)
        for row in np.flatnonzero(good & ~same).tolist():
            self._add_one_sided(ids[row], row, [_lengths(side, row) for side in (a, b)])
        kept = good & same
        if kept.any():
            sides = [{name: side[name].rows(kept) for name in self.outputs} for side in (a, b)]
            self._add_both(ids, np.flatnonzero(kept), *sides)
        self.compared += int(kept.sum())
        self.failed += int((bad[0] & bad[1]).sum())
        self.rows += len(ids)

    def _add_one_sided(self, name: str, row: int, said: Sequence[str]) -> None:
        self.one_sided += 1
        self._keep(
            WorstRow(
                difference=math.inf,
                row=self.rows + row,
                id=name,
                output="",
                steps=0,
                step=0,
                differs=True,
                a=said[0],
                b=said[1],
            )
        )

    def _add_both(
        self,
        ids: Sequence[str],
        places: Counts,
        a: Mapping[str, SideAnswers],
        b: Mapping[str, SideAnswers],
    ) -> None:
        """Add the rows at `places` of a batch, which both sides answered."""
        apart = {name: output.add(a[name], b[name]) for name, output in self.outputs.items()}
        names = list(apart)
        rows = np.stack([each.rows for each in apart.values()])
        largest = rows.max(axis=0)
        for at in np.argsort(-largest, kind="stable")[:WORST].tolist():
            name = names[int(rows[:, at].argmax())]
            place, step = int(places[at]), int(apart[name].steps[at])
            index = int(a[name].starts[at]) + step
            self._keep(
                WorstRow(
                    difference=float(largest[at]),
                    row=self.rows + place,
                    id=ids[place],
                    output=name,
                    steps=int(a[name].lengths[at]),
                    step=step,
                    differs=bool(apart[name].differs[at]),
                    a=_told(a[name].values[index]),
                    b=_told(b[name].values[index]),
                )
            )

    def _keep(self, row: WorstRow) -> None:
        """Keep a row if it is among the worst; of equal ones, the first."""
        entry = (row.difference, -row.row, row)
        if len(self._worst) < WORST:
            heapq.heappush(self._worst, entry)
        else:
            heapq.heappushpop(self._worst, entry)


def step_ranges(count: int) -> list[tuple[int, int]]:
    """Return the first and the last step of the first so many ranges of `over_time`."""
    late = EACH_STEP * 2.0 ** (np.arange(max(count + 1 - EACH_STEP, 0)) / _PER_DOUBLING)
    first = [*range(min(count + 1, EACH_STEP)), *np.ceil(late - 1e-9).astype(int).tolist()]
    return [(start, end - 1) for start, end in pairwise(first)]


def bin_edge(number: int) -> float:
    """Return the upper end of a bin of the histogram, counted from 1."""
    return float(10.0 ** (_LOWEST + number / PER_DECADE))


def _range_of(step: Counts) -> Counts:
    doublings = np.log2(np.maximum(step, EACH_STEP) / EACH_STEP)
    late = EACH_STEP + np.floor(doublings * _PER_DOUBLING + 1e-9).astype(np.int64)
    return np.where(step < EACH_STEP, step, late)


def _bins(differences: Float64) -> Counts:
    """Return the bin of each difference: 0 for equal, then decades, then NaN and infinity."""
    bins = np.zeros(len(differences), np.int64)
    some = (differences > 0) & np.isfinite(differences)
    powers = (np.log10(differences[some]) - _LOWEST) * PER_DECADE
    bins[some] = np.clip(np.ceil(powers), 1, BINS).astype(np.int64)
    bins[~np.isfinite(differences)] = BINS + 1
    return bins


def _kind(a: NDArray[Any], b: NDArray[Any]) -> Literal["scores", "values", "number"]:
    if a.dtype.kind != "f" and b.dtype.kind != "f":
        return "values"
    return "scores" if math.prod(a.shape[1:]) > 1 else "number"


def _step_differences(a: NDArray[Any], b: NDArray[Any]) -> Float64:
    """Return the largest absolute difference of each step; what is equal, NaN too, differs by 0."""
    one, two = (x.reshape(len(x), -1).astype(np.float64) for x in (a, b))
    with np.errstate(invalid="ignore"):
        apart = np.abs(one - two)
    apart[(one == two) | (np.isnan(one) & np.isnan(two))] = 0.0
    apart[np.isnan(apart)] = np.inf
    largest: Float64 = apart.max(axis=1)
    return largest


def _scores_differ(a: NDArray[Any], b: NDArray[Any], kind: str) -> NDArray[np.bool_]:
    one, two = (x.reshape(len(x), -1) for x in (a, b))
    if kind == "values":
        found: NDArray[np.bool_] = (one != two).any(axis=1)
        return found
    if kind == "number":
        return np.zeros(len(one), bool)
    return np.asarray(one.argmax(axis=1) != two.argmax(axis=1))


def _told(values: NDArray[Any]) -> str:
    """Say the largest of some scores, or a single number."""
    flat = values.ravel()
    if len(flat) == 1:
        return f"{flat[0]:.6g}"
    top = int(flat.argmax())
    return f"[{top}] {flat[top]:.6g}"


def _lengths(side: Mapping[str, SideAnswers], row: int) -> str:
    return ", ".join(f"{name}: {each.lengths[row]} steps" for name, each in side.items())
