"""Text that any file can hold, and numbers as a reader compares them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from rnnedge.parity.report import ComparedWith
from rnnedge.parity.results import CaseResult

# What XML 1.0 allows (https://www.w3.org/TR/xml/#charsets); an exception that a model raised may
# hold the colours of a terminal, and a path may hold bytes that are not text.
_FORBIDDEN = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def printable(text: str) -> str:
    """Return text with U+FFFD in place of what neither XML nor HTML may hold."""
    return _FORBIDDEN.sub("\ufffd", text)


def scientific(value: float) -> str:
    """Return two digits and an exponent: `5.6e-07`; `0` and `∞` as they are."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "∞"
    return f"{value:.1e}" if value else "0"


def short(value: float) -> str:
    """Return about two digits, with an exponent only where it is needed: `0.049`, `12`, `1.2e+05`.

    Args:
        value: 0 or more.
    """
    if not math.isfinite(value) or value >= 1000 or 0 < value < 0.001:
        return scientific(value)
    return f"{value:.0f}" if value >= 10 else f"{value:.2g}"


def index(at: Iterable[int] | None) -> str:
    """Return `[1, 0, 17]`, or nothing."""
    return "" if at is None else f"[{', '.join(map(str, at))}]"


def finding(result: CaseResult, against: ComparedWith) -> str:
    """Return what one output in one case came to, in one line."""
    if result.problem:
        return result.problem
    return (
        f"off by {scientific(result.error)} from {against.exact}, allowed "
        f"{scientific(result.allowed)}{result.where}"
    )
