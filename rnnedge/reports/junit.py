"""A report as JUnit XML, the form in which continuous integration reads tests."""

from __future__ import annotations

import os
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from rnnedge.parity.coverage.found import Coverage
from rnnedge.parity.report import ComparedWith, Report
from rnnedge.parity.results import CaseResult
from rnnedge.reports.text import finding, printable, scientific


def junit_text(report: Report) -> str:
    """Return a report as one test suite, with one test case for each output in each case.

    A report knows how long all of it took; each test case carries an equal share, so that the sum
    is right.

    Args:
        report: What `validate` returned.
    """
    name = printable(os.path.basename(report.model))
    strict = report.coverage is not None and report.strict_coverage
    uncovered = strict and not report.covered
    counts = {
        "tests": str(len(report.results) + strict),
        "failures": str(sum(not result for result in report.results) + uncovered),
        "errors": "0",
        "skipped": "0",
        "time": f"{report.seconds:.3f}",
    }
    root = Element("testsuites", {"name": f"parity with {report.against.name}", **counts})
    suite = SubElement(root, "testsuite", {"name": name, **counts})
    properties = SubElement(suite, "properties")
    for key, value in _properties(report).items():
        SubElement(properties, "property", {"name": key, "value": printable(value)})
    share = report.seconds / max(len(report.results), 1)
    for result in report.results:
        _add_case(suite, name, result, share, report.against)
    if report.coverage is not None and strict:
        _add_coverage(suite, name, report.coverage)
    said = [report.verdict, *report.lines()]
    SubElement(suite, "system-out").text = printable("\n".join(said))
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'


def _properties(report: Report) -> dict[str, str]:
    properties = {
        "model": report.model,
        "source": report.source,
        "engine": report.engine,
        "device": report.device,
        **{f"machine.{key}": value for key, value in report.machine.items()},
    }
    if report.contract is not None:
        properties["weights_digest"] = report.contract.weights_digest
    if report.evidence is not None:
        properties["date"] = report.evidence.date
        properties["model_sha256"] = report.evidence.model_sha256
        for name, digest in report.evidence.source_sha256.items():
            properties[f"source_sha256.{name}"] = digest
        properties["command"] = report.evidence.command
    properties["not_run"] = "; ".join(report.not_run())
    if report.mutation is not None:
        properties["mutation"] = report.mutation.lines()[0].removeprefix("mutation: ")
    if report.coverage is not None:
        properties["coverage"] = report.coverage.seen
    if report.diagnosis is not None:
        properties["cause"] = report.diagnosis.cause
    return properties


def _add_coverage(suite: Element, model: str, coverage: Coverage) -> None:
    """Add a test that fails where the cases have not seen all of the file."""
    classname = printable(f"{model.replace('.', '_')}.coverage")
    case = SubElement(suite, "testcase", {"classname": classname, "name": "all of it was seen"})
    if not coverage.full:
        missing = printable("\n".join(coverage.missing()))
        failure = SubElement(case, "failure", {"type": "coverage", "message": coverage.seen})
        failure.text = missing


def _add_case(
    suite: Element, model: str, result: CaseResult, seconds: float, against: ComparedWith
) -> None:
    case = SubElement(
        suite,
        "testcase",
        {
            # Readers split a class name at its dots, as those of Java are.
            "classname": printable(f"{model.replace('.', '_')}.{result.output}"),
            "name": str(result.case),
            "time": f"{seconds:.3f}",
        },
    )
    if result:
        return
    failure = SubElement(
        case,
        "failure",
        {
            "type": "problem" if result.problem else "tolerance",
            "message": printable(f"{result.output} {finding(result, against)}"),
        },
    )
    lines = [
        f"output: {result.output}",
        f"case: {result.case}",
        f"finding: {finding(result, against)}",
    ]
    if result.torch_error is not None:
        error = scientific(result.torch_error)
        lines.append(f"PyTorch float32 is off by {error} from {against.exact}")
    if not result.problem:
        lines.append(f"error in float32 units in the last place: {scientific(result.ulps)}")
    failure.text = printable("\n".join(lines))
