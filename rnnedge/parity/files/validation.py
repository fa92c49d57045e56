"""`validate_quantized`: run a rounded file, and the file that it was made from, and compare."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnnedge.errors import ModelError
from rnnedge.parity.cases import Case, Inputs
from rnnedge.parity.compare import Tolerance, errors_of
from rnnedge.parity.files.cases import cases_for, inputs_of, interfaces_to_try
from rnnedge.parity.files.cells import Array, Nudge, Product, to_nearest
from rnnedge.parity.files.reference import Cut, Reference, make_reference
from rnnedge.parity.files.report import FileCost, FileReport, Result, summarize
from rnnedge_runtime.contract import TIME, Interface
from rnnedge_runtime.engine.inference_session import open_inference_session
from rnnedge_runtime.engine.options import EngineOptions
from rnnedge_runtime.foreign.interface_from_names import read_interface

Values = Mapping[str, Array]

_TIE = 1e-4
"""Steps of 8 bits between a number and the middle of two, below which either may be taken: the
quotient of two float32 of up to 255 is right to 1.5e-5."""
_INNER = "what layers of integers take"
_SAMPLES = 4
"""How often activations are rounded at random, where a layer cannot be held step by step."""


def validate_quantized(
    model: str | os.PathLike[str],
    *,
    against: str | os.PathLike[str],
    tolerance: Tolerance | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FileReport:
    """Check that a file with rounded weights computes what the file that it was made from does.

    Both run in ONNX Runtime, over lengths and batches where they are dynamic, states, and ragged
    lengths. The original has its weights rounded first, and what multiplies integers is held to the
    same equations with activations of 8 bits, so that an error of the graph cannot pass for one of
    the rounding. What the rounding costs is measured beside, against the original as it is.

    Args:
        model: What `quantize` wrote.
        against: The `.onnx` file that it was made from.
        tolerance: How far an output may be off; None is `Tolerance()`.
        progress: Called with the number of cases done and in all.

    Returns:
        A report that is truthy when everything is inside tolerance in every case.

    Raises:
        ModelError: When a file cannot be opened, or the original takes none of the cases.
        ExportError: When the original cannot be read.
    """
    tolerance = tolerance or Tolerance()
    original = _open(os.fspath(against))
    face = _face(original)
    reference = make_reference(Path(against), Path(model))
    compared = _Comparison(reference, os.fspath(model), face, tolerance)
    results: list[Result] = []
    meters = {spec.name: _Meter() for spec in face.outputs}
    refused: dict[Case, str] = {}
    done = 0
    for cases in cases_for(face):
        for number, case in enumerate(cases):
            inputs = inputs_of(face, case, reference.largest_index)
            try:
                expected = _run(original, inputs)
            except Exception as error:  # whatever ONNX Runtime raises where a shape does not fit
                refused[case] = " ".join(str(error).split())
                continue
            done += 1
            answers, own = compared.run(case, inputs, expected)
            results += own
            for name, given in answers.items() if case.values == "normal" else ():
                meters[name].add(given, expected[name], str(case))
            if progress:
                progress(number + 1, len(cases))
        if done:
            break
    if not done:
        case, why = next(iter(refused.items()))
        raise ModelError(
            f"{os.fspath(against)}: expected an original that takes one of {len(refused)} cases, "
            f"got a refusal of all; at {case}: {why}"
        )
    notes = [
        f"the original itself refuses {len(refused)} cases, such as {case}"
        for case in list(refused)[:1]
    ]
    return FileReport(
        model=os.fspath(model),
        against=os.fspath(against),
        compared=summarize(results),
        costs=tuple(m.cost(name) for name, m in meters.items() if m.values),
        cases=done,
        notes=tuple(notes),
    )


def _face(original: Any) -> Interface:
    """Return the interface of the original, with the names of axes that it takes."""
    faces = interfaces_to_try(read_interface(original.get_inputs(), original.get_outputs()))
    for spec in faces[0].inputs:
        if spec.dtype.startswith("tensor("):
            raise ModelError(f"the original: expected inputs of numbers, got {spec}")
    for face in faces:
        try:
            _run(original, inputs_of(face, Case(7, 3), 1))
        except Exception:  # whatever ONNX Runtime raises where a shape does not fit
            continue
        return face
    return faces[0]


class _Comparison:
    """Runs cases on a file and its reference.

    Args:
        reference: The original with rounded weights.
        model: The rounded file.
        face: What they take.
        tolerance: How far an output may be off.
    """

    def __init__(
        self, reference: Reference, model: str, face: Interface, tolerance: Tolerance
    ) -> None:
        self.reference = reference
        self._dynamic = any(TIME in spec.axes for spec in face.inputs)
        self._model, self._tapped = _open(model), _open(reference.tapped)
        self._exact = None if reference.content is None else _open(reference.content)
        self._moved = [_open(content) for content in reference.moved]
        self._shaken = [_open(content) for content in reference.shaken]
        self._tolerance = tolerance

    def run(self, case: Case, inputs: Inputs, expected: Values) -> tuple[Values, list[Result]]:
        """Run one case; returns what the file answers where that has the right shape."""
        try:
            answers = _run(self._model, inputs)
            # The answers are those of the file as it is; the taps are for what is inside.
            tapped = {**_run(self._tapped, inputs), **answers}
            results = [*self._cells(case, inputs, tapped), *self._rest(case, inputs, tapped)]
        except Exception as error:  # whatever ONNX Runtime or numpy raise where shapes do not fit
            said = f"raised: {' '.join(str(error).split())}"
            return {}, [Result(name, False, str(case), np.inf, 1, said) for name in expected]
        same = {}
        for name, right in expected.items():
            if answers[name].shape == right.shape:
                same[name] = answers[name]
            else:
                said = _shapes(answers[name], right)
                results.append(Result(name, False, str(case), np.inf, 1, said))
        return same, results

    def _rest(self, case: Case, inputs: Inputs, tapped: Values) -> Iterator[Result]:
        """Compare all but the layers of integers, given what these answer in the file."""
        if self._exact is None:
            return
        given = {arg.name: {**inputs, **tapped}[arg.name] for arg in self._exact.get_inputs()}
        one_step = self.reference.first_step and self._dynamic and case.time == 1
        engines = self._moved if one_step else [*self._moved, *self._shaken]
        moved = [_run(engine, given) for engine in engines]
        for name, right in _run(self._exact, given).items():
            far = max(_largest(errors_of(one[name], right)) for one in moved)
            allowed = self._allowed(self.reference.terms, _size(right), far)
            title = name if name in self.reference.outputs else _INNER
            yield _compare(title, case, tapped[name], right, allowed)

    def _cells(self, case: Case, inputs: Inputs, tapped: Values) -> Iterator[Result]:
        """Compare the layers of integers, each on what it is given in the file."""
        for cut in self.reference.cuts:
            known: Values = {**inputs, **tapped, **cut.fixed}
            told = known.get(cut.outputs[0])
            nudges: Sequence[Nudge] = [lambda shape: _TIE, lambda shape: -_TIE]
            if told is None:
                nudges = [_at_random(seed) for seed in range(_SAMPLES)]
            rights, size = _answers(cut, known, told, to_nearest)
            others = [_answers(cut, known, told, nudge)[0] for nudge in nudges]
            for place, (name, right) in enumerate(zip(cut.outputs, rights, strict=False)):
                if name:
                    far = max(_largest(errors_of(other[place], right)) for other in others)
                    allowed = self._allowed(cut.cell.terms, size, far)
                    yield _compare(cut.name, case, known[name], right, allowed, integers=True)

    def _allowed(self, terms: int, size: float, far: float) -> float:
        floor = self._tolerance.floor(terms) * max(1.0, size)
        return max(floor, self._tolerance.torch_factor * far)


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


def _compare(
    name: str, case: Case, given: Array, right: Array, allowed: float, *, integers: bool = False
) -> Result:
    if given.shape != right.shape:
        return Result(name, integers, str(case), np.inf, allowed, _shapes(given, right))
    return Result(name, integers, str(case), _largest(errors_of(given, right)), allowed)


def _shapes(given: Array, right: Array) -> str:
    return f"shape {list(given.shape)}, expected {list(right.shape)}"


class _Meter:
    """Adds up how far an output is from the original's."""

    def __init__(self) -> None:
        self.values, self._sum, self._worst, self._case, self._size = 0, 0.0, 0.0, "", 0.0

    def add(self, given: Array, right: Array, case: str) -> None:
        errors = errors_of(given, right)
        self.values += errors.size
        self._sum += float(errors.sum())
        self._size = max(self._size, _size(right))
        if _largest(errors) > self._worst or not self._case:
            self._worst, self._case = _largest(errors), case

    def cost(self, name: str) -> FileCost:
        return FileCost(name, self._worst, self._sum / self.values, self._size, self._case)


def _open(model: str | bytes) -> Any:
    return open_inference_session(model, device="cpu", options=EngineOptions(threads=1))[0]


def _run(engine: Any, inputs: Values) -> dict[str, Array]:
    names = [arg.name for arg in engine.get_outputs()]
    return dict(zip(names, engine.run(names, dict(inputs)), strict=True))


def _largest(errors: Array) -> float:
    return float(errors.max(initial=0.0))


def _size(array: Array) -> float:
    """Return the largest finite magnitude."""
    finite = np.abs(array[np.isfinite(array)])
    return float(finite.max(initial=0)) if array.dtype.kind == "f" else 0.0
