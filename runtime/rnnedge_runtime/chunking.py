"""Sequences cut into chunks along time, and what the chunks give joined again.

A model that keeps its state gives the same for chunks, whose states are handed on, as for the whole
sequence. Whatever compares the two cuts and joins here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from rnnedge_runtime.contract import TIME

if TYPE_CHECKING:
    from numpy.typing import NDArray

Axes: TypeAlias = "Mapping[str, Sequence[object]]"
"""The names or sizes of the axes of each array."""


def pieces(sizes: Iterable[int]) -> list[slice]:
    """Return the parts of a sequence, one after the other.

    Args:
        sizes: Steps of each.
    """
    return [slice(start, end) for start, end in pairwise(accumulate(sizes, initial=0))]


def cut(arrays: Mapping[str, Any], axes: Axes, piece: slice) -> dict[str, Any]:
    """Return one part of a sequence.

    Args:
        arrays: The whole sequence by name: arrays, or tensors of PyTorch.
        axes: Their axes; those without a time axis are passed on as they are.
        piece: Which steps.

    Returns:
        Views of the arrays.
    """
    return {name: _part(array, axes[name], piece) for name, array in arrays.items()}


def join(answers: Sequence[Mapping[str, NDArray[Any]]], axes: Axes) -> dict[str, NDArray[Any]]:
    """Return what the parts of a sequence gave as one answer.

    Args:
        answers: What each part gave, by name.
        axes: The axes of each; of those without a time axis, such as states, the last is kept.

    Raises:
        ValueError: If the parts have other sizes along another axis than time.
    """
    return {
        name: np.concatenate([answer[name] for answer in answers], list(axes[name]).index(TIME))
        if TIME in axes.get(name, ())
        else last
        for name, last in answers[-1].items()
    }


def _part(array: Any, axes: Sequence[object], piece: slice) -> Any:
    return array[(*[slice(None)] * list(axes).index(TIME), piece)] if TIME in axes else array
