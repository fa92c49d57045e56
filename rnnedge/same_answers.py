"""`difference`: whether a model that was made from another still gives its answers."""

from __future__ import annotations

import numpy as np

from rnnedge.errors import UnequalError
from rnnedge_runtime.binding import Array
from rnnedge_runtime.proof.self_check import TOLERANCE


def difference(
    name: str, got: Array, expected: Array, made: str, *, equal_nan: bool = False
) -> float:
    """Return the largest difference of an output.

    Args:
        name: The output.
        got: What the new model gave.
        expected: What the original gave.
        made: What the new model is, for messages.
        equal_nan: Whether NaN in the same place is equal.

    Raises:
        UnequalError: If shape or dtype differ, or a value by more than rounding explains.
    """
    if got.shape != expected.shape or got.dtype != expected.dtype:
        raise UnequalError(
            f"{name}: expected {expected.dtype}{list(expected.shape)}, and {made} gave "
            f"{got.dtype}{list(got.shape)}; nothing was written"
        )
    if np.array_equal(got, expected, equal_nan=equal_nan and got.dtype.kind == "f"):
        return 0.0
    error = float(np.abs(got.astype(np.float64) - expected.astype(np.float64)).max())
    if not error <= TOLERANCE * max(1.0, float(np.abs(expected).max())):
        raise UnequalError(
            f"{name}: {made} differs by {error:.1e} from the one that it was made from; nothing "
            "was written"
        )
    return error
