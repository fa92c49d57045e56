"""What is run on a file and the one that it was made from."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np

from rnnedge.parity.cases import Case, Inputs, make_inputs
from rnnedge_runtime.contract import BATCH, TIME, Interface, TensorSpec

_TIMES = (1, 7, 40)
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


def name_axes(interface: Interface) -> Interface:
    """Call the dynamic axes of a file of others `batch` and `time`, by their names and places.

    A wrong guess is a shape like any other, or one that the original refuses.
    """
    names: dict[str, str] = {BATCH: BATCH, TIME: TIME}
    for spec in interface.inputs:
        dynamic = [axis for axis in spec.axes if isinstance(axis, str)]
        for place, axis in enumerate(dynamic):
            looks = re.search(r"batch|^n$|^b$", axis.lower()) is not None
            alone = len(dynamic) == 1 and (len(spec.axes) != 2 or spec.name == interface.lengths)
            first = place == 0 and len(dynamic) > 1
            fresh = BATCH if looks or alone or (first and not _any_batch(dynamic)) else TIME
            names.setdefault(axis, fresh)

    def renamed(spec: TensorSpec) -> TensorSpec:
        axes = tuple(names.get(a, a) if isinstance(a, str) else a for a in spec.axes)
        return replace(spec, axes=axes)

    return replace(interface, inputs=tuple(map(renamed, interface.inputs)))


def inputs_of(interface: Interface, case: Case, largest: int) -> Inputs:
    """Return the inputs of a case, in the types that the file declares."""
    made = make_inputs(interface, case, largest)
    return {spec.name: np.asarray(made[spec.name]).astype(spec.dtype) for spec in interface.inputs}


def _any_batch(axes: list[str]) -> bool:
    return any(re.search(r"batch|^n$|^b$", axis.lower()) for axis in axes)
