"""Which inputs and outputs of a file are which of the file that it is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rnnedge.errors import ModelError, TimeLimitError
from rnnedge.parity.onnx_reference.model_under_test import Array, OpenedFile, Values
from rnnedge_runtime.axis_sizes import size_of
from rnnedge_runtime.contract import TIME, Interface, TensorSpec


@dataclass(frozen=True, slots=True)
class Match:
    """Names of the file that is checked, by those of the original.

    Attributes:
        inputs: For each input of the original that the file has too, its name in the file.
        outputs: For each output likewise.
        states: Whether both take the same states; else those of one start from zeros.
        lengths: Whether both take lengths, or none does; else those of one are full.
        by_place: Whether the names differ, so that places decided.
    """

    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    states: bool
    lengths: bool
    by_place: bool

    def common(self, original: Interface) -> Interface:
        """Return the interface of the original with the outputs that both have."""
        outputs = tuple(spec for spec in original.outputs if spec.name in self.outputs)
        return replace(original, outputs=outputs)

    def notes(self, original: Interface) -> list[str]:
        """Say what a reader would not expect."""
        found = []
        if self.by_place:
            pairs = [*self.inputs.items(), *self.outputs.items()]
            shown = ", ".join(f"{theirs} is {ours}" for theirs, ours in pairs)
            found.append(f"inputs and outputs have other names, and were matched by place: {shown}")
        left = [spec.name for spec in original.outputs if spec.name not in self.outputs]
        if left:
            found.append(f"not compared, since the file does not have it: {', '.join(left)}")
        if not self.states:
            found.append("states start from zeros, since only one of the files takes them")
        if not self.lengths:
            found.append("rows are full, since only one of the files takes lengths")
        return found


def match(file: Interface, original: Interface, model: str, against: str) -> Match:
    """Match a file with its original: by names, or by places where names differ.

    Args:
        file: The file that is checked.
        original: What it is compared with.
        model: Name of the file.
        against: Name of the original.

    Raises:
        ModelError: When the file takes other data than the original, or answers something else.
    """
    for name, interface in ((model, file), (against, original)):
        if not interface.outputs:
            raise ModelError(f"{name}: expected a model with outputs, found none")
    known, taken = _names(file.inputs), _names(original.inputs)
    by_name = _names(file.data_inputs) <= taken and _names(original.data_inputs) <= known
    by_name &= _names(file.outputs) <= _names(original.outputs)
    if by_name:
        inputs = {spec.name: spec.name for spec in original.inputs if spec.name in known}
        outputs = {spec.name: spec.name for spec in file.outputs}
    else:
        inputs, outputs = _by_place(file, original, model, against)
    ours, theirs = ({pair.input for pair in one.states} for one in (file, original))
    return Match(
        inputs=inputs,
        outputs=outputs,
        states=theirs <= set(inputs) and ours <= set(inputs.values()),
        lengths=(file.lengths is None) == (original.lengths is None),
        by_place=not by_name,
    )


def _by_place(
    file: Interface, original: Interface, model: str, against: str
) -> tuple[dict[str, str], dict[str, str]]:
    kinds = {
        "data inputs": (original.data_inputs, file.data_inputs),
        "outputs": (_data_outputs(original), _data_outputs(file)),
    }
    for kind, (theirs, ours) in kinds.items():
        if [(s.dtype, len(s.axes)) for s in theirs] != [(s.dtype, len(s.axes)) for s in ours]:
            raise ModelError(
                f"{model}: expected the {kind} of {against} ({_shown(theirs)}), got "
                f"{_shown(ours)}: files are compared that take and answer the same"
            )
    inputs, outputs = (
        {one.name: other.name for one, other in zip(*both, strict=True)} for both in kinds.values()
    )
    for one, other in zip(original.states, file.states, strict=False):
        inputs[one.input], outputs[one.output] = other.input, other.output
    if original.lengths and file.lengths:
        inputs[original.lengths] = file.lengths
    return inputs, outputs


class NamedFile:
    """A file that is run with the names of its original.

    Args:
        file: The file.
        match: What is called how.

    Attributes:
        outputs: For each output of the original, the file's name of it.
    """

    def __init__(self, file: OpenedFile, match: Match) -> None:
        """Run nothing yet."""
        self._file, self._match = file, match
        self.outputs = match.outputs
        try:
            self._own = file.probed_interface()
        except TimeLimitError:  # what is wrong with it, its runs will tell
            self._own = file.interface

    def feeds(self, inputs: Values) -> dict[str, Array]:
        """Return what the file takes: zeros for states that the original does not have."""
        names = self._match.inputs
        feeds = {names[name]: array for name, array in inputs.items() if name in names}
        sizes = {
            axis: size
            for spec in self._own.inputs
            if spec.name in feeds
            for axis, size in zip(spec.axes, feeds[spec.name].shape, strict=False)
            if isinstance(axis, str)
        }
        for spec in self._own.inputs:
            if spec.name not in feeds:
                shape = [size_of(axis, sizes) or 1 for axis in spec.axes]
                full = sizes.get(TIME, 1) if spec.name == self._own.lengths else 0
                feeds[spec.name] = np.full(shape, full, spec.dtype)
        return feeds

    def run(self, inputs: Values) -> dict[str, Array]:
        """Return the outputs by the names of the original; raises what `OpenedFile.run` raises."""
        answers = self._file.run(self.feeds(inputs))
        return {name: answers[own] for name, own in self._match.outputs.items()}

    def answers(self, outputs: Values) -> dict[str, Array]:
        """Return outputs by the names of the file."""
        return {own: outputs[name] for name, own in self._match.outputs.items()}


def _names(specs: Sequence[TensorSpec]) -> set[str]:
    return {spec.name for spec in specs}


def _data_outputs(interface: Interface) -> tuple[TensorSpec, ...]:
    states = {pair.output for pair in interface.states}
    return tuple(spec for spec in interface.outputs if spec.name not in states)


def _shown(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(map(str, specs)) or "none"
