"""A report as one HTML file that opens offline, on a phone, in the dark and on paper."""

from __future__ import annotations

import os
from importlib.resources import files
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from rnnedge.parity.report import Report
from rnnedge.reports.page.markup import tag
from rnnedge.reports.page.pictures import histograms, over_shapes, over_time
from rnnedge.reports.page.provenance import contract, evidence, left_out, machine, reproduce
from rnnedge.reports.page.rounding import rounding
from rnnedge.reports.page.tables import all_cases, coverage, latency, mutation, notes, outputs
from rnnedge.reports.page.verdict import diagnosis, verdict

# With this policy, a browser cannot load anything: the page is proof of itself.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def html_text(report: Report, *, command: str) -> str:
    """Return a report as one HTML page that loads nothing from anywhere.

    The same report, and the same model file, give the same text.

    Args:
        report: What `validate` returned.
        command: The command line that makes the report again.

    Raises:
        MissingPackageError: When matplotlib is not installed.
    """
    text = ElementTree.tostring(_page(report, command), encoding="unicode", method="html")
    return f"<!doctype html>\n{text}\n"


def _page(report: Report, command: str) -> Element:
    style = files("rnnedge.reports.page").joinpath("page.css").read_text("utf-8")
    word, name = report.word, os.path.basename(report.model)
    return tag(
        "html",
        tag(
            "head",
            tag("meta", charset="utf-8"),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("meta", name="color-scheme", content="light dark"),
            tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
            tag("link", rel="icon", href="data:,"),  # else a browser asks the server for one
            tag("title", f"{word}: {name}, parity with {report.against.name}"),
            tag("style", style),
        ),
        tag(
            "body",
            tag(
                "main",
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
            ),
        ),
        lang="en",
    )
