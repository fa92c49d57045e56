"""Running a model at chosen sizes: the same row always holds the same numbers, at every size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnedge.doctor.reading.roles import Roles
from rnnedge_exporters.sandbox.onnx_runtime import Answer, Arrays, Sandbox
from rnnedge_runtime.contract import BATCH, TIME, Axis, TensorSpec
from rnnedge_runtime.foreign.example_inputs import check_example

_OTHER = 4
"""Size of an axis that is open, and neither batch nor time."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Where a model runs.

    Attributes:
        time: Steps, 0 or more; 0 too for a model without a time axis.
        batch: Rows, 0 or more; 0 too for a model without a batch axis.
    """

    time: int
    batch: int

    def __str__(self) -> str:
        """Return `time 7, batch 3`, without what the model has no axis for."""
        parts = [f"time {self.time}"] * bool(self.time) + [f"batch {self.batch}"] * bool(self.batch)
        return ", ".join(parts) or "its only size"


class ProbeRuns:
    """Runs a model in a sandbox on made inputs.

    Args:
        sandbox: Where it runs.
        path: The model.
        roles: Which axes are batch and time.
    """

    def __init__(self, sandbox: Sandbox, path: Path, roles: Roles) -> None:
        """Run nothing yet."""
        self._sandbox = sandbox
        self._path = path
        self._roles = roles
        self._answers: dict[Sizes, Answer] = {}

    @property
    def roles(self) -> Roles:
        """Which axes are batch and time."""
        return self._roles

    def at(self, sizes: Sizes) -> Answer:
        """Run at `sizes`; asked again, the answer is the one given before."""
        if sizes not in self._answers:
            self._answers[sizes] = self._run(make_feeds(self._roles, sizes))
        return self._answers[sizes]

    def again(self, sizes: Sizes) -> Answer:
        """Run at `sizes` once more."""
        return self._run(make_feeds(self._roles, sizes))

    def row(self, sizes: Sizes, row: int) -> Answer:
        """Run one row of `at(sizes)` alone."""
        return self._run(make_feeds(self._roles, Sizes(sizes.time, 1), first_row=row))

    def altered(self, sizes: Sizes, *, step: int = 0, row: int | None = None) -> Answer:
        """Run at `sizes` with other numbers from `step` on, or those of `row` and its state."""
        feeds = make_feeds(self._roles, sizes)
        other = make_feeds(self._roles, sizes, variant=1)
        for spec in self._roles.inputs:
            changes = TIME in spec.axes if row is None else BATCH in spec.axes
            if not changes or spec.name in self._roles.lengths:
                continue
            rows = slice(None) if row is None else slice(row, row + 1)
            cut = {TIME: slice(step, None), BATCH: rows}
            where = tuple(cut.get(str(axis), slice(None)) for axis in spec.axes)
            feeds[spec.name][where] = other[spec.name][where]
        return self._run(feeds)

    def with_nan(self, sizes: Sizes) -> Answer | None:
        """Run at `sizes` with a NaN in the middle step of row 0; None without such an input."""
        feeds = make_feeds(self._roles, sizes)
        for spec in self._roles.inputs:
            if TIME in spec.axes and feeds[spec.name].dtype.kind == "f":
                where = tuple(sizes.time // 2 if axis == TIME else 0 for axis in spec.axes)
                feeds[spec.name][where] = np.nan
                return self._run(feeds)
        return None

    def seen(self) -> list[tuple[Sizes, Answer]]:
        """Return every size that was run, with its answer."""
        return list(self._answers.items())

    def _run(self, feeds: Arrays) -> Answer:
        return self._sandbox.run(self._path, feeds)


def make_feeds(roles: Roles, sizes: Sizes, *, first_row: int = 0, variant: int = 0) -> Arrays:
    """Make inputs; row and step decide the numbers, so that smaller sizes are parts of larger.

    Args:
        roles: The inputs.
        sizes: How large they are.
        first_row: Which row comes first; an input without a batch axis is the same for all.
        variant: 0; other numbers come with others.
    """
    feeds = {}
    for index, spec in enumerate(roles.inputs):
        if spec.name in roles.lengths:
            shape = [_size(axis, sizes) for axis in spec.axes]
            feeds[spec.name] = np.full(shape, sizes.time or 1, spec.dtype)
            continue
        rows = range(first_row, first_row + sizes.batch) if BATCH in spec.axes else [0]
        made = [_one_row(roles, spec, sizes, [variant, index, row]) for row in rows]
        if BATCH in spec.axes:
            axes = _without(spec.axes, BATCH)
            empty = np.zeros([_size(axis, sizes) for axis in axes], spec.dtype)
            stacked = np.stack([*made, empty])[: len(made)]  # an empty batch has a shape too
            feeds[spec.name] = np.moveaxis(stacked, 0, spec.axes.index(BATCH)).copy()
        else:
            feeds[spec.name] = made[0]
    return feeds


def _one_row(roles: Roles, spec: TensorSpec, sizes: Sizes, seed: list[int]) -> NDArray[Any]:
    """Make one row without its batch axis; the first steps are the same for every number of them.

    Where a second axis is time or batch too, as in a mask of steps by steps, it keeps that size.
    """
    axes = _without(spec.axes, BATCH)
    if TIME not in axes:
        return _numbers(roles, spec, [_size(axis, sizes) for axis in axes], seed)
    rest = [_size(axis, sizes) for axis in _without(axes, TIME)]
    if TIME in _without(axes, TIME):
        steps = [_numbers(roles, spec, rest, [*seed, step]) for step in range(sizes.time)]
        values = np.stack([*steps, np.zeros(rest, spec.dtype)])[: sizes.time]
    else:
        values = _numbers(roles, spec, [sizes.time, *rest], seed)
    return np.moveaxis(values, 0, axes.index(TIME))


def _without(axes: Sequence[Axis], role: str) -> list[Axis]:
    """Return axes without the first one of a role."""
    place = list(axes).index(role) if role in axes else len(axes)
    return [*axes[:place], *axes[place + 1 :]]


def _numbers(roles: Roles, spec: TensorSpec, shape: Sequence[int], seed: list[int]) -> NDArray[Any]:
    check_example(spec, shape)
    random = np.random.default_rng(seed)
    kind = np.dtype(spec.dtype).kind
    values: Any  # a number where the shape has no axes
    if kind in "iu":
        values = random.integers(0, roles.indices.get(spec.name, 2), shape)
    elif kind == "b":
        values = random.random(shape) < 0.3
    else:
        values = random.standard_normal(shape)
    return np.asarray(values, spec.dtype)


def _size(axis: Axis, sizes: Sizes) -> int:
    if isinstance(axis, int):
        return axis
    return {TIME: sizes.time, BATCH: sizes.batch}.get(axis, _OTHER)
