"""One case after another on a file and on what it is compared with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from rnnedge.errors import CrashError, TimeLimitError
from rnnedge.parity.cases import Case, Inputs
from rnnedge.parity.collect import Answers
from rnnedge.parity.compare import Judge, Tolerance, compare, errors_of
from rnnedge.parity.onnx_reference.interface_matching import NamedFile
from rnnedge.parity.onnx_reference.model_under_test import OpenedFile, Values
from rnnedge.parity.onnx_reference.numpy_operators import Array, Nudge, Product, to_nearest
from rnnedge.parity.onnx_reference.reference import Cut, Reference
from rnnedge.parity.results import CaseResult
from rnnedge_exporters.sandbox.onnx_runtime import Sandbox
from rnnedge_runtime.contract import TIME, Interface
from rnnedge_runtime.errors import RnnEdgeError, one_line, pass_on_interruption

_TIE = 1e-4
"""Steps of 8 bits between a number and the middle of two, below which either may be taken: the
quotient of two float32 of up to 255 is right to 1.5e-5."""
INNER = "what layers of integers take"
"""What stands for an output, for the inputs of the layers that are compared for themselves."""
_SAMPLES = 4
"""How often activations are rounded at random, where a layer cannot be held step by step."""


class Comparison:
    """Runs cases on a file and its reference.

    Args:
        sandbox: Where both run.
        reference: What the file is compared with.
        file: The file, with the names of the original.
        tolerance: How far an output may be off.
        interface: What both take and answer.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        reference: Reference,
        file: NamedFile,
        tolerance: Tolerance,
        interface: Interface,
    ) -> None:
        """Open what was made of the original.

        Raises:
            ModelError: When ONNX Runtime does not open it.
        """
        self._reference, self._file, self._interface = reference, file, interface
        self._dynamic = any(TIME in spec.axes for spec in interface.inputs)
        self._tolerance = tolerance

        def opened(contents: Sequence[bytes | None]) -> list[OpenedFile]:
            return [OpenedFile(sandbox, content) for content in contents if content is not None]

        self._tapped = opened([reference.tapped])
        self._exact = opened([reference.content])
        self._moved, self._shaken = opened(reference.moved), opened(reference.shaken)

    def run(
        self, case: Case, inputs: Inputs, expected: Mapping[str, Array]
    ) -> tuple[Answers, list[CaseResult]]:
        """Run one case.

        Args:
            case: The case.
            inputs: What is put in, by the names of the original.
            expected: What the original answers as it is.

        Returns:
            What both answered, and how each output and each layer of integers compares.
        """
        try:
            answers = self._file.run(inputs)
            # The answers are those of the file as it is; the taps are for what is inside.
            known = {**(self._tapped[0].run(inputs) if self._tapped else {}), **answers}
            layers = list(self._layers(case, inputs, known))
            asked, inner = self._rest(case, inputs, known, answers)
        except Exception as error:  # errors of ours, and numpy's where shapes do not fit
            pass_on_interruption(error)
            said = str(error) if isinstance(error, RnnEdgeError) else one_line(error)
            crash = isinstance(error, CrashError)
            end = "never ends" if isinstance(error, TimeLimitError) else "crash" * crash
            moved = dict.fromkeys(expected, 0.0)
            failed = Answers(case, inputs, {}, dict(expected), {}, moved, None, said, end)
            return failed, list(self._judged(failed))
        return asked, [*layers, *self._judged(asked), *inner, *self._misshapen(asked, expected)]

    def _judged(self, answers: Answers) -> Sequence[CaseResult]:
        return compare([answers], self._interface, self._tolerance, self._reference.terms)

    def _misshapen(self, answers: Answers, expected: Mapping[str, Array]) -> Iterator[CaseResult]:
        """Yield outputs that only layers of integers make, where even their shape is not right."""
        for name, right in expected.items():
            given = (answers.model or {}).get(name)
            if name not in answers.reference and (given is None or given.shape != right.shape):
                got = "missing" if given is None else _shapes(given, right)
                yield Judge(answers.case, name, right, 1.0, 0.0).problem(got)

    def _rest(
        self, case: Case, inputs: Inputs, known: Values, answers: dict[str, Array]
    ) -> tuple[Answers, list[CaseResult]]:
        """Run all but the layers of integers, given what these answer in the file."""
        right: dict[str, Array] = {}
        others: list[dict[str, Array]] = []
        if self._exact:
            needed = [spec.name for spec in self._exact[0].interface.inputs]
            given = {name: {**inputs, **known}[name] for name in needed}
            one_step = self._reference.first_step and self._dynamic and case.time == 1
            files = self._moved if one_step else [*self._moved, *self._shaken]
            right = self._exact[0].run(given)
            others = [file.run(given) for file in files]
        far = {
            name: max((_largest(errors_of(one[name], array)) for one in others), default=0.0)
            for name, array in right.items()
        }
        outputs = {name: right[name] for name in self._outputs() if name in right}
        asked = Answers(case, inputs, {}, outputs, {}, far, answers, None)
        inner = [
            self._compared(INNER, case, known[name], array, self._reference.terms, far[name], array)
            for name, array in right.items()
            if name not in self._reference.outputs
        ]
        return asked, inner

    def _outputs(self) -> list[str]:
        return [spec.name for spec in self._interface.outputs]

    def _layers(self, case: Case, inputs: Inputs, known: Values) -> Iterator[CaseResult]:
        """Compare the layers of integers, each on what it is given in the file."""
        for cut in self._reference.cuts:
            values = {**inputs, **known, **cut.fixed}
            told = values.get(cut.outputs[0])
            nudges: Sequence[Nudge] = [lambda shape: _TIE, lambda shape: -_TIE]
            if told is None:
                nudges = [_at_random(seed) for seed in range(_SAMPLES)]
            rights, size = _answers(cut, values, told, to_nearest)
            others = [_answers(cut, values, told, nudge)[0] for nudge in nudges]
            several = len([name for name in cut.outputs if name]) > 1
            for place, (name, right) in enumerate(zip(cut.outputs, rights, strict=False)):
                if name:
                    far = max(_largest(errors_of(other[place], right)) for other in others)
                    called = f"{cut.name}: {name}" if several else cut.name
                    terms = cut.cell.terms
                    yield self._compared(called, case, values[name], right, terms, far, size)

    def _compared(
        self,
        name: str,
        case: Case,
        given: Array,
        right: Array,
        terms: int,
        far: float,
        size: Array | float,
    ) -> CaseResult:
        largest = size if isinstance(size, float) else _size(size)
        floor = self._tolerance.floor(terms) * max(1.0, largest)
        allowed = max(floor, self._tolerance.torch_factor * case.spread * far)
        judge = Judge(case, name, right, allowed, far)
        if given.shape != right.shape:
            return judge.problem(_shapes(given, right))
        return judge.values(given)


def _answers(
    cut: Cut, known: Values, told: Array | None, nudge: Nudge
) -> tuple[list[Array], float]:
    x, added = known[cut.x], [known[name] for name in cut.added]
    if isinstance(cut.cell, Product):
        return cut.cell.run(x, added, nudge)
    return cut.cell.run(x, known[cut.lengths] if cut.lengths else None, added, nudge, told)


def _at_random(seed: int) -> Nudge:
    """Round up or down at random."""
    random = np.random.default_rng(seed)
    return lambda shape: random.uniform(-0.5, 0.5, shape)


def _shapes(given: Array, right: Array) -> str:
    return f"shape {list(given.shape)}, expected {list(right.shape)}"


def _largest(errors: Array) -> float:
    return float(errors.max(initial=0.0))


def _size(array: Array) -> float:
    """Return the largest finite magnitude."""
    finite: Any = np.abs(array[np.isfinite(array)])
    return float(finite.max(initial=0)) if array.dtype.kind == "f" else 0.0
