"""The top of the page: does the model compute what its source computes, and if not, why."""

from __future__ import annotations

import os
from xml.etree.ElementTree import Element

from rnnedge.parity.report import Report
from rnnedge.reports.page.document import heading
from rnnedge.reports.page.markup import Child, facts, mark, tag
from rnnedge.reports.page.rounding import costs_of, measured_on
from rnnedge.reports.text import scientific, short


def verdict(report: Report) -> Element:
    """Return the heading of the page, in the colour of its verdict."""
    return heading(
        report,
        f"Parity with {report.against.name}",
        os.path.basename(report.model),
        _two_verdicts(report),
        facts(
            {
                "Model": report.model,
                "Source": report.source,
                "Engine": f"{report.engine} on {report.device}",
                "Cases": _cases(report),
                "Coverage": report.coverage.seen if report.coverage else None,
                "Nearest to its tolerance" if report else "Furthest outside": _margin(report),
                "Date": report.evidence.date if report.evidence else None,
                "Took": f"{report.seconds:.1f} s" if report.seconds else None,
            }
        ),
    )


def _two_verdicts(report: Report) -> Element | None:
    """Return both verdicts of a file with rounded weights, or None for any other file."""
    costs = costs_of(report)
    if not costs:
        return None
    held = report.against.held or (report.rounding.proven if report.rounding else "")
    worst = max(costs, key=lambda cost: cost.max_abs)
    cost = f"{worst.name} is off by up to {scientific(worst.max_abs)}"
    agreed = [one for one in costs if one.agreement is not None]
    cost += "".join(f"; {one.name}: {one.agreement:.2%} of largest scores agree" for one in agreed)
    return tag(
        "dl",
        tag(
            "div",
            tag("dt", "Is the file faithful to its rounded weights?"),
            tag(
                "dd",
                mark(passed=report.equal, words="yes" if report.equal else "no"),
                f": compared with {report.against.name} {held}",
            ),
        ),
        tag(
            "div",
            tag("dt", "What does the rounding cost?"),
            tag("dd", f"{cost}, on {measured_on(report)}; the verdict sets no limit to it"),
        ),
        class_="facts two",
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
    return f"{worst.name}, {scientific(worst.max_abs)}: {short(share)}× what is allowed"


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
