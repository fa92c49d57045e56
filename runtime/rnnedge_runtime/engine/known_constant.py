"""What is known of a constant that ONNX Runtime computes when it opens a file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

from rnnedge_runtime.lazy_tensor import LazyTensor

if TYPE_CHECKING:
    from numpy.typing import NDArray


FEW = 64
"""Elements of a tensor whose values are followed."""
Shape: TypeAlias = "tuple[int, ...] | None"
Values: TypeAlias = "NDArray[Any] | None"
Inputs: TypeAlias = "Sequence[KnownConstant | None]"
"""Of a node; None for what it leaves out."""


class KnownConstant:
    """What is known of a constant: its sizes, and the values of a small one.

    Attributes:
        shape: Its sizes; None where they are not known.
    """

    __slots__ = ("_tensor", "_values", "shape")

    def __init__(
        self, shape: Shape = None, values: Values = None, tensor: LazyTensor | None = None
    ) -> None:
        """Note what is known.

        Args:
            shape: Its sizes; None where they are not known.
            values: Its values; None where they are many, or not known.
            tensor: The tensor of a file that it is, in place of its values.
        """
        self.shape, self._values, self._tensor = shape, values, tensor

    @classmethod
    def of_tensor(cls, tensor: LazyTensor) -> KnownConstant:
        """Return what is known of a tensor of a file."""
        return cls(tensor.shape, tensor=tensor)

    @property
    def values(self) -> Values:
        """The values of a small constant, decoded when they are asked for; None of any other."""
        tensor, self._tensor = self._tensor, None
        if tensor is not None and 0 <= math.prod(tensor.shape) <= FEW:
            with suppress(ValueError):  # damaged, or in another file
                self._values = tensor.array
        return self._values
