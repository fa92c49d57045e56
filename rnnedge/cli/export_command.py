"""`rnnedge export SOURCE [-o model.onnx]`."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rnnedge.cli.c_program import (
    check_program,
    program_as_dict,
    program_lines,
    program_options,
    write_c_program,
)
from rnnedge.cli.command import FILE, Command, option
from rnnedge.cli.export_target import default_output, next_command
from rnnedge.cli.options import (
    OUTPUT,
    PROOF,
    WEIGHTS,
    calibrate_option,
    force_option,
    interface_options,
    json_option,
    layer_options,
    source_of,
    weight_options,
)
from rnnedge.cli.output import print_json, print_lines, progress_bar, refuse_unequal
from rnnedge.cli.quantization_table import costs, quantization_table, reasons
from rnnedge.file_kinds import is_onnx
from rnnedge_exporters.option_values import FLOAT_LOWERINGS, INTEGER_LOWERINGS, TARGETS
from rnnedge_runtime.atomic_file import write_file
from rnnedge_runtime.write_target import ONNX, check_target

if TYPE_CHECKING:
    from rnnedge.parity import Report
    from rnnedge.sources.load import Source
    from rnnedge_exporters.exporter import ExportResult


_FORMS = (*FLOAT_LOWERINGS, *INTEGER_LOWERINGS)


@click.command(
    cls=Command,
    short_help="Export SOURCE to ONNX or C, and prove it.",
    examples=(
        "rnnedge export weights.pt -o model.onnx",
        "rnnedge export net:Net --weights net.pt --input 'x=float32[batch,time,40]'",
        "rnnedge export weights.pt --quantize int8 --golden vectors",
        "rnnedge export model.onnx --quantize int8 -o small.onnx",
        "rnnedge export --cell gru --input-size 8 --hidden-size 16 -o gru.onnx",
        "rnnedge export weights.pt --target c -o keyword",
    ),
    extra="the file to write is -o {extra}; the weights of a class are --weights {extra}",
)
@click.argument("source", required=False, type=FILE)
@option(
    "-o",
    "--output",
    group=OUTPUT,
    type=FILE,
    shown="in the current folder, named after SOURCE; never one that exists",
    help="The .onnx file, with --target c the folder, to write.",
)
@force_option
@layer_options
@interface_options
@option(
    "--target",
    group=WEIGHTS,
    type=click.Choice(TARGETS),
    default="cpu",
    help="What the ONNX form of each layer is chosen for; c writes a folder of C99.",
)
@option(
    "--batch",
    group=WEIGHTS,
    type=click.IntRange(min=1),
    default=1,
    help="With --target c, rows of each call.",
)
@option(
    "--max-steps",
    group=WEIGHTS,
    type=click.IntRange(min=1),
    help="With --target c, write no step function, but whole sequences of so many steps, for a "
    "model that looks ahead.",
)
@option(
    "--lowering",
    group=WEIGHTS,
    type=click.Choice(_FORMS),
    metavar="FORM",
    shown="what --target asks for",
    help=f"The ONNX form of every layer: {', '.join(_FORMS)}.",
)
@weight_options
@calibrate_option
@option(
    "--max-error",
    group=PROOF,
    type=click.FloatRange(min=0, min_open=True),
    help="Keep in float32 the layers that make the outputs be off by more, on --calibrate or on "
    "random input.",
)
@option(
    "--opset",
    group=WEIGHTS,
    type=int,
    shown="the lowest that works; that of an .onnx file",
    help="ONNX operator set.",
)
@option(
    "--metadata",
    group=WEIGHTS,
    multiple=True,
    metavar="NAME=VALUE",
    callback=lambda context, option, given: _metadata(given),
    help="Keep it in the file, such as sample_rate=16000 or labels=yes,no: text, or JSON; may be "
    "given again.",
)
@option(
    "--validate/--no-validate",
    group=PROOF,
    default=True,
    shown="validate",
    help="Run module and file at other sizes, and prove parity, before writing.",
)
@option(
    "--golden",
    group=PROOF,
    type=FILE,
    help="Folder for golden vectors, which the device checks without PyTorch.",
)
@option("--verbose", group=OUTPUT, is_flag=True, help="Show torch's own remarks.")
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
    if is_onnx(source):
        _check_proofs(golden, None, validate=validate)
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
    _check_proofs(golden, calibrate, validate=validate)
    examples, remarks = _examples(inputs)
    loaded = source_of(source, given)
    loaded = replace(loaded, remarks=(*loaded.remarks, *remarks))
    given.update(examples)
    if calibrate and given["quantize"]:
        given["calibrate"] = calibrate
    report = None
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / "model.onnx"
        made = _write(loaded, temporary, max_error, calibrate, {**given, "validate": validate})
        result = replace(made, path=Path(output), notes=(*loaded.notes, *made.notes))
        if validate:
            report = _prove(loaded, temporary, given["target"], golden, calibrate)
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
        _print_json(output, result, report)
    else:
        _show(output, result, report, golden, source)


def _metadata(given: tuple[str, ...]) -> dict[str, Any] | None:
    """Read NAME=VALUE: what is JSON as JSON, and all else as text."""
    values: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise click.BadParameter(f"expected NAME=VALUE, got {text!r}")
        try:
            values[name] = json.loads(value)
        except ValueError:
            values[name] = value
    return values or None


def _check_proofs(golden: str | None, calibrate: str | None, *, validate: bool) -> None:
    for name, value in (("--golden", golden), ("--calibrate", calibrate)):
        if value and not validate:
            raise click.UsageError(f"{name} requires validation: leave --no-validate out")
    if golden is not None:
        from rnnedge.golden_vectors import check_golden_folder

        check_golden_folder(golden)


def _examples(inputs: tuple[str, ...]) -> tuple[dict[str, Any], list[str]]:
    if not inputs:
        return {}, []
    from rnnedge.sources.input_specs import parse_inputs

    examples = parse_inputs(inputs)
    given = {"example_inputs": examples.tensors, "dynamic_axes": examples.dynamic_axes}
    return given, examples.notes


def _write(
    loaded: Source,
    path: Path,
    max_error: float | None,
    calibrate: str | None,
    options: Mapping[str, Any],
) -> ExportResult:
    from rnnedge_exporters.exporter import export as export_module

    if max_error is None:
        return export_module(loaded.module, path, **options)
    from rnnedge.max_error import export_within

    with progress_bar("measuring layers") as progress:
        return export_within(
            loaded.module,
            path,
            max_error=max_error,
            progress=progress,
            **{"calibrate": calibrate, **options},
        )


def _prove(
    loaded: Source, path: Path, target: str, golden: str | None, calibrate: str | None
) -> Report:
    from rnnedge.parity import validate

    with progress_bar("validating") as progress:
        return validate(
            path,
            against=replace(loaded, untold=(), remarks=()),  # they are in the result
            device="auto" if target == "cuda" else "cpu",
            golden=golden,
            calibrate=calibrate,
            progress=progress,
        )


def _print_json(output: str, result: ExportResult, report: Report | None) -> None:
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


def _show(
    output: str,
    result: ExportResult,
    report: Report | None,
    golden: str | None,
    source: str | None,
) -> None:
    if report:
        print_lines(report.table(), *report.notes, report.verdict)
        if report.rounding and report.rounding.halves and report.device == "cpu":
            print_lines("this CPU computes in float32: on the GPU, rnnedge validate --device cuda")
    if result.quantization:
        layers = result.quantization
        print_lines(
            quantization_table(layers),
            *reasons(layers),
            *costs(layers, output, source, program=result.program is not None),
        )
    print_lines(*(f"note: {note}" for note in result.notes), f"wrote {result}")
    if golden:
        print_lines(f"wrote {golden}, the golden vectors")
    if result.program is not None:
        print_lines(*program_lines(result.program))
    else:
        print_lines("next:", next_command(output, result.contract.interface, golden))
