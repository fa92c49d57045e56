"""Golden vectors of a C program: random inputs, and what ONNX Runtime answers to them.

A program of integers rounds each row at each step over its own range, where ONNX Runtime rounds a
tensor at once: there each row is run alone, and step by step. What lies between two integers is
rounded up by one program and down by another, so that inputs are chosen whose answers hardly move
when these are changed a little.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np

from rnnedge_exporters.c_source.packing import Array, Matrix
from rnnedge_exporters.c_source.program import Port, SizedProgram
from rnnedge_exporters.errors import ExportError
from rnnedge_runtime import Session
from rnnedge_runtime.contract import BATCH
from rnnedge_runtime.plan.packing import LayerWeights
from rnnedge_runtime.plan.tracer import GATHER

Feeds: TypeAlias = dict[str, Array]
STEPS = 8
"""Steps of the vectors of a program that runs step by step."""
TOLERANCE = 1e-5
"""Allowed error: this, and as much of the expected number."""
_NUDGE = 3e-7
"""How far inputs are changed, of themselves."""
_TRIES = 24
"""How many inputs are tried for a program of integers."""


@dataclass(frozen=True, slots=True)
class Vectors:
    """Inputs and expected outputs, each flat and step by step, as the C functions take them.

    Attributes:
        steps: Steps in them.
        inputs: In the order of `Program.inputs`.
        outputs: In the order of `Program.outputs`.
        tolerance: Allowed error, and as much of the expected number.
    """

    steps: int
    inputs: tuple[Array, ...]
    outputs: tuple[Array, ...]
    tolerance: float = TOLERANCE


def make_vectors(program: SizedProgram, session: Session, name: str) -> Vectors:
    """Run a model on random input.

    Args:
        program: The program that is to be proved.
        session: The model in ONNX Runtime.
        name: The model, for messages.

    Raises:
        ExportError: When the model answers NaN or infinity, or steps do not answer what the whole
            sequence does.
    """
    steps = STEPS if program.steps is None else program.steps
    integers = _in_integers(program)
    run = partial(_run_apart, program, session) if integers else partial(_run_whole, session)
    tolerance, feeds, answers = _chosen(program, steps, run, _TRIES if integers else 1)
    for port in program.outputs:
        if not np.isfinite(answers[port.spec.name]).all():
            raise ExportError(f"{name}: {port.spec.name} holds NaN or infinity on random input")
    if program.steps is None and not integers:
        _check_steps(program, session, feeds, answers, name)
    return Vectors(
        steps,
        tuple(_step_by_step(port, feeds[port.spec.name], program) for port in program.inputs),
        tuple(_step_by_step(port, answers[port.spec.name], program) for port in program.outputs),
        tolerance,
    )


# --- programs of integers ---


def _in_integers(program: SizedProgram) -> bool:
    """Whether a program multiplies integers.

    Raises:
        ExportError: When ONNX Runtime rounds several of its rows over one range, so that there is
            nothing to compare it with.
    """
    found = False
    for call in program.calls:
        packed, whole = call.packed, False
        if isinstance(packed, LayerWeights) and packed.integers_hh is not None:
            whole = packed.integers_ih is not None and call.sizes[0] > 1
        elif isinstance(packed, Matrix) and packed.integers is not None:
            whole = call.sizes[0] * call.sizes[1] > program.batch
        else:
            continue
        if whole:
            raise ExportError(
                f"{call.node}: computes in int8, over the range of all steps of a sequence, and C "
                "over that of each step: quantize='int8' stores its weights in int8"
            )
        found = True
    return found


def _chosen(
    program: SizedProgram, steps: int, run: Callable[[Feeds], Feeds], tries: int
) -> tuple[float, Feeds, Feeds]:
    """Return what may be allowed, inputs, and the answers to them, which move the least."""
    best: tuple[float, Feeds, Feeds] | None = None
    for seed in range(tries):
        generator = np.random.default_rng(seed)
        feeds = {
            port.spec.name: _random(port, _shape(port, program, steps), _rows(program), generator)
            for port in program.inputs
        }
        answers = run(feeds)
        if tries == 1:
            return TOLERANCE, feeds, answers
        tolerance = max(TOLERANCE, 2 * _moved(run, feeds, answers, generator))
        if best is None or tolerance < best[0]:
            best = tolerance, feeds, answers
        if tolerance == TOLERANCE:
            break
    assert best is not None
    return best


def _moved(
    run: Callable[[Feeds], Feeds], feeds: Feeds, answers: Feeds, generator: np.random.Generator
) -> float:
    """Return how far answers move, of 1 and themselves, when inputs are changed a little."""
    moved = 0.0
    for _ in range(2):
        near = {name: _nudged(array, generator) for name, array in feeds.items()}
        for name, other in run(near).items():
            expected = answers[name].astype(np.float64)
            distance = np.abs(other.astype(np.float64) - expected) / (1 + np.abs(expected))
            moved = max(moved, float(distance.max(initial=0.0)))
    return moved


def _nudged(array: Array, generator: np.random.Generator) -> Array:
    if array.dtype != np.float32:
        return array
    factors = 1 + _NUDGE * generator.uniform(-1, 1, array.shape)
    return (array.astype(np.float64) * factors).astype(np.float32)


def _run_whole(session: Session, feeds: Feeds) -> Feeds:
    return dict(session.run(feeds).outputs)


def _run_apart(program: SizedProgram, session: Session, feeds: Feeds) -> Feeds:
    """Run each row alone, and single steps where the program makes them."""
    rows = [_run_row(program, session, feeds, row) for row in range(program.batch)]
    if program.batch == 1:
        return rows[0]
    axes = {port.spec.name: port.spec.axes for port in program.outputs}
    return {
        name: np.concatenate([answers[name] for answers in rows], axes[name].index(BATCH))
        for name in axes
    }


def _run_row(program: SizedProgram, session: Session, feeds: Feeds, row: int) -> Feeds:
    own = {}
    for port in program.inputs:
        values, axes = feeds[port.spec.name], port.spec.axes
        own[port.spec.name] = np.take(values, [row], axes.index(BATCH)) if BATCH in axes else values
    if program.steps is not None:
        return _run_whole(session, own)
    return _run_steps(program, session, own)


def _time_axis(port: Port) -> int | None:
    axes = port.spec.axes
    found = (i for i, axis in enumerate(axes) if isinstance(axis, str) and axis != BATCH)
    return next(found, None)


def _shape(port: Port, program: SizedProgram, steps: int) -> tuple[int, ...]:
    axis = _time_axis(port)
    if axis is None or program.steps is not None:
        return port.shape
    return (*port.shape[:axis], steps * port.shape[axis], *port.shape[axis + 1 :])


def _rows(program: SizedProgram) -> int:
    """Return the rows of the smallest table that an input may be an index of."""
    return min((call.sizes[2] for call in program.calls if call.operation == GATHER), default=2)


def _random(port: Port, shape: tuple[int, ...], rows: int, generator: np.random.Generator) -> Array:
    if port.dtype == "float32":
        return generator.standard_normal(shape, np.float32)
    return generator.integers(0, 2 if port.dtype == "bool" else rows, shape).astype(port.spec.dtype)


def _check_steps(
    program: SizedProgram,
    session: Session,
    feeds: Feeds,
    answers: Feeds,
    name: str,
) -> None:
    """Refuse a model whose steps, run one by one, differ from the whole sequence."""
    made = _run_steps(program, session, feeds)
    for port in program.outputs:
        key = port.spec.name
        values, whole = made[key], answers[key]
        if values.shape != whole.shape or not np.allclose(values, whole, 1e-4, 1e-4):
            raise ExportError(
                f"{name}: {key} of single steps is not that of the whole sequence: "
                "max_steps=N (--max-steps N) writes a program of whole sequences of N steps"
            )


def _run_steps(program: SizedProgram, session: Session, feeds: Feeds) -> Feeds:
    """Run steps one by one, and return their answers joined."""
    state = None
    made: dict[str, list[Array]] = {port.spec.name: [] for port in program.outputs}
    for step in range(STEPS):
        frame = {port.spec.name: _cut(port, feeds[port.spec.name], step) for port in program.inputs}
        result = session.run(frame, state=state)
        state = result.state
        for key, answered in made.items():
            answered.append(result.outputs[key])
    joined = {}
    for port in program.outputs:
        parts, axis = made[port.spec.name], _time_axis(port)
        joined[port.spec.name] = parts[-1] if axis is None else np.concatenate(parts, axis)
    return joined


def _cut(port: Port, values: Array, step: int) -> Array:
    axis = _time_axis(port)
    return values if axis is None else np.take(values, [step], axis)


def _step_by_step(port: Port, values: Array, program: SizedProgram) -> Array:
    axis = _time_axis(port)
    if axis is not None and program.steps is None:
        values = np.moveaxis(values, axis, 0)
    return np.ascontiguousarray(values).reshape(-1)
