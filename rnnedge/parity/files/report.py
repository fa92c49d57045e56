"""What a comparison of a rounded file with its original found."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from rich.table import Table

from rnnedge.parity.plain_text import plain_text


@dataclass(frozen=True, slots=True)
class Compared:
    """An output, or what a layer of integers answers, over all cases; numbers of the worst case.

    Attributes:
        name: Name of the output, or of the layer.
        integers: Whether it is a layer of integers, on what it is given in the file.
        cases: Cases run.
        failed: Cases outside tolerance.
        error: Largest absolute error against the original with rounded weights.
        allowed: Absolute error allowed there.
        worst: The case.
        problem: What is wrong beside the numbers (a shape, an exception), or None.
    """

    name: str
    integers: bool
    cases: int
    failed: int
    error: float
    allowed: float
    worst: str
    problem: str | None

    def __bool__(self) -> bool:
        """Whether every case was inside tolerance."""
        return not self.failed


@dataclass(frozen=True, slots=True)
class FileCost:
    """How far an output is from that of the original, which is what the rounding costs.

    Attributes:
        name: Name of the output.
        max_abs: Largest absolute difference.
        mean_abs: Mean absolute difference.
        largest: Largest magnitude of the output.
        worst: The case with the largest difference.
    """

    name: str
    max_abs: float
    mean_abs: float
    largest: float
    worst: str

    def __str__(self) -> str:
        """Return it in a sentence."""
        return (
            f"{self.name}: off by up to {self.max_abs:.1e}, {self.mean_abs:.1e} in the mean, from "
            f"the original, whose largest number is {self.largest:.1e}; worst at {self.worst}"
        )


@dataclass(frozen=True, slots=True)
class FileReport:
    """What `validate_quantized` found; truthy when all is inside tolerance.

    Attributes:
        model: The rounded file.
        against: The file that it was made from.
        compared: The outputs, and the layers of integers.
        costs: What the rounding costs each output.
        cases: How many cases were run.
        notes: What else a reader should know.
    """

    model: str
    against: str
    compared: tuple[Compared, ...]
    costs: tuple[FileCost, ...]
    cases: int
    notes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether everything was inside tolerance in every case."""
        return all(self.compared)

    @property
    def verdict(self) -> str:
        """One sentence."""
        name, original = os.path.basename(self.model), os.path.basename(self.against)
        if self:
            layers = sum(one.integers for one in self.compared)
            integers = f", {layers} of its layers with activations of 8 bits" if layers else ""
            costs = sorted(self.costs, key=lambda cost: -cost.max_abs)[:1]
            moved = [f"; the rounding moves {c.name} by up to {c.max_abs:.1e}" for c in costs]
            return (
                f"PASS: {name} computes what {original} computes with its weights rounded"
                f"{integers}, in {self.cases} of {self.cases} cases{''.join(moved)}"
            )
        first = next(one for one in self.compared if not one)
        what = first.problem or f"off by {first.error:.1e}, tolerance {first.allowed:.1e}"
        return (
            f"FAIL: {name} is not {original} with its weights rounded: {first.name} {what} "
            f"({first.worst}); {first.failed} of {first.cases} cases fail"
        )

    def lines(self) -> list[str]:
        """Return what the rounding costs, and notes."""
        return [*map(str, self.costs), *self.notes]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as values that JSON can hold."""
        return {"passed": bool(self), "verdict": self.verdict, **asdict(self)}

    def table(self) -> Table:
        """Return the table for a rich console."""
        table = Table(title="parity with the original, weights rounded", title_justify="left")
        for heading in ("output or layer of integers", "cases", "max abs error", "tolerance"):
            table.add_column(heading, justify="left" if heading[0] == "o" else "right")
        table.add_column("worst at")
        table.add_column("")
        for one in self.compared:
            table.add_row(
                one.name,
                str(one.cases),
                f"{one.error:.1e}",
                f"{one.allowed:.1e}",
                f"{one.worst}: {one.problem[:100]}" if one.problem else one.worst,
                "pass" if one else f"FAIL x{one.failed}",
                style=None if one else "red",
            )
        return table

    def __str__(self) -> str:
        """Return the table and the verdict as plain text."""
        return plain_text(self.table(), (*self.lines(), self.verdict))


@dataclass(frozen=True, slots=True)
class Result:
    """One output or layer in one case.

    Attributes:
        name: As in `Compared`.
        integers: As in `Compared`.
        case: The case.
        error: Largest absolute error; infinite beside a problem.
        allowed: Absolute error allowed.
        problem: What is wrong beside the numbers, or None.
    """

    name: str
    integers: bool
    case: str
    error: float
    allowed: float
    problem: str | None = None

    def __bool__(self) -> bool:
        """Whether it was inside tolerance."""
        return self.problem is None and self.error <= self.allowed


def summarize(results: Iterable[Result]) -> tuple[Compared, ...]:
    """Sum up each output and layer over all cases."""
    by_name: dict[tuple[str, bool], list[Result]] = {}
    for result in results:
        by_name.setdefault((result.name, result.integers), []).append(result)
    summed = []
    for (name, integers), own in by_name.items():
        worst = max(own, key=lambda one: (one.problem is not None, one.error / one.allowed))
        failed = sum(not one for one in own)
        summed.append(
            Compared(
                name,
                integers,
                len(own),
                failed,
                worst.error,
                worst.allowed,
                worst.case,
                worst.problem,
            )
        )
    return tuple(summed)
