"""What the tests of the native engine share: exported layers, and PyTorch's answer in float64."""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import rnnedge

sys.path.append(str(Path(__file__).parent / "helpers"))


@pytest.fixture(scope="session", autouse=True)
def _no_warning_of_projections() -> None:
    """PyTorch warns once a process that oneDNN has no LSTM with projections."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.nn.LSTM(2, 3, proj_size=2)(torch.zeros(1, 1, 2))


@pytest.fixture(scope="session")
def exported(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[..., tuple[torch.nn.RNNBase, bytes]]:
    """A function that builds a layer by its options and returns it with its file's bytes."""
    folder = tmp_path_factory.mktemp("native")
    made: dict[object, tuple[torch.nn.RNNBase, bytes]] = {}

    def export(*, lengths=False, states=True, quantize=None, **options):
        key = (lengths, states, quantize, *sorted(options.items()))
        if key not in made:
            layer = rnnedge.build(rnnedge.RNNSpec(**{"input_size": 5} | options), seed=0).eval()
            path = folder / f"{len(made)}.onnx"
            rnnedge.export(layer, path, lengths=lengths, states=states, quantize=quantize)
            made[key] = layer, path.read_bytes()
        return made[key]

    return export


@pytest.fixture(scope="session")
def in_float64() -> Callable[..., dict[str, np.ndarray]]:
    """A function that runs each row of a layer alone, up to its length, and names the outputs."""
    return _in_float64


def _in_float64(layer, x, state=None, lengths=None):
    layer = copy.deepcopy(layer).double().eval()
    is_lstm = isinstance(layer, torch.nn.LSTM)
    rows = torch.from_numpy(x).double()
    rows = rows if layer.batch_first else rows.transpose(0, 1)
    outputs, finals = [], []
    for index, row in enumerate(rows):
        steps = len(row) if lengths is None else int(lengths[index])
        before = None
        if state is not None:
            before = tuple(torch.from_numpy(part[:, index]).double() for part in state)
        answer, after = _row(layer, row[:steps], before, is_lstm=is_lstm)
        outputs.append(torch.nn.functional.pad(answer, (0, 0, 0, len(row) - steps)))
        finals.append(after)
    output = torch.stack(outputs, 0 if layer.batch_first else 1)
    states = [torch.stack(parts, 1) for parts in zip(*finals, strict=True)]
    return dict(
        zip(("output", "h_n", "c_n"), (value.numpy() for value in (output, *states)), strict=False)
    )


def _row(layer, row, before, *, is_lstm):
    if before is None:
        directions = 2 if layer.bidirectional else 1
        count = layer.num_layers * directions
        sizes = [layer.proj_size or layer.hidden_size, layer.hidden_size][: 2 if is_lstm else 1]
        before = tuple(torch.zeros(count, size, dtype=torch.float64) for size in sizes)
    if not len(row):
        width = before[0].shape[1] * (2 if layer.bidirectional else 1)
        return torch.zeros(0, width, dtype=torch.float64), before
    with torch.no_grad():
        answer, after = layer(row, before if is_lstm else before[0])
    return answer, after if is_lstm else (after,)
