"""A report as strict JSON: every number of every case."""

from __future__ import annotations

import json
import os
from pathlib import Path

from rnnedge.parity.report import Report
from rnnedge.strict_json import finite
from rnnedge_exporters.staging import staged


def write_json(report: Report, path: str | os.PathLike[str]) -> None:
    """Write a report as JSON: what `Report.to_dict` gives, and for each result whether it passed.

    Args:
        report: What `validate` returned.
        path: The file to write; what is there is replaced.

    Raises:
        ExportError: When the file cannot be written.
    """
    values = report.to_dict()
    values["results"] = [
        {"passed": bool(result), "name": str(result.case), **row}
        for result, row in zip(report.results, values["results"], strict=True)
    ]
    text = json.dumps(finite(values), default=str, allow_nan=False, indent=1)
    with staged(Path(path)) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8", newline="\n")
