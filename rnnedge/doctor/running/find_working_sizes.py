"""Finding sizes at which a model runs rightly, where it does not say them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rnnedge.doctor.running.probe_runs import Sizes, Trial
from rnnedge.doctor.running.row_independence import batch_axis, coupled_rows
from rnnedge_runtime.contract import BATCH, TIME

_USUAL = Sizes(7, 3)
"""Sizes that nothing else in a model is likely to have."""
_LARGEST, _MOST = 4096, 12
"""Steps or rows: larger constants in a graph are not tried as sizes, and no more of them."""


def find_base(trial: Trial, declared: Sizes, hints: Sequence[int]) -> Sizes | None:
    """Return the first sizes at which the model is right, by the strictest test that any passes.

    Args:
        trial: The model.
        declared: The sizes that the file declares; 0 where it declares none.
        hints: Numbers that a size may have been fixed at, likeliest first.
    """
    candidates = list(_candidates(trial, declared, hints))
    tests = (_grows_by_rows_apart, _keeps_rows_apart, _grows_by_rows, _has_its_rows)
    return next((s for test in tests for s in candidates if test(trial, s)), None)


def _candidates(trial: Trial, declared: Sizes, hints: Sequence[int]) -> Iterator[Sizes]:
    """Yield sizes to try: the declared and the usual ones, then those that constants suggest."""
    usual = Sizes(
        (declared.time or _USUAL.time) if trial.roles.has(TIME) else 0,
        (declared.batch or _USUAL.batch) if trial.roles.has(BATCH) else 0,
    )
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


def _grows_by_rows_apart(trial: Trial, sizes: Sizes) -> bool:
    return _grows_by_rows(trial, sizes) and not coupled_rows(trial, sizes)


def _grows_by_rows(trial: Trial, sizes: Sizes) -> bool:
    """Whether one row more makes one axis of each output longer by one, or none."""
    if not trial.at(sizes).ok or not trial.roles.has(BATCH):
        return trial.at(sizes).ok
    one, two = trial.at(Sizes(sizes.time, 1)), trial.at(Sizes(sizes.time, 2))
    return (one.ok and two.ok) and all(
        value.shape == two.outputs[name].shape or batch_axis(trial, sizes.time, name) is not None
        for name, value in one.outputs.items()
    )


def _keeps_rows_apart(trial: Trial, sizes: Sizes) -> bool:
    """Whether a batch that cannot be changed keeps its rows apart."""
    return sizes.batch > 1 and _has_its_rows(trial, sizes) and not coupled_rows(trial, sizes)


def _has_its_rows(trial: Trial, sizes: Sizes) -> bool:
    """Whether every output has an axis of the size of the batch."""
    answer = trial.at(sizes)
    return answer.ok and all(
        sizes.batch in value.shape or value.ndim == 0 or not trial.roles.has(BATCH)
        for value in answer.outputs.values()
    )
