"""An ONNX file that is compared with another, in a child process."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from numpy.typing import NDArray

from rnnedge.errors import CrashError, ModelError, TimeLimitError
from rnnedge_exporters.sandbox.onnx_runtime import Answer, ModelBytes, Sandbox
from rnnedge_runtime.contract import Interface, TensorSpec
from rnnedge_runtime.errors import EngineError
from rnnedge_runtime.foreign.probe_axes import interfaces_to_try, probe_axes
from rnnedge_runtime.not_a_model import not_a_model

Array: TypeAlias = NDArray[Any]
Values: TypeAlias = Mapping[str, Array]


class OpenedFile:
    """A model in a sandbox.

    Args:
        sandbox: Where it runs.
        model: Path of the `.onnx` file, or the bytes of one that was made of it.

    Attributes:
        name: What it is called in messages.
        interface: Its inputs and outputs.
        values: Integers that its inputs are compared with, by name.
    """

    def __init__(self, sandbox: Sandbox, model: str | os.PathLike[str] | bytes) -> None:
        """Open it.

        Raises:
            ModelError: When ONNX Runtime does not open it.
        """
        self._sandbox = sandbox
        self.name = "the model" if isinstance(model, bytes) else os.fspath(model)
        self._model = ModelBytes(model) if isinstance(model, bytes) else self.name
        found = sandbox.interface(self._model)
        if isinstance(found, Answer):
            said = found.error or f"{self.name} cannot be opened by ONNX Runtime: {_death(found)}"
            known = None if isinstance(model, bytes) else not_a_model(model)
            raise known or ModelError(said.replace(os.path.abspath(self.name), self.name))
        self._reading = found
        self.interface: Interface = found.interface
        self.values = found.values

    def probed_interface(self) -> Interface:
        """Return the interface with the axes that running the model shows to be batch and time.

        Raises:
            TimeLimitError: When it did not end in time.
            InputError: When an input holds no numbers.
        """
        read = self._reading
        found = probe_axes(read.declared, read.roles, self._run_or_none, values=read.values)
        if found is None:
            return interfaces_to_try(read.declared, read.roles)[0]
        inputs = tuple(_with_sizes(spec, found.sizes) for spec in found.interface.inputs)
        return replace(found.interface, inputs=inputs)

    def _run_or_none(self, inputs: Values) -> dict[str, Array] | None:
        try:
            return self.run(inputs)
        except (EngineError, CrashError):
            return None

    def run(self, inputs: Values) -> dict[str, Array]:
        """Return all outputs by name.

        Raises:
            EngineError: When ONNX Runtime refuses the inputs.
            CrashError: When it ended its process.
            TimeLimitError: When it did not end in time.
        """
        answer = self._sandbox.run(self._model, dict(inputs))
        if answer.death:
            kind = TimeLimitError if answer.endless else CrashError
            raise kind(_death(answer), how=answer.death)
        if answer.error:
            raise EngineError(answer.error)
        return answer.outputs


def _with_sizes(spec: TensorSpec, sizes: Mapping[str, int]) -> TensorSpec:
    """Fix the axes of frames, which take one size."""
    return replace(spec, axes=tuple(sizes.get(str(axis), axis) for axis in spec.axes))


def _death(answer: Answer) -> str:
    return f"it {answer.death}" if answer.endless else f"it ended the process: {answer.death}"
