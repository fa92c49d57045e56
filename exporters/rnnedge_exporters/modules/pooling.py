"""Pooling while a module is traced: torch takes the sizes of its windows for numbers.

- `max_pool1d` fixes the length that it sees; `max_pool2d` over one row computes the same.
- A window as long as its axis, `F.max_pool1d(x, x.size(2))`, is the maximum over that axis, or its
  mean.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.fx.experimental.symbolic_shapes import statically_known_true
from torch.overrides import TorchFunctionMode

_POOLS: dict[Any, tuple[int, Callable[..., Tensor]]] = {
    F.max_pool1d: (1, torch.amax),
    torch.max_pool1d: (1, torch.amax),
    F.max_pool2d: (2, torch.amax),
    torch.max_pool2d: (2, torch.amax),
    F.avg_pool1d: (1, torch.mean),
    F.avg_pool2d: (2, torch.mean),
}
"""How many of the last axes each pools, and what it computes of a window."""


class Pooling(TorchFunctionMode):
    """Calls for pooling what computes the same and leaves sizes open, without indices."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run a function of torch."""
        kwargs = kwargs or {}
        if func in _POOLS and not kwargs.get("return_indices"):
            pooled = _over_axes(func, *args, **kwargs)
            if pooled is not None:
                return pooled
            if func in (F.max_pool1d, torch.max_pool1d):
                return _max_pool1d(*args, **kwargs)
        return func(*args, **kwargs)


def _over_axes(
    pool: Any, input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, *more: Any,
    **options: Any,
) -> Tensor | None:  # fmt: skip
    """Pool axes that one window covers as a whole; None where there is none."""
    count, reduced = _POOLS[pool]
    axes = range(count)
    kernel, padded = _each(kernel_size, count), _each(padding, count)
    sizes = input.shape[input.dim() - count :]
    whole = [
        axis
        for axis in axes
        if isinstance(kernel[axis], torch.SymInt)
        and padded[axis] == 0
        and statically_known_true(kernel[axis] == sizes[axis])
    ]
    usual = not more and all(options.get(name, 1) == 1 for name in ("dilation", "divisor_override"))
    if not whole or not usual:
        return None
    result = reduced(input, dim=[axis - count for axis in whole], keepdim=True)
    if all(axis in whole or kernel[axis] == 1 == _each(stride, count, 1)[axis] for axis in axes):
        return result
    windows = [1 if axis in whole else kernel[axis] for axis in axes]
    steps = [1 if axis in whole else _each(stride, count, kernel[axis])[axis] for axis in axes]
    return pool(result, windows, steps, padding, **options)  # type: ignore[no-any-return]


def _each(given: Any, count: int, missing: Any = None) -> list[Any]:
    """Return one entry for each axis."""
    if given is None or given == []:
        given = missing
    entries = list(given) if isinstance(given, list | tuple) else [given]
    return entries * count if len(entries) == 1 else entries


def _max_pool1d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    *,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    def row(size: Any, before: int) -> list[int]:
        return [before, *(size if isinstance(size, list | tuple) else [size])]

    rows = F.max_pool2d(
        input.unsqueeze(-2),
        row(kernel_size, 1),
        None if stride is None or stride == [] else row(stride, 1),
        row(padding, 0),
        row(dilation, 1),
        ceil_mode,
    )
    return rows.squeeze(-2)
