"""Finding sizes at which a model runs correctly, where it does not say them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from rnnedge.doctor.reading.roles import Roles
from rnnedge.doctor.running.probe_runs import ProbeRuns, Sizes
from rnnedge.doctor.running.row_independence import batch_axis, coupled_rows
from rnnedge_runtime.contract import BATCH, TIME, Axis, TensorSpec

_USUAL = Sizes(7, 3)
"""Sizes that nothing else in a model is likely to have."""
_WINDOWS = (160, 200, 256, 320, 400, 480, 512, 640, 768, 800, 960, 1024, 1280, 1536, 1600)
"""Samples of audio that models take at once: 10 to 100 ms at 8 and 16 kHz, and powers of two."""
_LARGEST, _MOST = 4096, 12
"""Steps or rows: larger constants in a graph are not tried as sizes, and no more of them."""


def with_all_axes(roles: Roles, declared: Sequence[TensorSpec]) -> Roles:
    """Give a role to axes that nothing told, but that have the size of one that has it, or must.

    Axes of one name have one size, as both of a mask of steps by steps. And the one open axis
    next to batch is time, where no other is: samples that are cut into windows inside the graph.

    Args:
        roles: Which axes are batch and time.
        declared: The inputs as the file declares them.
    """
    named: dict[str, Axis] = {}
    for spec, told in zip(roles.inputs, declared, strict=True):
        for role, name in zip(spec.axes, told.axes, strict=True):
            if isinstance(name, str) and role in (BATCH, TIME):
                named.setdefault(name, role)  # a second axis of a name may have got another role
    axes = [
        [named.get(str(name), role) for role, name in zip(spec.axes, told.axes, strict=True)]
        for spec, told in zip(roles.inputs, declared, strict=True)
    ]
    rest = {axis for own in axes for axis in own if isinstance(axis, str)} - {BATCH}
    if len(rest) == 1:
        axes = [[TIME if axis in rest else axis for axis in own] for own in axes]
    inputs = [replace(s, axes=tuple(own)) for s, own in zip(roles.inputs, axes, strict=True)]
    return replace(roles, inputs=tuple(inputs))


def find_base(trial: ProbeRuns, declared: Sizes, hints: Sequence[int]) -> Sizes | None:
    """Return the first sizes at which the model is right, by the strictest test that any passes.

    Args:
        trial: The model.
        declared: The sizes that the file declares; 0 where it declares none.
        hints: Numbers that a size may have been fixed at, likeliest first.
    """
    tests = (_grows_by_rows_apart, _keeps_rows_apart, _grows_by_rows, _has_its_rows)
    for candidates in (_candidates(trial, declared, hints), _windows(trial, declared)):
        tried = list(candidates)
        base = next((s for test in tests for s in tried if test(trial, s)), None)
        if base is not None:
            return base
    return None


def _candidates(trial: ProbeRuns, declared: Sizes, hints: Sequence[int]) -> Iterator[Sizes]:
    """Yield sizes to try: the declared and the usual ones, then those that constants suggest."""
    usual = _usual(trial, declared)
    yield usual
    sizes = [hint for hint in hints if 0 < hint <= _LARGEST][:_MOST]
    times = [declared.time] if declared.time else sizes
    batches = [declared.batch] if declared.batch else sizes
    if trial.roles.has(TIME):
        yield from (Sizes(time, usual.batch) for time in times)
    if trial.roles.has(BATCH):
        yield from (Sizes(usual.time, batch) for batch in batches)
        if trial.roles.has(TIME):
            yield from (Sizes(time, batch) for time in times[:6] for batch in batches[:6])


def _usual(trial: ProbeRuns, declared: Sizes) -> Sizes:
    return Sizes(
        (declared.time or _USUAL.time) if trial.roles.has(TIME) else 0,
        (declared.batch or _USUAL.batch) if trial.roles.has(BATCH) else 0,
    )


def _windows(trial: ProbeRuns, declared: Sizes) -> Iterator[Sizes]:
    """Yield windows of samples."""
    if declared.time or not trial.roles.has(TIME):
        return
    batch = _usual(trial, declared).batch
    yield from (Sizes(time, batch) for time in _WINDOWS)
    if batch > 1:
        yield from (Sizes(time, 1) for time in _WINDOWS)


def _grows_by_rows_apart(trial: ProbeRuns, sizes: Sizes) -> bool:
    return _grows_by_rows(trial, sizes) and not coupled_rows(trial, sizes)


def _grows_by_rows(trial: ProbeRuns, sizes: Sizes) -> bool:
    """Whether one row more makes one axis of each output longer by one, or none."""
    if not trial.at(sizes).ok or not trial.roles.has(BATCH):
        return trial.at(sizes).ok
    one, two = trial.at(Sizes(sizes.time, 1)), trial.at(Sizes(sizes.time, 2))
    return (one.ok and two.ok) and all(
        value.shape == two.outputs[name].shape or batch_axis(trial, sizes.time, name) is not None
        for name, value in one.outputs.items()
    )


def _keeps_rows_apart(trial: ProbeRuns, sizes: Sizes) -> bool:
    """Whether a batch that cannot be changed keeps its rows apart."""
    return sizes.batch > 1 and _has_its_rows(trial, sizes) and not coupled_rows(trial, sizes)


def _has_its_rows(trial: ProbeRuns, sizes: Sizes) -> bool:
    """Whether every output has an axis of the size of the batch."""
    answer = trial.at(sizes)
    return answer.ok and all(
        sizes.batch in value.shape or value.ndim == 0 or not trial.roles.has(BATCH)
        for value in answer.outputs.values()
    )
