"""Comparing what was collected: shapes first, then values, never through a flattened view."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnedge.parity.collect import Answers
from rnnedge.parity.report import OutputReport
from rnnedge.parity.shapes import size_of
from rnnedge_runtime.contract import Interface, TensorSpec

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far an output may be from PyTorch in float64.

    The allowed error of an output in one case is the larger of

    - `absolute` times the largest magnitude in that output, where that is above 1, and
    - `torch_factor` times the error that PyTorch itself makes there in float32. A network that
      amplifies rounding does so in every float32 program, PyTorch among them.

    Attributes:
        absolute: Above 0; 1e-5 is about 80 units in the last place of a float32 near 1.
        torch_factor: 0 leaves PyTorch's own error out.
    """

    absolute: float = 1e-5
    torch_factor: float = 4.0

    def __post_init__(self) -> None:
        if not 0 < self.absolute < math.inf:
            raise ValueError(f"absolute: expected above 0 and finite, got {self.absolute}")
        if not 0 <= self.torch_factor < math.inf:
            raise ValueError(f"torch_factor: expected 0 or more, got {self.torch_factor}")


@dataclass(frozen=True, slots=True)
class _Difference:
    """One output in one case; `problem` says what is wrong beside the numbers."""

    answers: Answers
    error: float
    relative: float
    allowed: float
    torch_error: float
    where: str
    problem: str | None = None

    @property
    def badness(self) -> float:
        return float("inf") if self.problem else self.error / self.allowed


def compare(
    collected: Sequence[Answers], interface: Interface, tolerance: Tolerance
) -> tuple[OutputReport, ...]:
    """Compare each output over all cases.

    Args:
        collected: What `collect` gave; one case or more.
        interface: The shapes that the model declares.
        tolerance: How far an output may be off.
    """
    reports = []
    declared = {spec.name: spec for spec in interface.outputs}
    for name in collected[0].reference:
        differences = [_compare_one(a, declared[name], tolerance) for a in collected]
        worst = max(differences, key=lambda d: d.badness)
        failed = [d for d in differences if not d.badness <= 1]
        reports.append(
            OutputReport(
                name=name,
                cases=len(differences),
                failed=len(failed),
                max_abs=max(d.error for d in differences),
                max_rel=max(d.relative for d in differences),
                tolerance=worst.allowed,
                torch_abs=max(d.torch_error for d in differences),
                worst=f"{worst.answers.case}{worst.where}",
                problem=worst.problem,
            )
        )
    return tuple(reports)


def _compare_one(answers: Answers, spec: TensorSpec, tolerance: Tolerance) -> _Difference:
    name = spec.name
    reference = answers.reference[name]
    torch_error = _largest(np.abs(answers.torch[name].astype(np.float64) - reference))
    size = _largest(np.abs(reference))
    allowed = max(tolerance.absolute * max(1.0, size), tolerance.torch_factor * torch_error)

    def problem(text: str) -> _Difference:
        infinite = float("inf")
        return _Difference(answers, infinite, infinite, allowed, torch_error, "", text)

    if answers.model is None:
        return problem(f"raised: {answers.failure}")
    given = answers.model.get(name)
    if given is None:
        return problem("missing")
    if given.dtype != answers.torch[name].dtype:
        return problem(f"dtype {given.dtype}, expected {answers.torch[name].dtype}")
    if given.shape != reference.shape:
        return problem(f"shape {list(given.shape)}, expected {list(reference.shape)}")
    for axis, length in zip(spec.axes, given.shape, strict=True):
        promised = size_of(axis, answers.sizes)
        if promised not in (None, length):
            return problem(f"shape {list(given.shape)}, declared as {spec}")
    # NaN on both sides, or the same infinity, is agreement; on one side it is the largest error.
    same = (given == reference) | (np.isnan(given) & np.isnan(reference))
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.where(same, 0.0, np.abs(given.astype(np.float64) - reference))
    error = np.where(np.isnan(error), np.inf, error)
    if not error.size:
        return _Difference(answers, 0.0, 0.0, allowed, torch_error, "")
    at = np.unravel_index(int(np.argmax(error)), error.shape)
    largest = float(error[at])
    where = f", at [{', '.join(map(str, at))}]"
    return _Difference(answers, largest, largest / max(size, 1e-30), allowed, torch_error, where)


def _largest(array: Array) -> float:
    """Return the largest finite value, 0 when there is none."""
    finite = array[np.isfinite(array)]
    return float(finite.max()) if finite.size else 0.0
