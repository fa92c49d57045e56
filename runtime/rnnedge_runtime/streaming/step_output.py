"""What a step hands to its caller: an array or a dict of them, of its own or of the caller's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np

from rnnedge_runtime.binding import Array
from rnnedge_runtime.errors import InputError
from rnnedge_runtime.streaming.bound_step import BoundStep

Answer: TypeAlias = "Array | dict[str, Array]"
"""The only output, or every output by name."""
Out: TypeAlias = "Array | Mapping[str, Array] | None"
"""What the caller gives to be written into."""


def run_bound(bound: BoundStep, out: Out, *, copy: bool) -> Answer:
    """Run what lies in the buffers.

    Raises:
        InputError: When `out` does not fit; nothing has run then.
        EngineError: When ONNX Runtime fails.
    """
    if out is not None:
        check_out(bound.answers, out)
    bound.run()
    if out is not None:
        return handed_over(bound.answers, out)
    if bound.answer is not None and bound.view is not None:
        return bound.answer.copy() if copy else bound.view
    if not copy:
        return dict(bound.views)
    return {name: array.copy() for name, array in bound.answers.items()}


def check_out(answers: Mapping[str, Array], out: Array | Mapping[str, Array]) -> None:
    """Refuse an `out` that is not of the very shape and dtype of the answers.

    Raises:
        InputError: When it is not.
    """
    for name, array in answers.items():
        given = out.get(name) if isinstance(out, Mapping) else out if len(answers) == 1 else None
        if (
            not isinstance(given, np.ndarray)
            or given.shape != array.shape
            or given.dtype != array.dtype
            or not given.flags.writeable
        ):
            raise InputError(
                f"out: expected for {name} a writeable {array.dtype}{list(array.shape)}, "
                f"got {_described(given)}"
            )


def handed_over(answers: dict[str, Array], out: Out) -> Answer:
    """Write the answers into `out` and return it; without one, return the answers."""
    if out is None:
        return only(answers)
    for name, array in answers.items():
        (out[name] if isinstance(out, Mapping) else out)[...] = array
    return dict(out) if isinstance(out, Mapping) else out


def _described(value: object) -> str:
    if not isinstance(value, np.ndarray):
        return type(value).__name__
    return f"{value.dtype}{list(value.shape)}" + ("" if value.flags.writeable else ", read-only")


def only(answers: dict[str, Array]) -> Answer:
    """Return the only answer, or all of several by name."""
    return next(iter(answers.values())) if len(answers) == 1 else answers
