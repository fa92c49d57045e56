"""Write the JSON schema of what each command prints for `--json`: `python tools/write_schemas.py`.

Most of it follows from the dataclasses that the commands print, their annotations and the
`Attributes` of their docstrings; what a command puts around them is here. A test compares
`docs/schemas/` with this, and validates what the commands print.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from rnnedge.corpus.comparison import CorpusComparison
from rnnedge.doctor.findings import Examination
from rnnedge.doctor.fixing import Treatment
from rnnedge.inspection import Inspection
from rnnedge.measuring.latency import CallLatency
from rnnedge.measuring.machine import Machine
from rnnedge.measuring.results import StreamResult
from rnnedge.measuring.shapes import Shape
from rnnedge.measuring.tuning import Candidate
from rnnedge.parity.report import Report
from rnnedge.triton.config import ServingOptions
from rnnedge_exporters.c_source.target import CProgram
from rnnedge_exporters.exported_graph import Trial
from rnnedge_exporters.quantization.report import LayerQuantization
from rnnedge_runtime.benchmark import FrameLatency
from rnnedge_runtime.contract import Contract, Interface, StatePair
from rnnedge_runtime.engine.info import SessionInfo
from rnnedge_runtime.engine.options import EngineOptions
from rnnedge_runtime.latency import Latency
from rnnedge_runtime.proof.self_check import CheckResult
from rnnedge_runtime.scoring.corpus import ScoreResult

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT))  # `tools` is not an installed package

from tools.json_schema import Schema, Writer, attributes  # noqa: E402

SCHEMAS = ROOT / "docs" / "schemas"


_DIGEST = "SHA-256 of the file, 64 hexadecimal digits."
_WRITTEN: Mapping[str, tuple[Any, str]] = {
    "written": (Literal[True], "A file was written."),
    "model": (str, "The file."),
    "bytes": (int, "Its size."),
    "sha256": (str, _DIGEST),
}
_PROGRAM: Mapping[str, tuple[Any, str]] = {
    "program": (CProgram, "The C program; only with `--target c`.")
}
_ENGINE: Mapping[str, tuple[Any, str]] = {
    "platform": (str, "Operating system."),
    "processor": (str, "Architecture."),
    "python": (str, "Version of Python."),
    "cpu": (str, "Name of the processor."),
    "cores": (int | None, "Logical processors."),
    "byte_order": (Literal["little", "big"], "Byte order."),
    "numpy": (str, "Version of numpy."),
    "engine": (str, "What ran the model."),
    "onnxruntime": (str | None, "Its version; null for the native engine."),
    "rnnedge_runtime": (str, "Version of the runtime."),
    "device": (str, "`cpu` or `cuda`."),
}


def export_schema(writer: Writer) -> Schema:
    """`rnnedge export`: from PyTorch, from an .onnx file, as C, or refused because parity fails."""
    report = (Report | None, "The proof; null with `--no-validate`.")
    layers = (list[LayerQuantization], "What was done to each layer's weights.")
    from_torch = {
        **_WRITTEN,
        "contract": (Contract, "What the file says of itself."),
        "notes": (list[str], "What a reader should know."),
        "quantization": layers,
        "trial": (Trial, "At which sizes the file was run before it was written."),
        "report": report,
        **_PROGRAM,
    }
    from_onnx = {
        **_WRITTEN,
        "bytes_before": (int, "Size of the original."),
        "contract": (Contract | None, "Null where the original has none."),
        "quantization": layers,
        "report": report,
        **_PROGRAM,
    }
    refused = {
        "written": (Literal[False], "Nothing was written: parity failed, exit code 3."),
        "report": (Report, "What failed."),
    }
    return {
        "oneOf": [
            {"title": "from PyTorch"} | writer.object(from_torch, optional="program"),
            {"title": "from an .onnx file"} | writer.object(from_onnx, optional="program"),
            {"title": "an .onnx file as C"}
            | writer.object({"written": _WRITTEN["written"], **_PROGRAM}),
            {"title": "refused"} | writer.object(refused),
        ]
    }


def run_schema(writer: Writer) -> Schema:
    """`rnnedge run`."""
    array = writer.object(
        {"dtype": (str, "By numpy's name."), "shape": (list[int], "One size for each axis.")}
    )
    schema = writer.object(
        {
            "outputs": (dict[str, Any], "By name."),
            "device": (str, "Where it ran."),
            "written": (str | None, "The .npz file."),
        }
    )
    schema["properties"]["outputs"]["additionalProperties"] = array
    return schema


def bench_schema(writer: Writer) -> Schema:
    """`rnnedge bench`; units are in the names."""
    shape = writer.object(
        {
            "time": (int, "Steps."),
            "batch": (int, "Rows."),
            "latency": (dict[str, CallLatency], "By side; `rnnedge` is the model itself."),
            "us_per_step": (float, "Microseconds of a step, all rows together; by the median."),
            "real_time_factor": (float | None, "Below 1 keeps up; null without `--rate`."),
            "flops": (int | None, "Operations in products of one call."),
            "weight_bytes_per_step": (int | None, "Bytes of weights that a step reads."),
            "stored_weight_bytes": (int | None, "Bytes of these weights in the file."),
            "gflops": (float | None, "1e9 operations for each second."),
            "share_of_peak": (float | None, "Part of `peak_gflops`."),
            "ratio": (dict[str, float | None], "How many times as long another side takes."),
            "not_timed": (dict[str, str], "Why a side was not timed."),
            "differences": (dict[str, float], "Largest difference from another file."),
        }
    )
    schema = writer.object(
        {
            "format": (int, "Version of this format."),
            "model": (str, "The file."),
            "device": (str, "Where it ran."),
            "threads": (int, "Threads inside one operator."),
            "options": (EngineOptions, "How it was opened."),
            "machine": (Machine, "What it ran on."),
            "sides": (dict[str, str], "What each side is."),
            "rate": (float | None, "Steps of the signal in a second."),
            "peak_gflops": (float | None, "What a large product reaches here."),
            "memory_before_bytes": (int | None, "Resident memory before the model was opened."),
            "memory_peak_bytes": (int | None, "The most while it was opened and ran."),
            "shapes": (list[Any], "Whole sequences; empty with `--stream`."),
            "streams": (list[StreamResult], "Steps of one; empty without `--stream`."),
            "compared": (dict[str, Any] | None, "Next to `--baseline`; null without."),
        }
    )
    schema["properties"]["shapes"]["items"] = shape
    return schema


def doctor_schema(writer: Writer) -> Schema:
    """`rnnedge doctor`: what was found, or with `--fix` what was done."""
    return {"anyOf": [writer.of(Examination), writer.of(Treatment)]}


def tune_schema(writer: Writer) -> Schema:
    """`rnnedge tune`."""
    return writer.object(
        {
            "format": (int, "Version of this format."),
            "written": (str, "The file."),
            "sha256": (str, _DIGEST),
            "source": (str, "What it was exported from."),
            "lowering": (str, "The fastest form."),
            "threads": (int | None, "The fastest number of threads; null for the default."),
            "speed": (float, "How many times as fast as the default."),
            "shapes": (list[Shape], "What was measured."),
            "default": (Candidate, "The default form."),
            "best": (Candidate, "The one that was written."),
            "candidates": (list[Candidate], "All of them."),
            "left_out": (dict[str, str], "Forms that were not measured, and why."),
            "machine": (Machine, "What it ran on."),
            "notes": (list[str], "What a reader should know."),
        }
    )


def slim_schema(writer: Writer) -> Schema:
    """`rnnedge slim`."""
    return writer.object(
        {
            "folder": (str, "The folder that was written."),
            "model": (str, "The name of the ORT-format file in it."),
            "operators": (list[str], "What the build keeps, as domain:version:name."),
            "known": (int, "How many operators the ONNX Runtime here knows."),
            "bytes_before": (int, "Bytes of the .onnx file."),
            "bytes_after": (int, "Bytes of the ORT-format file."),
            "difference": (float, "Largest difference between outputs of both files."),
            "runs": (int, "How many runs were compared."),
            "sha256": (str, _DIGEST),
        }
    )


def triton_schema(writer: Writer) -> Schema:
    """`rnnedge triton`."""
    return writer.object(
        {
            "name": (str, "Of the model on the server."),
            "written": (str, "The folder."),
            "inputs": (list[str], "What a client sends."),
            "outputs": (list[str], "What it receives."),
            "states": (list[StatePair], "What the server keeps for each sequence."),
            "options": (ServingOptions, "How it is served."),
            "difference": (float, "Largest difference from a stream of the original."),
            "sha256": (str, _DIGEST),
            "notes": (list[str], "What a reader should know."),
        }
    )


def app_schema(writer: Writer) -> Schema:
    """`rnnedge app`."""
    return writer.object(
        {
            "written": (str, "The folder to serve."),
            "engine": (Literal["wasm", "onnxruntime"], "What computes the model in the page."),
            "why": (str, "Why that engine."),
            "reference": (str, "What gave the expected answers of the vectors."),
            "sets": (int, "How many calls the page proves."),
            "bytes": (int, "Of all files."),
        }
    )


def _on_device(writer: Writer, **properties: tuple[Any, str]) -> Schema:
    schema = writer.object({**properties, "machine": (dict[str, Any], "What it ran on.")})
    schema["properties"]["machine"] = writer.object(_ENGINE)
    return schema


def info_schema(writer: Writer) -> Schema:
    """`python -m rnnedge_runtime info`."""
    return _on_device(
        writer,
        interface=(Interface, "Inputs, outputs, states and lengths."),
        contract=(Contract | None, "Null in files of other exporters."),
        session=(SessionInfo, "Where nodes run, and what a stream keeps."),
        metadata=(dict[str, Any], "What the exporter's user keeps in the file."),
    )


def check_schema(writer: Writer) -> Schema:
    """`python -m rnnedge_runtime check`."""
    return _on_device(
        writer,
        passed=(bool, "Whether no check failed; exit code 3 otherwise."),
        findings=(list[CheckResult], "One for each check."),
    )


def device_run_schema(writer: Writer) -> Schema:
    """`python -m rnnedge_runtime run`."""
    schema = run_schema(writer)
    schema["properties"]["machine"] = writer.object(_ENGINE)
    schema["required"].append("machine")
    return schema


def device_bench_schema(writer: Writer) -> Schema:
    """`python -m rnnedge_runtime bench`."""
    row: dict[str, tuple[Any, str]] = {"time": (int, "Steps."), "batch": (int, "Rows.")}
    meanings = attributes(Latency)
    hints = typing.get_type_hints(Latency)
    row |= {
        field.name: (hints[field.name], meanings.get(field.name, ""))
        for field in dataclasses.fields(Latency)
    }
    schema = _on_device(
        writer,
        latency_ms=(list[Any], "Milliseconds of a call at each shape; empty with --stream."),
        streams=(list[FrameLatency], "Milliseconds of a frame, with --stream; else empty."),
        options=(EngineOptions, "How it was opened."),
    )
    schema["properties"]["latency_ms"]["items"] = writer.object(row)
    return schema


COMMANDS = {
    "export": export_schema,
    "validate": lambda writer: writer.of(Report),
    "inspect": lambda writer: writer.of(Inspection),
    "run": run_schema,
    "bench": bench_schema,
    "doctor": doctor_schema,
    "compare": lambda writer: writer.of(CorpusComparison),
    "score": lambda writer: writer.of(ScoreResult),
    "tune": tune_schema,
    "triton": triton_schema,
    "slim": slim_schema,
    "app": app_schema,
    "device_info": info_schema,
    "device_check": check_schema,
    "device_run": device_run_schema,
    "device_bench": device_bench_schema,
    "device_score": lambda writer: writer.of(ScoreResult),
    "contract": lambda writer: writer.of(Contract),
}
"""File in `docs/schemas/` to its schema; `device_` are those of `python -m rnnedge_runtime`."""


def schemas() -> Iterator[tuple[str, str]]:
    """Return each file's name and text."""
    for name, build in COMMANDS.items():
        writer = Writer()
        top = build(writer)
        command = name.replace("device_", "python -m rnnedge_runtime ")
        title = "rnnedge.contract" if name == "contract" else f"{command} --json"
        schema = {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": title if command != name or name == "contract" else f"rnnedge {title}",
            **top,
            "$defs": dict(sorted(writer.definitions.items())),
        }
        yield f"{name}.json", json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Write all of them."""
    SCHEMAS.mkdir(exist_ok=True)
    for name, text in schemas():
        (SCHEMAS / name).write_text(text, encoding="utf-8")
    print(f"wrote {len(COMMANDS)} files to {SCHEMAS.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
