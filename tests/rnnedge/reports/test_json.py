"""The report as JSON: strict, and whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

import pytest

from rnnedge import Report
from rnnedge.reports import write_report


def _refuse(constant: str) -> NoReturn:
    raise AssertionError(f"{constant} is not JSON")


@pytest.fixture
def values(report: Report, tmp_path: Path) -> dict[str, Any]:
    write_report(report, tmp_path / "r.json", command="x")
    text = (tmp_path / "r.json").read_text("utf-8")
    read: dict[str, Any] = json.loads(text, parse_constant=_refuse)
    return read


def test_verdict(values: dict[str, Any], report: Report) -> None:
    assert values["passed"] is bool(report)
    assert values["verdict"] == report.verdict


def test_every_result_is_there(values: dict[str, Any], report: Report) -> None:
    assert [(row["output"], row["passed"], row["name"]) for row in values["results"]] == [
        (result.output, bool(result), str(result.case)) for result in report.results
    ]


def test_names_are_as_they_were(values: dict[str, Any], report: Report) -> None:
    assert values["source"] == report.source
    assert [output["name"] for output in values["outputs"]] == [o.name for o in report.outputs]


def test_infinity_is_null(awkward: Report, tmp_path: Path) -> None:
    write_report(awkward, tmp_path / "r.json", command="x")
    values = json.loads((tmp_path / "r.json").read_text("utf-8"))
    assert values["outputs"][0]["max_abs"] is None
    assert values["curves"][0]["model"][50:53] == [None] * 3
