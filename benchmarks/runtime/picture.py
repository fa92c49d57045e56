"""A picture of growth over time, and of how much of the least time is reached."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.runtime.growth import TIMES, Growth
from benchmarks.runtime.roofline import Bound


def draw(growth: Growth, bounds: Sequence[Bound], path: Path) -> None:
    """Draw what was measured into a PNG."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, us in growth.step_us.items():
        left.plot(TIMES, us, marker="o", markersize=4, label=name)
    left.set(xscale="log", xlabel="steps", ylabel="µs a step")
    left.set_ylim(bottom=0)
    left.legend(fontsize=8)
    left.grid(alpha=0.3)
    names = [bound.name for bound in bounds]
    sides = list(bounds[0].reached)
    width = 0.8 / len(sides)
    for index, side in enumerate(sides):
        places = [place + (index - (len(sides) - 1) / 2) * width for place in range(len(names))]
        right.bar(places, [bound.share(side) for bound in bounds], width, label=side)
    right.axhline(1, color="black", linewidth=0.8)
    right.set(xticks=range(len(names)), ylabel="least time / time reached")
    right.set_xticklabels(names, rotation=90, fontsize=6)
    # Above the axes: bars reach the top of them.
    right.legend(
        fontsize=8, ncols=len(sides), loc="lower center", bbox_to_anchor=(0.5, 1), frameon=False
    )
    figure.savefig(path, dpi=130)
