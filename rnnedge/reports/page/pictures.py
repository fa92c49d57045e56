"""The sections of the page that are pictures, with their legends and captions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from xml.etree.ElementTree import Element

from rnnedge.parity.report import Report
from rnnedge.parity.results import CaseResult
from rnnedge.reports.page.charts import shape_chart, time_chart, ulps_chart
from rnnedge.reports.page.markup import Child, section, tag
from rnnedge.reports.text import scientific

_SHOWN = 6
"""Pictures of a section that are not folded away."""
_DEPTH = 10
"""Decades below the largest error that a scale goes down to."""


def over_time(report: Report) -> Element | None:
    """Return the error at each step of each output and layer, or None without curves."""
    curves = [curve for curve in report.curves if curve.model]
    if not curves:
        return None
    outputs = {output.name for output in report.outputs}
    allowed = {(result.output, result.case): result.allowed for result in report.results}
    tolerances = [
        allowed.get((curve.name, curve.case)) if curve.name in outputs else None for curve in curves
    ]
    errors = [values for curve in curves for values in (curve.model, curve.torch)]
    limits = limits_of(errors, [one for one in tolerances if one is not None])
    figures = [
        figure(
            curve.name if curve.name in outputs else f"{curve.name}, inside",
            f"{curve.case}" + (f"; allowed {scientific(line)}" if line is not None else ""),
            time_chart(f"time-{number}", curve, line, limits),
        )
        for number, (curve, line) in enumerate(zip(curves, tolerances, strict=True))
    ]
    keys = [("model", "model")]
    keys += [("torch", "PyTorch float32")] * any(curve.torch for curve in curves)
    keys += [("limit", "tolerance")] * any(line is not None for line in tolerances)
    return section(
        "time",
        "Error over time",
        tag(
            "p",
            f"Largest absolute error at each step against {report.against.exact}. The scale is "
            "the same in every picture. Zero error is drawn on the bottom line; ✕ marks NaN.",
            class_="lead",
        ),
        legend(keys),
        *grid(figures),
    )


def limits_of(
    errors: Sequence[Sequence[float]], lines: Sequence[float] = ()
) -> tuple[float, float]:
    """Return the whole decades that hold every error and every tolerance."""
    every = [value for values in errors for value in values]
    known = [value for value in (*every, *lines) if 0 < value < math.inf] or [1.0]
    high = math.ceil(math.log10(max(known)))
    low = max(math.floor(math.log10(min(known))), high - _DEPTH)
    return 10.0 ** min(low, high - 1), 10.0**high


def over_shapes(report: Report) -> Element | None:
    """Return the worst error at each time and batch, or None where no plain case was run."""
    worst: dict[tuple[int, int], CaseResult] = {}
    for result in report.results:
        case = result.case
        if case.values != "normal" or case.ragged or case.chunk or case.way != "plain":
            continue
        shape = case.time, case.batch
        if shape not in worst or result.badness > worst[shape].badness:
            worst[shape] = result
    if not worst:
        return None
    return section(
        "shapes",
        "Error over shapes",
        tag(
            "p",
            f"Largest error against {report.against.exact} as a multiple of what is allowed, the "
            "worst of all outputs, at each shape that was run whole with ordinary numbers. Above "
            "1× is outside tolerance and marked ✕. A word stands where there is nothing to "
            f"compare: the model raised an error, or gave another shape or NaN. The {len(worst)} "
            "shapes that were run have a cell; no other was meant to run.",
            class_="lead",
        ),
        grid([tag("figure", shape_chart("shapes-map", worst))], "wide")[0],
    )


def histograms(report: Report) -> Element | None:
    """Return how far off all values are in units in the last place, or None without counts."""
    figures = [
        figure(
            output.name,
            f"{sum(output.histogram.model):,} values in {output.cases} cases",
            ulps_chart(f"ulps-{number}", output.name, output.histogram),
        )
        for number, output in enumerate(report.outputs)
        if sum(output.histogram.model) and sum(output.histogram.torch)
    ]
    if not figures:
        return None
    top = round(math.log2(report.outputs[0].histogram.edges[-1]))
    return section(
        "ulps",
        "Errors in units in the last place",
        tag(
            "p",
            f"How far each value is from {report.against.exact}, in units in the last place of a "
            "float32 as large as the largest value of the output in that case. The first bar also "
            f"holds what is exact, and a bar that ends at 2^{top} all that is beyond.",
            class_="lead",
        ),
        legend([("model bar", "model"), ("torch", "PyTorch float32")]),
        *grid(figures),
    )


def figure(name: str, detail: str, picture: Element) -> Element:
    """Return a picture under its name and a detail."""
    caption = tag("figcaption", tag("b", name), " ", tag("span", detail))
    return tag("figure", caption, picture)


def legend(keys: Sequence[tuple[str, str]]) -> Element:
    """Return what the colours mean: a class of the style sheet, and words."""
    items = [tag("li", tag("i", class_=f"key {name}"), words) for name, words in keys]
    return tag("ul", *items, class_="legend")


def grid(figures: Sequence[Child], kind: str = "") -> list[Element]:
    """Return pictures side by side, those beyond the first ones folded away."""
    shown = tag("div", *figures[:_SHOWN], class_=f"grid {kind}".strip())
    rest = figures[_SHOWN:]
    if not rest:
        return [shown]
    more = tag("summary", f"{len(rest)} more")
    return [shown, tag("details", more, tag("div", *rest, class_="grid"))]
