"""`validate_beside_file`: compare a file with another that it should compute the same as."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from rnnedge.errors import ModelError, TimeLimitError
from rnnedge.parity.cases import Case, Inputs, further_cases
from rnnedge.parity.collect import Answers
from rnnedge.parity.compare import Tolerance, error_over_time, summarize
from rnnedge.parity.coverage.found import Coverage
from rnnedge.parity.coverage.measured import measure, watch_file
from rnnedge.parity.coverage.wanted import Wanted
from rnnedge.parity.coverage.watched import Watched
from rnnedge.parity.evidence import gather, now
from rnnedge.parity.machine import engine_version, machine
from rnnedge.parity.mutation.found import attack
from rnnedge.parity.onnx_reference.cases import cases_for, inputs_of
from rnnedge.parity.onnx_reference.comparison import Comparison
from rnnedge.parity.onnx_reference.interface_matching import Match, NamedFile, match
from rnnedge.parity.onnx_reference.model_under_test import Array, OpenedFile
from rnnedge.parity.onnx_reference.reference import Reference, make_reference
from rnnedge.parity.report import UNKNOWN, CaseResult, ComparedWith, Report
from rnnedge.parity.rounding.cost import CostMeter, Rounding, scores_of
from rnnedge_exporters.sandbox.onnx_runtime import TIME_LIMIT, Sandbox
from rnnedge_exporters.threads import threads_for
from rnnedge_runtime.contract import BATCH, TIME, Interface, TensorSpec
from rnnedge_runtime.engine.options import EngineOptions
from rnnedge_runtime.errors import EngineError, InputError, RnnEdgeError

_OPEN = 100
"""Models that stay open: both files, and what is made of the original."""
_QUICK = ((1, 1), (1, 3), (7, 3))
_CRASHES = 3
"""Crashes, each of which costs a new process, after which a sweep ends."""


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
        sweep = _Sweep(original, compare, interface, scores=bool(scores), wanted=wanted)
        sweep.run(_cases(interface, same, quick=quick), reference.largest_index, progress)
        coverage = _coverage(sandbox, named, watched, sweep.collected)
        if not coverage.full and wanted:
            more = further_cases(interface, wanted, quick=quick)
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
        ModelError: When it takes what is no number, or never ends.
    """
    try:
        return original.probed_interface()
    except InputError as error:
        raise ModelError(f"{original.name}: {error}") from error
    except TimeLimitError as error:
        raise _endless(original, error, Case(7, 3)) from error


def _endless(original: OpenedFile, error: TimeLimitError, case: Case) -> ModelError:
    return ModelError(
        f"{original.name}: expected an original that answers, but at {case} {error}: give a longer "
        "time limit, or another file"
    )


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


@dataclass
class _Sweep:
    """Runs cases, and keeps what was found.

    Attributes:
        original: What decides which cases there are: those that it takes.
        compare: Makes what runs a case on the file, for the outputs that are seen.
        interface: What both take; its outputs get the axes that they are seen to have.
        scores: Whether the outputs are scores.
        wanted: What the graph of the file asks of its inputs.
        collected: What both answered.
        results: How each output and layer compares in each case.
        meter: How far the file is from the original as it is.
        comparison: Runs a case on the file; None before the first.
        notes: What a reader should know.
        expected: What the original answers in each case.
    """

    original: OpenedFile
    compare: Callable[[Interface], Comparison]
    interface: Interface
    scores: bool
    wanted: Wanted
    collected: list[Answers] = field(default_factory=list)
    results: list[CaseResult] = field(default_factory=list)
    meter: CostMeter | None = None
    comparison: Comparison | None = None
    notes: list[str] = field(default_factory=list)
    expected: dict[Case, Mapping[str, Array]] = field(default_factory=dict)

    def run(
        self,
        sweeps: Sequence[Sequence[Case]],
        largest: int,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        """Run the first sweep of which the original takes a case.

        Raises:
            ModelError: When it takes none.
        """
        refused: dict[Case, str] = {}
        for cases in sweeps:
            for number, case in enumerate(cases, 1):
                inputs = inputs_of(self.interface, case, largest, self.wanted, self.original.values)
                expected = self._expected(case, inputs, refused)
                if expected is not None:
                    self._compare(case, inputs, expected)
                if progress:
                    progress(number, len(cases))
                fatal = [answers.crash for answers in self.collected if answers.crash]
                if len(fatal) == _CRASHES or "never ends" in fatal:
                    self.notes.append(f"stopped after case {number} of {len(cases)}: {fatal[-1]}")
                    break
            if self.collected:
                break
        else:
            case, why = next(iter(refused.items()))
            raise ModelError(
                f"{self.original.name}: expected an original that takes one of {len(refused)} "
                f"cases, got a refusal of all; at {case}: {why}"
            )
        self.notes += [
            f"the original itself refuses {len(refused)} cases, such as {case}"
            for case in list(refused)[:1]
        ]

    def more(self, cases: Sequence[Case], largest: int) -> None:
        """Run further cases, without those that the original refuses, up to a crash."""
        for case in cases:
            if any(answers.crash for answers in self.collected):
                break
            inputs = inputs_of(self.interface, case, largest, self.wanted, self.original.values)
            try:
                expected = self._expected(case, inputs, {})
            except ModelError:  # it never ends at that
                break
            if expected is not None:
                self._compare(case, inputs, expected)

    def _expected(
        self, case: Case, inputs: Inputs, refused: dict[Case, str]
    ) -> dict[str, Array] | None:
        try:
            answers = self.original.run(inputs)
        except TimeLimitError as error:
            raise _endless(self.original, error, case) from error
        except EngineError as error:
            refused[case] = str(error)
            return None
        names = [spec.name for spec in self.interface.outputs]
        return {name: answers[name] for name in names}

    def _compare(self, case: Case, inputs: Inputs, expected: Mapping[str, Array]) -> None:
        if self.comparison is None or self.meter is None:
            seen = [_seen(spec, expected[spec.name]) for spec in self.interface.outputs]
            self.interface = replace(self.interface, outputs=tuple(seen))
            told = scores_of(self.interface, bare=False, told=self.scores)
            self.meter = CostMeter(self.interface, told)
            self.comparison = self.compare(self.interface)
        answers, results = self.comparison.run(case, inputs, expected)
        self.expected[case] = expected
        self.collected.append(answers)
        self.results += results
        if case.values == "normal" and answers.model is not None:
            self.meter.add(str(case), dict(expected), None, answers.model)


@dataclass(frozen=True, slots=True)
class FileProof:
    """A proof that passed, to be made again of other files.

    Attributes:
        sandbox: Where files run.
        against: The original.
        match: What the inputs and outputs of the files are called.
        reference: What the first file was compared with.
        sweep: What was run.
        tolerance: What counts as equal.
    """

    sandbox: Sandbox
    against: Path
    match: Match
    reference: Reference
    sweep: _Sweep
    tolerance: Tolerance

    def fails(self, path: str) -> bool:
        """Whether the file at a path is refused, or answers something else in a case."""
        try:
            file = NamedFile(OpenedFile(self.sandbox, path), self.match)
            reference = self.reference
            if reference.dtypes:  # the reference holds what the file does
                reference = make_reference(self.against, Path(path))
            interface = self.sweep.interface
            comparison = Comparison(self.sandbox, reference, file, self.tolerance, interface)
        except RnnEdgeError:
            return True
        for answers in sorted(self.sweep.collected, key=lambda a: a.case.time * a.case.batch):
            expected = self.sweep.expected[answers.case]
            if not all(comparison.run(answers.case, answers.inputs, expected)[1]):
                return True
        return False


def _seen(spec: TensorSpec, array: Array) -> TensorSpec:
    """Return an output with its real rank: what a file declares, its fixed sizes too, may lie."""
    axes = spec.axes if len(spec.axes) == array.ndim else [""] * array.ndim
    named = [a if a in (BATCH, TIME) else f"{spec.name}.{n}" for n, a in enumerate(axes)]
    return replace(spec, axes=tuple(named))


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
            f"{reference.integers[0]} with integers, which two machines may round to either side: "
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
    write_golden(golden, model=report.model, sets=sets, reference=" ".join(filter(None, words)))


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
