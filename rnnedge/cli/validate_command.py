"""`rnnedge validate model.onnx --against SOURCE`."""

from __future__ import annotations

from typing import Any

import click

from rnnedge.cli.options import json_option, layer_options, source_of
from rnnedge.cli.output import ParityError, print_json, print_lines, progress_bar


@click.command()
@click.argument("model")
@click.option("--against", "source", help="The SOURCE; without it, the layer that options build.")
@layer_options
@click.option(
    "--atol",
    type=click.FloatRange(min=0, min_open=True),
    help="Absolute error allowed [1e-5].",
)
@click.option(
    "--device",
    type=click.Choice(["cpu", "cuda", "auto"]),
    default="cpu",
    show_default=True,
    help="Where the model runs.",
)
@json_option
def validate(
    model: str, source: str | None, atol: float | None, device: str, as_json: bool, **given: Any
) -> None:
    """Check that MODEL computes what its source computes in PyTorch float64."""
    from rnnedge.parity import Tolerance
    from rnnedge.parity import validate as validate_file

    loaded = source_of(source, given)
    tolerance = Tolerance() if atol is None else Tolerance(absolute=atol)
    with progress_bar("validating") as progress:
        report = validate_file(
            model, against=loaded, tolerance=tolerance, device=device, progress=progress
        )
    if as_json:
        print_json(report.to_dict())
    else:
        print_lines(report.table(), *report.notes)
    if not report:
        raise ParityError(report.verdict)
    if not as_json:
        print_lines(report.verdict)
