"""`validate`: run the exported file and its source over the sweep, compare, and say why."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib.metadata import version

from torch import nn

from rnnedge.errors import OptionError
from rnnedge.file_kinds import is_onnx
from rnnedge.parity.cases import Case, further_cases
from rnnedge.parity.collect import Answers, Questioner, collect, collect_more
from rnnedge.parity.compare import (
    Tolerance,
    compare,
    error_over_time,
    summarize,
    widest_product,
)
from rnnedge.parity.compared_model import ComparedModel
from rnnedge.parity.coverage.measured import FeedLog, measure, probe_in, watch_file
from rnnedge.parity.evidence import Evidence, gather, now
from rnnedge.parity.golden_sets import golden_sets, save_failing
from rnnedge.parity.latency import time_beside_torch
from rnnedge.parity.machine import engine_version, machine
from rnnedge.parity.matched_source import match_source, source_of
from rnnedge.parity.model_runner import ModelRunner
from rnnedge.parity.model_under_test import OpenedModel
from rnnedge.parity.mutation.found import attack
from rnnedge.parity.mutation.in_torch import TorchProof
from rnnedge.parity.report import Report
from rnnedge.parity.results import CaseResult, Curve, Diagnosis
from rnnedge.parity.rounding.calibrated import Calibration
from rnnedge.parity.rounding.cost import OutputCost, cost_lines
from rnnedge.parity.rounding.rounding_report import measure_rounding
from rnnedge.parity.rounding.row_tolerance import row_tolerance
from rnnedge.parity.rounding.widened import compare_unrounded, diagnose_unrounded
from rnnedge.sources.load import Source
from rnnedge_exporters.calibration.sequences import Data, data_files, read_sequences
from rnnedge_exporters.call_advice import by_name, check_model_path
from rnnedge_exporters.sandbox.session import TIME_LIMIT, Worker
from rnnedge_exporters.threads import largest_weight, threads_for
from rnnedge_runtime.engine.options import EngineName
from rnnedge_runtime.proof.golden import GoldenSet

DIAGNOSIS_TIME = 30.0
"""Seconds that a diagnosis may take, where nobody says otherwise."""


@by_name(1, "rnnedge.validate('model.onnx', against=module)")
def validate(  # noqa: PLR0913 - each is an option, given by name
    model: str | os.PathLike[str],
    *,
    against: nn.Module | Source | str | os.PathLike[str],
    cases: Sequence[Case] | None = None,
    quick: bool = False,
    tolerance: Tolerance | None = None,
    device: str = "cpu",
    isolated: bool = True,
    engine: EngineName = "onnxruntime",
    time_limit: float = TIME_LIMIT,
    diagnosis_time: float | None = None,
    worker: Worker | None = None,
    latency: bool = False,
    golden: str | os.PathLike[str] | None = None,
    failing: str | os.PathLike[str] | None = None,
    scores: bool | None = None,
    calibrate: Data | None = None,
    strict_coverage: bool = False,
    mutate: bool = False,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Check that an exported file computes what its source computes in PyTorch.

    The file runs in ONNX Runtime or the native engine, the source in PyTorch in float64, over
    lengths and batches from 1 up, states, ragged lengths, chunks, numbers from denormal to extreme,
    rows in another order, repeated runs and threads, as far as the file takes them. The file need
    not be one of rnnedge. Where it fails, the report says why as far as that can be found.

    A file that holds weights in int8 or float16 is compared with the source as it holds it: with
    the rounded weights, and activations rounded where it rounds them. What the rounding itself
    costs is measured separately, in `Report.rounding`.

    Args:
        model: The `.onnx` file.
        against: The source: a live layer or module, or what the command line takes as SOURCE.
            It is copied, never changed. For another `.onnx` file, see `validate_beside_file`: what
            it does not take must be left out.
        cases: What to run; None is the sweep that fits the model.
        quick: Whether the sweep is the short one, of a few cases of each kind.
        tolerance: How far an output may be off; None is `Tolerance()`.
        device: Where the file runs: `cpu`, `cuda` or `auto`.
        isolated: Whether the file runs in a separate process, so that a model which ends its
            process, or never ends, is a finding.
        engine: What runs it: `onnxruntime`, or `native`, which needs rnnedge-native.
        time_limit: Seconds that one call of an isolated model may take.
        diagnosis_time: Seconds that may be spent on finding out why a model fails, 0 or more; None
            is `DIAGNOSIS_TIME`. The diagnosis says what it left undone.
        worker: The process to take, with its own time limit, when the caller started one; it is
            left running.
        latency: Whether the model is timed next to PyTorch too.
        golden: A folder for golden vectors, with which `python -m rnnedge_runtime check` proves the
            model where PyTorch is not installed; written only when the model passes.
        failing: An `.npz` file for the smallest case that fails, written only when one does.
        scores: Whether the outputs are scores, whose largest one is compared too; None takes those
            of a module whose last axis alone is of a fixed size, from 2 to 50,000. Only for files
            with rounded weights, and of `calibrate`.
        calibrate: The caller's own sequences, on which the error against the float32 weights is
            measured too, as `export` takes them. They do not decide whether the file passes.
        strict_coverage: Whether a file fails of which the cases have not seen all: every node,
            and every row of every table; see `Report.coverage`.
        mutate: Whether every weight tensor of a file that passes is disturbed once, in a copy, and
            the report says which changes the cases have not noticed; see `Report.mutation`.
        force: Whether `failing` may replace a file that holds something else.
        progress: Called with the number of cases done and in all.

    Returns:
        A report that is truthy when every output is inside tolerance in every case.

    Raises:
        ModelError: When the file cannot be opened.
        OptionError: When an option cannot be combined with an `.onnx` file, or `diagnosis_time` is
            below 0.
        SourceError: When the source cannot be read, or takes other inputs than the file.
        InputError: When the sequences are not what the file takes.
        WriteError: When `golden` or `failing` must not or cannot be written.

    Example:
        >>> report = rnnedge.validate("model.onnx", against=layer)
        >>> report
        Report(PASS: model.onnx computes what gru(8->16) computes in PyTorch, in ...)
        >>> report.save("parity.json")
    """
    check_model_path(model)
    if is_onnx(against):
        _refuse_for_files(
            against, cases=cases, worker=worker, calibrate=calibrate, device=device != "cpu",
            isolated=not isolated, latency=latency, engine=engine != "onnxruntime",
            diagnosis_time=diagnosis_time,
        )  # fmt: skip
        _check_writable(golden, failing, [model, against], force=force)
        from rnnedge.parity.onnx_reference import validate_beside_file

        return validate_beside_file(
            model,
            against=against,
            quick=quick,
            tolerance=tolerance,
            time_limit=time_limit,
            golden=golden,
            failing=failing,
            scores=scores,
            strict_coverage=strict_coverage,
            mutate=mutate,
            force=force,
            progress=progress,
        )
    began, date = time.perf_counter(), now()
    seconds = _seconds(diagnosis_time)
    read = [model, *data_files(against), *data_files(calibrate)]
    _check_writable(golden, failing, read, force=force)
    source = source_of(against, os.fspath(model))
    tolerance = tolerance or Tolerance()
    with ExitStack() as stack:
        stack.enter_context(threads_for(largest_weight(source.module)))
        if worker is None and isolated:
            worker = stack.enter_context(Worker(time_limit))
        opened = OpenedModel(model, device=device, worker=worker, engine=engine)
        matched = match_source(opened, source)
        source, module, held, face = matched.source, matched.module, matched.held, matched.interface
        original, notes = source.module, matched.notes
        calibrated = None if calibrate is None else read_sequences(calibrate, face)
        chosen, cases = cases is not None, matched.cases(cases, opened.contract, quick=quick)
        watched = watch_file(opened.path)
        log = FeedLog(watched, opened.session)
        runner = ModelRunner(face, log.session)
        wanted = watched.wanted
        integers = held.integers if held else None
        ask, collected, remarks = collect(face, runner, module, cases, progress, integers, wanted)
        coverage = measure(watched, log.feeds, probe_in(opened.worker))
        full = coverage.full
        if not (full and chosen) and not any(a.crash for a in collected):
            more = further_cases(face, wanted, cases, covered=full, quick=quick)
            collected += collect_more(ask, more)
            coverage = measure(watched, log.feeds, probe_in(opened.worker))
        terms = widest_product(module)
        results = compare(collected, face, tolerance, terms)
        subject = ComparedModel(
            path=opened.path,
            module=module,
            layer=matched.layer,
            declared=opened.interface,
            fitted=face,
            ask=ask,
            judge=lambda answers: compare([answers], face, tolerance, terms),
            worker=opened.worker,
            tolerance=tolerance,
            terms=terms,
        )
        exact: tuple[CaseResult, ...] = ()
        if held is not None and all(results):
            given = opened.path, held, face, ask.dtype, tolerance, collected, opened.worker
            exact, said = compare_unrounded(*given)
            remarks += said
        mutation = None
        if mutate and all(results) and all(exact):
            proof = TorchProof(
                original, face, ask.dtype, tolerance, collected, opened.worker, device, engine
            )
            mutation = attack(opened.path, proof.fails, progress)
        rounding = measure_rounding(original, held, ask.dtype, collected, face, scores=scores)
        notes += rounding.lines() if rounding else []
        calibration: tuple[OutputCost, ...] = ()
        if calibrated is not None:
            calibration = Calibration(original, face, calibrated, scores=scores).costs(runner)
        notes += cost_lines(calibration, of="sequences of the calibration data")
        timings = time_beside_torch(opened.session(), face, module) if latency else ()
        curves, diagnosis = _explain(subject, collected, results, seconds, quick=quick)
        if held is not None and not all(exact):
            diagnosis = diagnose_unrounded(exact, held)
        results += exact
        if diagnosis is not None:
            _save_failing(failing, ask, diagnosis, read, force=force)
        moved = runner.moved_by_threads if integers else None
        kept = collected if golden is not None and diagnosis is None else []
        by_row = row_tolerance(ask, subject.judge, integers) if kept else None
        sets = golden_sets(kept, results, moved, by_row)
    evidence = gather(opened.path, source.origin, date=date, files=source.files, module=original)
    if diagnosis is None:
        reference = f"PyTorch {version('torch')} {ask.dtype}".replace("torch.", "")
        reference += f", {rounding.proven}" if rounding else ""
        _write_golden(golden, opened.path, sets, reference, evidence)
    notes += _remarked(results)
    return Report(
        model=opened.path,
        source=source.origin,
        outputs=summarize(results, collected),
        engine=f"ONNX Runtime {engine_version()}",
        device=opened.device,
        notes=(*notes, *remarks),
        results=results,
        curves=curves,
        diagnosis=diagnosis,
        timings=timings,
        rounding=rounding,
        calibration=calibration,
        contract=opened.contract,
        coverage=coverage,
        mutation=mutation,
        strict_coverage=strict_coverage,
        machine=dict(machine()),
        seconds=time.perf_counter() - began,
        evidence=evidence,
    )


def _explain(
    subject: ComparedModel,
    collected: list[Answers],
    results: Sequence[CaseResult],
    seconds: float,
    *,
    quick: bool,
) -> tuple[tuple[Curve, ...], Diagnosis | None]:
    """Return the error over time, and why a model fails."""
    curves = error_over_time(collected, subject.fitted)
    if quick and all(results):  # what fails, and the whole sweep, is looked into
        return curves, None
    from rnnedge.parity.diagnosis.diagnose import diagnose, layer_curves

    curves += layer_curves(subject, collected)
    return curves, None if all(results) else diagnose(subject, collected, seconds)


def _save_failing(
    path: str | os.PathLike[str] | None,
    ask: Questioner,
    diagnosis: Diagnosis,
    read: Sequence[str | os.PathLike[str]],
    *,
    force: bool,
) -> None:
    if path is not None:
        save_failing(path, ask(diagnosis.smallest), protected=read, force=force)


def _write_golden(
    folder: str | os.PathLike[str] | None,
    model: str,
    sets: Sequence[GoldenSet],
    reference: str,
    evidence: Evidence,
) -> None:
    if folder is not None:
        from rnnedge.golden_vectors import write_golden

        made = {**evidence.facts(), **machine()}
        write_golden(folder, model=model, sets=sets, reference=reference, made=made)


def _remarked(results: Sequence[CaseResult]) -> list[str]:
    """Return one remark for all that are alike."""
    remarked = [result for result in results if result.remark]
    if not remarked:
        return []
    one = max(remarked, key=lambda result: result.case.time)
    return [f"{one.output}: {one.remark}; and {len(remarked) - 1} more like it"]


def _seconds(given: float | None) -> float:
    if given is not None and not given >= 0:
        raise OptionError(f"diagnosis_time: expected 0 seconds or more, got {given!r}")
    return DIAGNOSIS_TIME if given is None else given


def _refuse_for_files(against: str | os.PathLike[str], **given: object) -> None:
    """Refuse what is of a PyTorch source only."""
    for name, value in given.items():
        if value is not None and value is not False:
            raise OptionError(
                f"{name}: requires a PyTorch source, got {os.fspath(against)}: leave it out"
            )


def _check_writable(
    golden: str | os.PathLike[str] | None,
    failing: str | os.PathLike[str] | None,
    read: Sequence[str | os.PathLike[str]],
    *,
    force: bool,
) -> None:
    """Refuse what could not be written in the end."""
    if golden is not None:
        from rnnedge.golden_vectors import check_golden_folder

        check_golden_folder(golden)
    if failing is not None:
        from rnnedge_runtime.write_target import NPZ, check_target

        check_target(failing, NPZ, protected=read, force=force)
