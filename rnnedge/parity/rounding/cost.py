"""What fewer bits cost: how far a file is from the weights that were rounded to make it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnedge.parity.cases import Outputs
from rnnedge_runtime.contract import BATCH, TIME, Interface, TensorSpec

Array = NDArray[Any]
FEWEST_SCORES, MOST_SCORES = 2, 50_000
"""Sizes that the last axis of an output of scores may have."""
_SHOWN = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
"""Steps at which the error is shown, and the last one."""


@dataclass(frozen=True, slots=True)
class OutputCost:
    """What the rounding costs one output.

    Attributes:
        name: Name of the output.
        sequences: Sequences that were run.
        max_abs: Largest absolute error against PyTorch in float64 with the float32 weights, or
            against the original file.
        mean_abs: Mean absolute error.
        max_abs_float32: Largest absolute difference from PyTorch in float32, which is what a
            float32 file computes; None against an original file.
        worst: The sequence with the largest error.
        over_time: Largest error at each step, over all sequences; empty for an output without time.
        decisions: How many times a largest score was compared; 0 where the output is not scores.
        agreed: How many times it was the same.
    """

    name: str
    sequences: int
    max_abs: float
    mean_abs: float
    max_abs_float32: float | None
    worst: str
    over_time: tuple[float, ...] = ()
    decisions: int = 0
    agreed: int = 0

    @property
    def agreement(self) -> float | None:
        """The part of the decisions that are the same, from 0 to 1; None without any."""
        return self.agreed / self.decisions if self.decisions else None

    @property
    def growth(self) -> str:
        """The error at a few steps: `1: 2.0e-04, 10: 7.1e-04`."""
        steps = len(self.over_time)
        shown = [*(step for step in _SHOWN if step < steps), steps] if steps else []
        return ", ".join(f"{step}: {self.over_time[step - 1]:.1e}" for step in shown)

    def lines(self, *, of: str) -> Iterator[str]:
        """Say it, on what was run."""
        against = "the original"
        if self.max_abs_float32 is not None:
            against = (
                "PyTorch float64 with the float32 weights "
                f"({self.max_abs_float32:.1e} from float32)"
            )
        yield (
            f"{self.name}: off by up to {self.max_abs:.1e}, {self.mean_abs:.1e} in the mean, from "
            f"{against}, on {self.sequences} {of}; worst at {self.worst}"
        )
        if len(self.over_time) > 1:
            yield f"{self.name}: largest error by step {self.growth}"
        if self.agreement is not None:
            yield (
                f"{self.name}: the largest score is the same in {self.agreed:,} of "
                f"{self.decisions:,} places ({self.agreement:.2%})"
            )


@dataclass(frozen=True, slots=True)
class Rounding:
    """What a file holds in fewer bits, and what that costs.

    Attributes:
        dtypes: `int8`, `float16`, or both.
        rounded: How many parameters of the source it holds so.
        integers: The parameters that are multiplied as integers; of an original file, the layers.
        halves: Those that are multiplied in half.
        missing: Parameters of more than one axis that it holds in no rounding.
        costs: The error of each output, on random sequences.
    """

    dtypes: tuple[str, ...]
    rounded: int
    integers: tuple[str, ...] = ()
    halves: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    costs: tuple[OutputCost, ...] = ()

    @property
    def proven(self) -> str:
        """What a file that passes was proven to compute with."""
        held = f"with the weights that it holds in {' and '.join(self.dtypes)}"
        if self.integers:
            return f"{held}, and activations rounded to 8 bits"
        return f"{held}, and computing in half" if self.halves else held

    def lines(self) -> list[str]:
        """What is held as it was, and what the rounding costs."""
        kept = f"not held in fewer bits: {', '.join(self.missing)}"
        return [kept] * bool(self.missing) + cost_lines(self.costs, of="random sequences")


class CostMeter:
    """Adds up errors over sequences.

    Args:
        interface: The outputs.
        scores: Whether an output is scores; see `scores_of`.
    """

    def __init__(self, interface: Interface, scores: Callable[[TensorSpec], bool]) -> None:
        self._sums = {spec.name: _Sum(spec, scores(spec)) for spec in interface.outputs}

    def add(self, name: str, reference: Outputs, single: Outputs | None, model: Outputs) -> None:
        """Add the outputs of a run.

        Args:
            name: What to call it; rows of a batch are told apart.
            reference: PyTorch's in float64, or the original file's.
            single: PyTorch's in float32; None for an original file.
            model: The file's; what is of another shape is left out.
        """
        for output, total in self._sums.items():
            given, expected = model.get(output), reference.get(output)
            if given is None or expected is None or given.shape != expected.shape:
                continue
            if given.dtype.kind == "f" and given.size:
                total.add(name, expected, None if single is None else single[output], given)

    def costs(self) -> tuple[OutputCost, ...]:
        """Return what was added up."""
        return tuple(total.cost() for total in self._sums.values() if total.sequences)


def scores_of(
    interface: Interface, *, bare: bool, told: bool | None
) -> Callable[[TensorSpec], bool]:
    """Return what says whether an output is scores, whose largest one is a decision.

    Args:
        interface: The outputs.
        bare: Whether the source is a bare layer, whose output is features.
        told: What the caller says; None decides: an output of a module that is not a state, whose
            last axis alone is of a fixed size, from `FEWEST_SCORES` to `MOST_SCORES`.
    """
    states = {pair.output for pair in interface.states}

    def is_scores(spec: TensorSpec) -> bool:
        last = spec.axes[-1] if spec.axes else None
        fits = isinstance(last, int) and FEWEST_SCORES <= last <= MOST_SCORES
        alone = not any(isinstance(axis, int) for axis in spec.axes[:-1])  # else it may be a state
        wanted = alone and not bare if told is None else told
        return wanted and fits and spec.name not in states and spec.dtype.startswith("float")

    return is_scores


@dataclass(slots=True)
class _Sum:
    spec: TensorSpec
    scores: bool
    sequences: int = 0
    total: float = 0.0
    values: int = 0
    largest: float = -1.0
    single: float | None = None
    worst: str = ""
    steps: list[float] = field(default_factory=list)
    decisions: int = 0
    agreed: int = 0

    def add(self, name: str, reference: Array, single: Array | None, given: Array) -> None:
        error = np.abs(given.astype(np.float64) - reference)
        axes = self.spec.axes
        rows = error.shape[axes.index(BATCH)] if BATCH in axes else 1
        self.sequences += rows
        self.total += float(error.sum())
        self.values += error.size
        if single is not None:
            self.single = max(self.single or 0.0, float(np.abs(given - single).max()))
        if error.max() > self.largest:
            self.largest = float(error.max())
            at = np.unravel_index(int(error.argmax()), error.shape)
            row = f", row {at[axes.index(BATCH)]}" if rows > 1 else ""
            step = f", step {at[axes.index(TIME)] + 1}" if TIME in axes else ""
            self.worst = f"{name}{row}{step}"
        if TIME in axes:
            others = tuple(a for a in range(error.ndim) if a != axes.index(TIME))
            by_step = error.max(axis=others)
            self.steps += [0.0] * (len(by_step) - len(self.steps))
            self.steps[: len(by_step)] = map(max, self.steps, by_step.tolist())
        if self.scores:
            same = given.argmax(-1) == reference.argmax(-1)
            self.decisions += same.size
            self.agreed += int(same.sum())

    def cost(self) -> OutputCost:
        return OutputCost(
            name=self.spec.name,
            sequences=self.sequences,
            max_abs=self.largest,
            mean_abs=self.total / self.values,
            max_abs_float32=self.single,
            worst=self.worst,
            over_time=tuple(self.steps),
            decisions=self.decisions,
            agreed=self.agreed,
        )


def cost_lines(costs: Sequence[OutputCost], *, of: str) -> list[str]:
    """Return what each output costs, in lines."""
    return [line for cost in costs for line in cost.lines(of=of)]
