"""The generated module itself: loaded from its text, and run in float64 and float32."""

from __future__ import annotations

import copy
import dataclasses
import importlib.util
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from random_modules.draft import InputSpec
from random_modules.generate import Generated
from torch import Tensor, nn

Array = NDArray[Any]


class DoesNotRunError(Exception):
    """The module raises at these inputs: there is nothing to compare with."""


def load(generated: Generated, folder: Path) -> nn.Module:
    """Write the text to a file of `folder`, import it, and make the module with seeded weights."""
    path = folder / f"random_module_{generated.seed}.py"
    path.write_text(generated.source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    python = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = python  # where `inspect` and `dataclasses` look for it
    spec.loader.exec_module(python)
    torch.manual_seed(generated.seed)
    with torch.no_grad():
        module: nn.Module = python.Net()
    return module.eval()


def make_inputs(
    inputs: Mapping[str, InputSpec],
    sizes: Mapping[str, int],
    seed: int,
    *,
    lengths: NDArray[np.int64] | None = None,
) -> dict[str, Array]:
    """Draw the arguments of one call.

    Args:
        inputs: What the forward takes.
        sizes: What `batch`, `time` and `time_1` stand for.
        seed: Of the numbers.
        lengths: Steps of each row where the inputs have lengths, masks or padded ids; None draws.
    """
    numbers = np.random.default_rng(seed)
    made: dict[str, Array] = {}
    for name, spec in inputs.items():
        shape = [sizes[axis] if isinstance(axis, str) else axis for axis in spec.axes]
        if spec.kind == "float":
            made[name] = numbers.standard_normal(shape).astype(np.float32)
        elif spec.kind == "ids":
            made[name] = numbers.integers(0, spec.below, shape)
        elif spec.kind in ("mask", "padded_ids"):
            rows = _lengths(numbers, sizes, [sizes["batch"]]) if lengths is None else lengths
            inside = np.arange(sizes["time"]) < rows[:, None]
            inside = inside if spec.axes[0] == "batch" else inside.T
            made[name] = inside
            if spec.kind == "padded_ids":
                made[name] = np.where(inside, numbers.integers(1, spec.below, shape), 0)
        else:
            rows = _lengths(numbers, sizes, shape) if lengths is None else lengths
            made[name] = np.sort(rows)[::-1].copy() if "sorted" in spec.kind else rows
    return made


def _lengths(
    numbers: np.random.Generator, sizes: Mapping[str, int], shape: list[int]
) -> NDArray[np.int64]:
    """Draw lengths from 1 to time; every other time one of them is the whole time."""
    lengths = numbers.integers(1, sizes["time"] + 1, shape)
    if numbers.random() < 0.5:
        lengths[numbers.integers(len(lengths))] = sizes["time"]
    return lengths


def nested(values: Mapping[str, Any], groups: Mapping[str, list[str]]) -> dict[str, Any]:
    """Return arguments with tuples made of their members."""
    members = {name for names in groups.values() for name in names}
    plain = {name: value for name, value in values.items() if name not in members}
    return plain | {group: tuple(values[name] for name in names) for group, names in groups.items()}


class Reference:
    """The module in two precisions."""

    def __init__(self, module: nn.Module, groups: Mapping[str, list[str]] | None = None) -> None:
        self._groups = groups or {}
        self._single = copy.deepcopy(module).float().eval()
        self._double = copy.deepcopy(module).double().eval()

    def __call__(self, inputs: Mapping[str, Array], *, double: bool = True) -> dict[str, Array]:
        """Answer in float64, or float32, by name.

        Raises:
            DoesNotRunError: When the module raises.
        """
        module = self._double if double else self._single
        tensors = {
            name: torch.from_numpy(array.copy()).double()
            if double and array.dtype == np.float32
            else torch.from_numpy(array.copy())
            for name, array in inputs.items()
        }
        torch.set_default_dtype(torch.float64 if double else torch.float32)
        try:
            with torch.inference_mode(), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                result = module(**nested(tensors, self._groups))
        except Exception as error:
            raise DoesNotRunError(
                str(error).splitlines()[0] if str(error) else repr(error)
            ) from error
        finally:
            torch.set_default_dtype(torch.float32)
        return {name: leaf.numpy() for name, leaf in flat(result)}


def flat(result: Any, name: str = "") -> list[tuple[str, Tensor]]:
    """Return the tensors of a result in order, named by number, or by key or field."""
    if isinstance(result, Tensor):
        return [(name or "0", result)]
    if isinstance(result, Mapping):
        items = [(str(key), value) for key, value in result.items()]
    elif dataclasses.is_dataclass(result):
        items = [(field.name, getattr(result, field.name)) for field in dataclasses.fields(result)]
    elif hasattr(result, "_fields"):
        items = list(zip(result._fields, result, strict=True))
    elif isinstance(result, tuple | list):
        items = [(f"{name}.{number}", item) for number, item in enumerate(result)]
    else:
        return []
    return [leaf for key, value in items for leaf in flat(value, key)]
