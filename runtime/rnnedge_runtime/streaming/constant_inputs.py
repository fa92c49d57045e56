"""Inputs that are the same at every step, such as a sample rate: checked and passed once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from rnnedge_runtime.binding import Array, bound, dtype_of
from rnnedge_runtime.contract import TIME, Interface, TensorSpec
from rnnedge_runtime.errors import InputError
from rnnedge_runtime.streaming.silence_and_nan import check_finite

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def take_constants(
    interface: Interface, constants: Mapping[str, ArrayLike] | None, sizes: Mapping[str, int]
) -> tuple[tuple[TensorSpec, ...], dict[str, Array], dict[str, int]]:
    """Check constants and copy them, so that later changes by the caller have no effect.

    Args:
        interface: The inputs of the model.
        constants: Values by the name of the input, or None. A Python number is converted to the
            dtype of its input if that can hold it.
        sizes: The sizes of named axes.

    Returns:
        The inputs that frames have, the constants by name, and the sizes of named axes, those of
        the constants included.

    Raises:
        InputError: For a name, dtype or shape that does not fit, for NaN or infinity, for an input
            with a time axis, and if no input is left for the frames.
    """
    specs = {spec.name: spec for spec in interface.data_inputs}
    if constants is None:
        return tuple(specs.values()), {}, dict(sizes)
    if not isinstance(constants, Mapping):
        raise InputError(
            f"constants: expected a mapping by input name, got {type(constants).__name__}"
        )
    taken: dict[str, Array] = {}
    known = dict(sizes)
    for name, value in constants.items():
        spec = specs.get(name)
        if spec is None:
            names = ", ".join(specs)
            raise InputError(f"constants: expected names of data inputs ({names}), got {name!r}")
        if TIME in spec.axes:
            raise InputError(f"constants: {spec} has a {TIME} axis: pass it with each frame")
        array = bound(spec, _of_its_dtype(spec, value), known, InputError)
        check_finite(spec, array)
        taken[name] = array.copy()
    frames = tuple(spec for spec in specs.values() if spec.name not in taken)
    if not frames:
        raise InputError(
            f"constants: expected at least one of {', '.join(specs)} to be left for the frames"
        )
    return frames, taken, known


def _of_its_dtype(spec: TensorSpec, value: ArrayLike) -> ArrayLike:
    """Return a Python number in the dtype of its input; other values as they are."""
    if type(value) not in (bool, int, float):
        return value
    number, dtype = np.asarray(value), dtype_of(spec.dtype)
    if not np.can_cast(number.dtype, dtype, "same_kind"):
        return number
    converted = number.astype(dtype)
    return converted if dtype.kind == "f" or converted == number else number
