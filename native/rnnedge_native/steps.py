"""Steps of one frame, of a stream or of rows of a pool: one call of the extension each."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from rnnedge_native import _engine
from rnnedge_native.plan import Layout
from rnnedge_runtime.plan.values import Array


def step_through(
    layout: Layout,
    frame: Array,
    output: Array,
    states: tuple[Array, ...],
    others: tuple[Array, ...],
    *,
    tiny: float,
    flushed_every: int,
) -> _engine.Stepper:
    """Prepare steps of a model of one input and one output, followed by its states.

    Args:
        layout: The plan at the shapes of a step.
        frame: An array of the shape that frames have; only that counts.
        output: float32, where the model writes its output, in the shape that callers get.
        states: The half of the state that is read first.
        others: The half that is written first.
        tiny: Numbers of the state below it become zero.
        flushed_every: After so many steps.

    Returns:
        What takes a frame and returns the output.
    """
    program = layout.program()
    return _engine.Stepper(program, frame, output, output.copy, states, others, tiny, flushed_every)


def step_rows(  # noqa: PLR0913 - each is a part of the step
    layout: Layout,
    frame: Array,
    answers: tuple[int, ...],
    slots: dict[int, int],
    blocks: tuple[Array, ...],
    axes: tuple[int, ...],
    steps: Array,
    *,
    tiny: float,
    flushed_every: int,
) -> Callable[[object, object], Array | None]:
    """Prepare steps of up to so many streams of a pool, of a model as `step_through` takes it.

    Args:
        layout: The plan at the shapes of a step.
        frame: An array of the shape and dtype that the frame of one stream has.
        answers: The shape of the output, in the shape that callers get; its first axis is the rows.
        slots: Stream to slot; read at each step.
        blocks: The states of all slots, float32.
        axes: For each of them the axis of the slots.
        steps: int64 [slots], how many steps were made in each.
        tiny: Numbers of the state below it become zero.
        flushed_every: After so many steps of a stream.

    Returns:
        A function of streams, a list or tuple, and their frames: one array, or a list of arrays. It
        returns the output, or None, with nothing changed, where they do not fit.
    """
    make = partial(np.empty, answers, np.float32)
    return _engine.RowStepper(
        layout.program(),
        answers[0],
        frame,
        make,
        slots,
        blocks,
        axes,
        steps,
        tiny,
        flushed_every,
    ).step
