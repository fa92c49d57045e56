"""Joins the frames of many streams into one batch, and splits its outputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from rnnedge_runtime.binding import Array, as_array, by_name, dtype_of
from rnnedge_runtime.contract import BATCH, TIME, TensorSpec
from rnnedge_runtime.errors import InputError, StateError
from rnnedge_runtime.streaming.silence_and_nan import check_finite, is_finite
from rnnedge_runtime.streaming.step_output import Answer

Frame: TypeAlias = "ArrayLike | Mapping[str, ArrayLike]"
"""The input of one stream: without a batch axis."""


@dataclass(frozen=True, slots=True)
class Group:
    """Frames of one shape, joined on the batch axis.

    Attributes:
        streams: The stream of each row.
        batch: The inputs by name, as `Session.run` takes them.
        single: Whether the frames had no time axis.
    """

    streams: list[int]
    batch: dict[str, Array]
    single: bool


def check_batch_axes(
    specs: Iterable[TensorSpec], error: type[InputError | StateError], remedy: str = ""
) -> None:
    """Check that streams can be joined on the batch axis of tensors.

    Args:
        specs: The tensors.
        error: The class to raise.
        remedy: What to do about a tensor without a time axis, for the message.

    Raises:
        InputError: If `error` is that, and a tensor has no batch axis, or several.
        StateError: The same.
    """
    for spec in specs:
        if spec.axes.count(BATCH) != 1:
            raise error(
                f"{spec}: has no axis named {BATCH}, so streams cannot share a call"
                + remedy * (TIME not in spec.axes)
            )


def grouped(specs: Sequence[TensorSpec], frames: Mapping[int, Frame]) -> list[Group]:
    """Check all frames, and join frames of one shape.

    Args:
        specs: The data inputs of the model.
        frames: Stream to frame.

    Returns:
        One group for each shape.

    Raises:
        InputError: If a frame does not fit, or holds NaN or infinity; `streams` has the streams.
    """
    if len(specs) == 1 and (group := _at_once(specs[0], list(frames), list(frames.values()))):
        return [group]
    checked: dict[int, dict[str, Array]] = {}
    refused: dict[int, InputError] = {}
    for stream, frame in frames.items():
        try:
            checked[stream] = _checked(specs, frame)
        except InputError as error:
            refused[stream] = error
    if refused:
        stream, first = next(iter(refused.items()))
        more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
        raise InputError(f"stream {stream}{more}: {first}", streams=tuple(refused)) from first
    alike: dict[object, list[int]] = {}
    for stream, arrays in checked.items():
        alike.setdefault(tuple([array.shape for array in arrays.values()]), []).append(stream)
    groups = []
    for members in alike.values():
        batch, single = {}, False
        for spec in specs:
            rows = [checked[stream][spec.name] for stream in members]
            batch[spec.name], one_step = _side_by_side(spec, rows)
            single = single or one_step
        groups.append(Group(members, batch, single))
    return groups


def owned(specs: Sequence[TensorSpec], stream: int, frame: Frame) -> Frame:
    """Copy a frame, and check the copy: the caller may change the original at any time.

    Args:
        specs: The data inputs of the model.
        stream: The stream of the frame.
        frame: The frame.

    Returns:
        The copy.

    Raises:
        InputError: If it does not fit, or holds NaN or infinity.
    """
    try:
        arrays = _checked(specs, frame, copy=True)
    except InputError as error:
        raise InputError(f"stream {stream}: {error}", streams=(stream,)) from error
    return arrays[specs[0].name] if len(specs) == 1 else arrays


def taken_apart(
    specs: Sequence[TensorSpec], outputs: Mapping[str, Array], group: Group
) -> Iterable[Answer]:
    """Split the outputs of a batch into rows.

    Args:
        specs: The data outputs of the model.
        outputs: The outputs by name.
        group: The frames that were run.

    Returns:
        The output of each stream of the group.
    """
    if not specs:
        return [{} for _ in group.streams]
    parts = rows_in_front(specs, outputs, group)
    if len(parts) == 1:
        return next(iter(parts.values()))
    return [dict(zip(parts, rows, strict=True)) for rows in zip(*parts.values(), strict=True)]


def rows_in_front(
    specs: Sequence[TensorSpec], outputs: Mapping[str, Array], group: Group
) -> dict[str, Array]:
    """Return the outputs of a batch by name, each with the rows of the group as its first axis."""
    parts = {}
    for spec in specs:
        axes, array = list(spec.axes), outputs[spec.name]
        if group.single and TIME in axes:
            array = array.squeeze(axes.index(TIME))
            axes.remove(TIME)
        parts[spec.name] = to_front(array, axes.index(BATCH))
    return parts


def stacked(
    specs: Sequence[TensorSpec],
    streams: Sequence[int],
    frames: ArrayLike | Mapping[str, ArrayLike],
) -> Group:
    """Check frames in one array for each input, with rows as the first axis.

    Args:
        specs: The data inputs of the model.
        streams: The stream of each row.
        frames: An array, or arrays by input name.

    Returns:
        The frames as one group.

    Raises:
        InputError: If they do not fit, hold NaN or infinity, or a stream comes twice.
    """
    try:
        members = list(streams)
        different = len(set(members)) == len(members)
    except TypeError:  # not a sequence, or of lists
        members, different = [], False
    if not members or not different:
        raise InputError(f"streams: expected one or more different streams, got {streams!r}")
    given = by_name(specs, frames)
    arrays = {name: as_array(name, value, InputError) for name, value in given.items()}
    for name, array in arrays.items():
        if array.ndim < 1 or len(array) != len(members):
            raise InputError(
                f"{name}: expected a row for each of {len(members)} stream(s), "
                f"got {array.dtype}{list(array.shape)}"
            )
    _checked(specs, {name: array[0] for name, array in arrays.items()})
    batch, single = {}, False
    for spec in specs:
        check_finite(spec, arrays[spec.name])
        batch[spec.name], one_step = _with_batch(spec, arrays[spec.name])
        single = single or one_step
    return Group(members, batch, single)


def to_front(array: Array, axis: int) -> Array:
    """Return a view with `axis` first; `numpy.moveaxis` takes longer than a small model."""
    if axis == 0:
        return array
    return array.transpose(axis, *range(axis), *range(axis + 1, array.ndim))


def _at_once(spec: TensorSpec, streams: list[int], rows: list[Frame]) -> Group | None:
    """Check arrays of one shape and dtype together; None for anything else.

    A check of each frame alone takes 4 microseconds, as long as a small model.
    """
    if {type(row) for row in rows} != {np.ndarray}:
        return None
    arrays: list[Array] = rows  # type: ignore[assignment]
    if len({row.shape for row in arrays}) > 1 or len({row.dtype for row in arrays}) > 1:
        return None
    if not _fits(spec, arrays[0]):
        return None
    array, single = _side_by_side(spec, arrays)
    return Group(streams, {spec.name: array}, single) if is_finite(array) else None


def _checked(specs: Sequence[TensorSpec], frame: Frame, *, copy: bool = False) -> dict[str, Array]:
    given = by_name(specs, frame)
    if set(given) != {spec.name for spec in specs}:
        names = ", ".join(spec.name for spec in specs)
        raise InputError(f"expected the inputs {names}; got {', '.join(map(str, given))}")
    checked = {spec.name: _fitting(spec, given[spec.name], copy=copy) for spec in specs}
    sizes: dict[str, int] = {}
    for spec in specs:
        shape = checked[spec.name].shape
        axes = _axes(spec, len(shape))
        if TIME in spec.axes and TIME not in axes:
            shape, axes = (1, *shape), [TIME, *axes]
        for axis, size in zip(axes, shape, strict=True):
            if isinstance(axis, str) and sizes.setdefault(axis, size) != size:
                raise InputError(
                    f"{spec.name}: expected {axis}={sizes[axis]}, as the other inputs have it, "
                    f"got {size}"
                )
    return checked


def _side_by_side(spec: TensorSpec, rows: Sequence[Array]) -> tuple[Array, bool]:
    """Join frames of one shape on the batch axis; and whether they had no time axis."""
    shape = rows[0].shape
    return _with_batch(spec, np.concatenate(rows).reshape(-1, *shape) if shape else np.array(rows))


def _with_batch(spec: TensorSpec, rows: Array) -> tuple[Array, bool]:
    """Move the first axis of `rows` to the batch axis; and whether they had no time axis."""
    shape = rows.shape[1:]
    single = TIME in spec.axes and len(shape) == len(spec.axes) - 2
    axes = [axis for axis in spec.axes if not (single and axis == TIME)]
    at = axes.index(BATCH)
    array = rows.transpose(*range(1, at + 1), 0, *range(at + 1, rows.ndim)) if at else rows
    if single:
        time = spec.axes.index(TIME)
        array = array.reshape(*array.shape[:time], 1, *array.shape[time:])
    return array, single


def _axes(spec: TensorSpec, ndim: int) -> list[str | int]:
    """Return the axes of a frame: without batch, and without time if the rank shows it."""
    axes = [axis for axis in spec.axes if axis != BATCH]
    return axes if ndim == len(axes) else [axis for axis in axes if axis != TIME]


def _fits(spec: TensorSpec, array: Array) -> bool:
    """Whether a frame is `spec` without its batch axis, and perhaps without its time axis."""
    axes = _axes(spec, array.ndim)
    return (
        array.dtype == dtype_of(spec.dtype)
        and array.ndim == len(axes)
        and all(
            size == axis if isinstance(axis, int) else size > 0
            for axis, size in zip(axes, array.shape, strict=True)
        )
    )


def _fitting(spec: TensorSpec, value: ArrayLike, *, copy: bool) -> Array:
    """Return `value` as an array that fits.

    Raises:
        InputError: If it does not fit, or holds NaN or infinity.
    """
    array = as_array(spec.name, value, InputError)
    if copy:
        array = array.copy()
    if not _fits(spec, array):
        axes = [axis for axis in spec.axes if axis != BATCH]
        forms = [[axis for axis in axes if axis != TIME], axes]
        either = " or ".join(
            dict.fromkeys(f"{spec.dtype}[{', '.join(map(str, form))}]" for form in forms)
        )
        raise InputError(
            f"{spec.name}: expected {either}, got {array.dtype}{list(array.shape)}; frames of a "
            "pool have no batch axis"
        )
    check_finite(spec, array)
    return array
