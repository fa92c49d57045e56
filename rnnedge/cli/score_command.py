"""`rnnedge score model.onnx DATA -o OUT`."""

from __future__ import annotations

from typing import Any

import click

from rnnedge.cli.options import json_option
from rnnedge.cli.output import print_json, print_lines
from rnnedge_runtime.scoring.command import HELP, score_command, summary


def _help(name: str) -> str:
    text = HELP[name]
    return f"{text[0].upper()}{text[1:]}."


@click.command()
@click.argument("model")
@click.argument("data")
@click.option("-o", "--output", required=True, metavar="OUT", help="The folder to write.")
@click.option("--column", multiple=True, metavar="INPUT=COLUMN", help=_help("column"))
@click.option("--constant", multiple=True, metavar="INPUT=NUMBER", help=_help("constant"))
@click.option("--id", help=_help("id"))
@click.option("--keep", default="last", help=_help("keep"))
@click.option("--output-name", "outputs", multiple=True, help=_help("output_name"))
@click.option("--slots", type=click.IntRange(min=1), default=32, help=_help("slots"))
@click.option("--chunk", type=click.IntRange(min=1), default=64, help=_help("chunk"))
@click.option("--memory", default="512MB", help=_help("memory"))
@click.option(
    "--runtime",
    type=click.Choice(["auto", "native", "onnxruntime"]),
    default="auto",
    help=_help("runtime"),
)
@click.option(
    "--engine", type=click.Choice(["local", "ray"]), default="local", help=_help("engine")
)
@click.option("--address", help=_help("address"))
@click.option("--workers", type=click.IntRange(min=1), help=_help("workers"))
@click.option("--only", metavar="I/N", help=_help("only"))
@click.option("--part-rows", type=click.IntRange(min=1), help=_help("part_rows"))
@click.option("--reader", help=_help("reader"))
@click.option("--strict", is_flag=True, help=_help("strict"))
@json_option
def score(
    model: str,
    data: str,
    output: str,
    *,
    outputs: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> int:
    """Score every sequence of DATA with MODEL, without PyTorch.

    \b
    DATA is one of
      a table                  .parquet, .arrow, .feather: a list of steps in each row
      arrays                   .npz with the axes of the inputs, and lengths for ragged rows
      a folder of these        read in the order of file names
      a folder of .npy files   one row each
      a folder of WAV files    with --reader

    OUT gets Parquet files with the id, the outputs and an error for each row. A job that was
    stopped goes on when the same command is given again. Needs pyarrow.

    Exit codes: 0 done, 1 an error, 2 wrong usage, 4 some rows have errors.
    """  # noqa: D301  # \b is click's own mark
    result, code = score_command(model, data, output, outputs=outputs or None, **options)
    if as_json:
        from dataclasses import asdict

        print_json(asdict(result))
    else:
        print_lines(*summary(result))
    return code
