"""A report as one HTML file that opens offline, on a phone, in the dark and on paper."""

from __future__ import annotations

import os
from xml.etree.ElementTree import Element

from rnnedge.parity.report import Report
from rnnedge.reports.page.document import page, page_text
from rnnedge.reports.page.pictures import histograms, over_shapes, over_time
from rnnedge.reports.page.provenance import contract, evidence, left_out, machine, reproduce
from rnnedge.reports.page.rounding import rounding
from rnnedge.reports.page.tables import all_cases, coverage, latency, mutation, notes, outputs
from rnnedge.reports.page.verdict import diagnosis, verdict


def html_text(report: Report, *, command: str) -> str:
    """Return a report as one HTML page that loads nothing from anywhere.

    The same report, and the same model file, give the same text.

    Args:
        report: What `validate` returned.
        command: The command line that makes the report again.

    Raises:
        MissingPackageError: When matplotlib is not installed.
    """
    return page_text(_page(report, command))


def _page(report: Report, command: str) -> Element:
    name = os.path.basename(report.model)
    return page(
        f"{report.word}: {name}, parity with {report.against.name}",
        verdict(report),
        diagnosis(report),
        outputs(report),
        rounding(report),
        coverage(report),
        mutation(report),
        left_out(report),
        notes(report),
        over_time(report),
        over_shapes(report),
        histograms(report),
        latency(report),
        all_cases(report),
        contract(report),
        machine(report),
        evidence(report),
        reproduce(report, command or (report.evidence.command if report.evidence else "")),
    )
