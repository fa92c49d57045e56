"""Whether an answer is the module's own: shapes before numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

ALLOWED = 1e-4
"""Difference as a part of 1 + the number that is compared with."""
CHAOTIC = 1e-3
"""Where float32 in PyTorch itself is off by more, nothing can be said."""
OF_FLOAT32 = 20
"""How many times as far off as PyTorch's float32 an answer may be."""


def difference(given: Array, expected: Array, single: Array) -> str:
    """Say how an answer differs; empty when it does not.

    Args:
        given: The answer.
        expected: PyTorch's in float64.
        single: PyTorch's in float32, which says how well the question can be answered.
    """
    if given.shape != expected.shape:
        return f"shape {list(given.shape)}, expected {list(expected.shape)}"
    if expected.dtype.kind != given.dtype.kind:
        return f"dtype {given.dtype}, expected {expected.dtype}"
    if expected.dtype.kind != "f":
        unsure = single != expected if single.shape == expected.shape else np.False_
        wrong = (given != expected) & ~unsure
        return f"{int(wrong.sum())} of {wrong.size} are others" if wrong.any() else ""
    with np.errstate(invalid="ignore", over="ignore"):
        own = np.abs(single - expected)
        if not own.size:
            return ""
        finite = np.isfinite(expected) & np.isfinite(single)
        noise = float(own[finite].max()) if finite.any() else 0.0
        if noise > CHAOTIC * (1 + _largest(expected)):
            return ""
        # What float32 cannot hold to be a number is not compared.
        sure = np.isfinite(expected) == np.isfinite(single)
        off = np.abs(given - expected)
        same = (given == expected) | (np.isnan(given) & np.isnan(expected))
        near = off <= ALLOWED * (1 + np.abs(expected)) + OF_FLOAT32 * noise
    wrong = sure & ~same & ~near
    if not wrong.any():
        return ""
    worst = np.nanmax(np.where(wrong & np.isfinite(off), off, 0))
    others = " with NaN or infinity" if not np.isfinite(off[wrong]).all() else ""
    return f"{int(wrong.sum())} of {wrong.size} are off by up to {worst:.3g}{others}"


def is_chaotic(expected: Array, single: Array) -> bool:
    """Whether PyTorch's own float32 is so far off that numbers cannot be compared."""
    if expected.dtype.kind != "f" or expected.shape != single.shape:
        return False
    finite = np.isfinite(expected) & np.isfinite(single)
    noise = float(np.abs(single - expected)[finite].max()) if finite.any() else 0.0
    return noise > CHAOTIC * (1 + _largest(expected))


def _largest(values: Array) -> float:
    finite = np.abs(values[np.isfinite(values)])
    return float(finite.max()) if finite.size else 0.0
