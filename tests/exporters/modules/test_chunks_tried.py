"""States are lifted only where chunks were run and gave what the whole gives."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import rnnedge

EXAMPLE = (torch.randn(2, 6, 4),)


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(4, 5, batch_first=True)


class StartStep(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(F.pad(x, (0, 0, 1, 0)))[0]


class ShiftedByOne(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(F.pad(x, (0, 0, 1, -1)))[0]


class LearnedStartStep(Base):
    def __init__(self) -> None:
        super().__init__()
        self.bos = nn.Parameter(torch.randn(1, 1, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(torch.cat([self.bos.expand(x.size(0), 1, 4), x], 1))[0]


class Normed(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x / x.norm())[0]


class NormedPerRow(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x / torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True))[0]


class Distance(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x / torch.dist(x, -x))[0]


class Sorted(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x.sort(dim=1).values)[0]


class DividedByLength(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x / x.shape[1])[0]


class RootOfLength(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x)[0] * (x.shape[1] ** 0.5)


class FinalAtEveryStep(Base):
    def forward(self, x: Tensor) -> Tensor:
        y, h = self.rnn(x)
        return y + h[-1].unsqueeze(1)


class WithoutTheFirst(Base):
    """A chunk of one step leaves the layer without any, on which ONNX Runtime ends the process."""

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x.narrow(1, 1, x.size(1) - 1))[0]


class Largest(Base):
    """Three steps, whatever the length."""

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x.topk(3, dim=1).values)[0]


class RowsMixed(Base):
    """The rows of a batch are seen by each other: no pool may gather them."""

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x - x.mean(0, keepdim=True))[0]


class RowsTurned(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x.flip(0))[0]


REFUSED = [
    StartStep,
    ShiftedByOne,
    LearnedStartStep,
    Normed,
    NormedPerRow,
    Distance,
    Sorted,
    DividedByLength,
    RootOfLength,
    FinalAtEveryStep,
    WithoutTheFirst,
    Largest,
    RowsMixed,
    RowsTurned,
]


@pytest.mark.parametrize("kind", REFUSED, ids=lambda kind: kind.__name__)
def test_not_lifted_where_chunks_differ(kind: type[nn.Module], tmp_path: Path) -> None:
    made = rnnedge.export(kind(), tmp_path / "m.onnx", example_inputs=EXAMPLE)
    assert made.contract.interface.states == ()
    assert made.contract.hindrances
    assert any(note.startswith("states were not lifted, since ") for note in made.notes)


def test_asked_for_it_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(rnnedge.ExportError, match=r"cannot be streamed exactly: chunks of 3, 1, 5"):
        rnnedge.export(DividedByLength(), tmp_path / "m.onnx", example_inputs=EXAMPLE, states=True)


class Causal(Base):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv1d(4, 4, 3), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        seen = self.conv(F.pad(x.transpose(1, 2), (2, 0))).relu().transpose(1, 2)
        return self.head(self.rnn(seen)[0]).softmax(-1)


class Step(Base):
    """Sees one step a call: each call goes on where the last one ended."""

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x.unsqueeze(1))[0].squeeze(1)


@pytest.mark.parametrize(
    ("module", "example"), [(Causal(), EXAMPLE), (Step(), (torch.randn(3, 4),))], ids=repr
)
def test_lifted_where_chunks_are_the_whole(
    module: nn.Module, example: tuple[Tensor, ...], tmp_path: Path
) -> None:
    made = rnnedge.export(module, tmp_path / "m.onnx", example_inputs=example)
    assert made.contract.interface.states
    assert made.contract.hindrances == ()
    assert made.report.chunks is True


class Centred(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x - x.mean(1, keepdim=True))[0]


@pytest.mark.parametrize("names", [{0: "batch", 1: "frames"}, {0: "n", 1: "t"}], ids=str)
def test_time_is_what_the_layers_see_whatever_it_is_called(
    names: dict[int, str], tmp_path: Path
) -> None:
    options = {"example_inputs": EXAMPLE, "dynamic_axes": {"x": names}}
    made = rnnedge.export(Centred(), tmp_path / "m.onnx", **options)
    assert made.contract.hindrances == ("mean over time",)
    assert made.contract.interface.states == ()
