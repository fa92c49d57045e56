"""Latency over length as a picture, one line for each batch."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnedge.file_kinds import PLOTS
from rnnedge.matplotlib_check import check_matplotlib
from rnnedge.measuring.results import OWN, Benchmark
from rnnedge_runtime.atomic_file import atomic_file
from rnnedge_runtime.write_target import check_target, suffix_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_DASHES = ("-", "--", ":", "-.")
"""Of the lines of one side: of the model, and of its peers."""


def check_plot_path(
    path: str | os.PathLike[str],
    *,
    protected: Iterable[str | os.PathLike[str] | None] = (),
    force: bool = False,
) -> None:
    """Check that a picture can be written, before what it shows is measured.

    Args:
        path: The file to write, `.png`, `.svg` or `.pdf`.
        protected: Files that it must not replace.
        force: Whether a file that holds something else may be replaced.

    Raises:
        WriteError: When the file must not or cannot be written.
        MissingPackageError: When matplotlib is not installed.
    """
    check_target(path, PLOTS, protected=protected, force=force)
    check_matplotlib("--plot")


def write_plot(
    benchmark: Benchmark,
    path: str | os.PathLike[str],
    *,
    protected: Iterable[str | os.PathLike[str] | None] = (),
    force: bool = False,
) -> None:
    """Draw the median latency of every side over length, and write it whole or not at all.

    Args:
        benchmark: What was measured; whole sequences.
        path: The file to write, `.png`, `.svg` or `.pdf`.
        protected: Files that it must not replace, besides the model that was measured.
        force: Whether a file that holds something else may be replaced.

    Raises:
        WriteError: When the file must not or cannot be written.
        MissingPackageError: When matplotlib is not installed.
    """
    protected = (benchmark.model, *protected)
    check_plot_path(path, protected=protected, force=force)
    import matplotlib
    from matplotlib.figure import Figure

    # A user's own matplotlibrc, with TeX or a dark style in it, is for the user's own pictures.
    defaults = matplotlib.rcParamsDefault.items()
    settings: dict[Any, Any] = {k: v for k, v in defaults if not k.startswith("backend")}
    kind = suffix_of(Path(path), PLOTS)[1:]
    with (
        matplotlib.rc_context(settings),
        atomic_file(path, PLOTS, protected=protected, force=force) as file,
    ):
        figure = Figure(figsize=(8, 5), layout="constrained")
        _paint(figure.add_subplot(), benchmark)
        figure.savefig(file, format=kind, dpi=150)


def _paint(axes: Axes, benchmark: Benchmark) -> None:
    batches = sorted({result.shape.batch for result in benchmark.shapes})
    for number, batch in enumerate(batches):
        for side, dashes in zip(benchmark.sides, _DASHES, strict=False):
            points = sorted(
                (result.shape.time, result.latency[side].p50_ms)
                for result in benchmark.shapes
                if result.shape.batch == batch and side in result.latency
            )
            if not points:
                continue
            axes.plot(
                *zip(*points, strict=True),
                color=f"C{number % 10}",
                linestyle=dashes,
                marker="o",
                label=f"batch {batch}" if side == OWN else f"batch {batch}, {side}",
            )
    times = sorted({result.shape.time for result in benchmark.shapes})
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(times, [str(time) for time in times])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("length (steps)")
    axes.set_ylabel("latency of one call, median (ms)")
    axes.set_title(
        f"{Path(benchmark.model).name}, {benchmark.threads} thread(s)\n{benchmark.machine.cpu}"
    )
    axes.grid(alpha=0.3)
    axes.legend(handlelength=4)  # long enough to tell the dashes apart
