"""What a comparison found: truthy when all is inside tolerance, and prints as a table."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from io import StringIO
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class OutputReport:
    """One output over all cases.

    Attributes:
        name: Name of the output.
        cases: Cases run.
        failed: Cases outside tolerance.
        max_abs: Largest absolute error against PyTorch in float64, over all cases.
        max_rel: Largest error relative to the largest magnitude of the output in its case.
        tolerance: Absolute error allowed in the worst case, the one nearest to or furthest over
            its tolerance.
        torch_abs: Largest absolute error of PyTorch itself in float32, over all cases.
        worst: The worst case, and the index where it was.
        problem: What is wrong beside the numbers (a shape, an exception), or None.
    """

    name: str
    cases: int
    failed: int
    max_abs: float
    max_rel: float
    tolerance: float
    torch_abs: float
    worst: str
    problem: str | None = None

    def __bool__(self) -> bool:
        """Whether every case was inside tolerance."""
        return self.failed == 0


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
    """

    model: str
    source: str
    outputs: tuple[OutputReport, ...]
    engine: str
    device: str
    notes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether every output was inside tolerance in every case."""
        return all(self.outputs)

    @property
    def verdict(self) -> str:
        """One sentence."""
        cases, name = self.outputs[0].cases, os.path.basename(self.model)
        if self:
            return (
                f"PASS: {name} computes what {self.source} computes in PyTorch, in {cases} "
                f"of {cases} cases"
            )
        first = next(output for output in self.outputs if not output)
        what = first.problem or f"off by {first.max_abs:.1e}, tolerance {first.tolerance:.1e}"
        return (
            f"FAIL: {name} is not {self.source}: {first.name} {what} ({first.worst}); "
            f"{first.failed} of {cases} cases fail"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the report as values that JSON can hold."""
        return {"passed": bool(self), "verdict": self.verdict, **asdict(self)}

    def table(self) -> Table:
        """Return the table for a rich console."""
        table = Table(title="parity with PyTorch float64", title_justify="left")
        for heading in ("output", "cases", "max abs error", "max rel error", "tolerance"):
            table.add_column(heading, justify="left" if heading == "output" else "right")
        table.add_column("PyTorch float32", justify="right")
        table.add_column("worst at")
        table.add_column("")
        for output in self.outputs:
            table.add_row(
                output.name,
                str(output.cases),
                f"{output.max_abs:.1e}",
                f"{output.max_rel:.1e}",
                f"{output.tolerance:.1e}",
                f"{output.torch_abs:.1e}",
                f"{output.worst}: {output.problem[:100]}" if output.problem else output.worst,
                "pass" if output else f"FAIL x{output.failed}",
                style=None if output else "red",
            )
        return table

    def __str__(self) -> str:
        """Return the table and the verdict as plain text."""
        text = StringIO()
        console = Console(file=text, width=150, color_system=None)
        table = self.table()
        table.box = box.ASCII2  # a file or a pipe may not be UTF-8
        console.print(table)
        for line in (*self.notes, self.verdict):
            console.print(line, soft_wrap=True, highlight=False)
        return text.getvalue().rstrip()
