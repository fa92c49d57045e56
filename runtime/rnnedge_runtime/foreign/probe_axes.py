"""Which axes of a model are batch and time, found by running it.

A row of a batch changes nothing but itself; a step changes what comes after it, or before. So one
entry of an axis is changed, and the outputs tell what the axis is. Two runs at different sizes tell
the same of the axes of outputs, which files often declare with names of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from rnnedge_runtime.binding import Array
from rnnedge_runtime.contract import BATCH, TIME, Interface, TensorSpec
from rnnedge_runtime.foreign.axis_names import Order, name_axes
from rnnedge_runtime.foreign.axis_roles import Roles
from rnnedge_runtime.foreign.example_inputs import example_inputs

Feeds: TypeAlias = dict[str, Array]
Run: TypeAlias = Callable[[Feeds], "Mapping[str, Array] | None"]
"""Runs the model; None where it refuses the inputs."""
_TIMES = (7, 5, 2, 17, 64, 160, 512, 480, 256, 1600, 96)
"""Steps that are tried: few, then windows of samples as voice models take them."""
_WINDOW = 64
_BATCHES = (3, 2, 1)
_MOST_ROWS = 12
_ORDERS: tuple[Order, ...] = ((BATCH, TIME), (TIME, BATCH))
_NOISE = 1e-6
"""A change beside the changed entry, relative to that in it, which rounding makes."""
_LEAK = 0.05
"""The same of what depends on it; integer activations of a batch share one scale, which is less."""


@dataclass(frozen=True, slots=True)
class Probed:
    """What running a model told.

    Attributes:
        interface: The interface with `batch` and `time` where the model has them.
        steps: Fewest steps of those tried that the model takes: 1 where it takes any number.
        sizes: Sizes that the model takes for axes that are neither, such as the samples of a frame.
    """

    interface: Interface
    steps: int
    sizes: Mapping[str, int]


def interfaces_to_try(declared: Interface, roles: Roles) -> list[Interface]:
    """Return what the dynamic axes of a model may be, the likeliest first, without repetition.

    Args:
        declared: The model, with its axes as they are declared.
        roles: What `find_axis_roles` found in its graph.
    """
    named = [
        name_axes(declared, roles, order=order, tied=tied)
        for tied in (True, False)
        for order in _ORDERS
    ]
    return list(dict.fromkeys(named))


def probe_axes(
    declared: Interface, roles: Roles, run: Run, *, values: Mapping[str, int] | None = None
) -> Probed | None:
    """Find batch and time by running a model.

    Args:
        declared: The model, with its axes as they are declared.
        roles: What `find_axis_roles` found in its graph, which is not asked again.
        run: Runs it.
        values: Integers that its inputs are compared with, by name.

    Returns:
        None where it refuses all that is tried.
    """
    tried = interfaces_to_try(declared, roles)
    for time in _TIMES if any(_has(face, TIME) for face in tried) else _TIMES[:1]:
        for batch in _BATCHES:
            for face in tried:
                trial = _Trial(face, run, values or {}, *_apart_from(face, time, batch))
                if trial.base is not None:
                    named = trial.with_output_axes(_settled(trial, roles))
                    return _as_frames(named, time) if time >= _WINDOW else Probed(named, 1, {})
    return None


def _as_frames(face: Interface, size: int) -> Probed:
    """Tell windows of time from frames: a model that answers each of its windows has a time axis.

    Where no output has one, what looks like time are the samples of one frame.
    """
    if any(TIME in spec.axes for spec in face.data_outputs):
        return Probed(face, size, {})
    sizes: dict[str, int] = {}
    inputs = []
    for spec in face.inputs:
        axes = tuple(f"{spec.name}.{i}" if a == TIME else a for i, a in enumerate(spec.axes))
        sizes |= {str(a): size for a, before in zip(axes, spec.axes, strict=True) if before == TIME}
        inputs.append(replace(spec, axes=axes))
    return Probed(replace(face, inputs=tuple(inputs)), 1, sizes)


def _apart_from(face: Interface, time: int, batch: int) -> tuple[int, int]:
    """Return sizes that no declared axis has, near those that are wanted."""
    taken = {axis for spec in (*face.inputs, *face.outputs) for axis in spec.axes}
    if time == _TIMES[0]:
        time = next(size for size in range(time, time + len(taken) + 1) if size not in taken)
    while batch > 1 and batch < _MOST_ROWS and (batch in taken or batch == time):
        batch += 1
    return time, batch


def _has(face: Interface, role: str) -> bool:
    return any(role in spec.axes for spec in face.inputs)


class _Trial:
    """Runs of a model whose axes are taken to be something."""

    def __init__(
        self, face: Interface, run: Run, values: Mapping[str, int], time: int, batch: int
    ) -> None:
        self.face, self._run, self._values = face, run, values
        self.sizes = {TIME: time, BATCH: batch}
        self.feeds = self._feeds(time, batch)
        self.base = run(self.feeds)

    def leak(self, role: str) -> float | None:
        """Return how much a change in one entry of an axis changes beside it in the outputs.

        Returns:
            Relative to the change of that entry; infinity where an output has no such axis, None
            where nothing changes.
        """
        assert self.base is not None, "it ran"
        at = self.sizes[role] // 2
        changed = {name: array.copy() for name, array in self.feeds.items()}
        for spec in self.face.inputs:
            if role in spec.axes and spec.name != self.face.lengths:
                part = np.moveaxis(changed[spec.name], spec.axes.index(role), 0)[at : at + 1]
                part[...] = ~part if part.dtype == np.bool_ else 1 - part
        after = self._run(changed)
        if after is None:
            return None
        leaks = [
            _leak(before, after[name], self.sizes[role], at)
            for name, before in self.base.items()
            if name in after and not np.array_equal(before, after[name], equal_nan=True)
        ]
        return max(leaks, default=None)

    def with_output_axes(self, face: Interface) -> Interface:
        """Name the axes of outputs by their sizes in runs at several sizes."""
        self.face = face
        time, batch = self.sizes[TIME], self.sizes[BATCH]
        runs = [({TIME: time, BATCH: batch}, self._at(time, batch))]
        for other in ((2 * time, batch), (time, batch + 1), (2 * time, batch + 1)):
            runs.append(({TIME: other[0], BATCH: other[1]}, self._at(*other)))
        told = [(sizes, found) for sizes, found in runs if found is not None]
        return replace(face, outputs=tuple(_named_by_size(s, told) for s in face.outputs))

    def _at(self, time: int, batch: int) -> Mapping[str, Array] | None:
        return self._run(self._feeds(time, batch))

    def _feeds(self, time: int, batch: int) -> Feeds:
        data = [spec for spec in self.face.inputs if spec.name != self.face.lengths]
        feeds = example_inputs(data, time, batch, values=self._values)
        for spec in self.face.inputs:
            if spec.name == self.face.lengths:
                feeds[spec.name] = np.full(_fixed(spec, batch), time, spec.dtype)
        return feeds


def _fixed(spec: TensorSpec, batch: int) -> list[int]:
    return [axis if isinstance(axis, int) else batch for axis in spec.axes]


def _settled(trial: _Trial, roles: Roles) -> Interface:
    """Return the interface of a trial, with batch and time swapped where its outputs say so."""
    face = trial.face
    open_axes = [
        axis
        for spec in face.data_inputs
        for position, axis in enumerate(spec.axes)
        if axis in (BATCH, TIME) and (spec.name, position) not in roles
    ]
    seen = {role for role in (BATCH, TIME) if _has(face, role)}
    if len(open_axes) == 0 or any((s.name, i) in roles for s, i in _places(face)):
        return face  # the graph says it of all, or of some, which the others follow
    rows, steps = (trial.leak(role) if role in seen else None for role in (BATCH, TIME))
    if rows is not None and steps is not None:
        is_swapped = rows > _NOISE and rows > 10 * steps
    elif rows is not None and TIME not in seen:
        is_swapped = rows > _LEAK
    else:
        is_swapped = steps is not None and BATCH not in seen and steps <= _NOISE
    return _swapped(face) if is_swapped else face


def _places(face: Interface) -> Iterator[tuple[TensorSpec, int]]:
    """Yield the data inputs with each of their dynamic axes."""
    for spec in face.data_inputs:
        yield from ((spec, place) for place, axis in enumerate(spec.axes) if isinstance(axis, str))


def _swapped(face: Interface) -> Interface:
    other = {BATCH: TIME, TIME: BATCH}

    def swap(specs: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
        return tuple(
            replace(s, axes=tuple(other.get(a, a) if isinstance(a, str) else a for a in s.axes))
            for s in specs
        )

    return replace(face, inputs=swap(face.inputs), outputs=swap(face.outputs))


def _leak(before: Array, after: Array, size: int, at: int) -> float:
    """Return the least that a change leaks, over all axes that the changed one may be."""
    if before.shape != after.shape:
        return np.inf
    change = np.abs(np.nan_to_num(after.astype(np.float64) - before.astype(np.float64)))
    found = np.inf
    for axis, length in enumerate(before.shape):
        if length == size and size > 1:
            inside = float(np.take(change, [at], axis).max(initial=0))
            beside = float(np.delete(change, at, axis).max(initial=0))
            if inside:
                found = min(found, beside / inside)
    return found


def _named_by_size(
    spec: TensorSpec, runs: list[tuple[dict[str, int], Mapping[str, Array]]]
) -> TensorSpec:
    """Name the dynamic axes of an output by the sizes that they had."""
    shapes = [(sizes, found[spec.name].shape) for sizes, found in runs if spec.name in found]
    rank = len(shapes[0][1]) if shapes else 0
    if len(shapes) < 2 or any(len(shape) != rank for _, shape in shapes):
        return spec
    declared = spec.axes if len(spec.axes) == rank else [f"{spec.name}.{i}" for i in range(rank)]
    axes = list(declared)
    for position, axis in enumerate(declared):
        seen = [(sizes, shape[position]) for sizes, shape in shapes]
        varied = [r for r in (BATCH, TIME) if len({sizes[r] for sizes, _ in seen}) > 1]
        told = [role for role in varied if all(size == sizes[role] for sizes, size in seen)]
        if isinstance(axis, str) and told:
            axes[position] = told[0]
        elif axis in varied:
            axes[position] = f"{spec.name}.{position}"  # it is called so, and is not
    return replace(spec, axes=tuple(axes))
