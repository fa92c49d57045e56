"""A module and the file that was made of it, run on the same inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from rnnedge_exporters.copying import private_copy
from rnnedge_exporters.errors import TrialError
from rnnedge_exporters.modules.arguments import Arguments, flatten_result
from rnnedge_exporters.modules.attributes import unchanged
from rnnedge_exporters.modules.capture import Capture, observed
from rnnedge_exporters.modules.trial.tensors import Sizes, Tensors, sizes_of
from rnnedge_exporters.sandbox.onnx_runtime import Answer, ModelBytes
from rnnedge_exporters.sandbox.shared import shared_sandbox
from rnnedge_runtime.axis_sizes import size_of
from rnnedge_runtime.contract import Interface
from rnnedge_runtime.engine.open import open_engine
from rnnedge_runtime.engine.options import EngineOptions
from rnnedge_runtime.errors import one_line, pass_on_interruption

Arrays = dict[str, NDArray[Any]]
_ALLOWED = 1e-4
"""Difference in float32, as a part of the largest value where that is above one."""
_ROUNDING = 10
"""How often the difference may be what the rounding of the weights alone makes."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Where a file answers something else than the module.

    Attributes:
        output: Name of the output.
        found: What the file gave, in words.
    """

    output: str
    found: str

    def __str__(self) -> str:
        """Return one clause."""
        return f"{self.output} {self.found}"


class TorchSide:
    """The module, run as its user runs it.

    Args:
        module: A private copy in float32 and eval mode.
        arguments: The example.
        outputs: Names of its results, in order.
    """

    def __init__(self, module: nn.Module, arguments: Arguments, outputs: list[str]) -> None:
        """Run nothing yet."""
        self.module, self._arguments, self._outputs = module, arguments, outputs
        self.example = arguments.flat()

    def run(self, tensors: Mapping[str, Tensor]) -> tuple[Arrays, Capture]:
        """Return the results by name, and what the recurrent layers saw.

        Raises:
            TrialError: Whatever the forward raises at a size that it does not take.
        """
        return self._run(self.module, tensors)

    def rounding(self, tensors: Mapping[str, Tensor], answers: Arrays) -> dict[str, float]:
        """Return how far each result moves with the last bits of the weights; infinity for ids."""
        try:
            moved, _ = self._run(self._moved, tensors)
        except TrialError:
            return {}
        return {name: _distance(moved[name], answer) for name, answer in answers.items()}

    @cached_property
    def _moved(self) -> nn.Module:
        moved = private_copy(self.module)
        random = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for parameter in moved.parameters():
                noise = torch.rand(parameter.shape, generator=random) * 2 - 1
                parameter.mul_(1 + noise * 2.0**-22)
        return moved

    def _run(self, module: nn.Module, tensors: Mapping[str, Tensor]) -> tuple[Arrays, Capture]:
        arguments = self._arguments.with_tensors(dict(tensors))
        try:
            with unchanged(module), observed(module) as seen, torch.inference_mode():
                leaves = flatten_result(module(**arguments.values))
        except Exception as error:  # whatever the user's forward raises
            pass_on_interruption(error)
            raise TrialError(f"{type(error).__name__}: {one_line(error)}") from error
        if len(leaves) != len(self._outputs):
            raise TrialError(f"{len(leaves)} tensors instead of {len(self._outputs)}")
        arrays = [leaf.detach().numpy() for leaf in leaves]
        return dict(zip(self._outputs, arrays, strict=True)), seen


class FileSide:
    """A model file, run by ONNX Runtime.

    Args:
        model: The file's bytes.
        interface: Its inputs and outputs.
        steps_at: Returns the steps that each recurrent layer sees at some sizes, None where that
            is not known.
        isolated: Whether it runs in a child process, since it may end the process that runs it.

    Raises:
        TrialError: When ONNX Runtime does not open it.
    """

    def __init__(
        self,
        model: bytes,
        interface: Interface,
        steps_at: Callable[[Sizes], Sequence[int | None]],
        *,
        isolated: bool = True,
    ) -> None:
        """Open it on the CPU, with one thread."""
        self.interface, self._steps_at = interface, steps_at
        self._axes = {spec.name: spec.axes for spec in interface.inputs}
        self._names = [spec.name for spec in interface.outputs]
        self._answer = _runs_in_a_child(model) if isolated else _runs_here(model)

    def initial(self, tensors: Tensors, sizes: Sizes) -> Arrays:
        """Return the states to start from: the caller's, or zeros where the module has none."""
        states = {}
        for spec in self.interface.state_inputs:
            if spec.name in tensors:
                states[spec.name] = tensors[spec.name].numpy()
            else:
                shape = [size_of(axis, sizes) or 1 for axis in spec.axes]
                states[spec.name] = np.zeros(shape, spec.dtype)
        return states

    def run(self, tensors: Tensors, states: Arrays) -> Arrays:
        """Return the outputs by name.

        Raises:
            TrialError: When ONNX Runtime fails, ends the process, or does not end.
        """
        given = {name: t for name, t in tensors.items() if name in self._axes}
        feeds = {name: tensor.numpy() for name, tensor in given.items()} | states
        try:
            return self._answer(self._names, feeds)
        except TrialError as error:
            sizes = sizes_of(given, {name: self._axes[name] for name in given})
            if error.ended and any(s is not None and s < 1 for s in self._steps_at(sizes)):
                why = f"{error}: a recurrent layer is left without steps"
                raise TrialError(why, ended=True) from None
            raise


def _runs_here(model: bytes) -> Callable[[list[str], Arrays], Arrays]:
    """Return a function that runs a model in this process."""
    engine = open_engine(model, device="cpu", options=EngineOptions(threads=1))

    def run(outputs: list[str], feeds: Arrays) -> Arrays:
        try:
            return dict(zip(outputs, engine.run(outputs, feeds), strict=True))
        except Exception as error:  # whatever the engine raises
            pass_on_interruption(error)
            raise TrialError(one_line(error)) from error

    return run


def _runs_in_a_child(model: bytes) -> Callable[[list[str], Arrays], Arrays]:
    """Return a function that runs a model in the sandbox of all exports."""
    sandbox, kept = shared_sandbox(), ModelBytes(model)

    def run(outputs: list[str], feeds: Arrays) -> Arrays:
        return _outputs(sandbox.run(kept, feeds, outputs))

    try:
        _outputs(sandbox.run(kept, None))
    except TrialError as error:
        when = " when it opened the file" if error.ended else ""
        raise TrialError(f"{error}{when}", ended=error.ended) from None
    return run


def _outputs(answer: Answer) -> Arrays:
    if answer.endless:
        raise TrialError(f"ONNX Runtime {answer.death}", ended=True)
    if answer.death:
        raise TrialError(f"ONNX Runtime ended the process ({answer.death})", ended=True)
    if answer.error:
        raise TrialError(answer.error)
    return answer.outputs


def differences(
    side: TorchSide, tensors: Tensors, expected: Arrays, answers: Arrays
) -> list[Difference]:
    """Say in which outputs a file differs from what the module gave; empty when in none.

    Args:
        side: The module, which is asked how far rounding moves it where a value is doubtful.
        tensors: What both were given.
        expected: The module's results.
        answers: The file's outputs; those that the module does not have are left out.
    """
    found, rounding = [], None
    for name, wanted in expected.items():
        given = answers[name]
        if given.shape != wanted.shape:
            found.append(
                Difference(name, f"has the shape {[*given.shape]} instead of {[*wanted.shape]}")
            )
            continue
        distance = _distance(given, wanted)
        if distance <= _allowed(wanted):
            continue
        rounding = side.rounding(tensors, expected) if rounding is None else rounding
        if distance > _allowed(wanted) + _ROUNDING * rounding.get(name, 0.0):
            found.append(Difference(name, f"is off by {distance:.2g}"))
    return found


def close(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """Whether two answers are the same, rounding apart."""
    return one.shape == other.shape and _distance(one, other) <= _allowed(other)


def _allowed(values: NDArray[Any]) -> float:
    if values.dtype.kind != "f" or not values.size:
        return 0.0
    with np.errstate(invalid="ignore"):
        finite = np.abs(values[np.isfinite(values)])
    return _ALLOWED * max(1.0, float(finite.max(initial=0.0)))


def _distance(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Return the largest difference; infinity where NaN, infinities, or ids are not the same."""
    if one.shape != other.shape:
        return float("inf")
    if one.dtype.kind != "f" or other.dtype.kind != "f":
        return 0.0 if np.array_equal(one, other) else float("inf")
    plain = np.isfinite(one) & np.isfinite(other)
    if not np.array_equal(one[~plain], other[~plain], equal_nan=True):
        return float("inf")
    return float(np.abs(one[plain] - other[plain]).max(initial=0.0))
