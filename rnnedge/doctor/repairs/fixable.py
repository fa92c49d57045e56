"""What `fix` may mend in a model, told before any of it is tried."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress

from rnnedge.doctor.model_facts import Subject
from rnnedge.doctor.repairs import clean, expose, reexport, reopen, unfreeze
from rnnedge.errors import NotMendedError


def mendable_kinds(subject: Subject, found: Collection[str]) -> set[str]:
    """Return the kinds of findings that a repair may mend; only its proof says whether it does.

    Args:
        subject: The model.
        found: The kinds that were found in it.
    """
    behaviour = subject.behaviour
    if behaviour is None or behaviour.base is None:
        return set()
    kinds = {*reopen.MENDS, *clean.MENDS}
    if reexport.CALLED_FOR_BY & set(found):
        with suppress(NotMendedError):
            reexport.read_layer_back(subject, by_names=False)
            kinds |= reexport.MENDS
    if unfreeze.may_unfreeze(subject):
        kinds |= unfreeze.MENDS
    with suppress(NotMendedError):
        expose.exposable(subject)
        kinds |= expose.MENDS
    return kinds
