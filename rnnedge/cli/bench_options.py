"""Options of the commands that measure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from rnnedge.cli.command import option
from rnnedge.cli.options import SIZES

if TYPE_CHECKING:
    from rnnedge.measuring.shapes import Shape

F = TypeVar("F", bound=Callable[..., Any])
TIMES, BATCHES = (1, 10, 100), (1, 8)
"""What is measured when nobody says."""

_SHAPES = (
    option(
        "--time",
        "times",
        group=SIZES,
        type=click.IntRange(min=1),
        multiple=True,
        shown=", ".join(map(str, TIMES)),
        help="Steps of a sequence; may be given again.",
    ),
    option(
        "--batch",
        "batches",
        group=SIZES,
        type=click.IntRange(min=1),
        multiple=True,
        shown=", ".join(map(str, BATCHES)),
        help="Sequences side by side; may be given again.",
    ),
    option(
        "--shape",
        "pairs",
        group=SIZES,
        multiple=True,
        metavar="STEPSxROWS",
        callback=lambda context, option, given: _parsed(given),
        help="Steps and sequences, such as 100x1, instead of each --time with each --batch; may be "
        "given again.",
    ),
)


def shape_options(command: F) -> F:
    """Add `--time`, `--batch` and `--shape`."""
    for decorate in reversed(_SHAPES):
        command = decorate(command)
    return command


def shapes_of(
    times: Sequence[int], batches: Sequence[int], pairs: Sequence[Shape]
) -> tuple[Shape, ...]:
    """Return the shapes that were asked for."""
    from rnnedge.measuring.shapes import Shape

    if pairs:
        if times or batches:
            raise click.UsageError("--shape cannot be combined with --time or --batch")
        return tuple(dict.fromkeys(pairs))
    shapes = (Shape(time, batch) for batch in batches or BATCHES for time in times or TIMES)
    return tuple(dict.fromkeys(shapes))


def _parsed(given: tuple[str, ...]) -> tuple[Shape, ...]:
    from rnnedge.measuring.shapes import Shape
    from rnnedge_runtime.errors import InputError

    try:
        return tuple(map(Shape.parse, given))
    except InputError as error:
        raise click.BadParameter(str(error)) from None
