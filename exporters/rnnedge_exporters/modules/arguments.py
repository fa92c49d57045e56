"""The arguments and results of a forward as flat, named tensors.

An argument `x` keeps its name; a tuple `state=(h, c)` becomes `state_0` and `state_1`. Results get
the names that the forward gives them: dictionary keys, fields of a named tuple, or the variables of
its return statement; else `output`, `output_1`, ….
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from keyword import iskeyword
from operator import is_
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rnnedge_exporters.errors import ExportError


@dataclass(frozen=True, slots=True)
class Arguments:
    """The arguments of one call.

    Attributes:
        values: By the name of the parameter, in the order of the signature; tensors, tuples and
            lists of tensors, or plain values that stay as they are.
    """

    values: dict[str, Any]

    def flat(self) -> dict[str, Tensor]:
        """Return the tensors by flat name."""
        return {n: t for name, value in self.values.items() for n, t in parts_of(name, value)}

    def with_tensors(self, tensors: Mapping[str, Tensor]) -> Arguments:
        """Return the same arguments with other tensors, by flat name."""
        return Arguments({name: _rebuild(name, v, tensors) for name, v in self.values.items()})


def bind(module: nn.Module, example_inputs: Any) -> Arguments:
    """Bind example inputs to the parameters of the module's forward.

    Args:
        module: The module.
        example_inputs: A tuple by position, a dict by name, or a tensor for a forward of one;
            NumPy arrays count as tensors.

    Raises:
        ExportError: When they do not fit the signature.
    """
    if example_inputs is None:
        raise ExportError(
            f"{type(module).__name__}: expected example_inputs, a tuple of the arguments of its "
            f"forward or a dict by name, got none (on the command line: {example_options(module)})"
        )
    signature = inspect.signature(module.forward)
    example_inputs = _as_tensors(example_inputs, type(module).__name__)
    try:
        if isinstance(example_inputs, Mapping):
            bound = signature.bind(**example_inputs)
        elif isinstance(example_inputs, Tensor):
            bound = signature.bind(example_inputs)
        else:
            bound = signature.bind(*example_inputs)
    except TypeError as error:
        raise ExportError(
            f"example_inputs do not fit {type(module).__name__}.forward{signature}: {error} (on "
            f"the command line: {example_options(module)})"
        ) from None
    values: dict[str, Any] = {}
    for name, value in bound.arguments.items():
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            raise ExportError(f"{type(module).__name__}.forward takes *{name}: name its arguments")
        given = value if kind is inspect.Parameter.VAR_KEYWORD else {name: value}
        wrong = [key for key in given if not key.isidentifier() or iskeyword(key)]
        if wrong:
            raise ExportError(f"{wrong[0]!r} is not a valid argument name")
        values.update(given)
    arguments = Arguments({name: _as_float32(value) for name, value in values.items()})
    if not arguments.flat():
        given = ", ".join(f"{name} is a {type(value).__name__}" for name, value in values.items())
        raise ExportError(
            f"{type(module).__name__}: expected a tensor or a NumPy array among example_inputs, "
            f"got none ({given}): torch.tensor(x) makes one"
        )
    return arguments


def example_options(module: nn.Module) -> str:
    """Return options of the command line that may describe the inputs of a module.

    Args:
        module: The module; the first layer in it shows how many features there are, or that the
            inputs are ids.

    Returns:
        Such as `--input 'x=float32[batch,time,40]'`, one for each argument without a default.
    """
    kind = _first_input(module)
    names = [
        name
        for name, parameter in inspect.signature(module.forward).parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    return " ".join(f"--input '{name}={kind}'" for name in names or ["x"])


def _first_input(module: nn.Module) -> str:
    for layer in module.modules():
        if isinstance(layer, nn.Embedding):
            return "int64[batch,time]"
        for size in ("input_size", "in_features", "in_channels"):
            if isinstance(getattr(layer, size, None), int):
                return f"float32[batch,time,{getattr(layer, size)}]"
    return "float32[batch,time,40]"


def bind_by_name(module: nn.Module, tensors: Mapping[str, Tensor]) -> Arguments:
    """Guess the arguments of a forward from flat names, as `Arguments.flat` makes them.

    Where a file's contract says how the forward was called, `call_structure.rebuild` knows it.
    """
    values: dict[str, Any] = {}
    for name, parameter in inspect.signature(module.forward).parameters.items():
        parts: list[Tensor] = []
        while f"{name}_{len(parts)}" in tensors:
            parts.append(tensors[f"{name}_{len(parts)}"])
        keys = [key for key in tensors if key.startswith(f"{name}_")]
        if name in tensors:
            values[name] = tensors[name]
        elif parts:
            values[name] = tuple(parts)
        elif keys:
            values[name] = {key.removeprefix(f"{name}_"): tensors[key] for key in keys}
        elif parameter.default is inspect.Parameter.empty and parameter.kind in (
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            inspect.Parameter.KEYWORD_ONLY,
        ):
            raise ExportError(
                f"{type(module).__name__}.forward needs {name}, which is not one of the model's "
                f"inputs {', '.join(tensors)}"
            )
    return Arguments(values)


def flatten_result(result: Any) -> list[Tensor]:
    """Return the tensors of a result, in the order in which `torch.export` flattens them."""
    leaves: list[Any] = torch.utils._pytree.tree_leaves(plain_result(result))
    return [leaf for leaf in leaves if isinstance(leaf, Tensor)]


def plain_result(result: Any) -> Any:
    """Return a result with a dictionary for each dataclass in it, its fields by name."""
    if is_dataclass(result) and not isinstance(result, type | Mapping):
        return {part.name: plain_result(getattr(result, part.name)) for part in fields(result)}
    if isinstance(result, tuple | list):
        items = [plain_result(item) for item in result]
        if all(map(is_, items, result)):
            return result
        return type(result)(*items) if hasattr(result, "_fields") else type(result)(items)
    if isinstance(result, dict):
        return {key: plain_result(item) for key, item in result.items()}
    return result


def name_results(module: nn.Module, result: Any, taken: Sequence[str]) -> list[str]:
    """Name the tensors of a result, without the names in `taken`.

    A module that is a subclass of a recurrent layer leaves its states' names to those lifted.
    """
    names = _names_of(plain_result(result), "output", _returned(module))
    if isinstance(module, nn.RNNBase):
        taken = [*taken, "h_0", "c_0", "h_n", "c_n"]
    unique: list[str] = []
    for name in names:
        number, candidate = 0, name
        while candidate in unique or candidate in taken:
            number += 1
            candidate = f"{name}_{number}" if name not in taken or number > 1 else f"{name}_out"
        unique.append(candidate)
    return unique


def parts_of(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of one value: itself, or those of its items, fields or keys."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, tuple | list):
        for key, item in zip(_keys(value), value, strict=True):
            yield from parts_of(f"{name}_{key}", item)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from parts_of(f"{name}_{key}", item)


def _keys(items: Sequence[Any]) -> Sequence[Any]:
    """Return what the items of a tuple or list are called by: their fields, or numbers."""
    return getattr(items, "_fields", range(len(items)))


def _rebuild(name: str, value: Any, tensors: Mapping[str, Any]) -> Any:
    if isinstance(value, Tensor):
        return tensors[name]
    if isinstance(value, tuple | list):
        pairs = zip(_keys(value), value, strict=True)
        items = [_rebuild(f"{name}_{key}", item, tensors) for key, item in pairs]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, Mapping):
        return {key: _rebuild(f"{name}_{key}", item, tensors) for key, item in value.items()}
    return value


def map_tensors(arguments: Arguments, tensors: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments with something else in place of each tensor, None elsewhere."""
    found = {name: _rebuild(name, value, tensors) for name, value in arguments.values.items()}
    return {
        name: torch.utils._pytree.tree_map(
            lambda leaf: leaf if leaf is None or isinstance(leaf, dict) else None,
            value,
            is_leaf=lambda leaf: isinstance(leaf, dict) and all(isinstance(k, int) for k in leaf),
        )
        for name, value in found.items()
    }


def _as_tensors(value: Any, module: str) -> Any:
    """Make tensors of NumPy arrays, wherever they are."""

    def convert(leaf: Any) -> Any:
        if not isinstance(leaf, np.ndarray):
            return leaf
        try:
            return torch.from_numpy(np.ascontiguousarray(leaf))
        except TypeError as error:
            raise ExportError(f"{module}: expected numbers in example_inputs: {error}") from None

    return torch.utils._pytree.tree_map(convert, value)


def _as_float32(value: Any) -> Any:
    def convert(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        leaf = leaf.detach().cpu()
        return leaf.float() if leaf.is_floating_point() else leaf

    return torch.utils._pytree.tree_map(convert, value)


def _names_of(result: Any, name: str, told: Any) -> list[str]:
    """Name the leaves of `result`; `told` mirrors it with names, or is None."""
    if isinstance(result, Tensor):
        return [told if isinstance(told, str) else name]
    if isinstance(result, Mapping):
        return [n for key, item in result.items() for n in _names_of(item, str(key) or name, None)]
    if hasattr(result, "_fields"):
        pairs = zip(result._fields, result, strict=True)
        return [n for field, item in pairs for n in _names_of(item, field, None)]
    if isinstance(result, tuple | list):
        names = []
        same = isinstance(told, list) and len(told) == len(result)
        stem = told if isinstance(told, str) else name
        for index, item in enumerate(result):
            inner = f"{stem}_{index}" if stem != "output" or index else stem
            names += _names_of(item, inner, told[index] if same else None)
        return names
    return []


def _returned(module: nn.Module) -> Any:
    """Return the names in the last return statement of the module's forward, nested as it is."""
    try:
        source = textwrap.dedent(inspect.getsource(type(module).forward))
        function = ast.parse(source).body[0]
    except (OSError, TypeError, SyntaxError, IndexError):
        return None
    inner = {
        id(node)
        for part in ast.walk(function)
        if isinstance(part, ast.FunctionDef | ast.Lambda) and part is not function
        for node in ast.walk(part)
    }
    returns = [
        node
        for node in ast.walk(function)
        if isinstance(node, ast.Return) and id(node) not in inner
    ]
    return _name(returns[-1].value) if returns else None


def _name(node: ast.expr | None) -> Any:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Tuple | ast.List):
        return [_name(item) for item in node.elts]
    return None
