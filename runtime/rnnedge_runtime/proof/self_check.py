"""Checks a model on the device itself, without PyTorch.

The checks hold for every recurrent network, whatever its weights: outputs have the declared shapes,
rows are independent, chunks give the result of the whole sequence, padding is never read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np

from rnnedge_runtime.binding import Array
from rnnedge_runtime.chunking import cut, join, pieces
from rnnedge_runtime.contract import BATCH, TIME, TensorSpec
from rnnedge_runtime.errors import EngineError, InputError, RnnEdgeError
from rnnedge_runtime.latency import random_inputs
from rnnedge_runtime.loaded_model import RunResult
from rnnedge_runtime.session import Session

SHAPES = ((1, 1), (1, 3), (2, 1), (5, 4), (17, 2), (64, 3))
"""The (time, batch) pairs that every model is run at."""
Refused: TypeAlias = dict[tuple[int, int], str]
TOLERANCE = 1e-5
"""The largest difference between two ways to compute a value, relative to the largest value."""
ROUNDED = 0.1
"""The same, if activations are rounded to 8 bits over the range of all values of a call."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The outcome of one check.

    Attributes:
        name: What was checked.
        passed: Whether it holds; None if it does not apply to this model.
        detail: The figures, or why it does not apply.
    """

    name: str
    passed: bool | None
    detail: str


def check(session: Session) -> list[CheckResult]:
    """Run every check that applies to the model; an error in a check is a finding.

    Args:
        session: The opened model.

    Returns:
        One finding for each check.

    Raises:
        InputError: If no input can be made for the model, so that nothing can be checked.
    """
    random_inputs(session, 1, 1)
    refused = _refused(session)
    findings: list[CheckResult] = []
    checks: list[tuple[str, Callable[[Session], tuple[bool | None, str]]]] = [
        ("outputs have the declared shapes", partial(_shapes, refused=refused)),
        ("values are finite", partial(_finite, refused=refused)),
        ("two runs are equal", _repeat),
        ("rows are independent", _rows),
        ("chunks give the result of the whole", _chunks),
        ("padding is not read", _padding),
        ("rows of length zero keep their state", _empty_rows),
        ("an empty batch gives empty outputs", _empty_batch),
        ("a sequence without steps is refused", _no_steps),
    ]
    for name, run in checks:
        if findings and findings[0].passed is False:
            findings.append(CheckResult(name, None, "not checked: the shapes are wrong"))
            continue
        try:
            passed, detail = run(session)
        except RnnEdgeError as error:
            passed, detail = False, str(error)
            # The model may refuse this length, as it refused others.
            if refused and isinstance(error, EngineError | InputError):
                passed, detail = None, f"the model refuses some lengths: {error}"
        findings.append(CheckResult(name, passed, detail))
    return findings


def _is_bare_layer(session: Session) -> bool:
    layers = session.contract.layers if session.contract else ()
    return len(layers) == 1 and not layers[0].name and layers[0].cell != "custom"


def _run(session: Session, time: int, batch: int) -> tuple[dict[str, Array], RunResult]:
    inputs = random_inputs(session, time, batch)
    return inputs, session.run(inputs, state=_state(session, batch))


def _state(session: Session, batch: int) -> tuple[Array, ...] | None:
    random = np.random.default_rng(1)
    zeros = session.zero_state(batch)
    return tuple(random.standard_normal(z.shape).astype(z.dtype) for z in zeros) or None


def _all_shapes(session: Session) -> list[tuple[int, int]]:
    """Return the shapes that a model is run at; where it takes windows, times count these."""
    return [(time * session.fewest_steps, batch) for time, batch in SHAPES]


def _refused(session: Session) -> Refused:
    """Return the shapes that the model refuses, and the message of each."""
    refused = {}
    for shape in _all_shapes(session):
        try:
            _run(session, *shape)
        except (EngineError, InputError) as error:
            refused[shape] = str(error)
    return refused


def _shapes(session: Session, refused: Refused) -> tuple[bool | None, str]:
    taken = [shape for shape in _all_shapes(session) if shape not in refused]
    several = all(len(set(sizes)) > 1 for sizes in zip(*taken, strict=True)) and bool(taken)
    if refused and (_is_bare_layer(session) or not several):
        return False, next(iter(refused.values()))
    for time, batch in taken:
        _, result = _run(session, time, batch)
        sizes = {TIME: time, BATCH: batch}
        for spec in session.interface.outputs:
            expected = [sizes.get(str(axis), axis) for axis in spec.axes]
            given = list(result.outputs[spec.name].shape)
            # An axis of any other name may have any size.
            fits = len(given) == len(expected) and all(
                size == wanted or isinstance(wanted, str)
                for size, wanted in zip(given, expected, strict=True)
            )
            if not fits:
                return False, f"{spec.name} is {given}, declared {expected}"
    if refused:  # a module may need some steps, or an even number of them
        (time, _), why = next(iter(refused.items()))
        return True, f"at {len(taken)} of {len(SHAPES)} shapes; refused at time {time}: {why}"
    return True, f"at {len(SHAPES)} shapes"


def _finite(session: Session, refused: Refused) -> tuple[bool | None, str]:
    taken = [shape for shape in _all_shapes(session) if shape not in refused]
    for time, batch in taken:
        for name, array in _run(session, time, batch)[1].outputs.items():
            if not np.isfinite(array).all():
                return False, f"{name} has NaN or infinity at time {time}, batch {batch}"
    return True, f"at {len(taken)} shapes"


def _repeat(session: Session) -> tuple[bool | None, str]:
    first, second = (_run(session, 18 * session.fewest_steps, 2)[1].outputs for _ in range(2))
    same = all(np.array_equal(first[name], second[name], equal_nan=True) for name in first)
    return same, "bit for bit" if same else "the same input gave different outputs"


def _rows(session: Session) -> tuple[bool | None, str]:
    if not _has_axis(session, BATCH):
        return None, "the model takes a single row"
    inputs, whole = _run(session, 10 * session.fewest_steps, 4)
    state = _state(session, 4) or ()
    state_specs = session.interface.state_inputs
    specs = {spec.name: spec for spec in session.interface.outputs}
    pairs = []
    for row in range(4):
        alone = session.run(
            {s.name: _cut(s, inputs[s.name], BATCH, row) for s in session.interface.data_inputs},
            state=tuple(_cut(*pair, BATCH, row) for pair in zip(state_specs, state, strict=True))
            or None,
        )
        for name, array in alone.outputs.items():
            if BATCH in specs[name].axes:
                pairs.append((array, _cut(specs[name], whole.outputs[name], BATCH, row)))
    return _judged(session, pairs) if pairs else (None, "no output names its batch axis")


def _chunks(session: Session) -> tuple[bool | None, str]:
    if not session.interface.states:
        return None, "the model keeps no state"
    if session.lost_states:
        return False, "; ".join(session.lost_states)
    if session.hindrances:
        return None, "; ".join(session.hindrances)
    if not _has_axis(session, TIME):
        return None, "the model takes a single step"
    inputs, whole = _run(session, 24 * session.fewest_steps, 2)
    stream = session.stream(batch=2)
    stream.state = _state(session, 2) or ()
    taken = {spec.name: spec.axes for spec in session.interface.data_inputs}
    given = {spec.name: spec.axes for spec in session.interface.data_outputs}
    answers = []
    for piece in pieces(session.fewest_steps * steps for steps in (1, 2, 7, 14)):
        answer = stream.step(cut(inputs, taken, piece))
        answers.append(answer if isinstance(answer, dict) else dict.fromkeys(given, answer))
    joined = join(answers, given)
    pairs = [(joined[name], whole.outputs[name]) for name in given if TIME in given[name]]
    pairs += zip(stream.state, whole.state, strict=True)
    passed, detail = _judged(session, pairs)
    if passed is False and session.contract is None and _reads_ahead(session, inputs, whole):
        return None, "the model reads ahead: outputs of early steps depend on later steps"
    return passed, detail


def _reads_ahead(session: Session, inputs: dict[str, Array], whole: RunResult) -> bool:
    """Whether outputs of the first half of a sequence change with its second half."""
    changed = {name: array.copy() for name, array in inputs.items()}
    for spec in session.interface.data_inputs:
        if TIME in spec.axes:
            late = _halves(spec, changed[spec.name])[1]
            late[...] = ~late if late.dtype == np.bool_ else 1 - late
    other = session.run(changed, state=_state(session, 2))
    early = [
        (_halves(spec, other.outputs[spec.name])[0], _halves(spec, whole.outputs[spec.name])[0])
        for spec in session.interface.data_outputs
        if TIME in spec.axes
    ]
    return bool(early) and not _close(early)[0]


def _halves(spec: TensorSpec, array: Array) -> tuple[Array, Array]:
    """Return views of the first and the second half of the time axis."""
    steps = np.moveaxis(array, spec.axes.index(TIME), 0)
    return steps[: len(steps) // 2], steps[len(steps) // 2 :]


def _padding(session: Session) -> tuple[bool | None, str]:
    if session.interface.lengths is None:
        return None, "the model takes no lengths"
    if not _is_bare_layer(session):
        return None, "only for a bare layer: a module may read padding around its layers"
    inputs, lengths = random_inputs(session, 8, 3), np.array([8, 5, 1])
    first = session.run(inputs, lengths=lengths)
    for spec in session.interface.data_inputs:
        for row, length in enumerate(lengths):
            if TIME in spec.axes:
                inputs[spec.name][_past(spec, row, length)] = 1e3
    second = session.run(inputs, lengths=lengths)
    same = all(
        np.array_equal(first.outputs[n], second.outputs[n], equal_nan=True) for n in first.outputs
    )
    zero = all(
        not first.outputs[spec.name][_past(spec, row, length)].any()
        for spec in session.interface.data_outputs
        if TIME in spec.axes
        for row, length in enumerate(lengths)
    )
    if same and zero:
        return True, "outputs do not depend on the padding, and are zero in it"
    return False, "outputs depend on the padding" if not same else "output is not zero past a row"


def _empty_rows(session: Session) -> tuple[bool | None, str]:
    if session.interface.lengths is None or not session.interface.states:
        return None, "the model takes no lengths, or no state"
    state = _state(session, 2) or ()
    result = session.run(random_inputs(session, 4, 2), lengths=np.array([4, 0]), state=state)
    kept = all(
        np.array_equal(_cut(spec, after, BATCH, 1), _cut(spec, before, BATCH, 1))
        for spec, before, after in zip(
            session.interface.state_inputs, state, result.state, strict=True
        )
    )
    return kept, "bit for bit" if kept else "the state of a row of length zero changed"


def _empty_batch(session: Session) -> tuple[bool | None, str]:
    if not _is_bare_layer(session):
        return None, "only for a bare layer, whose shapes are all known"
    shapes = {n: list(a.shape) for n, a in _run(session, 3, 0)[1].outputs.items()}
    return True, ", ".join(f"{name} {shape}" for name, shape in shapes.items())


def _no_steps(session: Session) -> tuple[bool | None, str]:
    if not _has_axis(session, TIME):
        return None, "the model takes a single step"
    try:
        _run(session, 0, 2)
    except InputError as error:
        return True, str(error)
    return False, "it was run"


def _has_axis(session: Session, axis: str) -> bool:
    return any(axis in spec.axes for spec in session.interface.data_inputs)


def _cut(spec: TensorSpec, array: Array, axis: str, at: int) -> Array:
    if axis not in spec.axes:
        return array
    return np.take(array, [at], spec.axes.index(axis))


def _past(spec: TensorSpec, row: int, length: int) -> tuple[int | slice, ...]:
    where: dict[int | str, int | slice] = {BATCH: row, TIME: slice(length, None)}
    return tuple(where.get(axis, slice(None)) for axis in spec.axes)


def _judged(session: Session, pairs: list[tuple[Array, Array]]) -> tuple[bool | None, str]:
    """Compare the outputs of two calls, one of which had more rows or steps."""
    passed, detail = _close(pairs)
    rounds = session.contract is not None and session.contract.quantization is not None
    if not passed and rounds and _close(pairs, ROUNDED)[0]:
        return None, f"int8 activations are rounded over all rows and steps: {detail}"
    return passed, detail


def _close(pairs: list[tuple[Array, Array]], tolerance: float = TOLERANCE) -> tuple[bool, str]:
    worst = float(np.max(list(_relative(pairs))))  # max() would lose a NaN
    return worst <= tolerance, f"largest difference {worst:.1e} of the largest value"


def _relative(pairs: list[tuple[Array, Array]]) -> Iterator[float]:
    for left, right in pairs:
        if left.shape != right.shape:
            yield float("inf")
        elif left.size:
            yield float(np.abs(left - right).max() / max(1.0, float(np.abs(right).max())))
        else:
            yield 0.0
