"""`rnnedge score model.onnx DATA -o OUT`."""

from __future__ import annotations

from typing import Any

import click

from rnnedge.cli.command import FILE, Command, option
from rnnedge.cli.options import OUTPUT, json_option
from rnnedge.cli.output import print_json, print_lines
from rnnedge_runtime.scoring.command import HELP, OPTIONS, score_command, summary

_SCORING = "The scoring"


def _help(name: str) -> dict[str, str]:
    """Return the help of an option, and its default apart."""
    text, _, default = HELP[name].removesuffix("]").partition(" [default: ")
    described = {"help": f"{text[0].upper()}{text[1:]}.", "group": _SCORING}
    if "type" not in OPTIONS[name] and "metavar" in OPTIONS[name]:
        described["metavar"] = OPTIONS[name]["metavar"]
    return described | ({"shown": default} if default else {})


@click.command(
    cls=Command,
    short_help="Score every sequence of some files.",
    examples=(
        "rnnedge score model.onnx rows.npz -o scores",
        "rnnedge score model.onnx corpus -o answers --column input=frames --id utt",
        "rnnedge score model.onnx rows.npz -o states --keep all --workers 1",
    ),
    extra="MODEL and DATA are one each, a folder is read whole; the folder to write is -o {extra}",
)
@click.argument("model", type=FILE)
@click.argument("data", type=FILE)
@option(
    "-o",
    "--output",
    group=OUTPUT,
    type=FILE,
    required=True,
    metavar="OUT",
    help="The folder to write.",
)
@option("--column", multiple=True, **_help("column"))
@option("--constant", multiple=True, **_help("constant"))
@option("--id", **_help("id"))
@option("--keep", default="last", **_help("keep"))
@option("--output-name", "outputs", multiple=True, **_help("output_name"))
@option("--slots", type=click.IntRange(min=1), default=32, **_help("slots"))
@option("--chunk", type=click.IntRange(min=1), default=64, **_help("chunk"))
@option("--memory", default="512MB", **_help("memory"))
@option(
    "--runtime",
    type=click.Choice(["auto", "native", "onnxruntime"]),
    default="auto",
    **_help("runtime"),
)
@option("--engine", type=click.Choice(["local", "ray"]), default="local", **_help("engine"))
@option("--address", **_help("address"))
@option("--workers", type=click.IntRange(min=1), **_help("workers"))
@option("--only", **_help("only"))
@option("--part-rows", type=click.IntRange(min=1), **_help("part_rows"))
@option("--reader", **_help("reader"))
@option("--strict", is_flag=True, **_help("strict"))
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
      a table                 .parquet, .arrow, .feather: steps in each row
      arrays                  .npz by input, with lengths for ragged rows
      a folder of these       read in the order of file names
      a folder of .npy files  one row each
      a folder of WAV files   with --reader

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
