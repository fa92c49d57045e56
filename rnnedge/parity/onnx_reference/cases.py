"""What is run on a file and the one that it was made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from rnnedge.parity.cases import Case, Inputs, make_inputs
from rnnedge.parity.coverage.wanted import Wanted
from rnnedge_runtime.contract import TIME, Interface

_TIMES = (1, 7, 40)
_BATCHES = (1, 3)
_LONG = (160, 512, 1600)
"""Steps that are tried where the original takes none of the others, as a window of samples."""


def cases_for(interface: Interface) -> list[list[Case]]:
    """Return the sweep, and others to try while the original takes none of those before."""
    states, lengths = bool(interface.states), bool(interface.lengths)
    timed = any(TIME in spec.axes for spec in interface.inputs)
    times = _TIMES if timed else _TIMES[:1]
    # Without time, an axis that is taken for that of the rows may be one of steps.
    batches = _BATCHES if timed else dict.fromkeys((*_BATCHES, *_TIMES))
    cases = [Case(time, batch) for time in times for batch in batches]
    some = Case(7, 3, random_state=states, ragged=lengths)
    if states:
        cases += [replace(some, time=time, ragged=False) for time in times]
    if lengths:
        cases += [replace(some, time=time) for time in times[1:]]
    cases += [replace(some, values=values) for values in ("zero", "saturated", "tiny", "extreme")]
    cases += [replace(some, time=1, ragged=False, values="saturated")]
    if timed:
        cases += [Case(2, 65), replace(some, time=128, batch=8, ragged=False, values="held")]
    longer = [[Case(time, batch) for batch in _BATCHES] for time in _LONG if timed]
    return [cases, *longer]


def inputs_of(
    interface: Interface,
    case: Case,
    largest: int,
    wanted: Wanted | None = None,
    values: Mapping[str, int] | None = None,
) -> Inputs:
    """Return the inputs of a case, in the types that the file declares.

    Args:
        interface: What the file takes.
        case: The case.
        largest: The largest value of an integer input.
        wanted: What the graph asks of its inputs.
        values: Integers that inputs hold in the cases that make no choice: those at which the
            sizes of the interface were found.
    """
    for spec in interface.inputs:
        if spec.name == interface.lengths and isinstance(spec.axes[0], int):
            case = replace(case, batch=spec.axes[0])
    made = make_inputs(interface, case, largest, wanted)
    if not case.choice:
        made |= {name: np.full_like(made[name], value) for name, value in (values or {}).items()}
    return {spec.name: np.asarray(made[spec.name]).astype(spec.dtype) for spec in interface.inputs}
