"""The top of the page: does the model compute what its source computes, and if not, why."""

from __future__ import annotations

import os
from xml.etree.ElementTree import Element

from rnnedge.parity.report import Report
from rnnedge.reports.page.markup import Child, facts, tag
from rnnedge.reports.text import scientific, short


def verdict(report: Report) -> Element:
    """Return the heading of the page, in the colour of its verdict."""
    word = report.word
    symbol = tag("span", "✓" if report else "✕", class_="symbol", aria_hidden="true")
    return tag(
        "header",
        tag("p", f"Parity with {report.against.name}", class_="eyebrow"),
        tag(
            "h1",
            tag("span", symbol, f" {word}", id="verdict"),
            " ",
            tag("span", os.path.basename(report.model), class_="model"),
        ),
        tag("p", report.verdict.removeprefix(f"{word}: "), class_="sentence"),
        facts(
            {
                "Model": report.model,
                "Source": report.source,
                "Engine": f"{report.engine} on {report.device}",
                "Cases": _cases(report),
                "Coverage": report.coverage.seen if report.coverage else None,
                "Nearest to its tolerance" if report else "Furthest outside": _margin(report),
                "Took": f"{report.seconds:.1f} s" if report.seconds else None,
            }
        ),
        class_="verdict pass" if report else "verdict fail",
    )


def _cases(report: Report) -> str:
    cases = dict.fromkeys(result.case for result in report.results)
    failed = {result.case for result in report.results if not result}
    return f"{len(cases) - len(failed)} of {len(cases)} inside tolerance" if cases else ""


def _margin(report: Report) -> str:
    """Return how much of what is allowed the worst output takes."""
    broken = [output for output in report.outputs if output.problem]
    if broken:
        return f"{broken[0].name}: {broken[0].problem}"
    worst = max(report.outputs, key=lambda output: output.max_abs / output.tolerance)
    share = worst.max_abs / worst.tolerance
    part = f"{100 * share:.2g} % of" if share <= 1 else f"{short(share)} times"
    return f"{worst.name}, {scientific(worst.max_abs)}: {part} what is allowed"


def diagnosis(report: Report) -> Element | None:
    """Return why the model fails, or None where nobody asked."""
    found = report.diagnosis
    if found is None:
        return None
    place = f" in {found.place}" if found.place else ""
    known: dict[str, Child] = {
        "Evidence": found.evidence,
        "First wrong number": found.first,
        "Smallest failing case": str(found.smallest),
    }
    return tag(
        "section",
        tag("h2", f"Cause: {found.cause}{place}", id="cause"),
        facts(known),
        tag("p", tag("strong", "What to do: "), found.remedy, class_="remedy")
        if found.remedy
        else None,
        class_="cause",
        aria_labelledby="cause",
    )
