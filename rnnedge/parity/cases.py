"""What is run: the sweep of shapes, states and lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnedge_runtime.contract import BATCH, TIME, Interface, TensorSpec

Inputs = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Case:
    """One run of the sweep.

    Attributes:
        time: Steps, 1 or more.
        batch: Rows, 1 or more.
        random_state: Whether the initial state is random; zeros otherwise.
        ragged: Whether the rows end at different lengths, length zero among them.
        chunk: Steps of each call when the sequence is run in pieces that hand their state on; 0
            runs it whole.
    """

    time: int
    batch: int
    random_state: bool = False
    ragged: bool = False
    chunk: int = 0

    def __str__(self) -> str:
        """Return the shape and what is special."""
        words = [f"time {self.time}, batch {self.batch}"]
        words += ["random state"] * self.random_state + ["ragged"] * self.ragged
        words += [f"chunks of {self.chunk}"] * bool(self.chunk)
        return ", ".join(words)


_SHAPES = ((1, 1), (1, 5), (2, 1), (2, 3), (3, 2), (7, 4), (13, 1), (31, 2), (64, 3), (200, 2))


def default_cases(interface: Interface, *, streams: bool) -> tuple[Case, ...]:
    """Return the sweep for a model.

    Args:
        interface: What the model takes.
        streams: Whether its state can be handed from chunk to chunk.
    """
    cases = [Case(time, batch) for time, batch in _SHAPES]
    if interface.states:
        cases += [Case(time, batch, random_state=True) for time, batch in _SHAPES]
    if interface.lengths:
        some = bool(interface.states)
        cases += [Case(t, b, random_state=some, ragged=True) for t, b in _SHAPES if b > 1]
    if streams and interface.states:
        cases += [Case(time, 2, random_state=True, chunk=c) for time, c in ((13, 1), (64, 7))]
    return tuple(cases)


def make_inputs(interface: Interface, case: Case) -> Inputs:
    """Return the inputs of one case by name; the same case gives the same numbers."""
    sizes = {TIME: case.time, BATCH: case.batch}
    random = np.random.default_rng([case.time, case.batch, case.random_state, case.ragged])
    inputs: Inputs = {spec.name: _normal(spec, sizes, random) for spec in interface.data_inputs}
    for spec in interface.state_inputs:
        state = _normal(spec, sizes, random)
        inputs[spec.name] = state if case.random_state else np.zeros_like(state)
    if interface.lengths:
        inputs[interface.lengths] = _lengths(case, random)
    return inputs


def _normal(
    spec: TensorSpec, sizes: dict[str, int], random: np.random.Generator
) -> NDArray[np.float32]:
    shape = [axis if isinstance(axis, int) else sizes[axis] for axis in spec.axes]
    return random.standard_normal(shape).astype(np.float32)


def _lengths(case: Case, random: np.random.Generator) -> NDArray[np.int64]:
    if not case.ragged:
        return np.full(case.batch, case.time, np.int64)
    lengths: NDArray[np.int64] = random.integers(0, case.time + 1, case.batch)
    lengths[0], lengths[-1] = case.time, 0  # the two ends, always
    return lengths


def chunks(case: Case) -> Sequence[slice]:
    """Return the pieces of the time axis that a case is run in."""
    step = case.chunk or case.time
    return [slice(start, start + step) for start in range(0, case.time, step)]
