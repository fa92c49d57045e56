"""How a forward is called, as the contract keeps it: where its tensors go, and plain values.

A forward `(x, state, mode)` called with a tensor, a tuple and a word is kept as

    {"x": {"tensor": "x"}, "state": {"tuple": [{"tensor": "state_0"}, {"tensor": "state_1"}]},
     "mode": "greedy"}
"""

from __future__ import annotations

import inspect
import math
from collections import namedtuple
from collections.abc import Callable, Iterator, Mapping
from keyword import iskeyword
from typing import Any

import torch
from torch import Tensor, nn

from rnnedge_exporters.errors import ExportError
from rnnedge_exporters.modules.arguments import Arguments, bind_by_name, parts_of
from rnnedge_runtime.contract import Interface
from rnnedge_runtime.errors import pass_on_interruption


def describe(module: nn.Module, arguments: Arguments) -> dict[str, Any]:
    """Describe a call; empty where each argument is a tensor for the parameter of its name.

    Args:
        module: The module that is called.
        arguments: The arguments of its forward.
    """
    known = inspect.signature(module.forward).parameters
    if all(isinstance(value, Tensor) and n in known for n, value in arguments.values.items()):
        return {}
    return {name: _described(name, value) for name, value in arguments.values.items()}


def rebuild(structure: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Arguments:
    """Rebuild the arguments of a call.

    Args:
        structure: What `describe` made.
        tensors: The tensors by flat name.

    Raises:
        ExportError: When a value could not be kept in a file, or a tensor is missing.
    """
    try:
        return Arguments({name: _rebuilt(name, v, tensors) for name, v in structure.items()})
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise ExportError(
            f"the contract says what cannot be arguments of a forward ({error}): export it again"
        ) from error


def arguments_of(
    module: nn.Module, interface: Interface, tensors: Mapping[str, Tensor]
) -> Arguments:
    """Return the arguments of a forward for the inputs of a file.

    Args:
        module: The source of the file.
        interface: What the file takes, and how the forward was called where it says so.
        tensors: The inputs by name.

    Raises:
        ExportError: When they do not fit the forward.
    """
    if interface.arguments:
        return rebuild(interface.arguments, tensors)
    return bind_by_name(module, tensors)


def fixed_values(module: nn.Module, arguments: Arguments) -> Iterator[str]:
    """Yield `name=value` for each plain value of a call that is not the forward's own default."""
    parameters = inspect.signature(module.forward).parameters
    for name, value in arguments.values.items():
        default = parameters[name].default if name in parameters else inspect.Parameter.empty
        if next(parts_of(name, value), None) is None and _equal(value, default):
            continue
        yield from (f"{path}={leaf!r}" for path, leaf in _plain(name, value))


def forward_of_tensors(
    module: nn.Module, arguments: Arguments
) -> tuple[dict[str, str], Callable[..., Any]]:
    """Return a forward that takes just the arguments that hold tensors, by name.

    A name that is a keyword of Python in lower case, as torch writes it, gets an underscore.

    Args:
        module: The module.
        arguments: All arguments of its forward; plain values are bound to what is returned.

    Returns:
        The names of its arguments, each with the name in the module's own forward; and the forward.
    """
    values, forward = arguments.values, module.forward
    bound = {n: v for n, v in values.items() if next(parts_of(n, v), None) is None}
    called = {f"{n}_" if iskeyword(n.lower()) else n: n for n in values if n not in bound}
    kinds = {p.kind for p in inspect.signature(forward).parameters.values()}
    if list(called) == list(values) and inspect.Parameter.VAR_KEYWORD not in kinds:
        return called, forward

    def call(*args: Any, **given: Any) -> Any:
        named = dict(zip(called, args, strict=False)) | given
        return forward(**{called[name]: value for name, value in named.items()}, **bound)

    call.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in called]
    )
    return called, call


def _equal(value: Any, default: Any) -> bool:
    try:
        return type(value) is type(default) and bool(value == default)
    except Exception as error:  # an object whose comparison may raise anything
        pass_on_interruption(error)
        return False


def _plain(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Tensor):
        return
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _plain(f"{path}[{key!r}]", item)
    elif isinstance(value, tuple | list) and value:
        for index, item in enumerate(value):
            yield from _plain(f"{path}[{index}]", item)
    else:
        yield path, value


def _described(name: str, value: Any) -> Any:
    if isinstance(value, Tensor):
        return {"tensor": name}
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {"float": str(value)}
    if isinstance(value, torch.dtype):
        return {"dtype": str(value).removeprefix("torch.")}
    if isinstance(value, Mapping) and all(type(key) in (bool, int, str) for key in value):
        items = [_described(f"{name}_{key}", item) for key, item in value.items()]
        return {"dict": [[key, item] for key, item in zip(value, items, strict=True)]}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        items = [_described(f"{name}_{key}", getattr(value, key)) for key in value._fields]
        return {"named": list(value._fields), "tuple": items}
    if isinstance(value, tuple | list):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_described(f"{name}_{n}", item) for n, item in enumerate(value)]}
    return {"unknown": repr(value)[:80]}


def _rebuilt(name: str, kept: Any, tensors: Mapping[str, Tensor]) -> Any:
    if not isinstance(kept, Mapping):
        return kept
    if "tensor" in kept:
        if kept["tensor"] not in tensors:
            raise ExportError(f"{name}: expected an input {kept['tensor']!r}, got none")
        return tensors[kept["tensor"]]
    if "float" in kept:
        return float(kept["float"])
    if "dtype" in kept:
        return torch.empty(0, dtype=getattr(torch, kept["dtype"])).dtype
    if "dict" in kept:
        return {key: _rebuilt(f"{name}_{key}", item, tensors) for key, item in kept["dict"]}
    if "tuple" in kept or "list" in kept:
        items = [_rebuilt(name, i, tensors) for i in kept.get("tuple", kept.get("list"))]
        if "named" in kept:
            return namedtuple("Arguments", kept["named"])(*items)
        return tuple(items) if "tuple" in kept else items
    raise ExportError(
        f"{name} was {kept.get('unknown')} at the export, which a file cannot keep: give the "
        "parameter a default, or set it when the module is made"
    )
