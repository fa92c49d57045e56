"""Pooling over as many steps as there are, the commonest end of a text classifier."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import rnnedge
from rnnedge_runtime import Session


class Pools(nn.Module):
    """Every form of a window that is as long as the sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(3, 4, batch_first=True)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        y = self.rnn(x)[0].transpose(1, 2)  # [batch, features, time]
        steps = y.size(2)
        return (
            F.max_pool1d(y, steps).squeeze(2),
            F.max_pool1d(y, kernel_size=y.shape[-1], stride=1),
            F.avg_pool1d(y, steps).squeeze(2),
            F.max_pool2d(y, (1, steps)),
            F.max_pool2d(y, (2, steps), (1, steps)),
            F.avg_pool2d(y.unsqueeze(1), kernel_size=(2, steps)).flatten(1),
            F.max_pool1d(y, 2, 1, padding=1),
        )


class Packed(nn.Module):
    """The maximum over the steps of the longest row."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(3, 4, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        y = pad_packed_sequence(self.rnn(packed)[0], batch_first=True)[0].transpose(1, 2)
        return F.max_pool1d(F.relu(y), y.size(2)).squeeze(2)


def exported(module: nn.Module, folder: Path, *example: Tensor) -> Session:
    path = folder / "m.onnx"
    rnnedge.export(module, path, example_inputs=example)
    return Session(path, threads=1)


@pytest.fixture(scope="module")
def pools(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Tensor], None]:
    module = Pools().eval()
    session = exported(module, tmp_path_factory.mktemp("pools"), torch.zeros(2, 7, 3))

    def compared(x: Tensor) -> None:
        with torch.inference_mode():
            expected = module(x)
        for given, wanted in zip(session.run(x.numpy()).outputs.values(), expected, strict=False):
            assert given.shape == tuple(wanted.shape)
            assert abs(given - wanted.numpy()).max() < 1e-5

    return compared


@pytest.mark.parametrize(("batch", "steps"), [(1, 1), (2, 7), (3, 2), (2, 23)])
def test_over_the_whole_sequence(pools: Callable[[Tensor], None], batch: int, steps: int) -> None:
    pools(torch.randn(batch, steps, 3, generator=torch.Generator().manual_seed(steps)))


def test_over_the_longest_row(tmp_path: Path) -> None:
    module = Packed().eval()
    session = exported(module, tmp_path, torch.zeros(2, 7, 3), torch.tensor([5, 7]))
    for lengths in ([1, 1], [2, 6], [9, 4]):
        x = torch.randn(2, 9, 3, generator=torch.Generator().manual_seed(lengths[0]))
        with torch.inference_mode():
            expected = module(x, torch.tensor(lengths)).numpy()
        answered = session.run(x.numpy(), lengths=lengths).output
        assert abs(answered - expected).max() < 1e-5
