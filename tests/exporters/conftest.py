"""What the tests of the exporter share: PyTorch's own answer, in float64."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

Array = NDArray[np.float32]
Answer = dict[str, NDArray[np.float64]]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def in_torch() -> Callable[..., Answer]:
    """A function that runs a layer in float64 and names what it answers as the model file does."""
    return _in_torch


def _in_torch(
    layer: nn.RNNBase,
    x: Array,
    state: tuple[Array, ...] | None = None,
    lengths: NDArray[np.int64] | None = None,
) -> Answer:
    layer = copy.deepcopy(layer).double().eval()
    is_lstm = isinstance(layer, nn.LSTM)
    batch_axis = 0 if layer.batch_first else 1
    batch, time = x.shape[batch_axis], x.shape[1 - batch_axis]
    directions = 2 if layer.bidirectional else 1
    rows = layer.num_layers * directions
    sizes = [layer.proj_size or layer.hidden_size, *[layer.hidden_size] * is_lstm]
    inputs = torch.from_numpy(x).double()
    before = [torch.zeros(rows, batch, size, dtype=torch.float64) for size in sizes]
    if state is not None:
        before = [torch.from_numpy(array).double() for array in state]
    if lengths is None:
        with torch.no_grad():
            output, after = layer(inputs, tuple(before) if is_lstm else before[0])
        after = list(after) if is_lstm else [after]
    else:
        # A PackedSequence takes no row of length zero: such a row answers zeros, and keeps its
        # state.
        alive = [row for row in range(batch) if lengths[row] > 0]
        outer = [batch, time] if layer.batch_first else [time, batch]
        output = torch.zeros(*outer, directions * sizes[0], dtype=torch.float64)
        after = [tensor.clone() for tensor in before]
        if alive:
            packed = pack_padded_sequence(
                inputs[alive] if layer.batch_first else inputs[:, alive],
                torch.from_numpy(lengths[alive]),
                batch_first=layer.batch_first,
                enforce_sorted=False,
            )
            some = [tensor[:, alive] for tensor in before]
            with torch.no_grad():
                answer, last = layer(packed, tuple(some) if is_lstm else some[0])
            padded, _ = pad_packed_sequence(answer, layer.batch_first, total_length=time)
            if layer.batch_first:
                output[alive] = padded
            else:
                output[:, alive] = padded
            for whole, part in zip(after, last if is_lstm else [last], strict=True):
                whole[:, alive] = part
    named = dict(zip(["output", "h_n", "c_n"], [output, *after], strict=False))
    return {name: tensor.numpy() for name, tensor in named.items()}
