"""A PyTorch layer with its weights as they are after they were stored in fewer bits."""

from __future__ import annotations

import copy

import torch
from integer_model import widened
from torch import nn


def widened_layer(layer: nn.Module, stored: str) -> nn.Module:
    """Return a copy of a layer or module with the weights that `stored` leaves of them."""
    copied = copy.deepcopy(layer)
    with torch.no_grad():
        for name, weight in copied.named_parameters():
            if weight.ndim == 1:
                continue  # biases stay as they are
            if stored == "float16" or (stored == "int8_float16" and "weight_ih" in name):
                weight.copy_(weight.half().float())
            else:
                rows = weight.reshape(len(weight), -1)
                weight.copy_(torch.from_numpy(widened(rows.numpy())).reshape(weight.shape))
    return copied
