"""What a comparison found: truthy when all is inside tolerance, and prints as a table."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import import_module
from typing import Any

from rich.table import Table

from rnnedge.parity.coverage.found import Coverage
from rnnedge.parity.evidence import Evidence
from rnnedge.parity.mutation.found import Mutation
from rnnedge.parity.not_run import not_run
from rnnedge.parity.results import UNKNOWN, CaseResult, Curve, Diagnosis, OutputReport, Timing
from rnnedge.parity.rounding.cost import OutputCost, Rounding
from rnnedge.plain_text import plain_text
from rnnedge_runtime.contract import Contract
from rnnedge_runtime.notebook import html_table


@dataclass(frozen=True, slots=True)
class ComparedWith:
    """What a model is compared with, in the words of a report.

    Attributes:
        name: `PyTorch`, or `the original`.
        exact: What errors are measured against: `PyTorch float64`, or `the original, weights
            rounded`.
        held: How an original file was made to compute, such as `with its weights rounded`; empty
            where it computes as it is.
    """

    name: str
    exact: str
    held: str = ""


PYTORCH = ComparedWith("PyTorch", "PyTorch float64")


@dataclass(frozen=True, slots=True)
class Report:
    """What `validate` found.

    Attributes:
        model: The file.
        source: What it was compared with.
        outputs: One report for each output.
        engine: What ran the file, with its version.
        device: What it ran on.
        notes: What else a reader should know.
        results: Every output in every case.
        curves: Errors over time, of outputs and, where the graph shows them, of layers inside.
        diagnosis: Why it fails, or None when it passes.
        timings: Latency next to PyTorch, when it was measured.
        rounding: What the file holds in fewer bits and what that costs; None for float32.
        calibration: The error of each output on the caller's own sequences; empty without any.
        contract: What the file promises, or None when rnnedge did not make it.
        coverage: How much of the file the cases have seen; None where that was not measured.
        mutation: Which changes of the file's weights they notice; None where that was not tried.
        strict_coverage: Whether the file fails when they have not seen all of it.
        machine: What the comparison ran on, with versions.
        seconds: How long it took.
        evidence: When it was made, of which files, and by which command.
        against: What the file was compared with, in words.
    """

    model: str
    source: str
    outputs: tuple[OutputReport, ...]
    engine: str
    device: str
    notes: tuple[str, ...] = ()
    results: tuple[CaseResult, ...] = ()
    curves: tuple[Curve, ...] = ()
    diagnosis: Diagnosis | None = None
    timings: tuple[Timing, ...] = ()
    rounding: Rounding | None = None
    calibration: tuple[OutputCost, ...] = ()
    contract: Contract | None = None
    coverage: Coverage | None = None
    mutation: Mutation | None = None
    strict_coverage: bool = False
    machine: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    evidence: Evidence | None = None
    against: ComparedWith = PYTORCH

    def __bool__(self) -> bool:
        """Whether every output was inside tolerance in every case, and coverage is as wanted."""
        return self.equal and (self.covered or not self.strict_coverage)

    @property
    def equal(self) -> bool:
        """Whether every output was inside tolerance in every case."""
        return bool(self.outputs) and all(self.outputs)

    @property
    def covered(self) -> bool:
        """Whether the cases are known to have seen all of the file."""
        return self.coverage is not None and not self.missing()

    def missing(self) -> list[str]:
        """Return what the cases have not seen, or not noticed."""
        unseen = self.coverage.missing() if self.coverage else ()
        unnoticed = self.mutation.unnoticed if self.mutation else ()
        return [*unseen, *(f"a change of {name} goes unnoticed" for name in unnoticed)]

    @property
    def word(self) -> str:
        """`PASS`, `FAIL`, or `PASS IN PART` where the cases have not seen all of the file."""
        return "FAIL" if not self else "PASS IN PART" if self.missing() else "PASS"

    @property
    def verdict(self) -> str:
        """One sentence."""
        cases = len({result.case for result in self.results}) or self.outputs[0].cases
        name = os.path.basename(self.model)
        if self.equal:
            how = ["in PyTorch"] * (self.against == PYTORCH) + [self._held] * bool(self._held)
            return (
                f"{self.word}: {' '.join([name, 'computes what', self._source, 'computes', *how])},"
                f" in {cases} of {cases} cases{self._covered}{self._moved}"
            )
        first = next(output for output in self.outputs if not output)
        what = first.problem or f"off by {first.max_abs:.1e}, tolerance {first.tolerance:.1e}"
        found = self.diagnosis
        cause = f"; {found.cause}" if found and found.cause != UNKNOWN else ""
        source = " ".join([self._source, *[self.against.held] * bool(self.against.held)])
        return (
            f"FAIL: {name} is not {source}: {first.name} {what} ({first.worst}); {first.failed} of "
            f"{first.cases} cases fail{cause}"
        )

    @property
    def _source(self) -> str:
        """The source in a sentence: of another file, its name."""
        return self.source if self.against == PYTORCH else os.path.basename(self.source)

    @property
    def _held(self) -> str:
        """What the source was made to compute with; empty when nothing is rounded."""
        return self.against.held or (self.rounding.proven if self.rounding else "")

    @property
    def _moved(self) -> str:
        """What the rounding costs, as the end of a sentence."""
        costs = self.calibration or (self.rounding.costs if self.rounding else ())
        if not costs or not self.rounding:
            return ""
        worst = max(costs, key=lambda cost: cost.max_abs)
        on = " on the calibration data" if self.calibration else ""
        return f"; the rounding moves {worst.name} by up to {worst.max_abs:.1e}{on}"

    @property
    def _covered(self) -> str:
        """How much of the file was seen, as the end of a sentence."""
        missing = self.missing()
        if missing:
            more = f" and {len(missing) - 1} more" if missing[1:] else ""
            return f"; not covered: {missing[0]}{more}"
        return f"; {self.coverage.seen}" if self.coverage else ""

    def not_run(self) -> list[str]:
        """Return what the comparison left out, each with the way to run it where there is one."""
        return not_run(
            {result.case for result in self.results},
            self.contract.interface if self.contract else None,
            device=self.device,
            mutated=self.mutation is not None,
            calibrated=bool(self.calibration),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the report as values that JSON can hold."""
        values = {
            "passed": bool(self),
            "verdict": self.verdict,
            "not_run": self.not_run(),
            **asdict(self),
        }
        if self.coverage is not None:
            values["coverage"] |= {
                "full": self.coverage.full,
                "missing": list(self.coverage.missing()),
            }
        return values

    def table(self) -> Table:
        """Return the table for a rich console."""
        title = f"parity with {self.against.exact}"
        if self.rounding and not self.against.held:
            title += f", {self.rounding.proven}"
        table = Table(title=title, title_justify="left")
        for heading in ("output", "cases", "max abs error", "max rel error", "tolerance"):
            table.add_column(heading, justify="left" if heading == "output" else "right")
        eager = any(output.torch_abs is not None for output in self.outputs)
        if eager:
            table.add_column("PyTorch float32", justify="right")
        table.add_column("worst at")
        table.add_column("verdict")
        for output in self.outputs:
            table.add_row(
                output.name,
                str(output.cases),
                f"{output.max_abs:.1e}",
                f"{output.max_rel:.1e}",
                f"{output.tolerance:.1e}",
                *[f"{output.torch_abs or 0:.1e}"] * eager,
                f"{output.worst}: {output.problem}" if output.problem else output.worst,
                "pass" if output else f"FAIL x{output.failed}",
                style=None if output else "red",
            )
        return table

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write the report to a file, whole or not at all.

        Args:
            path: `.html`, one page that needs no network; `.json`, every number; `.xml`, JUnit.
            force: Whether a file that holds something else may be replaced.

        Raises:
            WriteError: When the file must not or cannot be written.
            MissingPackageError: When the report is a page, and matplotlib is not installed.
        """
        # The writers read reports, and are not part of one: they load when one is written.
        import_module("rnnedge.reports").write_report(self, path, force=force)

    def __repr__(self) -> str:
        """Return the verdict."""
        return f"Report({self.verdict})"

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the verdict, and the worst case of each output."""
        headings = ("output", "verdict", "cases", "max abs error", "tolerance", "worst at")
        rows = [
            (
                output.name,
                "pass" if output else f"FAIL x{output.failed}",
                str(output.cases),
                output.problem or f"{output.max_abs:.1e}",
                f"{output.tolerance:.1e}",
                output.worst,
            )
            for output in self.outputs
        ]
        return html_table(self.verdict, headings, rows)

    def __str__(self) -> str:
        """Return the table and the verdict as plain text."""
        facts = [f"{name}: {value}" for name, value in self.machine.items()]
        facts += self.evidence.lines() if self.evidence else []
        facts += [f"not run: {what}" for what in self.not_run()]
        return plain_text(self.table(), (*self.lines(), *facts, self.verdict))

    def lines(self) -> list[str]:
        """Return what is said between the table and the verdict."""
        covered = self.coverage.lines() if self.coverage else ()
        noticed = self.mutation.lines() if self.mutation else ()
        return [
            *self.notes,
            *covered,
            *noticed,
            *(self.diagnosis.lines() if self.diagnosis else ()),
        ]
