"""`CorpusComparison`: what a comparison of two sets of answers found."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from rnnedge.corpus.differences import (
    BINS,
    Differences,
    OutputDifferences,
    WorstRow,
    bin_edge,
    step_ranges,
)
from rnnedge.plain_text import plain_text
from rnnedge_runtime.notebook import html_table

_QUANTILES = (0.5, 0.9, 0.99)


@dataclass(frozen=True, slots=True)
class ComparedSide:
    """One side of a comparison.

    Attributes:
        name: The model file, or the folder of answers.
        engine: What computed it, in words.
        sha256: The digest of the file; None for a folder.
        seconds: How long it took; 0 where answers were only read.
    """

    name: str
    engine: str
    sha256: str | None
    seconds: float


@dataclass(frozen=True, slots=True)
class StepRange:
    """The error at some steps.

    Attributes:
        first: The first of them, from 0.
        last: The last of them.
        steps: How many steps of all rows these are.
        largest: The largest absolute difference.
        mean: The mean of the largest differences of the steps.
    """

    first: int
    last: int
    steps: int
    largest: float
    mean: float


@dataclass(frozen=True, slots=True)
class OutputComparison:
    """What differs in one output.

    Attributes:
        name: The output.
        kind: `scores` (the largest one of each row is compared), `values` (integers, which are to
            be the same), or `number` (one number a row, which has no largest).
        rows: Rows that both sides answered.
        steps: Steps of these rows.
        rows_differ: Rows whose largest score differs, at their last step.
        steps_differ: Steps whose largest score differs.
        largest: The largest absolute difference.
        mean: The mean of the largest differences of all steps.
        quantiles: Share of the rows to what their largest difference is at most, rounded up to an
            eighth of a decade.
        histogram: Upper end of a bin to the rows with such a largest difference; 0 is equal to the
            bit, infinity NaN or infinity on one side alone.
        over_time: The error at the steps from the first to the last.
    """

    name: str
    kind: str
    rows: int
    steps: int
    rows_differ: int
    steps_differ: int
    largest: float
    mean: float
    quantiles: Mapping[float, float]
    histogram: Mapping[float, int]
    over_time: tuple[StepRange, ...]


@dataclass(frozen=True, slots=True)
class CorpusComparison:
    """Two answers to every row of a corpus, compared; truthy when all is inside the limits.

    Attributes:
        a: Side A, which the other one is compared with.
        b: Side B.
        data: The corpus.
        rows: Its rows.
        compared: Rows that both sides answered.
        one_sided: Rows that only one side answered, or that have other steps there.
        failed: Rows that neither side answered.
        outputs: What differs in each output.
        scores: The output whose largest score decides whether a row differs; None where each row
            of the first output is one number.
        worst: The rows that differ most, worst first.
        max_disagreement: The largest share allowed of rows whose largest score differs, or None.
        max_difference: The largest absolute difference allowed, or None.
        notes: What else a reader should know.
        machine: What it ran on.
        seconds: How long all took.
    """

    a: ComparedSide
    b: ComparedSide
    data: str
    rows: int
    compared: int
    one_sided: int
    failed: int
    outputs: tuple[OutputComparison, ...]
    scores: str | None
    worst: tuple[WorstRow, ...]
    max_disagreement: float | None
    max_difference: float | None
    notes: tuple[str, ...]
    machine: Mapping[str, str]
    seconds: float

    @property
    def disagreement(self) -> float | None:
        """The share of rows whose largest score differs; None without scores.

        A row that only one side answered is among them.
        """
        if self.scores is None:
            return None
        (output,) = (output for output in self.outputs if output.name == self.scores)
        return (output.rows_differ + self.one_sided) / (self.compared + self.one_sided)

    @property
    def difference(self) -> float:
        """The largest absolute difference; infinite where a row has an answer on one side alone."""
        largest = max(output.largest for output in self.outputs)
        return math.inf if self.one_sided else largest

    @property
    def broken(self) -> tuple[str, ...]:
        """What is outside its limit, in words."""
        found = []
        share, most = self.disagreement, self.max_disagreement
        if most is not None and share is not None and not share <= most:
            found.append(
                f"the largest score of {percent(share)} of the rows differs, allowed "
                f"{percent(most)}"
            )
        if self.max_difference is not None and not self.difference <= self.max_difference:
            apart, allowed = self.difference, self.max_difference
            found.append(f"the largest difference is {apart:.3g}, allowed {allowed:.3g}")
        return tuple(found)

    def __bool__(self) -> bool:
        """Whether all is inside the limits."""
        return not self.broken

    @property
    def limited(self) -> bool:
        """Whether there is a limit."""
        return self.max_disagreement is not None or self.max_difference is not None

    @property
    def word(self) -> str:
        """`PASS`, `FAIL`, or `COMPARED` where there is no limit."""
        return ("PASS" if self else "FAIL") if self.limited else "COMPARED"

    @property
    def verdict(self) -> str:
        """All in one sentence."""
        names = f"{os.path.basename(self.b.name)} and {os.path.basename(self.a.name)}"
        if self.broken:
            return f"FAIL: {names}: {'; '.join(self.broken)}"
        share, rows = self.disagreement, self.compared + self.one_sided
        agree = f"were compared in {rows:,} rows"
        if share is not None:
            agree = f"agree in {percent(1 - share)} of {rows:,} rows"
        return f"{self.word}: {names} {agree}; the largest difference is {self.difference:.3g}"

    def table(self) -> Table:
        """Return the table for a rich console."""
        table = Table(title="differences", title_justify="left")
        for heading in ("output", "rows differ", "steps differ", "median", "99 %", "largest"):
            table.add_column(heading, justify="left" if heading == "output" else "right")
        for output in self.outputs:
            scored = output.kind != "number"
            table.add_row(
                output.name,
                f"{output.rows_differ:,} of {output.rows:,}" if scored else "-",
                f"{output.steps_differ:,} of {output.steps:,}" if scored else "-",
                f"{output.quantiles[0.5]:.1e}",
                f"{output.quantiles[0.99]:.1e}",
                f"{output.largest:.1e}",
            )
        return table

    def worst_table(self) -> Table:
        """Return the table of the rows that differ most."""
        table = Table(title="rows that differ most", title_justify="left")
        for heading in ("id", "output", "difference", "step", "of", "A", "B"):
            table.add_column(heading, justify="right" if heading in ("step", "of") else "left")
        for row in self.worst:
            table.add_row(
                row.id,
                row.output or "-",
                f"{row.difference:.1e}",
                str(row.step + 1) if row.steps else "-",
                str(row.steps) if row.steps else "-",
                row.a,
                row.b,
                style="red" if row.differs else None,
            )
        return table

    def lines(self) -> list[str]:
        """Return what is said between the tables and the verdict."""
        sides = (("A", self.a), ("B", self.b))
        said = [f"{name}: {side.name}, {side.engine}{_took(side)}" for name, side in sides]
        if self.one_sided:
            said.append(f"{self.one_sided:,} row(s) have an answer on one side alone")
        if self.failed:
            said.append(f"{self.failed:,} row(s) could not be scored by either side")
        return [*said, *self.notes]

    def __str__(self) -> str:
        """Return the tables and the verdict as plain text."""
        return plain_text(self.table(), (*self.lines(), self.verdict))

    def __repr__(self) -> str:
        """Return the verdict."""
        return f"CorpusComparison({self.verdict})"

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the verdict, and the rows that differ most."""
        rows = [
            (row.id, row.output or "-", f"{row.difference:.1e}", row.a, row.b) for row in self.worst
        ]
        return html_table(self.verdict, ("row", "output", "difference", "A", "B"), rows)

    def to_dict(self) -> dict[str, Any]:
        """Return every number, as JSON can hold it."""
        return {
            **asdict(self),
            "passed": bool(self),
            "verdict": self.verdict,
            "disagreement": self.disagreement,
            "difference": self.difference,
        }


def summarize(name: str, found: OutputDifferences) -> OutputComparison:
    """Return what was added up of one output."""
    ranges = step_ranges(len(found.over_time))
    return OutputComparison(
        name=name,
        kind=found.kind,
        rows=found.rows,
        steps=found.steps,
        rows_differ=found.rows_differ,
        steps_differ=found.steps_differ,
        largest=found.largest,
        mean=found.total / max(found.steps, 1),
        quantiles={share: found.quantile(share) for share in _QUANTILES},
        histogram={
            math.inf if bin_number > BINS else bin_edge(bin_number) if bin_number else 0.0: int(
                count
            )
            for bin_number, count in enumerate(found.histogram.tolist())
            if count
        },
        over_time=tuple(
            StepRange(first, last, int(steps), float(largest), float(total / steps))
            for (first, last), (largest, total, steps) in zip(
                ranges, found.over_time.tolist(), strict=True
            )
            if steps
        ),
    )


def scores_of(differences: Differences) -> str | None:
    """Return the output whose largest score decides whether a row differs."""
    first = next(iter(differences.outputs.values()))
    return None if first.kind == "number" else first.name


def _took(side: ComparedSide) -> str:
    return f", {side.seconds:.2f} s" if side.seconds else ""


def percent(share: float) -> str:
    """Say a share in percent, with three digits."""
    return f"{100 * share:.3g} %"
