"""Recurrent layers that compute in half, as those of a file for CUDA do.

Their weights are float16 everywhere. Where else they round is each engine's own: cuDNN what a layer
is given and what it answers, a Scan every operator, and a CPU, which computes in float32, not even
that. So the reference rounds nothing, and how far rounding may go is measured as for `Integers`:
`seed` rounds all that is given or computed, up or down at random.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from rnnedge.parity.rounding.dynamic_quantization import Integers, Rounder

_BITS = 11
"""Of the mantissa of a half, with the one that is not stored."""
_SMALLEST = -13
"""Exponent of the smallest normal half, as `frexp` counts."""
_LARGEST = 65504.0


@dataclass(frozen=True, slots=True)
class Halves(Integers):
    """Which recurrent weights of a module are multiplied in half."""

    def rounder(self) -> Rounder:
        """Return what rounds to half at random, or not at all."""
        return _HalfRounder(self.seed)


class _HalfRounder(Rounder):
    """Rounds tensors to one of the two halves nearest to each number."""

    def __call__(self, x: Tensor, *, given: bool = False, block: int = 0) -> Tensor:
        """Return `x` rounded at random; without a seed, as it is."""
        if self._random is None:
            return x
        _, exponent = torch.frexp(x)
        step = torch.ldexp(torch.ones_like(x), exponent.clamp(min=_SMALLEST) - _BITS)
        rounded = self.near(x / step, given=False) * step
        return torch.where(rounded.abs() > _LARGEST, rounded * torch.inf, rounded)

    def kept(self, x: Tensor) -> Tensor:
        """Return the same: what a layer keeps between two operations may be half too."""
        return self(x)
