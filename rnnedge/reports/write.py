"""`write_report`: the suffix of the path says which kind of report is written."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from rnnedge.file_kinds import REPORTS
from rnnedge.matplotlib_check import check_matplotlib
from rnnedge.parity.report import Report
from rnnedge.reports.html import html_text
from rnnedge.reports.json import json_text
from rnnedge.reports.junit import junit_text
from rnnedge_runtime.atomic_file import write_file
from rnnedge_runtime.write_target import Kinds, check_target, suffix_of


def check_report_path(
    path: str | os.PathLike[str],
    kinds: Kinds = REPORTS,
    *,
    protected: Iterable[str | os.PathLike[str] | None] = (),
    force: bool = False,
) -> None:
    """Check that a report can be written, before the work that it is about is done.

    Args:
        path: Where the report is to be written; `.html`, `.json` or `.xml`.
        kinds: Which of these there are of such a report.
        protected: Files that it must not replace.
        force: Whether a file that holds something else may be replaced.

    Raises:
        WriteError: When the file must not or cannot be written.
        MissingPackageError: When the report is a page, and matplotlib is not installed.
    """
    target = check_target(path, kinds, protected=protected, force=force)
    if suffix_of(target, kinds) == ".html":
        check_matplotlib("an HTML report")


def write_report(
    report: Report,
    path: str | os.PathLike[str],
    *,
    command: str = "",
    protected: Iterable[str | os.PathLike[str] | None] = (),
    force: bool = False,
) -> None:
    """Write a report, whole or not at all.

    The same report gives the same bytes.

    Args:
        report: What `validate` returned.
        path: The file to write: `.html`, one page that needs no network; `.json`, every number;
            `.xml`, JUnit XML. An existing file of the same kind is replaced.
        command: The command line that makes the report again, in place of the report's own.
        protected: Files that it must not replace, besides the model that it is about.
        force: Whether a file that holds something else may be replaced.

    Raises:
        WriteError: When the file must not or cannot be written.
        MissingPackageError: When the report is a page, and matplotlib is not installed.
    """
    protected = (report.model, *protected)
    check_report_path(path, protected=protected, force=force)
    suffix = suffix_of(Path(path), REPORTS)
    if suffix == ".html":
        text = html_text(report, command=command)
    else:
        text = json_text(report) if suffix == ".json" else junit_text(report)
    write_file(path, text.encode(), REPORTS, protected=protected, force=force)
