"""`rnnedge export SOURCE [-o model.onnx]`."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from rnnedge.cli.c_program import (
    check_program,
    program_as_dict,
    program_lines,
    program_options,
    write_c_program,
)
from rnnedge.cli.export_target import default_output, next_command
from rnnedge.cli.options import (
    calibrate_option,
    force_option,
    interface_options,
    json_option,
    layer_options,
    source_of,
    weight_options,
)
from rnnedge.cli.output import print_json, print_lines, progress_bar, refuse_unequal
from rnnedge.cli.quantization_table import quantization_table, reasons
from rnnedge.file_kinds import is_onnx
from rnnedge_exporters.option_values import FLOAT_LOWERINGS, INTEGER_LOWERINGS, TARGETS
from rnnedge_runtime.atomic_file import write_file
from rnnedge_runtime.write_target import ONNX, check_target


@click.command()
@click.argument("source", required=False)
@click.option(
    "-o",
    "--output",
    help="The .onnx file, with --target c the folder, to write [in the current folder, named "
    "after SOURCE; never one that is there already].",
)
@force_option
@layer_options
@interface_options
@click.option(
    "--target",
    type=click.Choice(TARGETS),
    default="cpu",
    show_default=True,
    help="What the ONNX form of each layer is chosen for; c writes a folder of C99.",
)
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="With --target c, rows of each call.",
)
@click.option(
    "--max-steps",
    type=click.IntRange(min=1),
    help="With --target c, write no step function, but whole sequences of so many steps, for a "
    "model that looks ahead.",
)
@click.option(
    "--lowering",
    type=click.Choice([*FLOAT_LOWERINGS, *INTEGER_LOWERINGS]),
    help="The ONNX form of every layer [what --target asks for].",
)
@weight_options
@calibrate_option
@click.option(
    "--max-error",
    type=click.FloatRange(min=0, min_open=True),
    help="Keep in float32 the layers that make the outputs be off by more, on --calibrate or on "
    "random input.",
)
@click.option(
    "--opset", type=int, help="ONNX operator set [the lowest that works; that of an .onnx file]."
)
@click.option(
    "--validate/--no-validate",
    default=True,
    help="Run module and file at other sizes, and prove parity, before writing.",
)
@click.option(
    "--golden", help="Folder for golden vectors, which the device checks without PyTorch."
)
@click.option("--verbose", is_flag=True, help="Show torch's own remarks.")
@json_option
def export(
    source: str | None,
    output: str | None,
    *,
    force: bool,
    inputs: tuple[str, ...],
    validate: bool,
    golden: str | None,
    calibrate: str | None,
    max_error: float | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Export SOURCE to ONNX, and prove that the file computes what PyTorch computes.

    SOURCE may be an .onnx file of any exporter, whose weights --quantize or --dtype float16 writes
    in fewer bits: then the file is proven against that one.
    """
    writing: dict[str, Any] = {
        "protected": [source, calibrate],
        "force": force,
        "replace": output is not None,
    }
    if output is None:
        chosen = {name: given[name] for name in ("cell", "quantize", "dtype")}
        output = default_output(source, **chosen, folder=given["target"] == "c")
    program = program_options(output, given)
    if program is None:
        check_target(output, ONNX, **writing)
    else:
        check_program(output, golden=golden, **writing)
    if golden and not validate:
        raise click.UsageError("--golden requires validation: leave --no-validate out")
    if is_onnx(source):
        from rnnedge.cli.onnx_source import export_onnx

        export_onnx(
            str(source),
            output,
            given,
            writing,
            validate=validate,
            golden=golden,
            program=program,
            as_json=as_json,
        )
        return
    from rnnedge.parity import validate as validate_file
    from rnnedge_exporters.exporter import export as export_module

    if calibrate and not validate:
        raise click.UsageError("--calibrate requires validation: leave --no-validate out")
    if golden is not None:
        from rnnedge.golden_vectors import check_golden_folder

        check_golden_folder(golden)
    loaded = source_of(source, given)
    if inputs:
        from rnnedge.sources.input_specs import parse_inputs

        examples = parse_inputs(inputs)
        given.update(example_inputs=examples.tensors, dynamic_axes=examples.dynamic_axes)
    if calibrate and given["quantize"]:
        given["calibrate"] = calibrate
    report = None
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / "model.onnx"
        if max_error is None:
            made = export_module(loaded.module, temporary, validate=validate, **given)
        else:
            from rnnedge.max_error import export_within

            with progress_bar("measuring layers") as progress:
                made = export_within(
                    loaded.module,
                    temporary,
                    max_error=max_error,
                    progress=progress,
                    **{"calibrate": calibrate, "validate": validate} | given,
                )
        result = replace(made, path=Path(output), notes=(*loaded.notes, *made.notes))
        if validate:
            with progress_bar("validating") as progress:
                report = validate_file(
                    temporary,
                    against=replace(loaded, untold=(), remarks=()),  # they are in the result
                    device="auto" if given["target"] == "cuda" else "cpu",
                    golden=golden,
                    calibrate=calibrate,
                    progress=progress,
                )
            report = replace(report, model=output)
            if not report:
                refuse_unequal(report, as_json=as_json)
        content = temporary.read_bytes()
        if program is None:
            write_file(output, content, ONNX, **writing)
        else:
            written = write_c_program(
                content, output, program, name=source or "the model", force=force
            )
            result = replace(result, program=written)
    if as_json:
        print_json(
            {
                "written": True,
                "model": output,
                "bytes": result.bytes,
                "sha256": result.sha256,
                "contract": asdict(result.contract),
                "notes": result.notes,
                "quantization": [asdict(layer) for layer in result.quantization],
                "trial": asdict(result.report),
                "report": report.to_dict() if report else None,
            }
            | program_as_dict(result.program)
        )
        return
    if report:
        print_lines(report.table(), *report.notes, report.verdict)
        if report.rounding and report.rounding.halves and report.device == "cpu":
            print_lines("this CPU computes in float32: on the GPU, rnnedge validate --device cuda")
    if result.quantization:
        print_lines(quantization_table(result.quantization), *reasons(result.quantization))
    print_lines(*(f"note: {note}" for note in result.notes), f"wrote {result}")
    if golden:
        print_lines(f"wrote {golden}, the golden vectors")
    if result.program is not None:
        print_lines(*program_lines(result.program))
    else:
        print_lines("next:", next_command(output, result.contract.interface, golden))
