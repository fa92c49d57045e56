"""The available repairs, and which findings they may mend before any of them is tried."""

from __future__ import annotations

from collections.abc import Collection

from rnnedge.doctor.findings import Kind
from rnnedge.doctor.model_facts import Subject
from rnnedge.doctor.repairs.base import Repair, runs
from rnnedge.doctor.repairs.clean import CLEAN
from rnnedge.doctor.repairs.expose import EXPOSE_STATES
from rnnedge.doctor.repairs.reexport import EXPORT_AGAIN
from rnnedge.doctor.repairs.reopen import DECLARE_AXES
from rnnedge.doctor.repairs.unfreeze import TAKE_SIZES_OUT

IN_PLACE: tuple[Repair, ...] = (TAKE_SIZES_OUT, DECLARE_AXES, EXPOSE_STATES, CLEAN)
"""What changes a file, in this order, where it is not exported again."""


def mendable_kinds(subject: Subject, found: Collection[Kind]) -> set[Kind]:
    """Return the kinds of findings that a repair may mend; only its proof says whether it does.

    Args:
        subject: The model.
        found: The kinds that were found in it.
    """
    if not runs(subject):
        return set()
    return {
        kind
        for repair in (EXPORT_AGAIN, *IN_PLACE)
        if repair.is_called_for(found) and repair.may(subject)
        for kind in repair.kinds
    }
