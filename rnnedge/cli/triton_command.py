"""`rnnedge triton model.onnx -o repository/`."""

from __future__ import annotations

import json
import shlex
from typing import Any

import click

from rnnedge.cli.command import FILE, Command, option
from rnnedge.cli.options import OUTPUT, json_option
from rnnedge.cli.output import print_json, print_lines

SERVER = "The server"


@click.command(
    cls=Command,
    short_help="Write MODEL for Triton Inference Server.",
    examples=(
        "rnnedge triton model.onnx -o repository",
        "rnnedge triton model.onnx -o repository --name words --streams 256",
    ),
    extra="one MODEL is written; the folder is -o {extra}",
)
@click.argument("model", type=FILE)
@option(
    "-o",
    "--output",
    group=OUTPUT,
    type=FILE,
    required=True,
    help="The folder of the model repository.",
)
@option(
    "--name", group=SERVER, shown="that of the file", help="The name of the model on the server."
)
@option(
    "--constant",
    "constants",
    group=SERVER,
    multiple=True,
    metavar="NAME=VALUE",
    callback=lambda context, option, given: _values(given),
    help="The value of an input without a batch axis, such as sr=16000, which is stored in the "
    "file; may be given again.",
)
@option(
    "--max-batch",
    group=SERVER,
    type=click.IntRange(min=1),
    default=64,
    help="Sequences in one call of the model.",
)
@option(
    "--streams",
    group=SERVER,
    type=click.IntRange(min=1),
    default=1024,
    help="Sequences whose state each instance keeps; later ones wait.",
)
@option(
    "--idle-seconds",
    group=SERVER,
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    help="How long a sequence may be idle before its state is given up.",
)
@option(
    "--max-delay-ms",
    group=SERVER,
    type=click.FloatRange(min=0),
    default=0.0,
    help="How long a request waits for others to share a call with.",
)
@option(
    "--device",
    group=SERVER,
    type=click.Choice(["cpu", "cuda"]),
    default="cpu",
    help="Where the model runs.",
)
@option(
    "--instances",
    group=SERVER,
    type=click.IntRange(min=1),
    default=1,
    help="Sessions that run side by side, on each GPU with --device cuda.",
)
@option(
    "--threads",
    group=SERVER,
    type=click.IntRange(min=1),
    default=1,
    help="Threads inside one operator on the CPU.",
)
@json_option
def triton(
    model: str,
    output: str,
    name: str | None,
    constants: dict[str, Any],
    *,
    as_json: bool,
    **options: Any,
) -> None:
    """Write MODEL into a model repository of Triton Inference Server.

    Triton keeps the state of each sequence. MODEL is rewritten with the batch axis in front where
    it is elsewhere, and the new file is compared with a stream of the old one before it is written.
    """
    from rnnedge.triton import ServingOptions, write_repository

    written = write_repository(
        model, output, name=name, constants=constants, options=ServingOptions(**options)
    )
    if as_json:
        print_json(written.to_dict())
        return
    print_lines(*(f"note: {note}" for note in written.notes))
    same = "the same to the bit" if not written.difference else f"within {written.difference:.1e}"
    how = (
        "request by request, it gives what a stream of"
        if written.interface.states
        else "it gives what"
    )
    print_lines(
        f"compared: {how} {model} gives, {same}",
        f"wrote {written.folder} (sha256 {written.sha256[:12]})",
        f"next: tritonserver --model-repository={shlex.quote(output)}",
    )


def _values(given: tuple[str, ...]) -> dict[str, Any]:
    values = {}
    for text in given:
        name, equals, value = text.partition("=")
        try:
            values[name] = json.loads(value)
        except ValueError:
            equals = ""
        if not equals:
            raise click.BadParameter(f"expected NAME=NUMBER or NAME=[NUMBER, ...], got {text!r}")
    return values
