"""The source with its weights as a file holds them.

A file is right when it computes what PyTorch does with the weights that it holds, so that an error
in its graph cannot pass for the rounding of its weights. Which rounded weights are those of which
parameter is found by value: a block of the file is that of a gate when rounding, and nothing else,
lies between the two: half a step of the integers, or a whole one where the contract says that data
decided. A scale on the wrong axis is not a rounding, and gates in another order are found where
PyTorch has them: both then answer something else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from rnnedge.parity.rounding.dynamic_quantization import Integers, Parts
from rnnedge.parity.rounding.half_precision import Halves
from rnnedge.parity.rounding.quantized_weights import StoredWeight
from rnnedge.parity.rounding.row_quantization import by_row
from rnnedge_exporters.copying import private_copy
from rnnedge_exporters.layers.computed_weights import compute_weights
from rnnedge_exporters.onnx_model.int8_grid import halved

Float32 = NDArray[np.float32]
_SLACK = 1.001
"""How much more than half a step float32 may put between a weight and its rounding."""
_CUT_SHARE = 0.02
"""Part of a block that may lie beyond the ends of its integers."""
_PROBED = 64
"""Numbers of a block that are compared before the others are."""


@dataclass(frozen=True, slots=True)
class Held:
    """A source as a file holds it.

    Attributes:
        module: A copy of the source with the weights of the file, as far as they were found.
        integers: Which products are made of integers, or of halves; None where there are none.
        rounded: How many of its parameters are stored in fewer bits.
        missing: Names of those of more than one axis that are in no rounding of the file.
        dtypes: The types that were found, `int8` and `float16`.
    """

    module: nn.Module
    integers: Integers | None
    rounded: int
    missing: tuple[str, ...]
    dtypes: tuple[str, ...]


def hold(
    module: nn.Module,
    stored: Sequence[StoredWeight],
    calibrated: Collection[str] = (),
    *,
    row_by_row: bool = False,
) -> Held:
    """Copy a source and give the copy the weights that a file holds.

    Args:
        module: The source; it is copied, never changed.
        stored: What the file holds in fewer bits, one or more.
        calibrated: Parameters that the file holds rounded up or down, by its contract.
        row_by_row: Whether products of integers round each row by itself, as the native engine
            does.
    """
    copied = private_copy(module)
    compute_weights(copied)
    blocks = Blocks(stored)
    missing, dtypes, rounded = [], set(), 0
    multiplied: dict[str, set[str]] = {"int8": set(), "float16": set()}
    sizes: dict[str, int] = {}
    parts: dict[str, Parts] = {}
    heights = dict(_block_heights(copied))
    half = all(weight.dtype == "float16" for weight in stored)
    for name, parameter in copied.named_parameters():
        array = parameter.detach().numpy()
        if array.ndim < 2:
            # A bias is stored in half only where all is, and then the file has such an array.
            if half and array.size and blocks.has_vector(array):
                parameter.data = parameter.data.half().float()
            continue
        height = heights.get(name, len(array))
        found = blocks.find(array, height, either=name in calibrated)
        if found is None:
            missing.append(name)
            continue
        rounded += 1
        dtypes |= {weight.dtype for _, weight in found}
        for weight in (weight for _, weight in found if weight.multiplied):
            multiplied[weight.dtype].add(name)
            sizes[name] = weight.block
        if all(weight.parts for _, weight in found):
            parts[name] = _joined([weight for _, weight in found])
        parameter.data = torch.from_numpy(np.concatenate([values for values, _ in found]))
    integers: Integers | None = None
    if multiplied["int8"]:
        integers = Integers(frozenset(multiplied["int8"]), blocks=sizes, parts=parts)
        integers = by_row(integers) if row_by_row else integers
    elif multiplied["float16"] & heights.keys():
        integers = Halves(frozenset(multiplied["float16"] & heights.keys()))
    return Held(copied, integers, rounded, tuple(missing), tuple(sorted(dtypes)))


def _joined(blocks: Sequence[StoredWeight]) -> Parts:
    weights = np.concatenate([np.concatenate(block.parts, 1) for block in blocks])
    return Parts(blocks[0].factors, torch.from_numpy(weights))


def _block_heights(module: nn.Module) -> Iterator[tuple[str, int]]:
    """Yield the parameters that are cut into gates, with the rows of one."""
    for path, inner in module.named_modules():
        if not isinstance(inner, nn.RNNBase | nn.RNNCellBase):
            continue
        for name, _ in inner.named_parameters(recurse=False):
            rows = inner.proj_size if name.startswith("weight_hr") else inner.hidden_size
            yield (f"{path}.{name}" if path else name), int(rows)  # type: ignore[arg-type]


class Blocks:
    """Finds a block of a parameter in the weights of a file, whole or cut along its rows."""

    def __init__(self, stored: Sequence[StoredWeight]) -> None:
        self._stored = stored
        self._by_shape: dict[tuple[int, ...], list[tuple[StoredWeight, StoredWeight]]] = {}

    def has_vector(self, array: Float32) -> bool:
        """Whether every number of a bias is among the halves of the file that have no columns."""
        wanted = halved(array)
        return any(
            np.isin(wanted, weight.values).all()
            for weight in self._stored
            if weight.dtype == "float16" and weight.values.ndim < 3
        )

    def find(
        self, array: Float32, height: int, *, either: bool = False
    ) -> list[tuple[Float32, StoredWeight]] | None:
        """Return the numbers of the file for each block of a parameter, and where they are from.

        Args:
            array: The parameter.
            height: Rows of a block.
            either: Whether its numbers may have been rounded up or down, not to the nearest alone.

        Returns:
            None when one of the blocks is not in the file.
        """
        if not array.size or len(array) % height:
            return None
        found = [
            self._nearest(block, either=either) for block in np.split(array, len(array) // height)
        ]
        told = [one for one in found if one is not None]
        return told if len(told) == len(found) else None

    def _nearest(self, block: Float32, *, either: bool) -> tuple[Float32, StoredWeight] | None:
        if block.shape not in self._by_shape:
            self._by_shape[block.shape] = list(self._candidates(block.shape))
        candidates = self._by_shape[block.shape]
        fitting = [(c, w) for c, w in candidates if _is_rounding(block, c, either=either)]
        if not fitting:
            return None
        nearest, _ = min(fitting, key=lambda one: float(np.abs(block - one[0].values).max()))
        return nearest.values, nearest

    def _candidates(self, shape: tuple[int, ...]) -> Iterator[tuple[StoredWeight, StoredWeight]]:
        for weight in self._stored:
            if weight.values.shape == shape:
                yield weight, weight
            if len(shape) == 2:
                yield from ((block, weight) for block in _cut(weight, shape))


def _cut(weight: StoredWeight, shape: tuple[int, ...]) -> Iterator[StoredWeight]:
    """Yield the blocks of a shape that the matrices of a weight are stacked of."""
    parts = (weight.values, weight.half, weight.ends, *weight.parts)
    stacks = [part[None] if part.ndim == 2 else part for part in parts]
    if stacks[0].ndim != 3:
        return
    for matrices in zip(*stacks, strict=True):
        for turned in (matrices, [matrix.T for matrix in matrices]):
            rows, columns = turned[0].shape
            for start in range(0, rows - shape[0] + 1, shape[0]) if columns == shape[1] else ():
                cut = [np.ascontiguousarray(one[start : start + shape[0]]) for one in turned]
                yield replace(weight, values=cut[0], half=cut[1], ends=cut[2], parts=tuple(cut[3:]))


def _is_rounding(block: Float32, other: StoredWeight, *, either: bool) -> bool:
    """Whether `other` is `block` after rounding, to the nearest or to either side."""
    room = _SLACK * (2 if either and other.dtype == "int8" else 1)
    step = max(1, block.size // _PROBED)
    for every in (step, 1):  # a few numbers tell most blocks apart
        difference = block.ravel()[::every] - other.values.ravel()[::every]
        beyond = np.abs(difference) > other.half.ravel()[::every] * room
        outwards = difference * other.values.ravel()[::every] > 0
        if (beyond & ~(other.ends.ravel()[::every] & outwards)).any():
            return False
    return bool(beyond.mean() <= _CUT_SHARE) if beyond.size else True
