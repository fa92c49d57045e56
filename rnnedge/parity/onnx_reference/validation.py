"""`validate_beside_file`: compare a file with another that it should compute the same as."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from rnnedge.errors import ModelError, TimeLimitError
from rnnedge.parity.cases import Case, further_cases
from rnnedge.parity.collect import Answers
from rnnedge.parity.compare import Tolerance, error_over_time, summarize
from rnnedge.parity.coverage.found import Coverage
from rnnedge.parity.coverage.measured import measure, watch_file
from rnnedge.parity.coverage.watched import Watched
from rnnedge.parity.evidence import gather, now
from rnnedge.parity.machine import engine_version, machine
from rnnedge.parity.mutation.found import attack
from rnnedge.parity.onnx_reference.cases import cases_for
from rnnedge.parity.onnx_reference.comparison import Comparison
from rnnedge.parity.onnx_reference.file_proof import FileProof
from rnnedge.parity.onnx_reference.interface_matching import Match, NamedFile, match
from rnnedge.parity.onnx_reference.model_under_test import Array, OpenedFile
from rnnedge.parity.onnx_reference.reference import Reference, make_reference
from rnnedge.parity.onnx_reference.sweep import Sweep, endless
from rnnedge.parity.report import ComparedWith, Report
from rnnedge.parity.results import UNKNOWN
from rnnedge.parity.rounding.cost import CostMeter, Rounding
from rnnedge_exporters.sandbox.onnx_runtime import TIME_LIMIT, Sandbox
from rnnedge_exporters.threads import threads_for
from rnnedge_runtime.contract import Interface
from rnnedge_runtime.engine.options import EngineOptions
from rnnedge_runtime.errors import InputError

_OPEN = 100
"""Models that stay open: both files, and what is made of the original."""
_QUICK = ((1, 1), (1, 3), (7, 3))


def validate_beside_file(  # noqa: PLR0913 - each is an option, given by name
    model: str | os.PathLike[str],
    *,
    against: str | os.PathLike[str],
    quick: bool = False,
    tolerance: Tolerance | None = None,
    time_limit: float = TIME_LIMIT,
    golden: str | os.PathLike[str] | None = None,
    failing: str | os.PathLike[str] | None = None,
    scores: bool | None = None,
    strict_coverage: bool = False,
    mutate: bool = False,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Check that a file computes what another ONNX file does.

    Both run in ONNX Runtime, in a child process, over lengths and batches where the original has
    them dynamic, states, and ragged lengths.

    Where the file holds its weights in fewer bits, the original has its weights rounded first, and
    what multiplies integers is compared with the same equations with activations of 8 bits, so that
    an error of the graph cannot pass for one of the rounding. What the rounding costs is measured
    against the original as it is.

    Args:
        model: The file: what `quantize` made of the original, or a float32 file of any maker.
        against: The `.onnx` file that it should compute the same as.
        quick: Whether the sweep is the short one.
        tolerance: How far an output may be off; None is `Tolerance()`.
        time_limit: Seconds that opening a model and running it once may take.
        golden: A folder for golden vectors, written only when the file passes.
        failing: An `.npz` file for the smallest case that fails, written only when one does.
        scores: Whether the outputs are scores, whose largest one is compared too; of rounded files.
        strict_coverage: Whether a file fails of which the cases have not seen all.
        mutate: Whether every weight tensor is disturbed once, in a copy; as in `validate`.
        force: Whether `failing` may replace a file that holds something else.
        progress: Called with the number of cases done and in all.

    Returns:
        A report that is truthy when everything is inside tolerance in every case.

    Raises:
        ModelError: When a file cannot be opened, or the original takes none of the cases.
        ExportError: When the original cannot be read.
        GoldenError: When golden vectors are asked for of a file that computes with integers.
    """
    began, date = time.perf_counter(), now()
    tolerance = tolerance or Tolerance()
    with (
        threads_for(_largest(against)),
        Sandbox(time_limit, options=EngineOptions(threads=1), keep=_OPEN) as sandbox,
    ):
        original, opened = OpenedFile(sandbox, against), OpenedFile(sandbox, model)
        same = match(opened.interface, original.interface, os.fspath(model), os.fspath(against))
        reference = make_reference(Path(against), Path(model))
        if golden is not None:
            _check_golden(reference, os.fspath(model))
        interface = same.common(_interface(original))
        named = NamedFile(opened, same)
        compare = partial(Comparison, sandbox, reference, named, tolerance)
        watched = watch_file(model)
        wanted = watched.wanted.renamed(same.inputs)
        sweep = Sweep(original, compare, interface, scores=bool(scores), wanted=wanted)
        sweep.run(_cases(interface, same, quick=quick), reference.largest_index, progress)
        coverage = _coverage(sandbox, named, watched, sweep.collected)
        run, full = [answers.case for answers in sweep.collected], coverage.full
        more = further_cases(interface, wanted, run, covered=full, quick=quick)
        if more:
            sweep.more(more, reference.largest_index)
            coverage = _coverage(sandbox, named, watched, sweep.collected)
        results = tuple(sweep.results)
        diagnosis, mutation = None, None
        if mutate and all(results):
            proof = FileProof(sandbox, Path(against), same, reference, sweep, tolerance)
            mutation = attack(os.fspath(model), proof.fails, progress)
        if not all(results):
            from rnnedge.parity.onnx_reference.diagnosis import diagnose, look_inside

            diagnosis = diagnose(sweep.collected, results)
            if diagnosis.cause == UNKNOWN and not reference.dtypes:
                answers = next(a for a in sweep.collected if a.case == diagnosis.smallest)
                files = model, against
                diagnosis = look_inside(sandbox, named, files, answers, tolerance, diagnosis)
    rounding = _rounding(reference, sweep.meter) if reference.dtypes else None
    kept = rounding.lines() if rounding else []
    report = Report(
        model=os.fspath(model),
        source=os.fspath(against),
        outputs=summarize(results, sweep.collected),
        engine=f"ONNX Runtime {engine_version()}",
        device="cpu",
        notes=(*kept, *same.notes(original.interface), *sweep.notes),
        results=results,
        curves=error_over_time(sweep.collected, sweep.interface),
        diagnosis=diagnosis,
        rounding=rounding,
        contract=reference.contract,
        coverage=coverage,
        mutation=mutation,
        strict_coverage=strict_coverage,
        machine=dict(machine()),
        seconds=time.perf_counter() - began,
        evidence=gather(os.fspath(model), os.fspath(against), date=date, files=[against]),
        against=_words(reference),
    )
    if golden is not None and report:
        _write_golden(golden, named, sweep.collected, report)
    if failing is not None and diagnosis is not None:
        _save_failing(failing, sweep.collected, diagnosis.smallest, (model, against), force=force)
    return report


def _coverage(
    sandbox: Sandbox,
    named: NamedFile,
    watched: Watched,
    collected: Sequence[Answers],
) -> Coverage:
    """Return what the runs that gave an answer have seen of the file."""

    def probe(content: bytes, feeds: Sequence[dict[str, Array]]) -> list[dict[str, Array]]:
        copy = OpenedFile(sandbox, content)
        return [copy.run(one) for one in feeds]

    feeds = [named.feeds(a.inputs) for a in collected if a.model is not None]
    return measure(watched, feeds, probe)


def _largest(path: str | os.PathLike[str]) -> int:
    """Return how many float32 elements the largest matrix in a file may have."""
    return os.path.getsize(path) // 4 if os.path.isfile(path) else 0


def _interface(original: OpenedFile) -> Interface:
    """Return the interface of the original, with the names of axes that it takes.

    Raises:
        ModelError: When it takes inputs other than numbers, or never ends.
    """
    try:
        return original.probed_interface()
    except InputError as error:
        raise ModelError(f"{original.name}: {error}") from error
    except TimeLimitError as error:
        raise endless(original, error, Case(7, 3)) from error


def _cases(interface: Interface, same: Match, *, quick: bool) -> list[list[Case]]:
    """Return the sweep, and others to try, without what only one of the files takes."""

    def fitting(case: Case) -> Case:
        states, ragged = case.random_state and same.states, case.ragged and same.lengths
        return replace(case, random_state=states, ragged=ragged)

    sweeps = [list(dict.fromkeys(map(fitting, cases))) for cases in cases_for(interface)]
    if quick:
        few = [[c for c in cases if (c.time, c.batch) in _QUICK] for cases in sweeps]
        sweeps = [some or cases[:1] for some, cases in zip(few, sweeps, strict=True)]
    return sweeps


def _rounding(reference: Reference, meter: CostMeter | None) -> Rounding:
    return Rounding(
        dtypes=reference.dtypes,
        rounded=reference.rounded,
        integers=reference.integers,
        costs=meter.costs() if meter else (),
    )


def _words(reference: Reference) -> ComparedWith:
    if not reference.dtypes:
        return ComparedWith("the original", "the original")
    layers = len(reference.integers)
    integers = f", {layers} of its layers with activations of 8 bits" if layers else ""
    exact = "the original, weights rounded"
    return ComparedWith("the original", exact, f"with its weights rounded{integers}")


def _check_golden(reference: Reference, model: str) -> None:
    from rnnedge.errors import GoldenError

    if reference.integers:
        raise GoldenError(
            f"golden: expected a file that computes with floats, but {model} computes "
            f"{reference.integers[0]} with integers, which may round differently on two machines: "
            "validate it against its PyTorch source for golden vectors"
        )


def _write_golden(
    golden: str | os.PathLike[str],
    named: NamedFile,
    collected: Sequence[Answers],
    report: Report,
) -> None:
    from rnnedge.golden_vectors import write_golden
    from rnnedge.parity.golden_sets import golden_sets

    sets = [
        replace(
            vectors,
            inputs=named.feeds(vectors.inputs),
            outputs=named.answers(vectors.outputs),
            allowed={own: (vectors.allowed or {})[name] for name, own in named.outputs.items()},
        )
        for vectors in golden_sets(collected, report.results)
    ]
    words = [os.path.basename(report.source), report.against.held, "in", report.engine]
    reference = " ".join(filter(None, words))
    made = {**(report.evidence.facts() if report.evidence else {}), **report.machine}
    write_golden(golden, model=report.model, sets=sets, reference=reference, made=made)


def _save_failing(
    path: str | os.PathLike[str],
    collected: Sequence[Answers],
    smallest: Case,
    protected: Sequence[str | os.PathLike[str]],
    *,
    force: bool,
) -> None:
    from rnnedge.parity.golden_sets import save_failing

    answers = next(answers for answers in collected if answers.case == smallest)
    save_failing(path, answers, protected=protected, force=force)
