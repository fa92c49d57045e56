"""The tables of numbers: outputs, latency, and every case."""

from __future__ import annotations

import math
from xml.etree.ElementTree import Element

from rnnedge.parity.report import PYTORCH, Report
from rnnedge.parity.results import CaseResult, OutputReport
from rnnedge.reports.page.markup import Child, Column, mark, section, table, tag
from rnnedge.reports.text import index, scientific, short

_ROUNDING = (
    "Rounding is the largest of PyTorch's own float32 error, of what its float64 answer moves by "
    "when every weight moves by two units in the last place, and of 2^-24 of the largest final "
    "state."
)
_ROUNDING_OF_A_FILE = (
    "Rounding is the largest of what the original's answer moves by when every weight moves by two "
    "units in the last place of a float32, of what integers move by that lie between two steps, "
    "and of 2^-24 of the largest final state."
)


def _columns(report: Report) -> tuple[Column, ...]:
    """Return the columns that `_numbers` fills."""
    eager = Column("PyTorch float32", "vs its float64", number=True)
    return (
        Column("Error", f"vs {report.against.exact}", number=True),
        Column("Allowed", "in that case", number=True),
        Column("Share", "error / allowed", number=True),
        Column("Error in ulps", "of float32", number=True),
        *[eager] * (report.against == PYTORCH),
    )


def outputs(report: Report) -> Element:
    """Return one row for each output: its worst case."""
    columns = (Column("Output"), *_columns(report), Column("Worst case"))
    beside = ", next to the one that PyTorch itself makes in float32"
    return section(
        "outputs",
        "Outputs",
        tag(
            "p",
            "Each output in the case that comes nearest to its tolerance, or goes furthest beyond: "
            f"the largest absolute error against {report.against.exact}"
            f"{beside if report.against == PYTORCH else ''}. An ulp is the spacing of float32 at "
            "the largest value of the output in that case. Indices count from 0.",
            class_="lead",
        ),
        table(
            "outputs-table",
            f"Worst case of each output against {report.against.exact}",
            columns,
            [_output_row(output) for output in report.outputs],
            [not output for output in report.outputs],
        ),
    )


def _output_row(output: OutputReport) -> list[Child]:
    named = tag(
        "span",
        tag("code", output.name),
        tag("small", mark(passed=bool(output), words="pass" if output else "fail")),
        tag("small", f"{output.cases - output.failed} of {output.cases} pass"),
    )
    if output.problem:
        said = tag("strong", output.problem), f" in {output.worst}"
        return [named, tag("span", *said, class_="problem")]
    numbers = _numbers(output.max_abs, output.tolerance, output.max_ulps, output.torch_abs)
    return [named, *numbers, tag("span", output.worst, class_="where")]


def _numbers(error: float, allowed: float, ulps: float, torch: float | None) -> list[Child]:
    """Return the cells of `_columns`."""
    share = error / allowed
    times = f"{short(share)}×" if 0 < share < math.inf else short(share)
    cells: list[Child] = [scientific(error), scientific(allowed), times, short(ulps)]
    return cells if torch is None else [*cells, scientific(torch)]


def notes(report: Report) -> Element | None:
    """Return what else a reader should know, or None."""
    if not report.notes:
        return None
    return section("notes", "Notes", tag("ul", *(tag("li", note) for note in report.notes)))


def coverage(report: Report) -> Element | None:
    """Return what the cases have seen of the file, or None where that was not measured."""
    if report.coverage is None:
        return None
    lines = (line.removeprefix("coverage: ") for line in report.coverage.lines())
    return section("coverage", "Coverage", tag("ul", *(tag("li", line) for line in lines)))


def mutation(report: Report) -> Element | None:
    """Return which disturbed weights the cases noticed, or None where none were disturbed."""
    if report.mutation is None:
        return None
    lines = (line.removeprefix("mutation: ") for line in report.mutation.lines())
    return section(
        "mutation",
        "Does the proof notice changes?",
        tag(
            "p",
            "Each weight tensor of a copy was changed by more than any rounding, as a whole and in "
            "one row, and the copy was compared again. A change that no case notices bounds what a "
            "pass means.",
            class_="lead",
        ),
        tag("ul", *(tag("li", line) for line in lines)),
    )


def latency(report: Report) -> Element | None:
    """Return the median latency next to PyTorch, or None where it was not measured."""
    if not report.timings:
        return None
    columns = (
        Column("Steps", "time"),
        Column("Rows", "batch", number=True),
        Column("Model", f"ms, {report.engine}", number=True),
        Column("PyTorch", "ms, eager float32", number=True),
        Column("Speed", "PyTorch / model", number=True),
    )
    rows: list[list[Child]] = [
        [
            str(timing.time),
            str(timing.batch),
            f"{timing.model:.3f}",
            f"{timing.torch:.3f}",
            f"{timing.torch / timing.model:.2f}×" if timing.model else "—",
        ]
        for timing in report.timings
    ]
    return section(
        "latency",
        "Latency",
        tag(
            "p",
            "Median milliseconds of one call with one thread, on the machine below. A speed above "
            "1 says that the model is faster than PyTorch.",
            class_="lead",
        ),
        table("latency-table", "Median latency of one call, compared with PyTorch", columns, rows),
    )


def all_cases(report: Report) -> Element | None:
    """Return every output in every case, folded, or None where the report has no results."""
    if not report.results:
        return None
    columns = (
        Column("Case"),
        Column("Output"),
        Column("Verdict"),
        *_columns(report),
        Column("Rounding", "in that case", number=True),
        Column("Largest at"),
        Column("Remark"),
    )
    failed = sum(not result for result in report.results)
    count = f"{len(report.results)} comparisons, {failed or 'none'} outside tolerance"
    return section(
        "cases",
        "All cases",
        tag(
            "details",
            tag("summary", count),
            tag(
                "p",
                _ROUNDING if report.against == PYTORCH else _ROUNDING_OF_A_FILE,
                class_="lead",
            ),
            table(
                "cases-table",
                f"Every output in every case against {report.against.exact}",
                columns,
                [_case_row(result) for result in report.results],
                [not result for result in report.results],
            ),
        ),
    )


def _case_row(result: CaseResult) -> list[Child]:
    named: list[Child] = [
        tag("span", str(result.case), class_="case"),
        tag("code", result.output),
        mark(passed=bool(result), words="pass" if result else "fail"),
    ]
    if result.problem:
        return [*named, tag("span", result.problem, class_="problem")]
    return [
        *named,
        *_numbers(result.error, result.allowed, result.ulps, result.torch_error),
        scientific(result.rounding),
        tag("code", index(result.at)),
        tag("span", result.remark or "", class_="where"),
    ]
