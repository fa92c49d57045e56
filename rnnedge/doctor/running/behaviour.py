"""What a model does when it runs: at which sizes, in which shapes, and whether rows keep apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rnnedge.doctor.running.find_working_sizes import find_base
from rnnedge.doctor.running.probe_runs import ProbeRuns, Sizes
from rnnedge.doctor.running.row_independence import batch_axis, coupled_rows, wrong_shapes
from rnnedge_exporters.sandbox.onnx_runtime import Answer
from rnnedge_runtime.contract import BATCH, TIME, Axis

Array = NDArray[np.generic]


@dataclass(frozen=True, slots=True)
class Axes:
    """Whether time, or batch, takes any size.

    Attributes:
        status: `absent` when no input has it, `open`, `fixed` when only one size works,
            `multiples` of one size, or `some`.
        size: The size that works, or its multiples, where others do not.
        evidence: What happened at the others, such as `6 is refused`; or which multiples.
    """

    status: Literal["absent", "open", "fixed", "multiples", "some"]
    size: int = 0
    evidence: str = ""


@dataclass(slots=True)
class Behaviour:
    """What a model did.

    Attributes:
        base: Sizes at which it runs correctly, as far as is known; None when there are none.
        trouble: Why there are none, or what ended the process.
        time: Whether time takes any size.
        batch: Whether batch takes any size.
        right: Sizes at which it runs correctly.
        output_axes: For each output its real axes; an axis that is neither batch nor time, nor
            always of one size, has an empty name.
        coupled: Outputs in which the other rows change a row, with the difference.
        random: Outputs that differ between two runs on the same inputs.
        hides_nan: Whether a NaN in the input comes out as numbers.
        deaths: How the process ended, with the first sizes where it did.
    """

    base: Sizes | None = None
    trouble: str = ""
    time: Axes = field(default_factory=lambda: Axes("absent"))
    batch: Axes = field(default_factory=lambda: Axes("absent"))
    right: tuple[Sizes, ...] = ()
    output_axes: dict[str, tuple[Axis, ...]] = field(default_factory=dict)
    coupled: dict[str, float] = field(default_factory=dict)
    random: tuple[str, ...] = ()
    hides_nan: bool = False
    deaths: dict[str, Sizes] = field(default_factory=dict)


def study(trial: ProbeRuns, declared: Sizes, hints: Sequence[int], unrolled: int = 0) -> Behaviour:
    """Run a model at several sizes.

    Args:
        trial: The model, with every batch and time axis of its inputs open.
        declared: The sizes that the file declares; 0 where it declares none.
        hints: Numbers that a size may have been fixed at, likeliest first.
        unrolled: Steps of a recurrence that was unrolled, which are the only ones; 0 for none.
    """
    found = Behaviour()
    if unrolled:
        declared = Sizes(unrolled, declared.batch)
    base = find_base(trial, declared, hints)
    if base is None:
        seen = [answer.trouble for _, answer in trial.seen() if not answer.ok]
        found.trouble = seen[0] if seen else "its answers have a wrong shape at every size tried"
        found.deaths = _deaths(trial)
        return found
    found.base = base
    time, batch = base.time, base.batch
    if trial.roles.has(TIME):
        longer = [Sizes(t, batch) for t in (time + 1, time + 2, 2 * time, 3 * time)]
        shorter = [Sizes(t, batch) for t in (1,) if t < time]
        found.time = _axes(trial, base, longer, shorter, TIME)
        counted = _steps_that_count(trial, base) or unrolled
        if counted:
            found.time = _cut_short(found.time, counted, 2 * time)
            if trial.at(Sizes(counted, batch)).ok:  # what ran correctly is taken from what was run
                base = found.base = Sizes(found.time.size, batch)
        elif found.time.status == "some":
            found.time = _in_multiples(trial, base) or found.time
    if trial.roles.has(BATCH):
        more = [Sizes(time, b) for b in (1, 2, 3, 5) if b != batch]
        found.batch = _axes(trial, base, more, [], BATCH)
    found.right = tuple(
        s
        for s, _ in trial.seen()
        if _is_right(trial, base, s) and (found.time.status != "fixed" or s.time == base.time)
    )
    found.output_axes = _output_axes(trial, base, found.right)
    first, second = trial.at(base).outputs, trial.again(base).outputs
    found.random = tuple(name for name in first if not _same(first[name], second.get(name)))
    if not found.random:
        found.coupled = coupled_rows(trial, base)
    nan = trial.with_nan(base)
    if nan is not None and nan.ok:
        floats = [value for value in nan.outputs.values() if value.dtype.kind == "f"]
        found.hides_nan = bool(floats) and all(np.isfinite(value).all() for value in floats)
    found.deaths = _deaths(trial)
    return found


def empty_sizes(behaviour: Behaviour, trial: ProbeRuns) -> Iterator[tuple[str, Answer]]:
    """Run without rows, and without steps, where the model takes any number of them."""
    if behaviour.base is None:
        return
    if behaviour.batch.status == "open":
        yield "an empty batch", trial.at(Sizes(behaviour.base.time, 0))
    if behaviour.time.status == "open":
        yield "no time steps", trial.at(Sizes(0, behaviour.base.batch))


def _is_right(trial: ProbeRuns, base: Sizes, sizes: Sizes) -> bool:
    """Whether the model runs at `sizes` with the batch where it is at `base`."""
    return trial.at(sizes).ok and not wrong_shapes(trial, base, sizes)


def _axes(
    trial: ProbeRuns, base: Sizes, others: Sequence[Sizes], shorter: Sequence[Sizes], axis: str
) -> Axes:
    """Say whether an axis takes any size, from runs at others; too few steps may be refused."""
    own = base.time if axis == TIME else base.batch
    good = 0
    refused: list[str] = []
    misshapen: list[str] = []
    for sizes in [*others, *shorter]:
        size = sizes.time if axis == TIME else sizes.batch
        answer = trial.at(sizes)
        wrong = wrong_shapes(trial, base, sizes) if answer.ok else ""
        if wrong:
            misshapen.append(f"at {size} {wrong}")
        elif answer.ok:
            good += sizes in others
        else:
            refused.append(
                f"{size} is refused" if answer.error else f"at {size} it {answer.trouble}"
            )
    if not refused and not misshapen:
        return Axes("open")
    evidence = "; ".join([*refused[:1], *misshapen[:1]])
    return Axes("some" if good else "fixed", own, evidence)


def _in_multiples(trial: ProbeRuns, base: Sizes) -> Axes | None:
    """Say of which step a time is a multiple, where such times are taken and others are not."""
    time = base.time
    if coupled_rows(trial, Sizes(2 * time, base.batch)):
        return None  # a longer time is taken for more rows
    for step in range(2, time + 1):
        if time % step == 0 and all(
            _is_right(trial, base, Sizes(time + more * step, base.batch)) for more in (1, 2, 3)
        ):
            fewer = Sizes(step, base.batch)
            first = step if step == time or _is_right(trial, base, fewer) else time
            return Axes("multiples", step, f"multiples of {step} from {first} on")
    return None


def _cut_short(seen: Axes, steps: int, ran: int) -> Axes:
    """Return that only `steps` steps count, where more of them ran."""
    if seen.status == "fixed":
        return seen
    told = [seen.evidence] if seen.evidence else []
    told.append(f"{ran} runs, and the answer is that to {steps} steps")
    return Axes("fixed", steps, "; ".join(told))


def _steps_that_count(trial: ProbeRuns, base: Sizes) -> int:
    """Return how many steps change an output, when more are taken; 0 when all do."""
    double = _last_that_counts(trial, base, 2 * base.time)
    if not double:
        return 0
    # A window or a stride leaves out what is behind the last whole one, wherever that is; what an
    # exporter has fixed is the same at every length.
    return double if _last_that_counts(trial, base, 4 * base.time) == double else 0


def _last_that_counts(trial: ProbeRuns, base: Sizes, time: int) -> int:
    """Return how many of `time` steps change an output; 0 when all do, or that is unknown."""
    sizes = Sizes(time, base.batch)
    if not trial.at(sizes).ok or wrong_shapes(trial, base, sizes):
        return 0
    plain = trial.at(sizes).outputs
    if not all(np.isfinite(v).all() for v in plain.values() if v.dtype.kind == "f"):
        return 0  # a NaN once made stays, whatever comes later

    def counts(step: int) -> bool:
        altered = trial.altered(sizes, step=step)
        return not altered.ok or any(not _same(plain[n], altered.outputs[n]) for n in plain)

    if counts(time - 1) or not counts(0):
        return 0  # the last step counts, or nothing with a time axis does
    low, high = 0, time - 1  # steps from `low` on count, those from `high` on do not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if counts(middle) else (low, middle)
    return high


def _output_axes(
    trial: ProbeRuns, base: Sizes, right: Sequence[Sizes]
) -> dict[str, tuple[Axis, ...]]:
    """Say what each axis of each output is, from the sizes that it had."""
    axes: dict[str, tuple[Axis, ...]] = {}
    for name, value in trial.at(base).outputs.items():
        named: list[Axis] = []
        for position, size in enumerate(value.shape):
            seen = [(s, trial.at(s).outputs[name].shape[position]) for s in right]
            if position == batch_axis(trial, base.time, name):
                named.append(BATCH)
            elif all(n == size for _, n in seen):
                named.append(size)
            else:
                named.append(TIME if all(n == s.time for s, n in seen) else "")
        axes[name] = tuple(named)
    return axes


def _deaths(trial: ProbeRuns) -> dict[str, Sizes]:
    deaths: dict[str, Sizes] = {}
    for sizes, answer in trial.seen():
        if answer.death:
            deaths.setdefault(answer.death, sizes)
    return deaths


def _same(one: Array, other: Array | None) -> bool:
    return other is not None and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
