"""Activations that are rounded to 8 bits row by row, as the native engine does it.

Each row of a batch, at each step, is rounded over its own range, so that its answer does not depend
on the other rows of the batch. An input that a file of integers takes in parts is not rounded.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rnnedge.parity.rounding.dynamic_quantization import STEPS, Integers, Rounder


class RowIntegers(Integers):
    """Which products of a module are made of integers, each row of them over its own range."""

    def rounder(self) -> Rounder:
        """Return what rounds a row to 8 bits."""
        return _RowRounder(self.seed)


def by_row(integers: Integers) -> RowIntegers:
    """Return the products that the native engine makes of integers, of those that a file does."""
    return RowIntegers(integers.names - integers.parts.keys(), integers.seed, integers.blocks)


class _RowRounder(Rounder):
    """Rounds each row, along the last axis of a tensor."""

    def __call__(self, x: Tensor, *, given: bool = False, block: int = 0) -> Tensor:
        """Return `x` rounded, as `Rounder` describes."""
        if block or not x.numel():
            return super().__call__(x, given=given, block=block)
        single = x.float()
        low = single.amin(-1, keepdim=True).clamp(max=0)
        scale = (single.amax(-1, keepdim=True).clamp(min=0) - low) / STEPS
        scale = scale.where(scale > 0, torch.ones_like(scale))
        zero = (-low / scale).round().clamp(0, STEPS)
        near = self.near(single / scale, given=given)
        return ((near + zero).clamp(0, STEPS) - zero).to(x.dtype) * scale.to(x.dtype)
