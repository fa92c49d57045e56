"""Proves on the device that a model still gives the outputs of its golden vectors."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rnnedge_runtime.binding import Array
from rnnedge_runtime.contract import Interface, TensorSpec
from rnnedge_runtime.engine.options import Model
from rnnedge_runtime.errors import GoldenError, InputError, RnnEdgeError
from rnnedge_runtime.proof.golden import Golden, GoldenSet, position
from rnnedge_runtime.proof.self_check import CheckResult
from rnnedge_runtime.session import Session

ONNX_RTOL, ONNX_ATOL = 1e-3, 1e-7
"""What ONNX's own tests allow: https://github.com/onnx/onnx/tree/main/onnx/backend/test/loader"""

FILE = "the model file is that of the vectors"
RUNS = "every set of vectors runs"
_OTHER_ROUNDING = (
    "the vectors do not say what an engine that rounds each row to int8 over its own range may be "
    "off by: write them again, or check with engine='onnxruntime'"
)
_MOST_NAMES = 3
"""How many failing sets a finding lists."""


def check_golden(
    session: Session, golden: Golden, *, model: Model | None = None
) -> list[CheckResult]:
    """Run every set of vectors and compare the outputs.

    Args:
        session: The opened model.
        golden: The vectors from `read_golden`.
        model: Path or bytes that the session was opened from, whose digest is compared; with None
            it is not.

    Returns:
        A finding for the model file, one for whether every set runs, and one for each output over
        all sets. NaN in the same place, and the same infinity, are equal.

    Raises:
        GoldenError: If `model` cannot be read.
    """
    collected: list[tuple[GoldenSet, Mapping[str, Array]]] = []
    failures = []
    for vectors in golden.sets:
        try:
            named = _named(vectors, session.interface)
            if session.engine.rounds_rows and named.allowed_by_row is not None:
                named = replace(named, allowed=named.allowed_by_row)
            collected.append((named, _run(session, named)))
        except RnnEdgeError as error:
            failures.append(f"{vectors}: {error}")
    count = len(golden.sets)
    detail = f"{count} set(s), expected outputs from {golden.reference or 'an unknown source'}"
    if failures:
        detail = f"{len(failures)} of {count} set(s) fail; {failures[0]}"
    findings = [_same_file(golden, model), CheckResult(RUNS, not failures, detail)]
    other_rounding = session.engine.rounds_rows and any(
        named.allowed_by_row is None for named, _ in collected
    )
    for spec in session.interface.outputs if collected else ():
        differences = [_compare(named, spec.name, given) for named, given in collected]
        finding = _summary(spec.name, differences)
        if other_rounding and finding.passed is False:
            finding = replace(finding, detail=f"{finding.detail}; {_OTHER_ROUNDING}")
        findings.append(finding)
    return findings


def _same_file(golden: Golden, model: Model | None) -> CheckResult:
    if golden.model_sha256 is None:
        return CheckResult(FILE, None, "not known: there is no golden.json with its digest")
    if model is None:
        return CheckResult(FILE, None, "not checked: pass the file as model=")
    try:
        content = model if isinstance(model, bytes) else Path(model).read_bytes()
    except OSError as error:
        raise GoldenError(f"{error.filename}: cannot be read: {error.strerror}") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest == golden.model_sha256:
        return CheckResult(FILE, passed=True, detail=f"sha256 {digest}")
    detail = f"its sha256 is {digest}, that of the vectors is {golden.model_sha256}"
    detail += ": the file was changed or damaged, or is another model"
    return CheckResult(FILE, passed=False, detail=detail)


def _named(vectors: GoldenSet, interface: Interface) -> GoldenSet:
    """Return the set with the names of the graph, if its tensors are named by their position."""
    outputs = _names("outputs", vectors.outputs, interface.outputs)
    return replace(
        vectors,
        inputs=_renamed(vectors.inputs, _names("inputs", vectors.inputs, interface.inputs)),
        outputs=_renamed(vectors.outputs, outputs),
        allowed=_renamed_errors(vectors.allowed, outputs),
        allowed_by_row=_renamed_errors(vectors.allowed_by_row, outputs),
    )


def _renamed_errors(
    allowed: Mapping[str, float] | None, names: Mapping[str, str]
) -> dict[str, float] | None:
    return None if allowed is None else {names[name]: error for name, error in allowed.items()}


def _names(kind: str, given: Mapping[str, Array], specs: Sequence[TensorSpec]) -> dict[str, str]:
    """Return the graph's name for each name in the vectors."""
    expected = [spec.name for spec in specs]
    unnamed = {position(index): name for index, name in enumerate(expected)}
    names = {name: name if name in expected else unnamed.get(name, name) for name in given}
    if sorted(names.values()) != sorted(expected):
        raise InputError(
            f"expected the {kind} {', '.join(expected)}, got {', '.join(given) or 'none'}"
        )
    return names


def _renamed(tensors: Mapping[str, Array], names: Mapping[str, str]) -> dict[str, Array]:
    return {names[name]: values for name, values in tensors.items()}


def _run(session: Session, vectors: GoldenSet) -> Mapping[str, Array]:
    interface, inputs = session.interface, vectors.inputs
    result = session.run(
        {spec.name: inputs[spec.name] for spec in interface.data_inputs},
        lengths=inputs[interface.lengths] if interface.lengths else None,
        state=tuple(inputs[spec.name] for spec in interface.state_inputs) or None,
    )
    return result.outputs


@dataclass(frozen=True, slots=True)
class _Difference:
    """One output of one set, at its worst value; `badness` above 1 fails."""

    vectors: GoldenSet
    badness: float = 0.0
    error: float = 0.0
    allowed: float = 0.0
    at: tuple[int, ...] = ()
    nans: int = 0
    problem: str = ""


def _compare(vectors: GoldenSet, name: str, answers: Mapping[str, Array]) -> _Difference:
    expected, given = vectors.outputs[name], answers[name]
    if given.dtype != expected.dtype:
        problem = f"dtype {given.dtype}, expected {expected.dtype}"
        return _Difference(vectors, np.inf, problem=problem)
    if given.shape != expected.shape:
        problem = f"shape {list(given.shape)}, expected {list(expected.shape)}"
        return _Difference(vectors, np.inf, problem=problem)
    if not given.size:
        return _Difference(vectors)
    both_nan = (given != given) & (expected != expected)
    error = _errors(given, expected, both_nan)
    allowed = _allowed(vectors, name, expected)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        badness = np.where(error == 0, 0.0, error / allowed)
    at = np.unravel_index(int(np.argmax(badness)), badness.shape)
    return _Difference(
        vectors=vectors,
        badness=float(badness[at]),
        error=float(error[at]),
        allowed=float(allowed[at]),
        at=tuple(map(int, at)),
        nans=int(both_nan.sum()),
    )


def _errors(given: Array, expected: Array, both_nan: Array) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs(given.astype(np.float64) - expected.astype(np.float64))
    if expected.dtype.kind != "f":
        error = np.maximum(error, 1.0)  # integers that differ may be equal in float64
    error = np.where((given == expected) | both_nan, 0.0, error)
    return np.where(np.isnan(error), np.inf, error)  # NaN on one side


def _allowed(vectors: GoldenSet, name: str, expected: Array) -> NDArray[np.float64]:
    if vectors.allowed is not None:
        return np.full(expected.shape, vectors.allowed[name])
    size = np.abs(expected.astype(np.float64))
    # An infinite tolerance around an infinity would let everything pass.
    return np.where(np.isfinite(size), ONNX_ATOL + ONNX_RTOL * size, 0.0)


def _summary(name: str, differences: Sequence[_Difference]) -> CheckResult:
    worst = max(differences, key=lambda difference: difference.badness)
    failed = [d.vectors.directory for d in differences if not d.badness <= 1]
    detail = ""
    if failed and len(differences) > 1:
        names = failed[:_MOST_NAMES] + ["..."] * (len(failed) > _MOST_NAMES)
        detail = f"{len(failed)} of {len(differences)} sets fail ({', '.join(names)}); worst: "
    if worst.problem:
        detail += f"{worst.problem} in {worst.vectors}"
    else:
        detail += (
            f"error {worst.error:.1e}, allowed {worst.allowed:.1e}, "
            f"at {list(worst.at)} of {worst.vectors}"
        )
    if worst.vectors.allowed is None:
        detail += (
            f"; the tolerance is that of ONNX's tests, {ONNX_ATOL:g} + {ONNX_RTOL:g} of the value"
        )
    nans = sum(difference.nans for difference in differences)
    if nans:
        detail += f"; NaN on both sides in {nans} value(s)"
    return CheckResult(f"{name} matches the vectors", not failed, detail)
