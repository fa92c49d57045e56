"""Inputs of chosen sizes, made up for a model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from rnnedge_runtime.binding import Array, dtype_of
from rnnedge_runtime.contract import BATCH, TIME, TensorSpec
from rnnedge_runtime.errors import InputError

_MOST_NUMBERS = 1 << 26
"""Of an input: what a file states may be any size."""


def example_inputs(
    specs: Sequence[TensorSpec],
    time: int,
    batch: int,
    *,
    values: Mapping[str, int] | None = None,
    axis_sizes: Mapping[str, int] | None = None,
    seed: int = 0,
) -> dict[str, Array]:
    """Make random inputs.

    Args:
        specs: The inputs. An axis that is neither batch nor time gets its own size.
        time: Steps, 0 or more.
        batch: Rows, 0 or more.
        values: Integers that inputs are compared with, by name; such an input holds nothing else.
        axis_sizes: Sizes of axes that are neither batch nor time, by name.
        seed: Seed of the random numbers.

    Returns:
        Floats drawn from a normal distribution, integers and flags that are 0 or 1, and single
        numbers that are 1.

    Raises:
        InputError: If an input holds no numbers, or more of them than fit into an example.
    """
    sizes = {TIME: time, BATCH: batch, **(axis_sizes or {})}
    random = np.random.default_rng(seed)
    inputs: dict[str, Array] = {}
    for spec in specs:
        dtype = dtype_of(spec.dtype)
        if dtype.kind not in "fiub":
            raise InputError(f"{spec}: expected an input of floats, integers or flags")
        others = [a for a in spec.axes if isinstance(a, str) and a not in sizes]
        sizes |= {axis: time + number for number, axis in enumerate(others, 1)}
        shape = [axis if isinstance(axis, int) else sizes[axis] for axis in spec.axes]
        check_example(spec, shape)
        if values and spec.name in values:
            inputs[spec.name] = np.full(shape, values[spec.name], dtype)
        elif not shape:
            inputs[spec.name] = np.ones((), dtype)
        elif dtype.kind == "f":
            inputs[spec.name] = random.standard_normal(shape).astype(dtype)
        else:  # an index into a table of two entries or more, or a flag
            inputs[spec.name] = random.integers(0, 2, shape).astype(dtype)
    return inputs


def check_example(spec: TensorSpec, shape: Sequence[int]) -> None:
    """Check that values of these sizes can be made up for an input.

    Raises:
        InputError: If they are too many.
    """
    if math.prod(shape) > _MOST_NUMBERS:
        raise InputError(
            f"{spec}: expected at most {_MOST_NUMBERS:,} numbers for an example, got {list(shape)}"
        )
