"""`rnnedge run model.onnx --input x.npy -o out.npz`."""

from __future__ import annotations

from typing import Any

import click

from rnnedge.cli.command import FILE, Command, option
from rnnedge.cli.options import INTERFACE, OUTPUT, force_option, json_option, session_options
from rnnedge.cli.output import print_json, print_lines
from rnnedge_runtime.run_files import (
    check_output,
    files_read,
    output_lines,
    outputs_as_dict,
    run_files,
    write_outputs,
)
from rnnedge_runtime.session import Session


@click.command(
    cls=Command,
    short_help="Run MODEL once, without PyTorch.",
    examples=(
        "rnnedge run model.onnx --input x.npy -o out.npz",
        "rnnedge run model.onnx --input x.npy --state out.npz -o next.npz",
        "rnnedge run model.onnx --input input=x.npy --json",
    ),
    extra="what MODEL is fed with is --input {extra}",
)
@click.argument("model", type=FILE)
@option(
    "--input",
    "inputs",
    group=INTERFACE,
    type=FILE,
    multiple=True,
    required=True,
    help="An .npy file, an .npz of arrays by input name, or name=file.npy; may be given again.",
)
@option(
    "--lengths",
    "lengths_file",
    group=INTERFACE,
    type=FILE,
    help="An .npy file with the length of each row.",
)
@option(
    "--state",
    "state_file",
    group=INTERFACE,
    type=FILE,
    shown="zeros",
    help="An .npz with the initial state, as -o writes it.",
)
@option(
    "-o",
    "--output",
    group=OUTPUT,
    type=FILE,
    help="The .npz file to write, with every output by name.",
)
@force_option
@session_options
@json_option
def run(
    model: str,
    inputs: tuple[str, ...],
    lengths_file: str | None,
    state_file: str | None,
    output: str | None,
    *,
    force: bool,
    device: Any,
    threads: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Run MODEL once, without PyTorch.

    The file that -o writes can be given to --state: the next run goes on where this one ended.
    """
    read = files_read(model, inputs, lengths_file, state_file)
    check_output(output, read, force=force)
    session = Session(model, device=device, threads=threads, **options)
    result = run_files(session, inputs, lengths=lengths_file, state=state_file)
    if output is not None:
        write_outputs(output, result, session, read=read, force=force)
    if as_json:
        print_json(outputs_as_dict(result, session, output))
    else:
        print_lines(*output_lines(result, output))
