"""What the data of the caller show: second moments of what each weight is multiplied with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SecondMoments:
    """E[x xᵀ] of what a weight is multiplied with, float64 [features, features].

    Attributes:
        chosen: On every other sequence, or the first half of a single one: what a rounding is
            chosen with.
        checked: On the others: what it is checked with.
    """

    chosen: Float64
    checked: Float64


@dataclass(frozen=True, slots=True)
class Moments:
    """The second moments that were seen.

    Attributes:
        of: By the path of the parameter. There are none for anything outside a recurrent layer, a
            recurrent cell or an `nn.Linear`, nor for the projection of an LSTM.
    """

    of: Mapping[str, SecondMoments]
