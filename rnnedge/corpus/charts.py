"""The pictures of a comparison: the error over time, and rows by their largest difference."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element

from rnnedge.corpus.comparison import OutputComparison
from rnnedge.corpus.differences import EACH_STEP, PER_DECADE
from rnnedge.reports.page import drawing
from rnnedge.reports.page.charts import label_decades
from rnnedge.reports.page.drawing import axes_of, draw
from rnnedge.reports.text import scientific

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIZE = (420.0, 240.0)
_BOX = (0.16, 0.19, 0.82, 0.77)
_DEPTH = 10
"""Decades below the largest difference that a scale goes down to."""


def time_chart(name: str, output: OutputComparison, allowed: float | None) -> Element:
    """Draw the largest and the mean difference at each step.

    Args:
        name: What ids begin with.
        output: The output, with one step or more.
        allowed: Where the line of the limit is; None draws none.
    """
    ranges = output.over_time
    low, high = _limits(output, allowed)
    logarithmic = ranges[-1].last > EACH_STEP

    def paint(figure: Figure) -> None:
        axes = axes_of(figure, _BOX, "step, from 1", "absolute difference")
        places = [(step.first + step.last) / 2 + 1 for step in ranges]
        marker = "o" if len(ranges) == 1 else ""
        sides = (("mean", drawing.TORCH, 1.2), ("largest", drawing.MODEL, 1.6))
        for value, color, width in sides:
            shown = [min(max(getattr(step, value), low), high) for step in ranges]
            axes.plot(places, shown, color=color, lw=width, marker=marker)
        lost = [
            place
            for place, step in zip(places, ranges, strict=True)
            if not math.isfinite(step.largest)
        ]
        axes.plot(lost, [high] * len(lost), "x", color=drawing.ALARM, clip_on=False)
        if allowed is not None:
            axes.axhline(allowed, color=drawing.LIMIT, linewidth=1.4, linestyle=(0, (5, 3)))
        axes.set_yscale("log")
        axes.set_ylim(low / 1.5, high * 1.5)
        label_decades(axes, (low, high))
        if logarithmic:
            axes.set_xscale("log")
            _label_steps(axes, ranges[-1].last + 1)
        else:
            axes.locator_params("x", integer=True, nbins=7)

    description = (
        f"Difference of {output.name} at steps 1 to {ranges[-1].last + 1}: largest "
        f"{scientific(output.largest)}, mean {scientific(output.mean)}"
    )
    return draw(name, description, _SIZE, paint)


def rows_chart(name: str, output: OutputComparison, allowed: float | None) -> Element:
    """Draw how many rows have which largest difference.

    Args:
        name: What ids begin with.
        output: The output, with one row or more.
        allowed: Where the line of the limit is; None draws none.
    """
    ends = {edge: rows for edge, rows in output.histogram.items() if 0 < edge < math.inf}
    first, last = (min(ends), max(ends)) if ends else (1e-9, 1e-6)
    width = 10 ** (1 / PER_DECADE)
    low = 10.0 ** math.floor(math.log10(first / width) + 1e-9)
    high = 10.0 ** max(math.ceil(math.log10(last) - 1e-9), math.log10(low) + 1)

    def paint(figure: Figure) -> None:
        axes = axes_of(figure, _BOX, "largest difference of a row", "rows")
        for edge, rows in ends.items():
            axes.bar(edge / width, rows, edge - edge / width, align="edge", color=drawing.MODEL)
        if allowed is not None and low < allowed < high:
            axes.axvline(allowed, color=drawing.LIMIT, linewidth=1.4, linestyle=(0, (5, 3)))
        axes.set_xscale("log")
        axes.set_xlim(low, high)
        powers = range(round(math.log10(low)), round(math.log10(high)) + 1)
        step = max(1, math.ceil(len(powers) / 7))
        shown = list(powers)[::step]
        axes.set_xticks([10.0**power for power in shown], [f"1e{power:+03d}" for power in shown])
        axes.minorticks_off()
        axes.locator_params("y", integer=True, nbins=6)

    equal = output.histogram.get(0.0, 0)
    description = (
        f"Rows by the largest difference of {output.name}: {equal:,} of {output.rows:,} equal to "
        f"the bit, half of all at most {scientific(output.quantiles[0.5])}"
    )
    return draw(name, description, _SIZE, paint)


def _limits(output: OutputComparison, allowed: float | None) -> tuple[float, float]:
    """Return the whole decades that hold every difference, and the limit."""
    values = [value for step in output.over_time for value in (step.largest, step.mean)]
    values += [allowed] if allowed is not None else []
    known = [value for value in values if 0 < value < math.inf] or [1.0]
    high = math.ceil(math.log10(max(known)))
    low = max(math.floor(math.log10(min(known))), high - _DEPTH)
    return 10.0 ** min(low, high - 1), 10.0**high


def _label_steps(axes: Axes, last: int) -> None:
    powers = range(math.floor(math.log10(last)) + 1)
    axes.set_xticks([10**power for power in powers], [f"{10**power:,}" for power in powers])
    axes.minorticks_off()
