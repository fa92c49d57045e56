"""What is run: the sweep of shapes, states and lengths."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from rnnedge.parity.coverage.wanted import Wanted
from rnnedge_exporters import is_bare_layer
from rnnedge_runtime.contract import BATCH, TIME, Interface, TensorSpec

Inputs = dict[str, NDArray[Any]]
Outputs = dict[str, NDArray[Any]]
Values = Literal["normal", "zero", "saturated", "tiny", "extreme", "held"]
Way = Literal["plain", "permuted", "repeated", "threads"]

_SCALES: dict[Values, float] = {
    "normal": 1.0,
    "zero": 0.0,
    "saturated": 30.0,  # sigmoid and tanh are at their ends
    "tiny": 1e-39,  # below the smallest normal float32, 1.2e-38
    "extreme": 1e6,
    "held": 30.0,  # what a cell adds up goes far from zero, and comes back
}
_HELD = 32
"""Steps for which `held` inputs stay as they are."""


@dataclass(frozen=True, slots=True)
class Case:
    """One run of the sweep.

    Attributes:
        time: Steps, 1 or more.
        batch: Rows, 1 or more.
        random_state: Whether the initial state is random; zeros otherwise.
        ragged: Whether the rows end at different lengths.
        chunk: Steps of each call when the sequence is run in pieces that hand their state on; 0
            runs it whole.
        values: Size of the numbers in inputs and states; in states, `extreme` is `saturated`. What
            is `held` is `saturated` too, and changes every 32 steps only.
        way: How the model runs it: `permuted`, with its rows in another order, which are put back;
            `repeated`, three times, and all answers have to be the same to the bit; `threads`, with
            two threads, where the others take one.
        choice: Which of the values that the graph compares its inputs with they are given, and
            which rows of its tables they look up, counted from 1; 0 for random ones.
    """

    time: int
    batch: int
    random_state: bool = False
    ragged: bool = False
    chunk: int = 0
    values: Values = "normal"
    way: Way = "plain"
    choice: int = 0

    @property
    def spread(self) -> float:
        """How many times the rounding that is measured in this case counts.

        Four times where inputs are large: what the sigmoid and tanh of an engine are off by near
        their limits is added to a large state at every step, and neither moved weights nor PyTorch
        show it. Of 2,372 right layers, 9 were off by more than the rounding explains without it,
        all here.
        """
        return 4.0 if self.values in ("saturated", "extreme", "held") else 1.0

    def __str__(self) -> str:
        """Return the shape and what is special."""
        words = [f"time {self.time}, batch {self.batch}"]
        words += [f"{self.values} values"] * (self.values != "normal")
        words += ["random state"] * self.random_state + ["ragged"] * self.ragged
        words += [f"chunks of {self.chunk}"] * bool(self.chunk)
        words += {
            "plain": [],
            "permuted": ["rows permuted"],
            "repeated": ["run 3 times"],
            "threads": ["2 threads"],
        }[self.way]
        words += [f"choice {self.choice}"] * bool(self.choice)
        return ", ".join(words)


_SHAPES = (
    (1, 1),
    (1, 5),
    (2, 1),
    (2, 3),
    (3, 2),
    (7, 4),
    (13, 1),
    (3, 65),
    (31, 2),
    (64, 3),
    (300, 2),
)
_QUICK = ((1, 1), (2, 3), (31, 2))
_MOST_SIZES = 12
"""Sizes that the graph compares an axis with of which cases are made."""
_LONGEST_BESIDES = 1025
"""The largest of these sizes where all of the file was seen without them."""


def default_cases(
    interface: Interface, *, streams: bool, permute: bool = True, quick: bool = False
) -> tuple[Case, ...]:
    """Return the sweep for a model.

    Args:
        interface: What the model takes.
        streams: Whether its state can be handed from chunk to chunk.
        permute: Whether the rows of a batch may come in any order; those of a module may have to be
            sorted by length, or look at each other.
        quick: A few cases of each kind, for a verdict in a second.
    """
    shapes = _QUICK if quick else _SHAPES
    states, lengths = bool(interface.states), bool(interface.lengths)
    some = Case(9, 4, random_state=states, ragged=lengths)
    cases = [Case(time, batch) for time, batch in shapes]
    if states:
        cases += [Case(time, batch, random_state=True) for time, batch in shapes]
    if lengths:
        cases += [
            Case(time, batch, random_state=states, ragged=True)
            for time, batch in shapes
            if batch > 1
        ]
    if streams and states and any(TIME in spec.axes for spec in interface.data_inputs):
        chunked = Case(13, 2, random_state=True, chunk=1), Case(64, 2, random_state=True, chunk=7)
        cases += chunked[1:] if quick else chunked
    kinds: tuple[Values, ...] = (
        ("saturated",) if quick else ("zero", "saturated", "tiny", "extreme")
    )
    if any(spec.dtype.startswith("float") for spec in interface.inputs):
        cases += [replace(some, time=7, batch=3, values=values) for values in kinds]
    if not quick:
        cases += _further_from_zero(interface, some)
    ways: tuple[Way, ...] = ("repeated",) if quick else ("repeated", "threads")
    cases += [replace(some, way=way) for way in ways]
    cases += [replace(some, way="permuted")] * (permute and not quick)
    return tuple(cases)


def _further_from_zero(interface: Interface, some: Case) -> list[Case]:
    """Return cases in which states are large, and all rows empty where a layer takes lengths."""
    floats = any(spec.dtype.startswith("float") for spec in interface.inputs)
    one_step = replace(some, time=1, batch=2, ragged=False, values="saturated")
    few, many = (replace(one_step, time=2, batch=rows, values="extreme") for rows in (2, 9))
    timed = any(TIME in spec.axes for spec in interface.data_inputs)
    held = replace(some, time=4 * _HELD, batch=8, ragged=False, values="held")
    empty = replace(some, time=5, batch=1)
    return [one_step, few, many] * floats + [held] * timed + [empty] * some.ragged


def largest_index(module: nn.Module) -> int | None:
    """Return the largest index that every embedding in `module` has; None for a bare layer."""
    if is_bare_layer(module):
        return None
    sizes = [m.num_embeddings for m in module.modules() if isinstance(m, nn.Embedding)]
    return min(sizes, default=2) - 1


_FEW = 2
_ROWS = 4096
"""Rows of one table that further cases look up, at the most."""
_AT_ONCE = 256
"""Rows of a table that one of them looks up."""


def further_cases(
    interface: Interface,
    wanted: Wanted,
    run: Collection[Case] = (),
    *,
    covered: bool = False,
    quick: bool = False,
) -> tuple[Case, ...]:
    """Return cases for what others have not seen of a file.

    Args:
        interface: What the model takes.
        wanted: What its graph asks of its inputs.
        run: The others.
        covered: Whether they have seen all of its nodes and rows. What it compares its inputs with
            is tried all the same: a `Where` computes both of its sides.
        quick: Whether two of them are enough.
    """
    booleans = 2 * any(spec.dtype == "bool" for spec in interface.inputs)
    named = [spec.name for spec in interface.data_inputs]  # lengths and states have cases already
    choices = max(wanted.renamed(dict(zip(named, named, strict=True))).choices, booleans)
    cases = [Case(3, 2, choice=choice) for choice in range(1, choices + 1)]
    cases += _of_sizes(wanted, run, longest=_LONGEST_BESIDES if covered else None)
    if not covered:
        rows = min(_ROWS, max(wanted.rows.values(), default=0))
        timed = any(TIME in spec.axes for spec in interface.inputs if spec.name in wanted.rows)
        shape = (_AT_ONCE // 8, 8) if timed else (1, _AT_ONCE)
        cases += [Case(*shape, choice=part + 1) for part in range(-(-rows // _AT_ONCE))]
    further = tuple(dict.fromkeys(cases))
    return further[:_FEW] if quick else further


def _of_sizes(wanted: Wanted, run: Collection[Case], longest: int | None) -> Iterator[Case]:
    """Yield a case for each size that was not run, along time and along batch."""
    sizes = [size for size in sorted(wanted.sizes) if longest is None or size <= longest]
    times, batches = {case.time for case in run}, {case.batch for case in run}
    fresh = [size for size in sizes if size not in times or size not in batches]
    for size in fresh[:_MOST_SIZES]:
        if size not in times:
            yield Case(size, 2)
        if size not in batches:
            yield Case(2, size)


def make_inputs(
    interface: Interface, case: Case, largest: int | None = None, wanted: Wanted | None = None
) -> Inputs:
    """Return the inputs of one case by name; the same case gives the same numbers.

    Args:
        interface: What the model takes.
        case: The case.
        largest: The largest value of an integer input; None for a bare layer, which has none and
            whose rows may have no length.
        wanted: What the graph of the model asks of its inputs.
    """
    sizes = {TIME: case.time, BATCH: case.batch}
    random = np.random.default_rng([case.time, case.batch, case.random_state, case.ragged])
    scale = _SCALES[case.values]
    inputs: Inputs = {}
    for spec in interface.data_inputs:
        if spec.dtype == "int64" and spec.axes == (BATCH,) and "len" in spec.name:
            inputs[spec.name] = random.integers(1, case.time + 1, case.batch)
        else:
            inputs[spec.name] = _random(spec, sizes, random, largest or 1, scale)
        if case.values == "held" and TIME in spec.axes and spec.dtype != "bool":
            steps = np.arange(case.time) // _HELD * _HELD
            inputs[spec.name] = inputs[spec.name].take(steps, spec.axes.index(TIME))
        if wanted is not None:
            inputs[spec.name] = _as_wanted(spec, inputs[spec.name], case, wanted)
    for spec in interface.state_inputs:
        # The sigmoid of ONNX Runtime is right to 6e-8 of 1, not of itself: a cell state of 1e6 that
        # a closing gate should forget is off by 0.06 there. Nothing reaches such a state.
        state = _random(spec, sizes, random, 1, min(scale, _SCALES["saturated"]))
        inputs[spec.name] = state if case.random_state else np.zeros_like(state)
    if interface.lengths:
        inputs[interface.lengths] = _lengths(case, random, whole_module=largest is not None)
    return inputs


def _as_wanted(spec: TensorSpec, made: NDArray[Any], case: Case, wanted: Wanted) -> NDArray[Any]:
    """Return an input with numbers that the graph compares it with, or rows that it looks up."""
    rows, value = wanted.rows.get(spec.name), wanted.value(spec.name, case.choice)
    if rows and case.choice:
        first = (case.choice - 1) * _AT_ONCE
        return (np.arange(first, first + made.size) % rows).reshape(made.shape).astype(spec.dtype)
    if rows and spec.dtype.startswith("float"):  # ids that the graph makes integers of
        random = np.random.default_rng([case.time, case.batch, made.size])
        return random.integers(0, rows, made.shape).astype(spec.dtype)
    if not case.choice:
        return made
    if spec.dtype == "bool":
        return np.full_like(made, case.choice % 2 == 0)
    if value is None:
        return made
    selects = not any(isinstance(axis, str) for axis in spec.axes) or spec.dtype.startswith("int")
    return np.full_like(made, value) if selects else made + np.asarray(value, made.dtype)


def _random(
    spec: TensorSpec,
    sizes: dict[str, int],
    random: np.random.Generator,
    largest: int,
    scale: float,
) -> NDArray[Any]:
    # An axis that is neither batch nor time, as the length of an encoder's memory, gets its own
    # size.
    shape = [a if isinstance(a, int) else sizes.setdefault(a, sizes[TIME] + 1) for a in spec.axes]
    if spec.dtype == "bool":
        return np.asarray(random.random(shape) < 0.3)
    if np.dtype(spec.dtype).kind == "i":
        return random.integers(0, largest + 1, shape).astype(spec.dtype)
    return np.asarray(random.standard_normal(shape) * scale).astype(spec.dtype)


def _lengths(case: Case, random: np.random.Generator, *, whole_module: bool) -> NDArray[np.int64]:
    """Make lengths: with a full and an empty row for a layer, as PyTorch takes them for a module.

    A module's rows have a step at least, are sorted in some cases (`enforce_sorted`), and in some
    the longest is shorter than the time axis.
    """
    if not case.ragged:
        return np.full(case.batch, case.time, np.int64)
    lengths: NDArray[np.int64] = random.integers(int(whole_module), case.time + 1, case.batch)
    if not whole_module:
        lengths[0], lengths[-1] = case.time, 0
        return lengths
    if case.time % 2:
        lengths[0] = case.time
    return np.sort(lengths)[::-1].copy() if case.batch % 2 == 0 else lengths


def chunks(case: Case) -> Sequence[slice]:
    """Return the pieces of the time axis that a case is run in."""
    step = case.chunk or case.time
    return [slice(start, start + step) for start in range(0, case.time, step)]
