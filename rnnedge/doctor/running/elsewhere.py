"""Running a model in other runtimes, and comparing with what ONNX Runtime answers."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from rnnedge.doctor.model_facts import Subject
from rnnedge.doctor.running.probe_runs import Sizes, make_feeds
from rnnedge_exporters.sandbox.onnx_runtime import Arrays
from rnnedge_exporters.sandbox.other_runtimes import RUNNABLE, OtherRuntime

LARGEST_DIFFERENCE = 1e-3
"""Largest difference, relative to the largest magnitude where that is above 1, that other kernels
and another order of sums may make; a mistake in a recurrence is far above."""
RunCase: TypeAlias = tuple[str, Arrays, Arrays]
"""Where a run is, the inputs, and what it should give."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What one runtime made of a model.

    Attributes:
        runtime: Its name.
        version: Its version; empty where it is not installed.
        install: The command that installs it.
        runs: How often the model was run in it.
        right: How many of those gave what ONNX Runtime gives.
        largest: Largest difference in them.
        wrong: What the worst wrong run answered, and where; empty when none was wrong.
        off: Largest difference in the wrong ones.
        refused: What it said to the first run that it refused; empty when it refused none.
        refusals: How many runs it refused.
    """

    runtime: str
    version: str = ""
    install: str = ""
    runs: int = 0
    right: int = 0
    largest: float = 0.0
    wrong: str = ""
    off: float = 0.0
    refused: str = ""
    refusals: int = 0


def run_elsewhere(
    subject: Subject, runtimes: Collection[str], time_limit: float
) -> Iterator[Elsewhere]:
    """Run a model in those of the runtimes that can be run here.

    Args:
        subject: The model, as it ran in ONNX Runtime.
        runtimes: Names of runtimes.
        time_limit: Seconds that opening the model and running it once may take.

    Yields:
        One entry for each runtime of `RUNNABLE` among `runtimes`, whether it is installed or not.
    """
    cases = list(_cases(subject)) if set(runtimes) & set(RUNNABLE) else []
    for name in RUNNABLE:
        if name not in runtimes:
            continue
        version = RUNNABLE[name].version()
        if version is None:
            yield Elsewhere(name, install=RUNNABLE[name].install)
            continue
        with OtherRuntime(name, time_limit) as runtime:
            yield compare_runs(subject.file.path, runtime, Elsewhere(name, version), cases)


def _cases(subject: Subject) -> Iterator[RunCase]:
    """Yield what to run: where, the inputs, and what ONNX Runtime answers."""
    behaviour = subject.behaviour
    if behaviour is None or behaviour.base is None:
        return
    ordered = sorted(behaviour.right, key=lambda sizes: (sizes.time * sizes.batch, sizes.time))
    for sizes in dict.fromkeys([behaviour.base, ordered[0], ordered[-1]]):
        for ragged in [False, True] if _has_ragged(subject, sizes) else [False]:
            feeds = make_feeds(subject.roles, sizes)
            where = str(sizes)
            if ragged:
                where += ", ragged lengths"
                feeds |= {name: _ragged(feeds[name], sizes) for name in subject.roles.lengths}
            answer = subject.sandbox.run(subject.file.path, feeds)
            if answer.ok:
                yield where, feeds, answer.outputs


def _has_ragged(subject: Subject, sizes: Sizes) -> bool:
    return bool(subject.roles.lengths) and sizes.time > 1 and sizes.batch > 1


def _ragged(full: np.ndarray, sizes: Sizes) -> np.ndarray:
    """Return lengths from all steps down to one."""
    ends: np.ndarray = np.maximum(sizes.time - 2 * np.arange(full.size), 1)
    return ends.astype(full.dtype).reshape(full.shape)


def compare_runs(
    path: str | os.PathLike[str],
    runtime: OtherRuntime,
    found: Elsewhere,
    cases: Sequence[RunCase],
    *,
    largest_difference: float = LARGEST_DIFFERENCE,
) -> Elsewhere:
    """Run a model in a runtime, and compare each run with what is expected of it.

    Args:
        path: The `.onnx` file.
        runtime: Where to run it.
        found: The name and the version of the runtime.
        cases: Where each run is, its inputs, and what it should give.
        largest_difference: What is wrong above it.

    Returns:
        `found` with what the runs gave.
    """
    right, largest, refusals, refused = 0, 0.0, 0, ""
    worst: tuple[float, str] = (0.0, "")
    for where, feeds, expected in cases:
        answer = runtime.run(path, feeds)
        if not answer.ok:
            refusals, refused = refusals + 1, refused or f"at {where}: {_short(answer.trouble)}"
            continue
        error, output, problem = _difference(answer.outputs, expected)
        if problem or error > largest_difference:
            said = problem or f"off by {error:.1e}"
            worst = max(worst, (error, f"{output} {said} at {where}"))
        else:
            right, largest = right + 1, max(largest, error)
    return Elsewhere(
        runtime=found.runtime,
        version=found.version,
        runs=len(cases),
        right=right,
        largest=largest,
        wrong=worst[1],
        off=worst[0],
        refused=refused,
        refusals=refusals,
    )


def _short(text: str) -> str:
    return text.partition(" Stack backtrace")[0][:200]


def _difference(got: Arrays, expected: Arrays) -> tuple[float, str, str]:
    """Return the largest difference, the output that has it, and what else is wrong.

    The difference is relative to the largest magnitude of its output, where that is above 1.
    """
    worst: tuple[float, str, str] = (0.0, "", "")
    for name, wanted in expected.items():
        given = got.get(name)
        if given is None:
            return np.inf, name, "is not answered"
        if given.shape != wanted.shape:
            return np.inf, name, f"comes as {list(given.shape)}, not {list(wanted.shape)}"
        if wanted.dtype.kind not in "fiu":
            continue
        one, other = given.astype(np.float64), wanted.astype(np.float64)
        same = (one == other) | (np.isnan(one) & np.isnan(other))
        with np.errstate(invalid="ignore"):
            error = np.where(same, 0.0, np.nan_to_num(np.abs(one - other), nan=np.inf))
        scale = max(1.0, float(np.abs(other[np.isfinite(other)]).max(initial=0.0)))
        worst = max(worst, (float(error.max(initial=0.0)) / scale, name, ""))
    return worst
