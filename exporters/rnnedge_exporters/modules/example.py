"""The example inputs: axes of size 1 are made longer, and the module is run on them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from rnnedge_exporters.errors import ExportError
from rnnedge_exporters.modules.arguments import (
    Arguments,
    flatten_result,
)
from rnnedge_exporters.modules.attributes import unchanged
from rnnedge_exporters.modules.capture import Capture, observed
from rnnedge_exporters.modules.repeatable import seeded
from rnnedge_exporters.modules.source_lines import told_line
from rnnedge_runtime.errors import pass_on_interruption

DynamicAxes = Mapping[str, Mapping[int, str]]

_OTHER_SIZES = (3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41)
"""What an axis of size 1 is enlarged to, the first that no other axis has.

torch takes 1 for a constant.
"""
_MOST_TRIES = 256


def check_dynamic_axes(arguments: Arguments, dynamic_axes: DynamicAxes) -> None:
    """Refuse names that are not inputs, axes that they do not have, and invalid names.

    Raises:
        ExportError: With what there is.
    """
    flat = arguments.flat()
    for name, axes in dynamic_axes.items():
        if name not in flat:
            raise ExportError(f"dynamic_axes: no input {name!r}; there are {', '.join(flat)}")
        for axis, told in axes.items():
            if not isinstance(axis, int) or not 0 <= axis < flat[name].dim():
                raise ExportError(
                    f"dynamic_axes: {name} has the axes 0 to {flat[name].dim() - 1}, got {axis!r}"
                )
            if not isinstance(told, str) or not told.isidentifier():
                raise ExportError(f"dynamic_axes: expected a name for {name}[{axis}], got {told!r}")


def enlarged(module: nn.Module, arguments: Arguments, seen: Capture, sizes: str) -> Arguments:
    """Repeat the axes of size 1 so that no layer sees a `sizes` of 1.

    Of the choices that run, the one with the most axes is taken: where fewer would do, the others
    were broadcast, and are the same axis all the same (a batch of 3 and a state of 1). For
    `calls` it is any choice that changes what the layers see: six rows made of a batch of 1.
    """
    flat = arguments.flat()
    ones = [(name, axis) for name, t in flat.items() for axis, n in enumerate(t.shape) if n == 1]
    if not ones or (sizes != "calls" and 1 not in getattr(seen, sizes)):
        return arguments
    taken = {size for tensor in flat.values() for size in tensor.shape}
    size = next(size for size in _OTHER_SIZES if size not in taken)
    tries = itertools.chain.from_iterable(
        itertools.combinations(ones, count) for count in range(len(ones), 0, -1)
    )
    for chosen in itertools.islice(tries, _MOST_TRIES):
        larger = dict(flat)
        for name, axis in chosen:
            larger[name] = larger[name].repeat_interleave(size, dim=axis)
        attempt = arguments.with_tensors(larger)
        try:
            after, _ = run_observed(module, attempt)
        except ExportError:
            continue
        if sizes != "calls":
            served = 1 not in getattr(after, sizes)
        else:
            served = (seen.batch, seen.time, seen.cells) != (after.batch, after.time, after.cells)
        if served:
            return attempt
    return arguments  # a layer inside runs at 1 always, as a policy that sees one step does


def resized_by_name(arguments: Arguments, dynamic_axes: DynamicAxes) -> Arguments:
    """Enlarge the named axes of size 1, every axis of one name alike."""
    flat = arguments.flat()
    small = {
        told
        for name, axes in dynamic_axes.items()
        for axis, told in axes.items()
        if flat[name].shape[axis] == 1
    }
    larger = dict(flat)
    for name, axes in dynamic_axes.items():
        for axis, told in axes.items():
            if told in small:
                larger[name] = larger[name].repeat_interleave(_OTHER_SIZES[0], dim=axis)
    return arguments.with_tensors(larger)


def run_observed(module: nn.Module, arguments: Arguments) -> tuple[Capture, Any]:
    """Run a private copy in PyTorch, and return what its layers saw and the result.

    Raises:
        ExportError: When it does not run, or gives no tensor.
    """
    try:
        with seeded(0), unchanged(module), observed(module) as capture, torch.inference_mode():
            result = module(**arguments.values)
    except ExportError:
        raise
    except Exception as error:  # whatever the user's forward raises
        pass_on_interruption(error)
        raise ExportError(
            f"{type(module).__name__} does not run on the example inputs {_shapes(arguments)}: "
            f"{told_line(error)}"
        ) from error
    if not flatten_result(result):
        raise ExportError(f"{type(module).__name__}: expected tensors as its result, got none")
    return capture, result


def seen_by_layers(module: nn.Module, arguments: Arguments) -> Capture:
    """Return what the layers of a private copy see; raises as `run_observed`."""
    return run_observed(module, arguments)[0]


def _shapes(arguments: Arguments) -> str:
    return ", ".join(f"{name} {list(t.shape)}" for name, t in arguments.flat().items())
