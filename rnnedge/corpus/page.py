"""A comparison as one HTML file that opens offline, and as JSON."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from xml.etree.ElementTree import Element

from rnnedge.corpus.charts import rows_chart, time_chart
from rnnedge.corpus.comparison import CorpusComparison, OutputComparison, percent
from rnnedge.file_kinds import COMPARISONS
from rnnedge.reports.page.document import heading, page, page_text
from rnnedge.reports.page.markup import Child, Column, facts, section, table, tag
from rnnedge.reports.page.pictures import figure, grid, legend
from rnnedge.reports.text import scientific
from rnnedge.strict_json import finite
from rnnedge_runtime.atomic_file import write_file
from rnnedge_runtime.write_target import suffix_of


def write_comparison(
    found: CorpusComparison,
    path: str | os.PathLike[str],
    *,
    command: str,
    protected: Iterable[str | os.PathLike[str] | None] = (),
    force: bool = False,
) -> None:
    """Write a comparison, whole or not at all.

    Args:
        found: What `compare` returned.
        path: The file to write: `.html`, one page that needs no network; `.json`, every number.
        command: The command line that makes it again; only a page shows it.
        protected: Files that it must not replace.
        force: Whether a file that holds something else may be replaced.

    Raises:
        WriteError: When the file must not or cannot be written.
        MissingPackageError: When it is a page, and matplotlib is not installed.
    """
    if suffix_of(Path(path), COMPARISONS) == ".html":
        text = html_text(found, command=command)
    else:
        text = json.dumps(finite(found.to_dict()), default=str, allow_nan=False, indent=1) + "\n"
    write_file(path, text.encode(), COMPARISONS, protected=protected, force=force)


def html_text(found: CorpusComparison, *, command: str) -> str:
    """Return a comparison as one HTML page that loads nothing from anywhere.

    Args:
        found: What `compare` returned.
        command: The command line that makes it again.

    Raises:
        MissingPackageError: When matplotlib is not installed.
    """
    names = " and ".join(os.path.basename(side.name) for side in (found.b, found.a))
    return page_text(
        page(
            f"{found.word}: {names}, compared on a corpus",
            _verdict(found),
            _outputs(found),
            _worst(found),
            _over_time(found),
            _rows(found),
            section("notes", "Notes", tag("ul", *(tag("li", note) for note in found.notes)))
            if found.notes
            else None,
            section("machine", "Machine", facts(_machine(found))),
            _reproduce(found, command),
        )
    )


def _verdict(found: CorpusComparison) -> Element:
    share = found.disagreement
    agree = None if share is None else f"{percent(1 - share)} of the rows"
    return heading(
        found,
        f"Compared with {os.path.basename(found.a.name)} on a corpus",
        os.path.basename(found.b.name),
        facts(
            {
                "A": f"{found.a.name}, {found.a.engine}",
                "B": f"{found.b.name}, {found.b.engine}",
                "Corpus": f"{found.data}, {found.rows:,} rows",
                "Compared": f"{found.compared:,} rows",
                "Answered by one side alone": f"{found.one_sided:,} rows" * bool(found.one_sided),
                "Not scored by either": f"{found.failed:,} rows" * bool(found.failed),
                "Largest score agrees": agree,
                "Largest difference": scientific(found.difference),
                "Took": _times(found),
            }
        ),
    )


def _times(found: CorpusComparison) -> str:
    sides = (("A", found.a), ("B", found.b))
    return ", ".join(f"{name} {side.seconds:.2f} s" for name, side in sides if side.seconds)


def _outputs(found: CorpusComparison) -> Element:
    columns = (
        Column("Output"),
        Column("Rows differ", "largest score, last step", number=True),
        Column("Steps differ", "largest score", number=True),
        Column("Median", "of the rows", number=True),
        Column("99 %", "of the rows", number=True),
        Column("Mean", "of all steps", number=True),
        Column("Largest", "of all steps", number=True),
    )
    limit = found.max_difference
    return section(
        "outputs",
        "Outputs",
        tag(
            "p",
            "How far the answers of B are from those of A. A row differs where the largest score "
            "of its last step has another index, a step where its own has. The other columns are "
            "absolute differences; those of a row are its largest, rounded up to an eighth of a "
            "decade.",
            class_="lead",
        ),
        table(
            "outputs-table",
            "Differences of each output",
            columns,
            [_output_row(output) for output in found.outputs],
            [limit is not None and not output.largest <= limit for output in found.outputs],
        ),
    )


def _output_row(output: OutputComparison) -> list[Child]:
    scored = output.kind != "number"
    return [
        tag("span", tag("code", output.name), tag("small", f"{output.rows:,} rows")),
        _share(output.rows_differ, output.rows) if scored else "—",
        _share(output.steps_differ, output.steps) if scored else "—",
        scientific(output.quantiles[0.5]),
        scientific(output.quantiles[0.99]),
        scientific(output.mean),
        scientific(output.largest),
    ]


def _share(differ: int, total: int) -> Child:
    return tag("span", f"{differ:,} of {total:,}", tag("small", percent(differ / max(total, 1))))


def _worst(found: CorpusComparison) -> Element | None:
    if not found.worst:
        return None
    columns = (
        Column("Row", "by id"),
        Column("Output"),
        Column("Difference", "largest absolute", number=True),
        Column("Step", "of the row's steps, from 1", number=True),
        Column("A", "largest score there"),
        Column("B", "largest score there"),
    )
    rows: list[list[Child]] = [
        [
            tag("span", tag("code", row.id), tag("small", f"row {row.row:,}")),
            tag("code", row.output) if row.output else "—",
            scientific(row.difference),
            f"{row.step + 1:,} of {row.steps:,}" if row.steps else "—",
            row.a,
            row.b,
        ]
        for row in found.worst
    ]
    return section(
        "worst",
        "Rows that differ most",
        tag(
            "p",
            "The rows with the largest difference, each at its worst step. A largest score is "
            "given as [index] and value. A row is marked where the largest score of its last step "
            "has another index, or where one side has no answer.",
            class_="lead",
        ),
        table(
            "worst-table",
            "Rows with the largest differences",
            columns,
            rows,
            [row.differs for row in found.worst],
        ),
    )


def _over_time(found: CorpusComparison) -> Element | None:
    stepped = [output for output in found.outputs if len(output.over_time) > 1]
    if not stepped:
        return None
    limit = found.max_difference
    figures = [
        figure(
            output.name,
            f"{output.steps:,} steps of {output.rows:,} rows",
            time_chart(f"time-{number}", output, limit),
        )
        for number, output in enumerate(stepped)
    ]
    keys = [("model", "largest of all rows"), ("torch", "mean of all rows")]
    keys += [("limit", "limit")] * (limit is not None)
    return section(
        "time",
        "Error over time",
        tag(
            "p",
            "The largest absolute difference at each step of all rows, and its mean. Later steps "
            "are joined, eight points for each doubling. Zero is drawn on the bottom line; ✕ marks "
            "NaN or infinity on one side.",
            class_="lead",
        ),
        legend(keys),
        *grid(figures),
    )


def _rows(found: CorpusComparison) -> Element | None:
    figures = [
        figure(
            output.name,
            f"{output.histogram.get(0.0, 0):,} of {output.rows:,} rows are equal to the bit, and "
            "not drawn",
            rows_chart(f"rows-{number}", output, found.max_difference),
        )
        for number, output in enumerate(found.outputs)
        if output.rows
    ]
    if not figures:
        return None
    return section(
        "rows",
        "Rows by their largest difference",
        legend([("limit", "limit")]) if found.max_difference is not None else None,
        *grid(figures),
    )


def _machine(found: CorpusComparison) -> dict[str, Child]:
    plain = ("platform", "processor", "python")
    return {key.capitalize() if key in plain else key: v for key, v in found.machine.items()}


def _reproduce(found: CorpusComparison, command: str) -> Element:
    digests = [
        tag("p", f"SHA-256 of {side.name}: ", tag("code", side.sha256), class_="digest")
        for side in (found.a, found.b)
        if side.sha256
    ]
    code = tag("pre", tag("code", command), tabindex="0")
    return section("reproduce", "How to reproduce", code, *digests)
