"""`rnnedge export --target c`: the folder that is written, and what is printed about it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from rnnedge.cli.export_target import is_onnx_name
from rnnedge.cli.output import print_json, print_lines
from rnnedge_runtime.write_target import already_there

if TYPE_CHECKING:
    from rnnedge_exporters.c_source.target import CProgram


def program_options(output: str, given: dict[str, Any]) -> dict[str, Any] | None:
    """Return the options of a C program; takes them out of `given`.

    Args:
        output: What is written.
        given: What click passed on.

    Returns:
        What `write_program` takes, or None where an .onnx file is written.

    Raises:
        click.UsageError: For options of a C program where none is written.
    """
    options = {name: given.pop(name) for name in ("batch", "max_steps")}
    if given["target"] == "c" and not is_onnx_name(output):
        stem, suffix = os.path.splitext(output.rstrip("/"))
        if suffix in (".c", ".h"):
            raise click.UsageError(f"-o {output}: --target c writes a folder of files: -o {stem}")
        if given["metadata"]:
            raise click.UsageError("--metadata: a C program has no place for it: leave it out")
        return options
    context = click.get_current_context()
    for name in options:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = f"--{name.replace('_', '-')}"
            raise click.UsageError(f"{option}: requires --target c and a folder as -o")
    return None


def check_program(
    output: str,
    *,
    golden: str | None,
    protected: Iterable[str | None],
    force: bool,
    replace: bool,
) -> None:
    """Refuse a folder that a C program must not be written to.

    Args:
        output: The folder.
        golden: The folder of golden vectors, which a C program has inside.
        protected: Files that are read; they cannot lie in a folder that may be replaced.
        force: Whether files that rnnedge did not write may be replaced.
        replace: Whether an existing folder may be replaced.

    Raises:
        click.UsageError: For golden vectors in a separate folder.
        WriteError: When the folder must not or cannot be written.
    """
    from rnnedge_exporters.c_source.program_folder import check_program_folder

    if golden is not None:
        raise click.UsageError("--golden: a C program has its golden vectors inside: leave it out")
    check_program_folder(output, force=force, protected=protected)
    if not replace and os.path.lexists(output):
        raise already_there(output)


def write_c_program(
    content: bytes, output: str, options: Mapping[str, Any], *, name: str, force: bool
) -> CProgram:
    """Write a C program.

    Args:
        content: The `.onnx` file.
        output: The folder.
        options: What `program_options` returned.
        name: The model, for messages.
        force: Whether files that rnnedge did not write may be replaced.

    Returns:
        What was written.
    """
    from rnnedge_exporters.c_source.target import write_program

    return write_program(content, output, name=name, force=force, **options)


def program_as_dict(program: CProgram | None) -> dict[str, Any]:
    """Return what `--json` says about a C program; nothing where there is none."""
    if program is None:
        return {}
    return {"program": asdict(program) | {"folder": str(program.folder)}}


def program_lines(program: CProgram) -> list[str]:
    """Return the lines that are printed about a C program."""
    sizes = program.sizes
    steps = "step" if program.max_steps is None else f"run of {program.max_steps} steps"
    return [
        f"flash   {sizes.weights:,} bytes of weights, about {sizes.code:,} of code",
        f"RAM     {sizes.state:,} bytes for each {program.prefix}_state",
        f"stack   about {sizes.stack:,} bytes",
        f"a {steps}: {sizes.macs:,} multiply-accumulates",
        "next:",
        f"make -C {shlex.quote(str(program.folder))} test",
    ]


def print_program(program: CProgram, *, as_json: bool) -> None:
    """Print a C program that was made from an .onnx file as it is."""
    if as_json:
        print_json({"written": True} | program_as_dict(program))
    else:
        print_lines(f"wrote {program}", *program_lines(program))
