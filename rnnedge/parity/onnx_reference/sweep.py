"""Runs the cases that an original file takes on it and on the file, and keeps what was found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from rnnedge.errors import ModelError, TimeLimitError
from rnnedge.parity.cases import Case, Inputs
from rnnedge.parity.collect import Answers
from rnnedge.parity.coverage.wanted import Wanted
from rnnedge.parity.onnx_reference.cases import inputs_of
from rnnedge.parity.onnx_reference.comparison import Comparison
from rnnedge.parity.onnx_reference.model_under_test import Array, OpenedFile
from rnnedge.parity.results import CaseResult
from rnnedge.parity.rounding.cost import CostMeter, scores_of
from rnnedge_runtime.contract import BATCH, TIME, Interface, TensorSpec
from rnnedge_runtime.errors import EngineError

_CRASHES = 3
"""Crashes, each of which costs a new process, after which a sweep ends."""


def endless(original: OpenedFile, error: TimeLimitError, case: Case) -> ModelError:
    """Return the error of an original that never ends.

    Args:
        original: The file.
        error: What was raised.
        case: What it was run at.
    """
    return ModelError(
        f"{original.name}: expected an original that answers, but at {case} {error}: give a longer "
        "time limit, or another file"
    )


@dataclass
class Sweep:
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
            raise endless(self.original, error, case) from error
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


def _seen(spec: TensorSpec, array: Array) -> TensorSpec:
    """Return an output with its real rank: what a file declares, its fixed sizes too, may lie."""
    axes = spec.axes if len(spec.axes) == array.ndim else [""] * array.ndim
    named = [a if a in (BATCH, TIME) else f"{spec.name}.{n}" for n, a in enumerate(axes)]
    return replace(spec, axes=tuple(named))
