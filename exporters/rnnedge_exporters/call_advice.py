"""Calls in the order of other libraries, and values that are not modules: what to write instead."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from torch import nn

from rnnedge_exporters.errors import ExportError
from rnnedge_runtime.errors import ModelError

P = ParamSpec("P")
R = TypeVar("R")

TORCH_EXPORT = {
    "args": "example_inputs=",
    "f": "path, the second argument",
    "kwargs": "example_inputs=, a dict of the arguments by name",
    "input_names": "inputs have the names of the forward's parameters: leave it out",
    "output_names": "outputs have the names in the forward's return: leave it out",
    "dynamic_shapes": "dynamic_axes=, a dict such as {'x': {0: 'batch', 1: 'time'}}",
    "opset_version": "opset=",
    "dynamo": "leave it out",
    "export_params": "leave it out",
    "do_constant_folding": "leave it out",
}
"""What arguments of `torch.onnx.export` are called here."""


def by_name(
    positional: int, example: str, others: Mapping[str, str] | None = None
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator that explains calls in the order of another function.

    Args:
        positional: How many arguments may come by position.
        example: A call that works, for the message.
        others: What names of arguments elsewhere are here.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def call(*arguments: P.args, **options: P.kwargs) -> R:
            name = function.__name__
            if len(arguments) > positional:
                count = "one argument" if positional == 1 else f"{positional} arguments"
                raise TypeError(
                    f"{name}: expected {count} by position and the others by name, got "
                    f"{len(arguments)}: {example}"
                )
            for option in options:
                if others and option in others:
                    raise TypeError(f"{name}: {option}= of torch.onnx.export is: {others[option]}")
            return function(*arguments, **options)

        return call

    return decorate


def check_export_call(model: Any, path: Any) -> None:
    """Check the first two arguments of an export.

    Raises:
        ExportError: If the first argument is not a module, or the second not a path.
    """
    if not isinstance(model, nn.Module):
        exchanged = isinstance(path, nn.Module)
        advice = "they seem to be exchanged: export(model, path)" if exchanged else ""
        raise ExportError(f"expected an nn.Module, {advice or not_a_module(model)}")
    if not isinstance(path, str | os.PathLike):
        raise ExportError(
            f"path: expected the name of an .onnx file, got {type(path).__name__}: "
            "export(model, 'model.onnx', example_inputs=(x,))"
        )


def check_model_path(model: Any) -> None:
    """Check the first argument of a validation.

    Raises:
        ModelError: If it is not a path.
    """
    if not isinstance(model, str | os.PathLike):
        raise ModelError(
            f"expected the path of an .onnx file, got {type(model).__name__}: "
            "rnnedge.validate('model.onnx', against=module)"
        )


def not_a_module(value: Any) -> str:
    """Say what was given in place of a module, and what to write instead.

    Args:
        value: What was passed where an `nn.Module` is expected.

    Returns:
        A sentence without a subject.
    """
    if isinstance(value, str | os.PathLike):
        path = os.fspath(value)
        return f"got the path {path!r}: pass rnnedge.load_source({path!r}).module"
    if isinstance(value, type):
        return f"got the class {value.__name__}: pass an instance of it, {value.__name__}(...)"
    if isinstance(value, Mapping):
        tensors = any(hasattr(item, "dtype") for item in value.values())
        kind = "a state dict" if tensors else f"a {type(value).__name__}"
        return (
            f"got {kind}: pass the module after module.load_state_dict(...), or save the weights "
            "with torch.save and pass rnnedge.load_source(path).module"
        )
    return f"got {type(value).__name__}"
