"""Proves that packed rows answer what each row answers alone, before a model is used so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from rnnedge_runtime.binding import Array
from rnnedge_runtime.errors import EngineError, InputError, RnnEdgeError
from rnnedge_runtime.foreign.example_inputs import check_example
from rnnedge_runtime.loaded_model import LoadedModel
from rnnedge_runtime.scoring.collecting import Collector
from rnnedge_runtime.scoring.keeping import EXAMPLE_STEPS
from rnnedge_runtime.scoring.packing import PackOptions, pack
from rnnedge_runtime.scoring.row_layout import Packing, RowInput, RowLayout, row_layout
from rnnedge_runtime.scoring.rows import CheckedRows

_LENGTHS = (EXAMPLE_STEPS, 3, 21, 5, 3)
"""Steps of the rows that are compared: one takes several chunks, and two have as many."""
_CHUNK = 4
_ROUNDINGS, _MOST_OFF = 64, 5e-3
"""How many roundings of the dtype values may differ by, and the most: of the largest value. Kernels
that add in another order differ by less; a row that sees another one, by more."""


def prove_packing(
    model: LoadedModel,
    outputs: Sequence[str] | None,
    constants: Mapping[str, ArrayLike],
    *,
    slots: int,
) -> tuple[RowLayout, dict[str, Array]]:
    """Return how rows are packed for a model, and what it answers to an example.

    A few rows of example values are run packed and alone. A model whose answers differ, such as one
    that mixes the rows of a batch, is run with whole rows, or with each row alone.

    Args:
        model: The model.
        outputs: The outputs to keep, as `row_layout` takes them.
        constants: Inputs that are the same in every call, by name.
        slots: How many rows share a call.

    Returns:
        The layout, and the kept outputs of one row, each step first.

    Raises:
        InputError: If the model takes no rows of this kind.
        EngineError: If it fails on every example.
    """
    layout = row_layout(model, outputs, constants)
    alone, rows = _run_alone(model, layout)
    if layout.packing == "alone":
        return layout, _example(layout, alone, rows)
    tried: list[Packing] = [layout.packing]
    if layout.packing == "continuous":
        tried += ["padded"] if layout.lengths else []
    if "equal" not in tried and not layout.single_steps:
        tried.append("equal")
    for packing in tried:
        candidate = replace(layout, packing=packing)
        if _agree(model, candidate, rows, alone, slots):
            return candidate, _example(layout, alone, rows)
    return replace(layout, packing="alone"), _example(layout, alone, rows)


def _run_alone(model: LoadedModel, layout: RowLayout) -> tuple[Collector, CheckedRows]:
    """Run each of the examples alone."""
    alone = replace(layout, packing="alone")
    options = PackOptions(1, max(_LENGTHS), max(_LENGTHS) * 1000)
    error: RnnEdgeError | None = None
    for numbers in (True, False):  # values that are not indices of a table may be refused
        rows = _examples(layout, model.fewest_steps, numbers=numbers)
        collector = Collector(layout.outputs, rows.lengths, every_step=True)
        try:
            pack(model, alone, rows, options, collector)
        except (EngineError, InputError) as raised:
            error = raised
            continue
        return collector, rows
    assert error is not None
    raise error


def _agree(
    model: LoadedModel, layout: RowLayout, rows: CheckedRows, alone: Collector, slots: int
) -> bool:
    """Whether packed rows answer what each answers alone."""
    packed = Collector(layout.outputs, rows.lengths, every_step=True)
    options = PackOptions(min(slots, len(_LENGTHS) - 1), _CHUNK, 2 * sum(_LENGTHS))
    try:
        pack(model, layout, rows, options, packed)
    except (EngineError, InputError):
        return False
    pairs = [(packed.values[name], alone.values[name]) for name in alone.values]
    for name, arrays in alone.ragged.items():
        pairs += zip(packed.ragged[name], arrays, strict=True)
    return all(_close(found, expected) for found, expected in pairs)


def _close(found: Array, expected: Array) -> bool:
    if found.shape != expected.shape:
        return False
    if found.dtype.kind != "f":
        return bool((found == expected).all())
    largest = float(np.abs(expected).max(initial=0.0))
    off = min(_ROUNDINGS * float(np.finfo(found.dtype).eps), _MOST_OFF)
    return bool(np.allclose(found, expected, rtol=0, atol=off * largest))


def _examples(layout: RowLayout, fewest: int, *, numbers: bool) -> CheckedRows:
    """Make rows of random values, or of zeros."""
    random = np.random.default_rng(0)
    fixed = next((given.steps for given in layout.inputs if given.steps), None)
    lengths = np.array(_LENGTHS if fixed is None else [fixed] * len(_LENGTHS), np.int64)
    lengths = np.maximum(lengths, fewest)
    total = int(lengths.sum())

    def made(given: RowInput, count: int) -> Array:
        shape = (count, *given.features)
        check_example(given.spec, shape)
        if not numbers:
            return np.zeros(shape, given.dtype)
        if given.dtype.kind == "f":
            return random.standard_normal(shape).astype(given.dtype)
        return random.integers(0, 2, shape).astype(given.dtype)

    timed = [given for given in layout.inputs if given.timed]
    starts = np.cumsum(lengths) - lengths
    return CheckedRows(
        {given.spec.name: made(given, total) for given in timed},
        {g.spec.name: made(g, len(lengths)) for g in layout.inputs if not g.timed},
        {given.spec.name: starts for given in timed},
        lengths,
        np.arange(len(lengths)),
        {},
        len(lengths),
    )


def _example(layout: RowLayout, alone: Collector, rows: CheckedRows) -> dict[str, Array]:
    """Return the outputs of the first row, as a function of the user gets them."""
    found = {}
    for output in layout.outputs:
        name = output.spec.name
        if output.kind == "own":
            found[name] = alone.ragged[name][0]
        elif output.kind == "value":
            found[name] = alone.values[name][0]
        else:
            found[name] = alone.values[name][: int(rows.lengths[0])]
    return found
