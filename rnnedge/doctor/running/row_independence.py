"""Where the rows of a batch are in the outputs, and whether they keep apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rnnedge.doctor.running.probe_runs import ProbeRuns, Sizes
from rnnedge_runtime.contract import BATCH

_CLOSE = 1e-3
"""Largest difference, relative to the largest magnitude, that rounding in a chaotic recurrence may
make; what one row does to another is far above."""

Array = NDArray[np.generic]


def batch_axis(trial: ProbeRuns, time: int, name: str) -> int | None:
    """Return the axis of an output that has one entry for each row, or None."""
    if not trial.roles.has(BATCH):
        return None
    one, two = trial.at(Sizes(time, 1)), trial.at(Sizes(time, 2))
    if not (one.ok and two.ok):
        return None
    return _growing(one.outputs[name].shape, two.outputs[name].shape)


def _growing(one: tuple[int, ...], two: tuple[int, ...]) -> int | None:
    """Return the axis that is 1 for one row and 2 for two, when all others stay."""
    if len(one) != len(two):
        return None
    pairs = list(zip(one, two, strict=True))
    changed = [axis for axis, (before, after) in enumerate(pairs) if before != after]
    return changed[0] if len(changed) == 1 and pairs[changed[0]] == (1, 2) else None


def wrong_shapes(trial: ProbeRuns, base: Sizes, sizes: Sizes) -> str:
    """Say which output has a wrong shape at `sizes`; empty when none has."""
    for name, value in trial.at(sizes).outputs.items():
        expected = trial.at(base).outputs[name].shape
        axis = batch_axis(trial, base.time, name)
        if len(value.shape) != len(expected):
            return f"{name} comes as {list(value.shape)}"
        if axis is None:
            fixed = [i for i, n in enumerate(expected) if n == base.batch != base.time]
            axis = fixed[0] if len(fixed) == 1 and trial.roles.has(BATCH) else None
        if axis is not None and value.shape[axis] != sizes.batch:
            return (
                f"{name} comes as {list(value.shape)}, {value.shape[axis]} rows for {sizes.batch}"
            )
    return ""


def coupled_rows(trial: ProbeRuns, base: Sizes) -> dict[str, float]:
    """Compare a batch with its rows, each alone, or where that is refused with rows changed."""
    if not trial.roles.has(BATCH):
        return {}
    sizes = Sizes(base.time, max(base.batch, 2))
    answer = trial.at(sizes)
    if not answer.ok or wrong_shapes(trial, base, sizes):
        return {}
    coupled: dict[str, float] = {}
    alone = [trial.row(sizes, row) for row in range(2)]
    changed = trial.altered(sizes, row=0)
    for name, value in answer.outputs.items():
        axis = batch_axis(trial, base.time, name)
        if value.dtype.kind != "f":
            continue
        scale = max(1.0, float(np.abs(np.nan_to_num(value)).max(initial=0)))
        if axis is not None and all(one.ok for one in alone):
            differences = [
                _difference(np.take(value, [row], axis), alone[row].outputs[name])
                for row in range(2)
            ]
        elif changed.ok and (fixed := [i for i, n in enumerate(value.shape) if n == sizes.batch]):
            # Some axis of this size is the batch: all of them would have to be mixed.
            rest = list(range(1, sizes.batch))
            differences = [
                min(
                    _difference(np.take(value, rest, a), np.take(changed.outputs[name], rest, a))
                    for a in fixed
                )
            ]
        else:
            continue
        if max(differences) > _CLOSE * scale:
            coupled[name] = max(differences)
    return coupled


def _difference(one: Array, other: Array) -> float:
    if one.shape != other.shape:
        return float("inf")
    numbers, others = one.astype(float), other.astype(float)
    with np.errstate(invalid="ignore"):  # infinity on both sides is equal
        errors = np.where(numbers == others, 0.0, np.abs(numbers - others))
    return float(errors.max(initial=0))
