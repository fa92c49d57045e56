"""Weights as a C target takes them: rows, and the narrowest storage that keeps every value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rnnedge_runtime.errors import PlanError
from rnnedge_runtime.plan.packing import IntegerWeights, LayerWeights

Array: TypeAlias = NDArray[np.generic]
Floats: TypeAlias = NDArray[np.float32]
Kind: TypeAlias = Literal["float32", "float16", "int8"]

BYTES: dict[Kind, int] = {"float32": 4, "float16": 2, "int8": 1}
"""Bytes of one stored weight."""
_NEAR = 4
"""Neighbours of a scale that are tried on either side: a quotient of two rounded numbers is off by
less."""


@dataclass(frozen=True, slots=True)
class Matrix:
    """Weights float32 [units, inputs], and what is added to their products, [units] or None.

    Attributes:
        weights: The weights.
        bias: What is added.
        integers: The same weights where the product is one of integers; None otherwise.
    """

    weights: Floats
    bias: Floats | None = None
    integers: IntegerWeights | None = None


class RowPacker:
    """Keeps weights as rows; a `rnnedge_runtime.plan.packing.Packer`."""

    def layer(self, weights: LayerWeights) -> LayerWeights:
        """Return one direction of a layer as it is.

        Raises:
            PlanError: When it takes its input in parts, which make up for the rounding of them.
        """
        if weights.integers_hh is not None and weights.rounding_undone:
            raise PlanError(
                "is written for ONNX Runtime's LSTM of integers, which takes its input in parts: "
                "export the layer with target='c'"
            )
        return weights

    def matrix(self, weights: Floats, bias: Floats | None) -> Matrix:
        """Return a matrix as it is."""
        return Matrix(weights, bias)

    def integer_matrix(self, weights: IntegerWeights, bias: Floats | None) -> Matrix:
        """Return a matrix of integers as it is."""
        return Matrix(weights.wide, bias, weights)


@dataclass(frozen=True, slots=True)
class Stored:
    """A matrix as it lies in flash.

    Attributes:
        kind: The type of its elements.
        elements: float32, uint16 (the bits of float16) or int8, [units, inputs].
        scales: Of int8: float32 [units], which the elements of each row are multiplied by.
    """

    kind: Kind
    elements: Array
    scales: Floats | None = None

    @property
    def bytes(self) -> int:
        """Bytes of flash."""
        return self.elements.nbytes + (0 if self.scales is None else self.scales.nbytes)


def store(weights: Floats, kinds: tuple[Kind, ...]) -> Stored:
    """Return weights in the first of `kinds` that holds every one of them exactly.

    Args:
        weights: float32 [units, inputs].
        kinds: The narrowest first; `float32` holds everything and need not be among them.
    """
    weights = np.ascontiguousarray(weights, np.float32)
    for kind in kinds:
        found = _FORMS[kind](weights)
        if found is not None:
            return found
    return Stored("float32", weights)


def _as_float16(weights: Floats) -> Stored | None:
    with np.errstate(over="ignore"):
        half = weights.astype(np.float16)
    if not np.array_equal(half.astype(np.float32), weights):
        return None
    return Stored("float16", half.view(np.uint16))


def _as_int8(weights: Floats) -> Stored | None:
    """Find the scales of rows that were rounded to integers times a scale."""
    elements = np.zeros(weights.shape, np.int8)
    scales = np.ones(len(weights), np.float32)
    for index, row in enumerate(weights):
        if not row.any():
            continue
        found = _scale_of(row)
        if found is None:
            return None
        scales[index] = found
        elements[index] = np.rint(row / found)
    return Stored("int8", elements, scales)


def _scale_of(row: Floats) -> np.float32 | None:
    """Return a scale of which every number is one of the multiples -128 to 127, or None."""
    largest = np.abs(row).max()
    levels = np.arange(128, 0, -1, dtype=np.float32)
    scales = largest / levels
    near = np.abs(row / scales[:, None] - np.rint(row / scales[:, None])).max(1) < 1e-3
    for guess in scales[near]:
        below = above = guess
        tried = [guess]
        for _ in range(_NEAR):
            below = np.nextafter(below, np.float32(0))
            above = np.nextafter(above, np.float32(np.inf))
            tried += [below, above]
        for scale in tried:
            multiples = np.rint(row / scale)
            fits = multiples.min() >= -128 and multiples.max() <= 127
            if fits and np.array_equal(multiples * scale, row):
                return np.float32(scale)
    return None


_FORMS = {
    "float32": lambda weights: Stored("float32", weights),
    "float16": _as_float16,
    "int8": _as_int8,
}
