"""What a comparison left out."""

from __future__ import annotations

from collections.abc import Collection

from rnnedge.parity.cases import Case
from rnnedge_runtime.contract import Interface

_VALUES = {
    "zero": "all-zero",
    "saturated": "saturated",
    "tiny": "denormal",
    "extreme": "extreme",
    "held": "held",
}
"""Numbers that a sweep tries, in words."""


def not_run(
    cases: Collection[Case],
    interface: Interface | None,
    *,
    device: str,
    mutated: bool,
    calibrated: bool,
) -> list[str]:
    """Return what a comparison left out, each with the way to run it where there is one.

    Args:
        cases: What was run.
        interface: What the file takes, where its contract says.
        device: Where it ran.
        mutated: Whether weights were disturbed.
        calibrated: Whether the caller's own data was run.
    """
    left = ["initial states: the file takes none"] * bool(interface and not interface.states)
    left += ["ragged lengths: the file takes none"] * bool(interface and interface.lengths is None)
    if cases:
        left += ["chunks that hand their state on"] * (not any(case.chunk for case in cases))
        seen = {case.values for case in cases}
        left += [f"{words} numbers" for values, words in _VALUES.items() if values not in seen]
        left += [f"sequences of more than {max(case.time for case in cases):,} steps"]
        left += [f"batches of more than {max(case.batch for case in cases):,} rows"]
    left += ["a GPU: --device cuda, on a machine that has one"] * (device == "cpu")
    left += ["disturbed weights: --mutate"] * (not mutated)
    left += ["your own data: --calibrate"] * (not calibrated)
    return left
