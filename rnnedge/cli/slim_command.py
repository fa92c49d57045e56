"""`rnnedge slim model.onnx -o folder`."""

from __future__ import annotations

import shlex

import click

from rnnedge.cli.command import FILE, Command, option
from rnnedge.cli.options import OUTPUT, json_option
from rnnedge.cli.output import print_json, print_lines


@click.command(
    cls=Command,
    examples=("rnnedge slim model.onnx -o slim",),
    extra="one MODEL is written; the folder is -o {extra}",
)
@click.argument("model", type=FILE)
@option("-o", "--output", group=OUTPUT, type=FILE, required=True, help="The folder to write.")
@json_option
def slim(model: str, output: str, *, as_json: bool) -> None:
    """Write what a small build of ONNX Runtime for MODEL needs.

    That is MODEL in the ORT format, which builds without ONNX read, and the list of operators that
    the build has to keep. The new file is compared with MODEL before it is written.
    """
    from rnnedge.slim import CONFIG, write_slim

    written = write_slim(model, output)
    if as_json:
        print_json(written.to_dict())
        return
    same = "the same to the bit" if not written.difference else f"within {written.difference:.1e}"
    print_lines(
        f"compared: {written.runs} runs give what {model} gives, {same}",
        f"{model}: {written.bytes_before:,} bytes",
        f"{written.model}: {written.bytes_after:,} bytes (sha256 {written.sha256[:12]})",
        f"{CONFIG}: {len(written.operators)} of the {written.known:,} operators that the ONNX "
        "Runtime here knows",
        f"wrote {output}",
        "next, in a checkout of onnxruntime: ./build.sh --config MinSizeRel --minimal_build "
        "--disable_exceptions --disable_ml_ops --build_shared_lib --skip_tests "
        f"--include_ops_by_config {shlex.quote(f'{output}/{CONFIG}')} "
        "--enable_reduced_operator_type_support",
    )
