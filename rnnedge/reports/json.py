"""A report as strict JSON: every number of every case."""

from __future__ import annotations

import json

from rnnedge.parity.report import Report
from rnnedge.strict_json import finite


def json_text(report: Report) -> str:
    """Return a report as JSON: what `Report.to_dict` gives, and for each result whether it passed.

    Args:
        report: What `validate` returned.
    """
    values = report.to_dict()
    values["results"] = [
        {"passed": bool(result), "name": str(result.case), **row}
        for result, row in zip(report.results, values["results"], strict=True)
    ]
    return json.dumps(finite(values), default=str, allow_nan=False, indent=1) + "\n"
