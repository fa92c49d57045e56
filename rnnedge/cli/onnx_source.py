"""`rnnedge export` of an `.onnx` file: its weights in fewer bits, and the proof of that."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnedge.cli.c_program import (
    print_program,
    program_as_dict,
    program_lines,
    write_c_program,
)
from rnnedge.cli.export_target import next_command
from rnnedge.cli.options import refuse_others
from rnnedge.cli.output import print_json, print_lines, progress_bar, refuse_unequal
from rnnedge.cli.quantization_table import costs, quantization_table, reasons
from rnnedge_runtime.atomic_file import write_file
from rnnedge_runtime.write_target import ONNX

if TYPE_CHECKING:
    from rnnedge_exporters.c_source.target import CProgram


def export_onnx(
    source: str,
    output: str,
    given: Mapping[str, Any],
    writing: Mapping[str, Any],
    *,
    validate: bool,
    golden: str | None,
    program: Mapping[str, Any] | None,
    as_json: bool,
) -> None:
    """Run `rnnedge export model.onnx --quantize int8 -o small.onnx`.

    Args:
        source: The file.
        output: The file to write.
        given: What click passed on.
        writing: How it is written: what `write_file` takes.
        validate: Whether it is proven first.
        golden: A folder for golden vectors, or None.
        program: The options of a C program, or None.
        as_json: Whether one JSON object is printed.
    """
    weights = ("quantize", "dtype", "target", "opset", "metadata")
    others = ("force", "golden", "validate", "as_json", "verbose", "batch", "max_steps")
    refuse_others(source, "source", "output", *weights, *others)
    from rnnedge.errors import SourceError

    if given["quantize"] is None and given["dtype"] == "float32":
        if program is not None:
            content = Path(source).read_bytes()
            written = write_c_program(content, output, program, name=source, force=writing["force"])
            print_program(written, as_json=as_json)
            return
        raise SourceError(
            f"{source}: is an ONNX file already: --quantize int8 or --dtype float16 writes its "
            "weights in fewer bits, and --target c writes it as C"
        )
    from rnnedge_exporters.quantization.onnx_file.quantize import quantize

    report = None
    with tempfile.TemporaryDirectory() as folder:
        temporary = Path(folder) / "model.onnx"
        options = {name: given[name] for name in weights}
        result = replace(quantize(source, temporary, **options), path=Path(output))
        if validate:
            from rnnedge.parity.onnx_reference import validate_beside_file

            with progress_bar("validating") as progress:
                report = validate_beside_file(
                    temporary, against=source, golden=golden, progress=progress
                )
            report = replace(report, model=output)
            if not report:
                refuse_unequal(report, as_json=as_json)
        content = temporary.read_bytes()
        made: CProgram | None = None
        if program is None:
            write_file(output, content, ONNX, **writing)
        else:
            made = write_c_program(content, output, program, name=source, force=writing["force"])
    if as_json:
        print_json(
            {
                "written": True,
                "model": output,
                "bytes": result.bytes,
                "sha256": result.sha256,
                "bytes_before": result.bytes_before,
                "contract": asdict(result.contract) if result.contract else None,
                "quantization": [asdict(layer) for layer in result.quantization],
                "report": report.to_dict() if report else None,
            }
            | program_as_dict(made)
        )
        return
    if report:
        print_lines(report.table(), *report.notes, report.verdict)
    layers = result.quantization
    told = costs(layers, output, source, program=made is not None)
    print_lines(quantization_table(layers), *reasons(layers), *told)
    if made is not None:
        print_lines(*program_lines(made))
        return
    interface = result.contract.interface if result.contract else None
    print_lines(f"wrote {result}", "next:", next_command(output, interface))
