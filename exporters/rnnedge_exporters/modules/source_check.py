"""What a module must be so that a file can answer what it does: checked by running it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rnnedge_exporters.errors import ExportError, LoopError
from rnnedge_exporters.modules.arguments import Arguments
from rnnedge_exporters.modules.attributes import Kept, held, put, unchanged
from rnnedge_exporters.modules.capture import Capture, observed
from rnnedge_exporters.modules.example import DynamicAxes
from rnnedge_exporters.modules.python_loops import AxisLoop, loop_over_an_axis
from rnnedge_exporters.modules.repeatable import differing_draws, drawn, kept_state, seeded
from rnnedge_runtime.errors import pass_on_interruption


def check_source(
    module: nn.Module,
    arguments: Arguments,
    kept: Kept,
    *,
    dynamic_axes: DynamicAxes | None,
    rolled: bool = False,
    refused: LoopError | None = None,
) -> list[str]:
    """Run a module on the example, and refuse it where it is not a function of its inputs.

    Args:
        module: A private copy.
        arguments: The example. Where the module does not run on it, nothing is said: tracing does.
        kept: Attributes that hold a state, by path, whose handling is known.
        dynamic_axes: Those that the caller names; None for those that layers and loops show.
        rolled: Whether a Python loop over time is written as a layer.
        refused: Why it cannot be.

    Returns:
        Notes for the caller.

    Raises:
        ExportError: When no recurrent layer runs, answers differ between two runs, or recurrent
            weights are computed from the inputs.
    """
    name = type(module).__name__

    def run(given: Arguments = arguments) -> Any:
        with torch.inference_mode():
            return module(**given.values)

    def afresh(given: Arguments = arguments) -> Any:
        with unchanged(module):
            return run(given)

    def look(given: Arguments) -> Capture:
        with seeded(0), observed(module) as seen:
            afresh(given)
        return seen

    try:
        seen = look(arguments)
    except ExportError:
        raise
    except Exception as error:  # whatever a forward raises on an example that does not fit it
        pass_on_interruption(error)
        return []
    if not (seen.calls or seen.cells or rolled or (dynamic_axes is not None and seen.layers)):
        loop = None if refused else loop_over_an_axis(arguments, afresh)
        raise refused or no_recurrence(name, list(seen.layers), loop, dynamic_axes)
    if seen.weights:
        _refuse_weights_of_inputs(seen, look(_moved(arguments)))
    _refuse_draws(name, module, afresh)
    start = held(kept)
    notes = _notes_on_state(name, kept_state(module, run, lambda: put(kept, start)), kept)
    return notes + _notes_on_draws(name, module, afresh)


def _refuse_draws(name: str, module: nn.Module, run: Callable[[], Any]) -> None:
    """Refuse random numbers that change the answers."""
    draws = differing_draws(module, run)
    if draws is not None:
        raise ExportError(f"{name} {draws}, and no file can answer what it does: {draws.remedy}")


def _notes_on_draws(name: str, module: nn.Module, run: Callable[[], Any]) -> list[str]:
    """Refuse normalization by the statistics of a batch; draws that change nothing are noted."""
    draws = drawn(module, run)
    if draws.statistics:
        raise ExportError(
            f"{name} normalizes by the statistics of its batch at {draws.statistics[0]}, and torch "
            "translates that as if by the running ones: normalize with training=self.training, and "
            "let eval() reach every layer"
        )
    return [f"{name} {draws}, which change nothing"] if draws.lines else []


def _notes_on_state(
    name: str, changed: Mapping[str, bool] | None, kept: Mapping[str, Any]
) -> list[str]:
    """Refuse state that is not a tensor; a tensor starts from its values, as at the first call."""
    if changed is None:
        return []
    others = {path: tensor for path, tensor in changed.items() if path not in kept}
    shown = ", ".join(f"self.{path}" for path in others)
    if others and all(others.values()):
        return [f"state kept in {shown} starts anew at each call"]
    raise ExportError(
        f"{name} answers differently when it is called again"
        + (f", since its forward changes {shown}" if shown else "")
        + ": take what it keeps as an argument of forward and return it"
    )


def no_recurrence(
    name: str,
    layers: list[str],
    loop: AxisLoop | None,
    dynamic_axes: DynamicAxes | None = None,
) -> ExportError:
    """Return the error for a module in which no recurrent layer runs.

    Args:
        name: Class of the module.
        layers: Paths of the layers that it has.
        loop: A Python loop over an axis, and where it is.
        dynamic_axes: Those that the caller names, or None.
    """
    if loop and dynamic_axes is not None and loop.axis not in dynamic_axes.get(loop.name, {}):
        return LoopError(
            f"{name} runs no recurrent layer, but a Python loop ({loop}), an axis that "
            "dynamic_axes leaves fixed: name it there, as {'x': {0: 'batch', 1: 'time'}}, or in "
            "--input 'x=float32[batch,time,8]', and the loop becomes a Scan"
        )
    if loop:
        return LoopError(
            f"{name} runs no recurrent layer, but a Python loop ({loop}), which would be unrolled "
            "at the example's length: make the body of the loop a module and run it with "
            "rnnedge.Recurrent(cell), or use nn.RNN, nn.LSTM or nn.GRU"
        )
    if layers:
        shown = ", ".join(path or "itself" for path in layers)
        return ExportError(
            f"{name} does not run its recurrent layers ({shown}) on the example inputs: call them, "
            "in a subclass by super().forward(...)"
        )
    return ExportError(
        f"{name}: expected nn.RNN, nn.LSTM, nn.GRU or their cells inside, found none: "
        "torch.onnx.export serves a module without recurrence"
    )


def _refuse_weights_of_inputs(seen: Capture, other: Capture) -> None:
    for path, weights in seen.weights.items():
        for name, weight in weights.items():
            again = other.weights.get(path, {}).get(name)
            if again is None or not torch.equal(again, weight):
                raise ExportError(
                    f"{path}.{name} is computed from the inputs, and the weights of a recurrent "
                    "layer are constants in a file: make the cell a module that takes them, and "
                    "run it with rnnedge.Recurrent(cell)"
                )


def _moved(arguments: Arguments) -> Arguments:
    """Return the example with other numbers in its float tensors."""

    def moved(tensor: Tensor) -> Tensor:
        return tensor * 0.5 + 0.25 if tensor.is_floating_point() else tensor

    return arguments.with_tensors({n: moved(t) for n, t in arguments.flat().items()})
