"""`rnnedge validate model.onnx --against SOURCE`."""

from __future__ import annotations

import shlex
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rnnedge.cli.command import FILE, Command, option
from rnnedge.cli.options import (
    OPENED,
    OUTPUT,
    PROOF,
    calibrate_option,
    check_source,
    device_option,
    force_option,
    json_option,
    layer_options,
    refuse_others,
    source_of,
)
from rnnedge.cli.output import print_json, print_lines, progress_bar
from rnnedge.errors import CoverageError, ParityError
from rnnedge.file_kinds import REPORTS, is_onnx
from rnnedge_runtime.write_target import NPZ, check_target

if TYPE_CHECKING:
    from rnnedge_runtime.engine.options import EngineName

_OF_FILES = (
    *("model", "source", "quick", "atol", "torch_factor", "time_limit", "reports", "golden"),
    *("scores", "save_failing", "force", "as_json", "engine", "strict_coverage", "mutate"),
)
"""Parameters that can be combined with an `.onnx` file as the source."""


@click.command(
    cls=Command,
    short_help="Check that MODEL computes what SOURCE computes.",
    examples=(
        "rnnedge validate model.onnx --against weights.pt",
        "rnnedge validate model.onnx --against package.module:Net --weights net.pt",
        "rnnedge validate small.onnx --against model.onnx",
        "rnnedge validate model.onnx --against weights.pt --report parity.html --mutate",
    ),
    extra="the source is --against: rnnedge validate {given} --against {extra}",
)
@click.argument("model", type=FILE)
@option(
    "--against",
    "source",
    group=PROOF,
    type=FILE,
    metavar="SOURCE",
    help="The SOURCE; without it, the layer that options build.",
)
@option("--quick", group=PROOF, is_flag=True, help="A few cases of each kind only.")
@option(
    "--atol",
    group=PROOF,
    type=click.FloatRange(min=0, min_open=True),
    shown="derived from the width of the layer",
    help="Absolute error allowed near 1.",
)
@option(
    "--torch-factor",
    group=PROOF,
    type=click.FloatRange(min=0),
    default=4.0,
    help="How many times the rounding that PyTorch shows is allowed.",
)
@calibrate_option
@option(
    "--scores/--no-scores",
    group=PROOF,
    default=None,
    shown="of a module, where the last axis alone has a fixed size, from 2 to 50,000",
    help="Of rounded weights: compare the largest score too.",
)
@option(
    "--strict-coverage",
    group=PROOF,
    is_flag=True,
    help="Fail unless every node ran, and every row of every table was looked up.",
)
@option(
    "--mutate",
    group=PROOF,
    is_flag=True,
    help="Disturb each weight tensor of a copy, and list the changes that go unnoticed.",
)
@option(
    "--time-limit",
    group=PROOF,
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    help="Seconds that one run of the model may take.",
)
@option(
    "--diagnosis-time",
    group=PROOF,
    type=click.FloatRange(min=0),
    default=30.0,
    help="Seconds that may be spent on finding out why a model fails.",
)
@option(
    "--report",
    "reports",
    group=OUTPUT,
    type=FILE,
    multiple=True,
    help="Write a report: .html, .json, or .xml (JUnit); may be given again.",
)
@option(
    "--golden",
    group=OUTPUT,
    type=FILE,
    help="Folder for golden vectors, which the device checks without PyTorch.",
)
@option(
    "--save-failing",
    group=OUTPUT,
    type=FILE,
    help="An .npz file for the smallest case that fails.",
)
@layer_options
@device_option
@option(
    "--engine",
    group=OPENED,
    type=click.Choice(["onnxruntime", "native"]),
    default="onnxruntime",
    help="What runs the model; native needs rnnedge-native.",
)
@force_option
@json_option
def validate(
    model: str,
    source: str | None,
    *,
    quick: bool,
    atol: float | None,
    torch_factor: float,
    device: str,
    engine: EngineName,
    time_limit: float,
    diagnosis_time: float,
    reports: tuple[str, ...],
    golden: str | None,
    scores: bool | None,
    calibrate: str | None,
    strict_coverage: bool,
    mutate: bool,
    save_failing: str | None,
    force: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Check that MODEL computes what its source computes in PyTorch float64.

    MODEL may come from any exporter. It runs in a separate process. When it fails, the smallest
    failing case is searched for, and the mistake that explains it.

    Where the source is an .onnx file, MODEL is compared with it: both run in one separate
    process. MODEL may be what `export --quantize` made of it.
    """
    beside_file = is_onnx(source)
    if beside_file:
        if engine != "onnxruntime":
            raise click.UsageError(
                f"--engine {engine} requires a source in PyTorch: --against names an ONNX file"
            )
        refuse_others(str(source), *_OF_FILES)
    check_source(source, given)
    read = _check_writable(model, source, calibrate, reports, golden, save_failing, force=force)
    from rnnedge_exporters.sandbox.session import Worker

    with ExitStack() as stack:
        more: dict[str, Any] = {"time_limit": time_limit}
        if not beside_file:  # it gets ready while PyTorch is imported
            worker = stack.enter_context(Worker(time_limit))
            more |= {"worker": worker, "latency": bool(reports)}
            more |= {"device": device, "engine": engine, "diagnosis_time": diagnosis_time}
        from rnnedge.parity import Tolerance
        from rnnedge.parity import validate as validate_file
        from rnnedge.parity.evidence import made_by
        from rnnedge.reports import check_report_path, write_report

        for path in reports:
            check_report_path(path, protected=read, force=force)
        progress = stack.enter_context(progress_bar("validating"))
        stack.enter_context(made_by(shlex.join(["rnnedge", *sys.argv[1:]])))
        report = validate_file(
            model,
            against=str(source) if beside_file else source_of(source, given, model),
            quick=quick,
            tolerance=Tolerance(absolute=atol, torch_factor=torch_factor),
            golden=golden,
            failing=save_failing,
            scores=scores,
            calibrate=calibrate,
            strict_coverage=strict_coverage,
            mutate=mutate,
            force=force,
            progress=progress,
            **more,
        )
    for path in reports:
        write_report(report, path, protected=read, force=force)
    if as_json:
        print_json(report.to_dict())
    else:
        print_lines(report.table(), *report.lines())
        kept = golden if report else save_failing
        print_lines(*(f"wrote {path}" for path in (*reports, kept) if path))
    if not report:
        raise (CoverageError if report.equal else ParityError)(report.verdict)
    if not as_json:
        print_lines(report.verdict)


def _check_writable(
    model: str,
    source: str | None,
    calibrate: str | None,
    reports: tuple[str, ...],
    golden: str | None,
    failing: str | None,
    *,
    force: bool,
) -> list[str | Path | None]:
    """Refuse what could not be written in the end, before PyTorch is imported.

    Returns:
        The files that are read.
    """
    read: list[str | Path | None] = [model, source]
    if calibrate is not None:
        from rnnedge_exporters.calibration.sequences import data_files

        read += data_files(calibrate)
    for number, path in enumerate(reports):
        check_target(path, REPORTS, protected=[*read, *reports[:number]], force=force)
    if failing is not None:
        check_target(failing, NPZ, protected=read, force=force)
    if golden is not None:
        from rnnedge.golden_vectors import check_golden_folder

        check_golden_folder(golden)
    return read
