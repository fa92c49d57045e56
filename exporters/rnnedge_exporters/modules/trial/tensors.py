"""Inputs of any size, made of the example's."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from rnnedge_exporters.modules.axis_probe import resized
from rnnedge_runtime.contract import TIME, Axis

Sizes = Mapping[str, int]
"""Axis name to size."""
Tensors = dict[str, Tensor]


def sizes_of(tensors: Mapping[str, Tensor], axes: Mapping[str, tuple[Axis, ...]]) -> dict[str, int]:
    """Return the sizes of the named axes."""
    return {
        axis: tensors[name].shape[position]
        for name, named in axes.items()
        for position, axis in enumerate(named)
        if isinstance(axis, str)
    }


def made(
    example: Mapping[str, Tensor],
    axes: Mapping[str, tuple[Axis, ...]],
    sizes: Sizes,
    *,
    seed: int,
    lengths: str | None = None,
    longest_first: bool = True,
    times: Collection[str] = (TIME,),
) -> Tensors:
    """Make the inputs of a call.

    Numbers are drawn from the example's own in odd seeds, so that they are of its kind (0 and 1, or
    above 0), and from a normal distribution in even ones. Integers stay the example's, repeated.

    Args:
        example: Tensors by name.
        axes: Their axes, named where they are dynamic.
        sizes: The sizes of the named axes.
        seed: Of the numbers.
        lengths: Name of the input that ends each row: it gets lengths from 1 to the shortest time.
        times: Names of the axes of time.
        longest_first: Whether they are sorted, as a PackedSequence wants them by default.
    """
    random = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, tensor in example.items():
        for position, axis in enumerate(axes[name]):
            if isinstance(axis, str):
                tensor = resized(tensor, position, sizes[axis])
        tensors[name] = _drawn(example[name], tensor.shape, random, seed) if (
            tensor.is_floating_point()
        ) else tensor  # fmt: skip
    if lengths in tensors:
        longest = min([size for axis, size in sizes.items() if axis in times] or [1])
        shape = tensors[lengths].shape
        ends = torch.randint(1, longest + 1, shape, generator=random, dtype=torch.int64)
        ends = ends.sort(descending=True).values if longest_first else ends
        tensors[lengths] = ends.to(example[lengths].dtype)
    return tensors


def _drawn(example: Tensor, shape: torch.Size, random: torch.Generator, seed: int) -> Tensor:
    pool = example.flatten()
    if seed % 2 and pool.numel() > 1 and bool((pool != pool[0]).any()):
        picks = torch.randint(pool.numel(), (shape.numel(),), generator=random)
        return pool[picks].reshape(shape)
    return torch.randn(shape, generator=random)
