"""A rolled module compared with the user's, at lengths and batches that were not traced."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn

from rnnedge_exporters.copying import private_copy
from rnnedge_exporters.errors import MismatchError
from rnnedge_exporters.modules.arguments import Arguments, flatten_result
from rnnedge_exporters.modules.attributes import unchanged
from rnnedge_exporters.modules.axis_probe import Axes
from rnnedge_exporters.modules.loops.axes import at_sizes
from rnnedge_runtime.errors import pass_on_interruption

_LENGTHS = (1, 2, 5, 7, 50, 200)
_ROWS = (2, 1, 3, 5, 4, 2)
_LONGEST = 400
_ALLOWED = {torch.float64: 1e-9, torch.float32: 1e-4}
"""Difference, as a part of the largest value where that is above one."""


def check_rolled(
    module: nn.Module,
    rolled: fx.GraphModule,
    arguments: Arguments,
    groups: Mapping[str, Axes],
    walked: Sequence[str],
) -> None:
    """Compare a rolled module with the user's own, in float64 where that runs in it.

    Args:
        module: The private copy.
        rolled: What was made of it.
        arguments: The example.
        groups: The open axes by name.
        walked: Names of those that a loop walks.

    Raises:
        MismatchError: When they differ, or run at fewer than two of the sizes.
    """
    for dtype in (torch.float64, torch.float32):
        one, other = private_copy(module, dtype), in_dtype(rolled, dtype)
        ran = [
            _compare(one, other, arguments, groups, sizes, dtype, seed)
            for seed, sizes in enumerate(_sizes(arguments, groups, walked))
        ]
        if sum(ran) > 1:
            return
    raise MismatchError("the module runs at the example's length only")


def in_dtype(rolled: fx.GraphModule, dtype: torch.dtype) -> nn.Module:
    """Return a copy of a rolled module that computes in a dtype, also where float32 is written."""
    copied = private_copy(rolled, dtype)
    for inner in copied.modules():
        if isinstance(inner, fx.GraphModule):
            for node in inner.graph.nodes:
                node.kwargs = {
                    name: dtype if value is torch.float32 else value
                    for name, value in node.kwargs.items()
                }
            inner.recompile()
    return copied


def _sizes(
    arguments: Arguments, groups: Mapping[str, Axes], walked: Sequence[str]
) -> Iterator[dict[str, int]]:
    flat = arguments.flat()
    example = {name: flat[min(axes)[0]].shape[min(axes)[1]] for name, axes in groups.items()}
    others = [name for name in groups if name not in walked]
    for number, (length, rows) in enumerate(zip(_LENGTHS, _ROWS, strict=True)):
        sizes = {name: example[name] + number % 2 for name in others} | {
            n: rows for n in others[:1]
        }
        yield sizes | {name: length + place for place, name in enumerate(walked)}
    yield {
        name: min(3 * size, _LONGEST) if name in walked else size for name, size in example.items()
    }


def _compare(
    module: nn.Module,
    rolled: nn.Module,
    arguments: Arguments,
    groups: Mapping[str, Axes],
    sizes: Mapping[str, int],
    dtype: torch.dtype,
    seed: int,
) -> bool:
    """Compare two modules at some sizes; False where the user's does not run at them."""
    given = _drawn(at_sizes(arguments, groups, sizes), dtype, seed)
    try:
        with _default(dtype), unchanged(module), torch.inference_mode():
            expected = flatten_result(module(**given.values))
    except Exception as error:  # whatever a forward raises at a size that it does not take
        pass_on_interruption(error)
        return False
    shown = ", ".join(f"{name} {size}" for name, size in sizes.items())
    try:
        with _default(dtype), torch.inference_mode():
            made: Any = rolled(**given.flat())
    except Exception as error:  # torch raises many kinds for sizes that do not fit
        pass_on_interruption(error)
        raise MismatchError(f"one body does not run at {shown}, where the module does") from error
    for wanted, found in zip(expected, made, strict=True):
        if wanted.shape != found.shape:
            raise MismatchError(f"one body for all turns gives other sizes at {shown}")
        if not _close(found, wanted, dtype):
            raise MismatchError(f"one body for all turns gives other numbers at {shown}")
    return True


def _close(found: Tensor, wanted: Tensor, dtype: torch.dtype) -> bool:
    if not wanted.is_floating_point():
        return bool(torch.equal(found, wanted))
    found, wanted = found.double(), wanted.double()
    if not torch.equal(found.isfinite(), wanted.isfinite()):
        return False
    finite = wanted.isfinite()
    largest = float(wanted[finite].abs().amax()) if bool(finite.any()) else 0.0
    return torch.allclose(
        found, wanted, rtol=0.0, atol=_ALLOWED[dtype] * max(1.0, largest), equal_nan=True
    )


def _drawn(arguments: Arguments, dtype: torch.dtype, seed: int) -> Arguments:
    """Return arguments with other numbers, some of them the example's own."""
    random = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, tensor in arguments.flat().items():
        if tensor.is_floating_point():
            drawn = torch.randn(tensor.shape, generator=random, dtype=torch.float64)
            tensor = (drawn if seed % 2 else tensor.double() + 0.125 * drawn).to(dtype)
        tensors[name] = tensor
    return arguments.with_tensors(tensors)


@contextmanager
def _default(dtype: torch.dtype) -> Iterator[None]:
    """Let `torch.zeros(...)` without a dtype make tensors of this one."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
