"""A pool that may be made of a file: rows that come and go, compared with the whole in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from random_modules.compare import difference
from random_modules.generate import Generated
from random_modules.in_torch import DoesNotRunError, Reference, make_inputs

from rnnedge_exporters.exporter import ExportResult
from rnnedge_runtime import Session
from rnnedge_runtime.contract import TensorSpec
from rnnedge_runtime.errors import InputError, StateError

Array = NDArray[Any]

ROWS, STEPS = 4, 6


def pool_faults(
    generated: Generated, reference: Reference, path: Path, result: ExportResult
) -> list[str]:
    """Step some rows at a time, in any order, each as far as it has come."""
    interface = result.contract.interface
    session = Session(path, threads=1)
    try:
        pool = session.pool()
        streams = [pool.open() for _ in range(ROWS)]
    except (StateError, InputError):
        return []  # it is not one of rows that know nothing of each other
    sizes = {"batch": ROWS, "time": STEPS, "time_1": STEPS}
    whole = make_inputs(generated.inputs, sizes, generated.seed, lengths=np.full(ROWS, STEPS))
    whole |= {pair.input: whole[pair.input] * 0 for pair in interface.states if pair.input in whole}
    try:
        expected, single = reference(whole), reference(whole, double=False)
    except DoesNotRunError:
        return []
    keys = dict(zip([spec.name for spec in interface.outputs], expected, strict=False))
    numbers = np.random.default_rng(generated.seed)
    done = [0] * ROWS
    while min(done) < STEPS:
        waiting = [row for row in range(ROWS) if done[row] < STEPS]
        count = int(numbers.integers(1, len(waiting) + 1))
        rows = [int(row) for row in numbers.permutation(waiting)[:count]]
        frames = {
            streams[row]: {
                spec.name: _frame(spec, whole[spec.name], row, done[row])
                for spec in interface.data_inputs
            }
            for row in rows
        }
        answers = pool.step(frames)
        for row in rows:
            answer = answers[streams[row]]
            named = answer if isinstance(answer, dict) else {interface.data_outputs[0].name: answer}
            for spec in interface.data_outputs:
                if spec.name not in keys or not _comparable(
                    spec, at_the_end=done[row] == STEPS - 1
                ):
                    continue
                arrays = (expected[keys[spec.name]], single[keys[spec.name]])
                parts = [_frame(spec, array, row, done[row]) for array in arrays]
                told = difference(named[spec.name], parts[0], parts[1])
                if told:
                    return [f"pool, rows {rows}: {spec.name} of row {row}: {told}"]
            done[row] += 1
    return []


def _comparable(spec: TensorSpec, *, at_the_end: bool) -> bool:
    """Whether a step of the whole is what a frame gives: not of an axis worked out of time."""
    if any("time" in axis for axis in spec.axes if isinstance(axis, str)):
        return "time" in spec.axes
    return at_the_end


def _frame(spec: TensorSpec, array: Array, row: int, step: int) -> Array:
    """Return one row, and one step of it where there is a time axis."""
    index = tuple(
        row if axis == "batch" else step if axis == "time" else slice(None) for axis in spec.axes
    )
    return np.array(array[index])  # `ascontiguousarray` would give a number an axis
