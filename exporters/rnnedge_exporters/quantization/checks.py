"""Weights that cannot be rounded to fewer bits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import nn

from rnnedge_exporters.errors import WeightsError

_LARGEST_HALF = float(np.finfo(np.float16).max)


def check_weights(model: nn.Module, storage: str) -> None:
    """Refuse weights that int8 or half cannot hold.

    Args:
        model: The layer or module.
        storage: How its weights are to be written.

    Raises:
        WeightsError: When a weight is quantized already, holds NaN or infinity, or is too large.
    """
    if storage == "float32":
        return
    for path, inner in model.named_modules():
        if type(inner).__module__.startswith("torch.ao.nn.quantized"):
            raise WeightsError(
                f"{path or 'the model'}: expected float weights, got {type(inner).__name__}, which "
                "is quantized already: export the float module that it was made from"
            )
    for name, weight in model.named_parameters():
        if weight.is_meta or not weight.is_floating_point():
            continue  # reading it says what is wrong
        check_array(weight.detach().float().cpu().numpy(), name, storage)


def check_array(array: NDArray[np.float32], name: str, storage: str) -> None:
    """Refuse one array of weights that int8 or half cannot hold.

    Args:
        array: The weights.
        name: What to call them.
        storage: How they are to be written.

    Raises:
        WeightsError: As in `check_weights`.
    """
    finite = np.isfinite(array)
    if storage == "int8" and not finite.all():
        raise WeightsError(
            f"{name}: expected finite numbers to quantize, got {int((~finite).sum())} of "
            f"{array.size} that are NaN or infinite: repair the checkpoint"
        )
    largest = float(np.abs(array, where=finite, out=np.zeros_like(array)).max(initial=0))
    if storage != "int8" and largest > _LARGEST_HALF:
        raise WeightsError(
            f"{name}: expected at most {_LARGEST_HALF:.0f}, the largest float16, got "
            f"{largest:.4g}: leave dtype at 'float32'"
        )
