"""Other ONNX files of the same network next to a model, such as the one before it was quantized."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np

from rnnedge.detect_rounding import may_be_rounded
from rnnedge.measuring.shapes import Shape
from rnnedge_runtime.binding import Array
from rnnedge_runtime.contract import TensorSpec
from rnnedge_runtime.errors import InputError, RnnEdgeError
from rnnedge_runtime.session import Session

SAME, ROUNDED = 1e-3, 0.1
"""How far two files may be from each other, as a part of the largest number of an output: both in
float32, and with weights in fewer bits, which over many steps are another network's neighbours."""

Calls = dict[str, Callable[[], object]]


class MeasuredModel(Protocol):
    """A model that is measured, alone or next to others."""

    sides: dict[str, str]

    def open(self) -> Session:
        """Open the model."""
        ...

    def inputs(self, session: Session, shape: Shape) -> dict[str, Array]:
        """Return the inputs of a shape."""
        ...

    def calls(self, session: Session, shape: Shape) -> tuple[Calls, dict[str, str]]:
        """Return what is to be timed, by side, and why others are not."""
        ...


class BesideFiles:
    """A model with other files next to it, each compared with it before it is timed.

    Args:
        subject: The model, alone or next to those that run its source.
        model: Its file.
        files: The other files.
        options: What `Session` takes to open each, such as `threads`.

    Attributes:
        sides: What each side is, by its short name; a file has its path.
        differences: For the shapes that were compared, the largest absolute difference of each file
            from the model, by shape and file.

    Raises:
        ModelError: When a file cannot be opened.
        InputError: When a file takes or gives something else than the model.
    """

    def __init__(
        self, subject: MeasuredModel, model: str, files: Sequence[str], options: Mapping[str, Any]
    ) -> None:
        """Open the files."""
        self._subject = subject
        self._files = {path: Session(path, **options) for path in files}
        own = Session(model, **options)
        for path, session in self._files.items():
            _check("inputs", model, own.interface.data_inputs, path, session.interface.data_inputs)
            outputs = own.interface.data_outputs, session.interface.data_outputs
            _check("outputs", model, outputs[0], path, outputs[1])
        self._rounded = may_be_rounded(model, own.contract)
        self.sides = subject.sides | {path: "run by rnnedge_runtime.Session" for path in files}
        self.differences: dict[tuple[Shape, str], float] = {}

    def open(self) -> Session:
        """Open the model."""
        return self._subject.open()

    def inputs(self, session: Session, shape: Shape) -> dict[str, Array]:
        """Return the inputs of a shape."""
        return self._subject.inputs(session, shape)

    def calls(self, session: Session, shape: Shape) -> tuple[Calls, dict[str, str]]:
        """Return what is to be timed at a shape, by side, and why others are not."""
        calls, not_timed = self._subject.calls(session, shape)
        inputs = self.inputs(session, shape)
        given = [inputs[spec.name] for spec in session.interface.data_inputs]
        own = _answers(session, list(given))
        for path, other in self._files.items():
            try:
                answers = _answers(other, given)
            except RnnEdgeError as error:
                not_timed[path] = str(error)
                continue
            rounded = self._rounded or may_be_rounded(path, other.contract)
            fault = _fault(own, answers, ROUNDED if rounded else SAME)
            if fault:
                not_timed[path] = f"it answers something else: {fault}"
                continue
            pairs = zip(own, answers, strict=True)
            self.differences[shape, path] = max(float(np.abs(a - b).max()) for a, b in pairs)
            names = [spec.name for spec in other.interface.data_inputs]
            calls[path] = partial(other.run, dict(zip(names, given, strict=True)))
        return calls, not_timed


def _answers(session: Session, given: Sequence[Array]) -> list[Array]:
    names = [spec.name for spec in session.interface.data_inputs]
    outputs = session.run(dict(zip(names, given, strict=True))).outputs
    return [outputs[spec.name] for spec in session.interface.data_outputs]


def _fault(own: Sequence[Array], others: Sequence[Array], part: float) -> str | None:
    for one, other in zip(own, others, strict=True):
        if one.shape != other.shape:
            return f"shape {list(other.shape)}, expected {list(one.shape)}"
        off = float(np.abs(one.astype(np.float64) - other).max(initial=0))
        allowed = part * float(np.abs(one).max(initial=0))
        if not off <= allowed:
            return f"off by {off:.1e}, {allowed:.1e} allowed, {part:g} of the largest number"
    return None


def _check(
    kind: str, model: str, own: Sequence[TensorSpec], path: str, other: Sequence[TensorSpec]
) -> None:
    if [(s.dtype, len(s.axes)) for s in own] != [(s.dtype, len(s.axes)) for s in other]:
        raise InputError(
            f"--beside {path}: expected the {kind} of {model}, {', '.join(map(str, own))}, got "
            f"{', '.join(map(str, other))}"
        )
