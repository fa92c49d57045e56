"""Golden vectors of a C program: random inputs, and what ONNX Runtime answers to them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rnnedge_exporters.c_source.packing import Array
from rnnedge_exporters.c_source.program import Port, SizedProgram
from rnnedge_exporters.errors import ExportError
from rnnedge_runtime import Session
from rnnedge_runtime.contract import BATCH
from rnnedge_runtime.plan.tracer import GATHER

STEPS = 8
"""Steps of the vectors of a program that runs step by step."""
TOLERANCE = 1e-5
"""Allowed error: this, and as much of the expected number."""


@dataclass(frozen=True, slots=True)
class Vectors:
    """Inputs and expected outputs, each flat and step by step, as the C functions take them.

    Attributes:
        steps: Steps in them.
        inputs: In the order of `Program.inputs`.
        outputs: In the order of `Program.outputs`.
    """

    steps: int
    inputs: tuple[Array, ...]
    outputs: tuple[Array, ...]


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
    generator = np.random.default_rng(0)
    feeds = {
        port.spec.name: _random(port, _shape(port, program, steps), _rows(program), generator)
        for port in program.inputs
    }
    answers = session.run(feeds).outputs
    for port in program.outputs:
        if not np.isfinite(answers[port.spec.name]).all():
            raise ExportError(f"{name}: {port.spec.name} holds NaN or infinity on random input")
    if program.steps is None:
        _check_steps(program, session, feeds, answers, name)
    return Vectors(
        steps,
        tuple(_step_by_step(port, feeds[port.spec.name], program) for port in program.inputs),
        tuple(_step_by_step(port, answers[port.spec.name], program) for port in program.outputs),
    )


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
    feeds: dict[str, Array],
    answers: dict[str, Array],
    name: str,
) -> None:
    """Refuse a model whose steps, run one by one, differ from the whole sequence."""
    state = None
    made: dict[str, list[Array]] = {port.spec.name: [] for port in program.outputs}
    for step in range(STEPS):
        frame = {port.spec.name: _cut(port, feeds[port.spec.name], step) for port in program.inputs}
        result = session.run(frame, state=state)
        state = result.state
        for key, answered in made.items():
            answered.append(result.outputs[key])
    for port in program.outputs:
        key, axis = port.spec.name, _time_axis(port)
        parts = made[key]
        values = parts[-1] if axis is None else np.concatenate(parts, axis)
        whole = answers[key]
        if values.shape != whole.shape or not np.allclose(values, whole, 1e-4, 1e-4):
            raise ExportError(
                f"{name}: {key} of single steps is not that of the whole sequence: "
                "max_steps=N (--max-steps N) writes a program of whole sequences of N steps"
            )


def _cut(port: Port, values: Array, step: int) -> Array:
    axis = _time_axis(port)
    return values if axis is None else np.take(values, [step], axis)


def _step_by_step(port: Port, values: Array, program: SizedProgram) -> Array:
    axis = _time_axis(port)
    if axis is not None and program.steps is None:
        values = np.moveaxis(values, axis, 0)
    return np.ascontiguousarray(values).reshape(-1)
