"""The report as JUnit XML, read back as a continuous integration does."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest

from rnnedge import Report
from rnnedge.reports import write_report


@pytest.fixture
def root(report: Report, tmp_path: Path) -> Element:
    write_report(report, tmp_path / "r.xml", command="x")
    return ElementTree.parse(tmp_path / "r.xml").getroot()


def test_one_test_case_for_each_output_in_each_case(root: Element, report: Report) -> None:
    cases = root.findall("./testsuite/testcase")
    assert [case.attrib["name"] for case in cases] == [str(r.case) for r in report.results]


@pytest.mark.parametrize("path", [".", "./testsuite"])
def test_counts(path: str, root: Element, report: Report) -> None:
    suite = root.find(path)
    assert suite is not None
    assert int(suite.attrib["tests"]) == len(root.findall("./testsuite/testcase"))
    assert int(suite.attrib["failures"]) == len(root.findall("./testsuite/testcase/failure"))
    assert int(suite.attrib["failures"]) == sum(not result for result in report.results)
    assert float(suite.attrib["time"]) == pytest.approx(report.seconds, abs=1e-3)


def test_times_add_up(root: Element, report: Report) -> None:
    times = [float(case.attrib["time"]) for case in root.findall("./testsuite/testcase")]
    assert sum(times) == pytest.approx(report.seconds, abs=1e-3 * len(times))


def test_failures_say_what_and_by_how_much(failing: Report, tmp_path: Path) -> None:
    write_report(failing, tmp_path / "r.xml", command="x")
    failure = ElementTree.parse(tmp_path / "r.xml").find("./testsuite/testcase/failure")
    first = next(result for result in failing.results if not result)
    assert failure is not None
    assert failure.attrib["type"] == "tolerance"
    assert failure.attrib["message"] == (
        f"{first.output} off by {first.error:.1e} from PyTorch float64, allowed "
        f"{first.allowed:.1e}{first.where}"
    )
    assert f"case: {first.case}" in (failure.text or "")


def test_problems_are_told_apart(awkward: Report, tmp_path: Path) -> None:
    write_report(awkward, tmp_path / "r.xml", command="x")
    failures = ElementTree.parse(tmp_path / "r.xml").findall("./testsuite/testcase/failure")
    problems = [one.attrib["message"] for one in failures if one.attrib["type"] == "problem"]
    assert len(problems) == sum(bool(result.problem) for result in awkward.results)
    assert any("shape [5, 2, 10], expected [31]" in problem for problem in problems)


def test_properties(root: Element, report: Report) -> None:
    named = {one.attrib["name"]: one.attrib["value"] for one in root.iter("property")}
    assert named["engine"] == report.engine
    assert named["machine.torch"] == report.machine["torch"]
    assert report.contract is not None
    assert named["weights_digest"] == report.contract.weights_digest


def test_diagnosis_and_notes_are_said(failing: Report, tmp_path: Path) -> None:
    write_report(failing, tmp_path / "r.xml", command="x")
    said = ElementTree.parse(tmp_path / "r.xml").findtext("./testsuite/system-out") or ""
    assert said == "\n".join([failing.verdict, *failing.lines()])
