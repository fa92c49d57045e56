"""Comparing what was collected: shapes first, then values, never through a flattened view."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from rnnedge.parity.cases import Case
from rnnedge.parity.collect import Answers
from rnnedge.parity.results import CaseResult, Curve, Histogram, OutputReport
from rnnedge_runtime.axis_sizes import size_of
from rnnedge_runtime.contract import TIME, Interface, TensorSpec
from rnnedge_runtime.errors import OptionError

Array = NDArray[Any]
_LARGEST = 1e35
"""What is larger in float64 may be infinite in float32, in PyTorch or in the model."""
_GATES = 2.0**-24
"""What an engine's sigmoid may be off by at its ends."""
_BINS = tuple(2.0**power for power in range(-6, 21))
"""Edges of the histogram, in units in the last place."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far an output may be from PyTorch in float64.

    The allowed error of an output in one case is the larger of

    - `absolute` times the largest magnitude in that output, where that is above 1. A float32 sum of
      n terms is off by about sqrt(n)/2 units in the last place, so that without an `absolute` it
      is `ulps` times 2^-24 times the square root of the terms of the widest product in the cell;
    - `torch_factor` times the rounding of that case: the largest of the error that PyTorch itself
      makes there in float32, of what its float64 answer moves by when every weight moves by up to
      two units in the last place of a float32, about what the polynomials that engines have for
      tanh and sigmoid are off by, and of 2^-24 times the largest final state: their sigmoid is
      right to that of 1 and not of itself, so that a gate which should close on a large state does
      not quite. All are taken at the same length, and count four times where inputs are large
      (`Case.spread`). A network that amplifies rounding does so in
      every float32 program.

    Attributes:
        absolute: Above 0, or None to derive it from the width of the cell.
        torch_factor: 0 leaves the rounding that was measured out.
        ulps: Above 0; how many times the expected rounding of one product is allowed.

    Raises:
        OptionError: If a number is out of its range.
    """

    absolute: float | None = None
    torch_factor: float = 4.0
    ulps: float = 32.0

    def __post_init__(self) -> None:
        if self.absolute is not None and not 0 < self.absolute < math.inf:
            raise OptionError(f"absolute: expected above 0 and finite, got {self.absolute}")
        if not 0 <= self.torch_factor < math.inf:
            raise OptionError(f"torch_factor: expected 0 or more, got {self.torch_factor}")
        if not 0 < self.ulps < math.inf:
            raise OptionError(f"ulps: expected above 0 and finite, got {self.ulps}")

    def floor(self, terms: int) -> float:
        """Return the absolute error allowed where PyTorch makes none.

        Args:
            terms: Terms in the widest product of the cell: features of its input and its state.

        Returns:
            `absolute`, or the rounding of a float32 sum of that many terms.
        """
        return self.absolute or self.ulps * 2.0**-24 * math.sqrt(terms)


def widest_product(module: nn.Module) -> int:
    """Return how many terms the widest product of a module has."""
    widest = [math.prod(p.shape[1:]) for p in module.parameters() if p.dim() > 1]
    hidden = [m.hidden_size for m in module.modules() if isinstance(m, nn.RNNBase)]
    return max(widest, default=1) + max(hidden, default=0)


def compare(
    collected: Sequence[Answers], interface: Interface, tolerance: Tolerance, terms: int
) -> tuple[CaseResult, ...]:
    """Compare each output in each case.

    Args:
        collected: What `collect` gave; one case or more.
        interface: The shapes that the model declares.
        tolerance: How far an output may be off.
        terms: Terms in the widest product of the cell.

    Returns:
        One result for each output of each case, in the order of `collected`.
    """
    declared = {spec.name: spec for spec in interface.outputs}
    floor = tolerance.floor(terms)
    finals = [pair.output for pair in interface.states]
    results = []
    for answers in collected:
        states = [np.abs(answers.reference[name]) for name in finals if name in answers.reference]
        gates = _GATES * max(map(_largest, states), default=0.0)
        results += [
            _compare_one(answers, declared[name], floor, tolerance.torch_factor, gates)
            for name in answers.reference
        ]
    return tuple(results)


def summarize(
    results: Sequence[CaseResult], collected: Sequence[Answers]
) -> tuple[OutputReport, ...]:
    """Sum up each output over all cases."""
    reports = []
    for name in dict.fromkeys(result.output for result in results):
        own = [result for result in results if result.output == name]
        worst = max(own, key=lambda result: result.badness)
        reports.append(
            OutputReport(
                name=name,
                cases=len(own),
                failed=sum(not result for result in own),
                max_abs=worst.error,
                max_rel=worst.relative,
                max_ulps=worst.ulps,
                tolerance=worst.allowed,
                torch_abs=worst.torch_error,
                worst=f"{worst.case}{worst.where}",
                problem=worst.problem,
                histogram=_histogram(name, collected),
            )
        )
    return tuple(reports)


def error_over_time(
    collected: Sequence[Answers], interface: Interface, steps: int = 400
) -> tuple[Curve, ...]:
    """Return the error at each step of the longest plain case, for each output with a time axis.

    Args:
        collected: What `collect` gave.
        interface: Says which axis is time.
        steps: The longest sequence that is looked at.

    Returns:
        One curve for each output with a time axis; none where no plain case is that short.
    """
    plain = [a for a in collected if a.model and a.case.values == "normal" and not a.case.ragged]
    plain = [a for a in plain if a.case.time <= steps]
    if not plain:
        return ()
    longest = max(plain, key=lambda a: (a.case.time, a.case.random_state))
    curves = []
    for spec in interface.outputs:
        model = (longest.model or {}).get(spec.name)
        reference = longest.reference.get(spec.name)
        if TIME not in spec.axes or model is None or reference is None:
            continue
        if model.shape != reference.shape:
            continue
        axis = spec.axes.index(TIME)
        curves.append(
            Curve(
                name=spec.name,
                case=longest.case,
                model=_over(axis, model, reference),
                torch=_over(axis, longest.torch[spec.name], reference) if longest.torch else (),
            )
        )
    return tuple(curves)


def _over(axis: int, given: Array, reference: Array) -> tuple[float, ...]:
    error = errors_of(given, reference)
    others = tuple(a for a in range(error.ndim) if a != axis)
    return tuple(float(e) for e in error.max(axis=others, initial=0.0))


def _histogram(name: str, collected: Sequence[Answers]) -> Histogram:
    counts = {"model": np.zeros(len(_BINS) - 1, int), "torch": np.zeros(len(_BINS) - 1, int)}
    for answers in collected:
        if name not in answers.reference:  # a layer that is compared for itself
            continue
        reference = answers.reference[name]
        for side in counts:
            given = (getattr(answers, side) or {}).get(name)
            if given is None or given.shape != reference.shape or given.dtype.kind != "f":
                continue
            ulps = errors_of(given, reference) / _ulp(reference)
            counts[side] += np.histogram(np.clip(ulps, _BINS[0], _BINS[-1]), _BINS)[0]
    return Histogram(_BINS, tuple(map(int, counts["model"])), tuple(map(int, counts["torch"])))


def _compare_one(
    answers: Answers, spec: TensorSpec, floor: float, torch_factor: float, gates: float
) -> CaseResult:
    name = spec.name
    reference, eager = answers.reference[name], answers.torch.get(name)
    torch_error = None if eager is None else _largest(errors_of(eager, reference))
    rounding = max(torch_error or 0.0, answers.moved[name], gates)
    factor = torch_factor * answers.case.spread
    judge = Judge(
        case=answers.case,
        output=name,
        reference=reference,
        allowed=max(floor * max(1.0, _largest(np.abs(reference))), factor * rounding),
        rounding=rounding,
        torch_error=torch_error,
    )
    if answers.model is None:
        return judge.problem(f"raised: {answers.failure}")
    given = answers.model.get(name)
    if given is None:
        return judge.problem("missing")
    single = reference if eager is None else eager
    if given.dtype != single.dtype:
        return judge.problem(f"dtype {given.dtype}, expected {single.dtype}")
    if given.shape != reference.shape:
        return judge.problem(f"shape {list(given.shape)}, expected {list(reference.shape)}")
    if len(given.shape) != len(spec.axes):
        return judge.problem(f"shape {list(given.shape)}, declared as {spec}")
    for axis, length in zip(spec.axes, given.shape, strict=True):
        promised = size_of(axis, answers.sizes)
        if promised not in (None, length):
            return judge.problem(f"shape {list(given.shape)}, declared as {spec}")
    return judge.values(given, single)


@dataclass(frozen=True, slots=True)
class Judge:
    """Says how far one output is from its reference in one case.

    Attributes:
        case: The case.
        output: Name of the output, or of a layer that is compared for itself.
        reference: What is right.
        allowed: Absolute error that is inside tolerance.
        rounding: As in `CaseResult`.
        torch_error: As in `CaseResult`.
    """

    case: Case
    output: str
    reference: Array
    allowed: float
    rounding: float
    torch_error: float | None = None

    def problem(self, text: str) -> CaseResult:
        """Return what is wrong besides the values."""
        return self._result(math.inf, None, problem=text)

    def values(self, given: Array, single: Array | None = None) -> CaseResult:
        """Compare numbers.

        Args:
            given: The model's, of the reference's shape.
            single: What the reference computes in float32, where that is not the reference itself:
                numbers that overflow there cannot be compared.

        Returns:
            The largest error, where it is, and whether the tolerance allows it.
        """
        reference = self.reference
        error = errors_of(given, reference)
        size = _largest(np.abs(reference))
        # What overflows in PyTorch's own float32 cannot be compared; it is said.
        overflows = ~np.isfinite(reference if single is None else single)
        overflows = overflows | ((size > _LARGEST) & ~np.isfinite(given))
        # Of extreme inputs a NaN is an overflow too, such as of a module that computes in half.
        told = np.isfinite(reference) | (self.case.values == "extreme")
        beyond = told & (overflows | (np.abs(reference) > _LARGEST))
        error = np.where(beyond, 0.0, error)
        if not error.size:
            return self._result(0.0, None)
        at = np.unravel_index(int(np.argmax(error)), error.shape)
        both = np.isnan(reference) & np.isnan(given)
        said = [f"NaN on both sides in {both.sum()} of {both.size} values"] * bool(both.any())
        said += [f"beyond float32 in {beyond.sum()} of {beyond.size} values"] * bool(beyond.any())
        remark = {"remark": f"{'; '.join(said)} ({self.case})"} if said else {}
        return self._result(float(error[at]), tuple(int(i) for i in at), **remark)

    def _result(self, error: float, at: tuple[int, ...] | None, **said: str) -> CaseResult:
        return CaseResult(
            case=self.case,
            output=self.output,
            error=error,
            relative=error / max(_largest(np.abs(self.reference)), 1e-30) if error else 0.0,
            ulps=error / _ulp(self.reference),
            allowed=self.allowed,
            torch_error=self.torch_error,
            rounding=self.rounding,
            at=at,
            **said,
        )


def errors_of(given: Array, reference: Array) -> NDArray[np.float64]:
    """Return absolute errors: 0 for equal NaN or infinity, infinite for NaN on one side alone."""
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs(given.astype(np.float64) - reference.astype(np.float64))
    error = np.where(_same(given, reference), 0.0, error)
    return np.where(np.isnan(error), np.inf, error)


def _same(given: Array, reference: Array) -> NDArray[np.bool_]:
    same: NDArray[np.bool_] = (given == reference) | ((given != given) & (reference != reference))
    return same


def _ulp(reference: Array) -> float:
    """Return the spacing of float32 at the largest magnitude of an output."""
    size = min(_largest(np.abs(reference)), 1e38)
    return float(np.spacing(np.float32(size))) or 1.0


def _largest(array: Array) -> float:
    """Return the largest finite value, 0 when there is none."""
    finite = array[np.isfinite(array)]
    return float(finite.max()) if finite.size else 0.0
