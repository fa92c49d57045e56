"""What a step returns: an array or a dict of arrays, new ones or those passed as `out`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np

from rnnedge_runtime.binding import Array
from rnnedge_runtime.errors import InputError

Answer: TypeAlias = "Array | dict[str, Array]"
"""The only output, or every output by name."""
Out: TypeAlias = "Array | Mapping[str, Array] | None"
"""What the caller passes to be written into."""


def check_out(outputs: Mapping[str, Array], out: Array | Mapping[str, Array]) -> None:
    """Check that `out` has the shape and dtype of the outputs.

    Raises:
        InputError: If it does not, or cannot be written.
    """
    for name, array in outputs.items():
        given = out.get(name) if isinstance(out, Mapping) else out if len(outputs) == 1 else None
        if (
            not isinstance(given, np.ndarray)
            or given.shape != array.shape
            or given.dtype != array.dtype
            or not given.flags.writeable
        ):
            raise InputError(
                f"out: expected for {name} a writeable {array.dtype}{list(array.shape)}, "
                f"got {_described(given)}"
            )


def written_into(outputs: Mapping[str, Array], out: Array | Mapping[str, Array]) -> Answer:
    """Write the outputs into `out`, which `check_out` has checked, and return it."""
    for name, array in outputs.items():
        (out[name] if isinstance(out, Mapping) else out)[...] = array
    return dict(out) if isinstance(out, Mapping) else out


def only(outputs: dict[str, Array]) -> Answer:
    """Return the only output, or all of several by name."""
    return next(iter(outputs.values())) if len(outputs) == 1 else outputs


def _described(value: object) -> str:
    if not isinstance(value, np.ndarray):
        return type(value).__name__
    return f"{value.dtype}{list(value.shape)}" + ("" if value.flags.writeable else ", read-only")
