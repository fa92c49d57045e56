"""Runs a rewritten model as Triton does, and compares it with the model that it was made from."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rnnedge.same_answers import difference
from rnnedge.triton.config import served_outputs
from rnnedge_runtime.binding import Array
from rnnedge_runtime.contract import BATCH, Interface, TensorSpec
from rnnedge_runtime.errors import engine_errors
from rnnedge_runtime.latency import random_inputs
from rnnedge_runtime.session import Session

_BATCHES = (1, 3)
_CHUNKS = (1, 1, 4, 1, 2)
"""Steps of each request of a sequence."""


def prove(
    session: Session, rewritten: bytes, interface: Interface, constants: Mapping[str, Array]
) -> float:
    """Compare a rewritten model with the one that it was made from.

    As Triton does, the first request gets states of zeros, and each later one the states that the
    request before it gave. A model without states answers whole sequences.

    Args:
        session: The model that it was made from.
        rewritten: The model whose batch axes are in front.
        interface: Its inputs and outputs.
        constants: Values of the inputs that it no longer has, by name.

    Returns:
        The largest difference between two outputs; 0 where they are the same to the bit.

    Raises:
        UnequalError: When a difference is above 1e-5 of the largest magnitude, or of 1.
    """
    served = Session(rewritten, engine="onnxruntime", threads=1)
    return max(
        _compare(session, served, interface, constants, batch, seed)
        for seed, batch in enumerate(_BATCHES)
    )


def _compare(
    session: Session,
    served: Session,
    interface: Interface,
    constants: Mapping[str, Array],
    batch: int,
    seed: int,
) -> float:
    named = {spec.name: spec for spec in session.interface.inputs + session.interface.outputs}
    stream = session.stream(batch, constants=constants) if interface.states else None
    state: dict[str, Array] = {
        spec.name: np.zeros(_sizes(spec, batch), spec.dtype) for spec in interface.state_inputs
    }
    names = [spec.name for spec in interface.outputs]
    largest = 0.0
    for chunk in _CHUNKS:
        steps = chunk * session.fewest_steps
        given = random_inputs(session, steps, batch, seed)
        inputs = {name: array for name, array in given.items() if name not in constants}
        if stream is None:
            expected: Mapping[str, Array] = session.run({**inputs, **constants}).outputs
        else:
            answer = stream.step(inputs)
            first = session.interface.data_outputs[:1]
            expected = answer if isinstance(answer, dict) else {s.name: answer for s in first}
            expected = {**expected, **_named_states(session, stream.state)}
        feeds = {name: _moved(array, named[name]) for name, array in inputs.items()}
        if interface.lengths is not None:
            feeds[interface.lengths] = np.full(batch, steps, named[interface.lengths].dtype)
        with engine_errors("the model for Triton cannot be run"):
            values = served.engine.run(names, {**feeds, **state})
        answers = dict(zip(names, values, strict=True))
        for spec in served_outputs(interface):
            wanted = _moved(expected[spec.name], named[spec.name])
            largest = max(
                largest, difference(spec.name, answers[spec.name], wanted, "the model for Triton")
            )
        state = {pair.input: answers[pair.output] for pair in interface.states}
    return largest


def _named_states(session: Session, state: tuple[Array, ...]) -> dict[str, Array]:
    pairs = zip(session.interface.states, state, strict=True)
    return {pair.output: array for pair, array in pairs}


def _sizes(spec: TensorSpec, batch: int) -> list[int]:
    return [axis if isinstance(axis, int) else batch for axis in spec.axes]


def _moved(array: Array, spec: TensorSpec) -> Array:
    """Return an array with its batch axis in front."""
    if BATCH not in spec.axes:
        return array
    return np.ascontiguousarray(np.moveaxis(array, spec.axes.index(BATCH), 0))
