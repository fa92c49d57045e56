"""Steps of one frame: one call of the extension each, with everything checked inside."""

from __future__ import annotations

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
