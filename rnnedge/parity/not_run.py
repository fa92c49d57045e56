"""What a comparison left out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rnnedge.parity.report import Report

_LONG = 300
"""Steps of the longest case of a full sweep."""
_VALUES = {
    "zero": "all-zero",
    "saturated": "saturated",
    "tiny": "denormal",
    "extreme": "extreme",
}
"""Numbers that a sweep tries, in words."""


def not_run(report: Report) -> list[str]:
    """Return what a comparison left out, each with the way to run it where there is one.

    Args:
        report: What was run.
    """
    cases = {result.case for result in report.results}
    face = report.contract.interface if report.contract else None
    left = ["initial states: the file takes none"] * bool(face and not face.states)
    left += ["ragged lengths: the file takes none"] * bool(face and face.lengths is None)
    if cases:
        left += ["chunks that hand their state on"] * (not any(case.chunk for case in cases))
        seen = {case.values for case in cases}
        left += [f"{words} numbers" for values, words in _VALUES.items() if values not in seen]
        longest = max(case.time for case in cases)
        left += [f"sequences of more than {longest} steps"] * (longest < _LONG)
    left += ["a GPU: --device cuda, on a machine that has one"] * (report.device == "cpu")
    left += ["disturbed weights: --mutate"] * (report.mutation is None)
    left += ["your own data: --calibrate"] * (not report.calibration)
    return left
