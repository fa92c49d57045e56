"""The pictures of the page: error over time, error over shapes, and how many units it is off."""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element

import numpy as np

from rnnedge.parity.results import CaseResult, Curve, Histogram
from rnnedge.reports.page import drawing
from rnnedge.reports.page.drawing import axes_of, draw
from rnnedge.reports.text import scientific, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIZE = (360.0, 220.0)
_BOX = (0.175, 0.2, 0.81, 0.76)
_FIRST = 1 - len(drawing.HEAT) // 2
"""Power of ten that the first colour of the heat map ends at; the last one has no end."""
_LETTERED = 10
"""Cells in a row or column of the heat map up to which each holds its number."""
_ROW, _TALLEST = 30.0, 400.0
"""Height of a row of the heat map, and of all of them."""
_WIDE = 420.0
_MAP = (0.1, 0.89)
"""Left edge and width of the heat map, as parts of its picture."""


def time_chart(
    name: str, curve: Curve, allowed: float | None, limits: tuple[float, float]
) -> Element:
    """Draw the error at each step on a logarithmic scale.

    Args:
        name: What ids begin with.
        curve: One output or layer.
        allowed: Where the line of the tolerance is; None draws none.
        limits: Smallest and largest error on the scale; what is beyond lies on the edge.
    """

    def paint(figure: Figure) -> None:
        axes = axes_of(figure, _BOX, "time (step)", "largest absolute error")
        steps = np.arange(len(curve.model))
        marker = "o" if len(steps) == 1 else ""
        sides = ((curve.torch, drawing.TORCH, 1.2), (curve.model, drawing.MODEL, 1.6))
        for values, color, width in sides:
            if values:
                axes.plot(steps, np.clip(values, *limits), color=color, lw=width, marker=marker)
        lost = [step for step, value in enumerate(curve.model) if not math.isfinite(value)]
        axes.plot(lost, [limits[1]] * len(lost), "x", color=drawing.ALARM, clip_on=False)
        if allowed is not None:
            axes.axhline(allowed, color=drawing.LIMIT, linewidth=1.4, linestyle=(0, (5, 3)))
        axes.set_yscale("log")
        axes.set_ylim(limits[0] / 1.5, limits[1] * 1.5)
        label_decades(axes, limits)
        axes.locator_params("x", integer=True, nbins=7)

    words = f"{curve.name}: model {_range(curve.model)}"
    words += f", PyTorch float32 {_range(curve.torch)}" if curve.torch else ""
    words += f", allowed {scientific(allowed)}" if allowed is not None else ""
    return draw(name, f"Error at each of {len(curve.model)} steps of {words}", _SIZE, paint)


def label_decades(axes: Axes, limits: tuple[float, float]) -> None:
    """Label powers of ten as the tables write them."""
    low, high = (round(math.log10(limit)) for limit in limits)
    powers = range(low, high + 1, max(1, math.ceil((high - low) / 6)))
    axes.set_yticks([10.0**power for power in powers], [f"1e{power:+03d}" for power in powers])
    axes.minorticks_off()


def _range(values: tuple[float, ...]) -> str:
    return f"{scientific(min(values))} to {scientific(max(values))}"


def shape_chart(name: str, worst: Mapping[tuple[int, int], CaseResult]) -> Element:
    """Draw the part of what is allowed that the error takes, for each shape that was run.

    Args:
        name: What ids begin with.
        worst: The worst result of each time and batch; one or more.
    """
    times = sorted({time for time, _ in worst})
    batches = sorted({batch for _, batch in worst})
    map_height = min(_ROW * len(batches), _TALLEST)
    height = 108 + map_height
    lettered = max(len(times), len(batches)) <= _LETTERED

    def paint(figure: Figure) -> None:
        tall = map_height / height
        box = (_MAP[0], 1 - tall - 4 / height, _MAP[1], tall)
        axes = axes_of(figure, box, "time (steps)", "batch (rows)")
        axes.grid(visible=False)
        axes.spines["bottom"].set_visible(False)
        for x, time in enumerate(times):
            for y, batch in enumerate(batches):
                _paint_cell(axes, (x, y), worst.get((time, batch)), lettered=lettered)
        axes.set_xlim(-0.5, len(times) - 0.5)
        axes.set_ylim(-0.5, len(batches) - 0.5)
        axes.set_xticks(*_some(times))
        axes.set_yticks(*_some(batches))
        _paint_scale(figure, height)

    top = max(worst.values(), key=lambda result: result.badness)
    failed = sum(not result for result in worst.values())
    description = (
        f"Error as a part of what is allowed at {len(worst)} shapes, {failed or 'none'} outside "
        f"tolerance; the worst is {short(top.badness)} times what is allowed, at {top.case}"
    )
    return draw(name, description, (_WIDE, height), paint)


def _some(sizes: list[int]) -> tuple[list[int], list[str]]:
    """Return the places and texts of as many sizes as there is room for."""
    step = math.ceil(len(sizes) / (2 * _LETTERED))
    return list(range(0, len(sizes), step)), [str(size) for size in sizes[::step]]


def _paint_cell(
    axes: Axes, at: tuple[int, int], result: CaseResult | None, *, lettered: bool
) -> None:
    from matplotlib.patches import Rectangle

    if result is None:
        return
    corner, size = (at[0] - 0.47, at[1] - 0.45), (0.94, 0.9)
    color, ink, words = drawing.ALARM, drawing.BLANK, _trouble(result)
    if not words:
        level = _level(result.badness)
        color, ink, words = drawing.HEAT[level], drawing.HEAT_INK[level], _share(result)
    axes.add_patch(Rectangle(corner, *size, facecolor=color, edgecolor="none"))
    words = words if lettered else "" if result else "✕"
    axes.text(*at, words, color=ink, ha="center", va="center_baseline")


def _trouble(result: CaseResult) -> str:
    """Return what is wrong besides the values, in one word that fits a cell."""
    if result.problem:
        return "shape" if result.problem.startswith("shape") else "error"
    return "" if math.isfinite(result.error) else "NaN"


def _share(result: CaseResult) -> str:
    """Return a part of what is allowed, in at most six characters."""
    share = result.badness
    if share < 0.001:
        return "<.001" if share else "0"
    if share < 1000:
        text = f"{share:.0f}" if share >= 10 else f"{share:.1g}"
    else:
        text = f"{share:.0e}".replace("e+0", "e").replace("e+", "e")
    return text if result else f"✕{text}"


def _level(share: float) -> int:
    """Return which colour a part of what is allowed has."""
    power = math.ceil(math.log10(share)) if share else _FIRST
    return min(max(power - _FIRST, 0), len(drawing.HEAT) - 1)


def _paint_scale(figure: Figure, height: float) -> None:
    """Draw the colours and what they mean, under the map."""
    from matplotlib.patches import Rectangle

    axes = figure.add_axes((_MAP[0], 42 / height, _MAP[1], 9 / height))
    for level, color in enumerate(drawing.HEAT):
        axes.add_patch(Rectangle((level + 0.03, 0), 0.94, 1, facecolor=color, edgecolor="none"))
    axes.set_xlim(0, len(drawing.HEAT))
    powers = range(_FIRST, _FIRST + len(drawing.HEAT) - 1)
    axes.set_xticks(
        range(1, len(drawing.HEAT)), [f"{10**p}×" if p >= 0 else f"{10.0**p:g}×" for p in powers]
    )
    axes.set_yticks([])
    axes.set_xlabel("error / allowed error", color=drawing.INK)
    axes.tick_params(colors=drawing.INK, length=0, pad=4)
    axes.set_frame_on(False)


def ulps_chart(name: str, output: str, histogram: Histogram) -> Element:
    """Draw how many of the values are off by how many units in the last place.

    Args:
        name: What ids begin with.
        output: Name of the output, for the description.
        histogram: Counts; one or more of them above 0.
    """
    counts = np.array([histogram.model, histogram.torch], float)
    filled = np.flatnonzero(counts.sum(axis=0))
    first, last = max(filled[0] - 1, 0), min(filled[-1] + 1, counts.shape[1] - 1)
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    edges = np.array(histogram.edges)

    def paint(figure: Figure) -> None:
        axes = axes_of(figure, _BOX, "error (float32 ulps)", "share of values (%)")
        shown = slice(first, last + 1)
        bounds = edges[first : last + 2]
        axes.stairs(shares[0, shown], bounds, fill=True, color=drawing.MODEL, alpha=0.55)
        axes.stairs(shares[1, shown], bounds, color=drawing.TORCH, linewidth=1.8)
        axes.set_xscale("log", base=2)
        axes.set_xlim(bounds[0], bounds[-1])
        axes.set_ylim(0, 1.06 * shares.max())
        ticks = bounds[:: max(1, math.ceil(len(bounds) / 8))]
        axes.set_xticks(ticks, [_binary(float(tick)) for tick in ticks])
        axes.minorticks_off()

    below = [float(share[edges[1:] <= 1].sum()) for share in shares]
    description = (
        f"Errors of all values of {output} in float32 units in the last place: "
        f"{below[0]:.0f} % of the model's and {below[1]:.0f} % of PyTorch's are within one unit"
    )
    return draw(name, description, _SIZE, paint)


def _binary(value: float) -> str:
    """Return a power of two as an engineer reads it: `1/8`, `16`, `2^17`."""
    if value > 4096:
        return f"2^{round(math.log2(value))}"
    return str(Fraction(value))
