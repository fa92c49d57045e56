"""Modules around packed sequences, and what PyTorch answers in float64 for rows of any lengths."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import rnnedge
from rnnedge_runtime import Session

Array = NDArray[Any]
Forward = Callable[["Packed", Tensor, Tensor], Any]

EXAMPLE = (
    torch.randn(3, 7, 4, generator=torch.Generator().manual_seed(0)),
    torch.tensor([2, 7, 4]),
)

UNSORTED = [[2, 7, 4], [2], [1, 5], [3, 9, 1, 9], [1, 6, 5, 5, 6]]
SORTED = [[7, 4, 2], [1], [5, 1], [9, 9, 3, 1], [6, 5, 5, 1, 1]]
"""Lengths of the rows of each call; the longest is followed by two more steps of padding."""


class Packed(nn.Module):
    """Layers of several kinds, and a forward that a test gives."""

    def __init__(self, forward: Forward, cell: str = "LSTM") -> None:
        super().__init__()
        self.rnn = getattr(nn, cell)(4, 5, batch_first=True)
        self.second = nn.GRU(5, 3, batch_first=True)
        self.head = nn.Linear(5, 3)
        self.norm = nn.BatchNorm1d(5)
        self.scale = nn.LayerNorm(5)
        self.drop = nn.Dropout(0.5)
        self.table = nn.Embedding(4, 5)
        self._forward = forward

    def forward(self, x: Tensor, lengths: Tensor) -> Any:
        return self._forward(self, x, lengths)


def module(forward: Forward, cell: str = "LSTM") -> Packed:
    """Make the module, with the same weights each time, in eval mode."""
    torch.manual_seed(0)
    made = Packed(forward, cell)
    made.norm.running_mean = torch.randn(5)
    made.norm.running_var = torch.rand(5) + 0.5
    return made.eval()


def export(made: nn.Module, folder: Path, **options: Any) -> tuple[Session, rnnedge.ExportResult]:
    """Export a module, and open the file; the tests compare it with PyTorch themselves."""
    options = {"example_inputs": EXAMPLE, "validate": False} | options
    result = rnnedge.export(made, folder / "m.onnx", **options)
    return Session(folder / "m.onnx", threads=1), result


def in_torch(made: nn.Module, x: Array, lengths: Sequence[int]) -> list[NDArray[np.float64]]:
    """Answer with the module itself in float64."""
    twin = copy.deepcopy(made).double()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode():
            result = twin(torch.from_numpy(x).double(), torch.tensor(lengths))
    finally:
        torch.set_default_dtype(torch.float32)
    return [leaf.numpy() for leaf in torch.utils._pytree.tree_leaves(result)]


def in_onnx(session: Session, x: Array, lengths: Sequence[int]) -> list[Array]:
    """Answer with the file, from states of zeros, past every check of the runtime."""
    sizes = {"batch": len(x), "time": x.shape[1]}
    given = {"x": x, "lengths": np.array(lengths, np.int64)}
    feeds = {
        spec.name: given[spec.name]
        if spec.name in given
        else np.zeros([a if isinstance(a, int) else sizes[a] for a in spec.axes], spec.dtype)
        for spec in session.interface.inputs
    }
    return list(session.engine.run([spec.name for spec in session.interface.outputs], feeds))


def rows(lengths: Sequence[int]) -> Array:
    """Make random rows [batch, time, 4] with two steps of padding behind the longest."""
    shape = len(lengths), max(lengths) + 2, 4
    return np.random.default_rng(list(lengths)).standard_normal(shape).astype(np.float32)


def check(made: nn.Module, session: Session, calls: Sequence[Sequence[int]]) -> None:
    """Compare the file with PyTorch in float64, for rows of each of these lengths."""
    for lengths in calls:
        x = rows(lengths)
        compare(in_onnx(session, x, lengths), in_torch(made, x, lengths))


def compare(given: Sequence[Array], expected: Sequence[Array]) -> None:
    """Compare what comes first among `given`."""
    assert expected
    given = given[: len(expected)]
    assert [a.shape for a in given] == [a.shape for a in expected]
    for one, other in zip(given, expected, strict=True):
        assert np.allclose(one, other, rtol=0, atol=1e-5), np.abs(one - other).max()
