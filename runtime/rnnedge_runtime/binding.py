"""One array against what the graph says of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from rnnedge_runtime.contract import BATCH, TensorSpec
from rnnedge_runtime.errors import InputError, StateError, one_line

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

Array: TypeAlias = np.ndarray[tuple[Any, ...], np.dtype[Any]]


def as_array(name: str, value: ArrayLike, error: type[InputError | StateError]) -> Array:
    """Return `value` as an array; `error` where numpy can make none of it."""
    try:
        return np.asarray(value)
    except (TypeError, ValueError) as raised:
        raise error(
            f"{name}: expected an array, got {type(value).__name__}: {one_line(raised)}"
        ) from raised


def by_name(
    specs: Sequence[TensorSpec], data: ArrayLike | Mapping[str, ArrayLike]
) -> Mapping[str, ArrayLike]:
    """Return what a model is given by the name of the input; one array is for the only input.

    Raises:
        InputError: When it is one array, and the model has not one input.
    """
    if isinstance(data, Mapping):
        return data
    if len(specs) != 1:
        names = ", ".join(spec.name for spec in specs)
        raise InputError(f"expected a mapping with the inputs {names}, got one array")
    return {specs[0].name: data}


def bound(
    spec: TensorSpec, value: ArrayLike, sizes: dict[str, int], error: type[InputError | StateError]
) -> Array:
    """Check `value` against `spec`, and record in `sizes` what its named axes stand for."""
    array = value if type(value) is np.ndarray else as_array(spec.name, value, error)
    fits = array.dtype == dtype_of(spec.dtype) and array.ndim == len(spec.axes)
    if fits:
        for axis, size in zip(spec.axes, array.shape, strict=True):
            expected = axis if isinstance(axis, int) else sizes.setdefault(axis, size)
            fits = fits and size == expected
    if not fits:
        raise error(_mismatch(spec, array, sizes))
    if array.flags.c_contiguous:
        return array
    return np.asarray(array, order="C")  # np.ascontiguousarray would give a scalar an axis


def bound_lengths(name: str, lengths: ArrayLike, batch: int | None, time: int | None) -> Array:
    """Check lengths of rows, integers [batch] from 0 to time; None is a size that is not known."""
    values = as_array(name, lengths, InputError)
    if values.dtype.kind not in "iu" and values.size:
        raise InputError(
            f"{name}: expected integers, got {values.dtype}; convert them with .astype('int64')"
        )
    if values.ndim != 1 or (batch is not None and len(values) != batch):
        rows = "row" if batch is None else f"of the {batch} row(s)"
        raise InputError(
            f"{name}: expected one length for each {rows} of the batch, "
            f"got shape {list(values.shape)}"
        )
    longest = time if time is not None else np.inf
    if values.size and (values.min() < 0 or values.max() > longest):
        row = int(np.argmax((values < 0) | (values > longest)))
        allowed = "of 0 or more" if time is None else f"from 0 to {time}, the time of the input"
        raise InputError(f"{name}: expected lengths {allowed}, got {values[row]} at row {row}")
    return values


@cache
def dtype_of(name: str) -> np.dtype[Any]:
    """Return a dtype by its name; one of nothing where numpy has none, as for strings."""
    try:
        return np.dtype(name)
    except TypeError:
        return np.dtype("V")


def _mismatch(spec: TensorSpec, array: Array, sizes: dict[str, int]) -> str:
    message = f"{spec.name}: expected {spec.dtype}{_axes(spec, {})}"
    if array.ndim == len(spec.axes) and any(axis in sizes for axis in spec.axes):
        message += f" with {', '.join(f'{a}={sizes[a]}' for a in spec.axes if a in sizes)}"
    message += f", got {array.dtype}{list(array.shape)}"
    if str(array.dtype) != spec.dtype and array.dtype.kind in "fiu":
        message += f"; convert it with .astype('{spec.dtype}')"
    elif array.ndim == len(spec.axes) - 1 and BATCH in spec.axes:
        message += f"; one sequence is a batch of 1: x[{_one(spec)}]"
    return message


def _axes(spec: TensorSpec, sizes: Mapping[str, int]) -> str:
    return "[" + ", ".join(str(sizes.get(str(a), a)) for a in spec.axes) + "]"


def _one(spec: TensorSpec) -> str:
    return ", ".join(["None" if axis == BATCH else ":" for axis in spec.axes])


def zeros(spec: TensorSpec, sizes: Mapping[str, int]) -> Array:
    """Return zeros of the axes of `spec`, whose names stand for `sizes`."""
    try:
        shape = [axis if isinstance(axis, int) else sizes[axis] for axis in spec.axes]
    except KeyError as missing:
        raise StateError(
            f"{spec.name}: the size of its axis {missing} does not follow from the inputs: "
            "give the state"
        ) from missing
    return np.zeros(shape, spec.dtype)
