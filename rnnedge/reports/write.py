"""`write_report`: the suffix of the path says which kind of report is written."""

from __future__ import annotations

import os
from pathlib import Path

from rnnedge.errors import ExportError
from rnnedge.parity.report import Report
from rnnedge.reports.html import write_html
from rnnedge.reports.json import write_json
from rnnedge.reports.junit import write_junit
from rnnedge.reports.page.drawing import check_drawing

_KINDS = {".html": "a page", ".json": "JSON", ".xml": "JUnit XML"}


def check_report_path(path: str | os.PathLike[str]) -> None:
    """Check that a report can be written, before the work that it is about is done.

    Args:
        path: Where the report is to be written; `.html`, `.json` or `.xml`.

    Raises:
        ExportError: When the suffix is another, or the folder does not exist.
        MissingPackageError: When the report is a page, and matplotlib is not installed.
    """
    target = Path(path)
    suffix = target.suffix.lower()
    if suffix not in _KINDS:
        kinds = ", ".join(f"{suffix} ({kind})" for suffix, kind in _KINDS.items())
        raise ExportError(f"report {target}: expected a name that ends in one of {kinds}")
    if not target.parent.is_dir():
        raise ExportError(
            f"report {target}: expected an existing folder, found no folder {target.parent}: "
            "create it"
        )
    if suffix == ".html":
        check_drawing("an HTML report")


def write_report(report: Report, path: str | os.PathLike[str], *, command: str) -> None:
    """Write a report, whole or not at all.

    The same report gives the same bytes.

    Args:
        report: What `validate` returned.
        path: The file to write: `.html`, one page that needs no network; `.json`, every number;
            `.xml`, JUnit XML. What is there is replaced.
        command: The command line that makes the report again; only a page shows it.

    Raises:
        ExportError: When the suffix is another, or the file cannot be written.
        MissingPackageError: When the report is a page, and matplotlib is not installed.
    """
    check_report_path(path)
    suffix = Path(path).suffix.lower()
    if suffix == ".html":
        write_html(report, path, command=command)
    elif suffix == ".json":
        write_json(report, path)
    else:
        write_junit(report, path)
