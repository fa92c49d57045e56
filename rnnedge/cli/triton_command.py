"""`rnnedge triton model.onnx -o repository/`."""

from __future__ import annotations

import json
import shlex
from typing import Any

import click

from rnnedge.cli.options import json_option
from rnnedge.cli.output import print_json, print_lines


@click.command()
@click.argument("model")
@click.option("-o", "--output", required=True, help="The folder of the model repository.")
@click.option("--name", help="The name of the model on the server [that of the file].")
@click.option(
    "--constant",
    "constants",
    multiple=True,
    metavar="NAME=VALUE",
    callback=lambda context, option, given: _values(given),
    help="The value of an input without a batch axis, such as sr=16000, which is stored in the "
    "file; may be given again.",
)
@click.option(
    "--max-batch",
    type=click.IntRange(min=1),
    default=64,
    show_default=True,
    help="Sequences in one call of the model.",
)
@click.option(
    "--streams",
    type=click.IntRange(min=1),
    default=1024,
    show_default=True,
    help="Sequences whose state each instance keeps; later ones wait.",
)
@click.option(
    "--idle-seconds",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    help="How long a sequence may be idle before its state is given up.",
)
@click.option(
    "--max-delay-ms",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="How long a request waits for others to share a call with.",
)
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option(
    "--instances",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Sessions that run side by side, on each GPU with --device cuda.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
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
