"""Checks the frames and chunks of a stream, and gives frames their time axis."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from rnnedge_runtime.binding import EXCHANGED, Array, as_array, by_name, conversion, dtype_of
from rnnedge_runtime.contract import BATCH, TIME, TensorSpec
from rnnedge_runtime.errors import InputError
from rnnedge_runtime.streaming.silence_and_nan import check_finite


def chunk_of(
    inputs: Sequence[TensorSpec],
    constants: Container[str],
    batch: int,
    frame: ArrayLike | Mapping[str, ArrayLike],
) -> tuple[dict[str, Array], bool]:
    """Check what a stream is given for a step or for a chunk.

    Args:
        inputs: The inputs that are given with each frame.
        constants: The inputs that are not.
        batch: Rows of the stream.
        frame: An array, or a mapping by name.

    Returns:
        The inputs by name with their time axes, and whether the frame had none.

    Raises:
        InputError: If it does not fit, holds NaN or infinity, or gives a constant.
    """
    given = by_name(inputs, frame)
    for name in given:
        if name in constants:
            raise InputError(f"{name}: is a constant of the stream: leave it out of the frame")
    chunk = {name: as_array(name, value, InputError) for name, value in given.items()}
    single = False
    for spec in inputs:
        value = chunk.get(spec.name)
        if value is None:
            continue  # `Session.run` says what is missing
        if TIME in spec.axes and value.ndim < len(spec.axes):
            _check_frame(spec, value, batch, is_array=hasattr(given[spec.name], "astype"))
            chunk[spec.name] = value = np.expand_dims(value, spec.axes.index(TIME))
            single = True
        _check_batch(spec, value, batch)
        check_finite(spec, value)
    return chunk, single


def _check_batch(spec: TensorSpec, value: Array, batch: int) -> None:
    if BATCH not in spec.axes or value.ndim != len(spec.axes):
        return  # `Session.run` says what is wrong with it
    rows = value.shape[spec.axes.index(BATCH)]
    if rows != batch:
        exchanged = TIME in spec.axes and value.shape[spec.axes.index(TIME)] == batch
        raise InputError(
            f"{spec.name}: expected {batch} row(s), the batch of the stream, got {rows}"
            f"{EXCHANGED * exchanged}"
        )


def _check_frame(spec: TensorSpec, frame: Array, rows: int, *, is_array: bool) -> None:
    """Check a frame with the shape that the caller passed, before it gets a time axis."""
    axes = [axis for axis in spec.axes if axis != TIME]
    right_type = frame.dtype == dtype_of(spec.dtype)
    if (
        right_type
        and frame.ndim == len(axes)
        and all(
            n == axis for axis, n in zip(axes, frame.shape, strict=True) if isinstance(axis, int)
        )
    ):
        return
    one, many = (", ".join(map(str, names)) for names in (axes, spec.axes))
    remedy = "" if right_type else f"; {conversion(spec.dtype, is_array=is_array)}"
    if right_type and rows > 1 and BATCH in axes and frame.ndim == len(axes) - 1:
        remedy = f"; the stream has {rows} rows, and takes a frame of each in one array"
    raise InputError(
        f"{spec.name}: expected {spec.dtype}[{one}] for one step, or [{many}] for a chunk, "
        f"got {frame.dtype}{list(frame.shape)}{remedy}"
    )
