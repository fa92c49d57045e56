"""What is run on a file and the one that it was made from."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from rnnedge.parity.cases import Case, Inputs, make_inputs
from rnnedge_runtime.contract import BATCH, TIME, Interface, TensorSpec

_TIMES = (1, 7, 40)
_BATCH, _TIME = re.compile(r"batch|^n$|^b$"), re.compile(r"time|seq|length|steps|^t$|^l$")
_LONG = (160, 512, 1600)
"""Steps that are tried where the original takes none of the others, as a window of samples."""


def cases_for(interface: Interface) -> list[list[Case]]:
    """Return the sweep, and others to try while the original takes none of those before."""
    states, lengths = bool(interface.states), bool(interface.lengths)
    cases = [Case(time, batch) for time in _TIMES for batch in (1, 3)]
    some = Case(7, 3, random_state=states, ragged=lengths)
    if states:
        cases += [replace(some, time=time, ragged=False) for time in _TIMES]
    if lengths:
        cases += [replace(some, time=time) for time in _TIMES[1:]]
    cases += [replace(some, values="zero"), replace(some, values="saturated")]
    return [cases, *([Case(time, batch) for batch in (1, 3)] for time in _LONG)]


def name_axes(interface: Interface) -> tuple[Interface, Interface]:
    """Call the dynamic axes of a file of others `batch` and `time`.

    Returns:
        What follows from their names, and for those that have none from their places with batch in
        front; and the same with time in front.
    """
    return _named(interface, (BATCH, TIME)), _named(interface, (TIME, BATCH))


def _named(interface: Interface, order: tuple[str, str]) -> Interface:
    names: dict[str, str] = {}
    for spec in interface.inputs:
        dynamic = [axis for axis in spec.axes if isinstance(axis, str)]
        for place, axis in enumerate(dynamic):
            if _BATCH.search(axis.lower()):
                names.setdefault(axis, BATCH)
            elif _TIME.search(axis.lower()):
                names.setdefault(axis, TIME)
            elif len(dynamic) > 1:
                told = {names[other] for other in dynamic if other in names}
                left = [name for name in order if name not in told] or list(order)
                names.setdefault(axis, left[0] if told else order[min(place, 1)])
            else:
                states = {pair.input for pair in interface.states} | {interface.lengths}
                alone = spec.name in states or len(spec.axes) == 3
                names.setdefault(axis, BATCH if alone else TIME)

    def renamed(spec: TensorSpec) -> TensorSpec:
        axes = tuple(names.get(a, a) if isinstance(a, str) else a for a in spec.axes)
        return replace(spec, axes=axes)

    return replace(interface, inputs=tuple(map(renamed, interface.inputs)))


def inputs_of(interface: Interface, case: Case, largest: int) -> Inputs:
    """Return the inputs of a case, in the types that the file declares."""
    for spec in interface.inputs:
        if spec.name == interface.lengths and isinstance(spec.axes[0], int):
            case = replace(case, batch=spec.axes[0])
    made = make_inputs(interface, case, largest)
    return {spec.name: np.asarray(made[spec.name]).astype(spec.dtype) for spec in interface.inputs}
