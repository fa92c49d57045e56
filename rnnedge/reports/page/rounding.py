"""What fewer bits cost: the second verdict of a file with rounded weights, and its pictures."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from rnnedge.parity.cases import Case
from rnnedge.parity.report import Report
from rnnedge.parity.results import Curve
from rnnedge.parity.rounding.cost import OutputCost
from rnnedge.reports.page.charts import time_chart
from rnnedge.reports.page.markup import Child, Column, section, table, tag
from rnnedge.reports.page.pictures import figure, grid, limits_of
from rnnedge.reports.text import scientific


def costs_of(report: Report) -> tuple[OutputCost, ...]:
    """Return what the rounding costs: on the caller's data where there is some."""
    if report.rounding is None:
        return ()
    return report.calibration or report.rounding.costs


def measured_on(report: Report) -> str:
    """Return what the cost was measured on, in words."""
    return "your own sequences" if report.calibration else "random sequences"


def rounding(report: Report) -> Element | None:
    """Return what the rounding of the weights costs, or None where nothing is rounded."""
    costs = costs_of(report)
    if not costs:
        return None
    exact = "the original file" if costs[0].max_abs_float32 is None else "the float32 weights"
    columns = (
        Column("Output"),
        Column("Largest error", f"vs {exact}", number=True),
        Column("Mean error", f"vs {exact}", number=True),
        Column("Same largest score", "where outputs are scores", number=True),
        Column("Sequences", number=True),
        Column("Worst sequence"),
    )
    figures = [
        figure(
            cost.name,
            f"{cost.sequences} sequences",
            time_chart(
                f"rounding-{number}",
                Curve(cost.name, Case(len(cost.over_time), 1), cost.over_time),
                None,
                limits_of([cost.over_time]),
            ),
        )
        for number, cost in enumerate(costs)
        if len(cost.over_time) > 1
    ]
    return section(
        "rounding",
        "Cost of rounding",
        tag(
            "p",
            f"How far the file is from {exact}, on {measured_on(report)}. The verdict above does "
            "not depend on it: whether so much is acceptable is for you to say. "
            "export --max-error sets a limit, and --calibrate measures on your own data.",
            class_="lead",
        ),
        table(
            "rounding-table",
            f"Error of each output against {exact}",
            columns,
            [_row(cost) for cost in costs],
        ),
        *(grid(figures) if figures else ()),
    )


def _row(cost: OutputCost) -> list[Child]:
    agreement = "—" if cost.agreement is None else f"{cost.agreement:.2%}"
    return [
        tag("code", cost.name),
        scientific(cost.max_abs),
        scientific(cost.mean_abs),
        agreement,
        str(cost.sequences),
        tag("span", cost.worst, class_="where"),
    ]
