"""Checks of single arguments: numbers of any kind, numpy's too, within their limits."""

from __future__ import annotations

import math
import operator
import sys
from contextlib import suppress
from numbers import Real

from rnnedge_runtime.errors import InputError, OptionError


def whole_number(
    name: str,
    value: object,
    error: type[InputError | OptionError] = InputError,
    *,
    most: int = sys.maxsize,
    otherwise: str = "",
) -> int:
    """Return an argument as an `int` of 1 or more.

    Args:
        name: Its name, for the message.
        value: An integer of Python or numpy; a bool is not one.
        error: The class to raise.
        most: The largest value that is allowed.
        otherwise: What else may be passed, for the message, such as `None or `.

    Raises:
        InputError: If `error` is that, and `value` is not an integer from 1 to `most`.
        OptionError: The same.
    """
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = 0
    if isinstance(value, bool) or not 1 <= number <= most:
        limits = "of 1 or more" if most == sys.maxsize else f"from 1 to {most}"
        raise error(f"{name}: expected {otherwise}an integer {limits}, got {value!r}")
    return number


def duration(name: str, value: object, *, endless: bool = False) -> float:
    """Return an argument that is a time as a `float` of 0 or more.

    Args:
        name: Its name, for the message.
        value: A number of Python or numpy; a bool is not one.
        endless: Whether it may be infinite.

    Raises:
        InputError: If it is negative, NaN, not a number, or infinite where it must not be.
    """
    number = math.nan
    if not isinstance(value, bool) and isinstance(value, Real):
        with suppress(OverflowError):
            number = float(value)
    if not number >= 0 or (math.isinf(number) and not endless):
        raise InputError(f"{name}: expected 0 or more, got {value!r}")
    return number
