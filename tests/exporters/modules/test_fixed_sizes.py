"""A size of the example never stays in a file without a word: loops, rounding, branches."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

import rnnedge
from rnnedge_runtime import Session
from rnnedge_runtime.axis_sizes import size_of


class Base(nn.Module):
    def __init__(self, cell: type[nn.RNNBase] = nn.GRU) -> None:
        super().__init__()
        self.rnn = cell(4, 5, batch_first=True)


class LoopOverSlices(Base):
    def forward(self, x: Tensor) -> Tensor:
        state, steps = None, []
        for t in range(x.size(1)):
            y, state = self.rnn(x[:, t : t + 1], state)
            steps.append(y)
        return torch.cat(steps, 1)


class LoopOverUnbind(Base):
    def forward(self, x: Tensor) -> Tensor:
        state, steps = None, []
        for step in x.unbind(1):
            y, state = self.rnn(step.unsqueeze(1), state)
            steps.append(y)
        return torch.cat(steps, 1)


class LoopOverIndices(Base):
    def forward(self, x: Tensor) -> Tensor:
        state = None
        for t in range(x.shape[1]):
            y, state = self.rnn(x[:, [t]], state)
        return y


class LoopOverHalf(Base):
    """The loop's length is worked out of that of the input, which stays dynamic."""

    def __init__(self) -> None:
        super().__init__()
        self.second = nn.GRU(5, 5, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y, state = self.rnn(x)[0][:, ::2], None
        for step in y.unbind(1):
            out, state = self.second(step.unsqueeze(1), state)
        return out


class Rollout(nn.Module):
    """Steps and rows in one axis, as buffers of reinforcement learning have them."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(4, 5)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        x, steps = x.reshape(-1, h.shape[1], 4), []
        for t in range(x.size(0)):
            y, h = self.rnn(x[t : t + 1], h)
            steps.append(y)
        return torch.cat(steps), h


class RolloutOfCells(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(4, 5)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        x, steps = x.reshape(-1, h.shape[0], 4), []
        for t in range(x.size(0)):
            h = self.cell(x[t], h)
            steps.append(h)
        return torch.stack(steps), h


class BranchOnParity(Base):
    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] % 2:
            x = x * 2
        return self.rnn(x)[0]


class BranchOnRows(Base):
    def forward(self, x: Tensor) -> Tensor:
        if x.shape[0] % 3 == 2:
            x = x + 1
        return self.rnn(x)[0]


SEQUENCE = (torch.randn(2, 10, 4),)
ROLLOUT = (torch.randn(8, 4), torch.zeros(1, 2, 5))


@pytest.mark.parametrize(
    ("module", "example", "message"),
    [
        (LoopOverIndices(nn.LSTM), SEQUENCE, r"the loop at line \d+ of .* it carries state\."),
        (
            Rollout(),
            ROLLOUT,
            r"\(for t in range\(x.size\(0\)\):\) cannot become a Scan: the module",
        ),
        (RolloutOfCells(), (torch.randn(8, 4), torch.zeros(2, 5)), "does not run at the short len"),
        (BranchOnParity(), SEQUENCE, r"line \d+ of test_fixed_sizes.py \(if x.shape\[1\] % 2:\)"),
        (BranchOnRows(), SEQUENCE, "is decided once, at the export"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_refused(
    module: nn.Module, example: tuple[Tensor, ...], message: str, tmp_path: Path
) -> None:
    with pytest.raises(rnnedge.ExportError, match=message):
        rnnedge.export(module, tmp_path / "m.onnx", example_inputs=example)
    assert list(tmp_path.iterdir()) == []


class CeilByFloor(Base):
    """Rounds up by rounding a negative number down, which ONNX's Div does not."""

    def forward(self, x: Tensor) -> Tensor:
        whole = -(-x.shape[1] // 4) * 4
        return self.rnn(F.pad(x, (0, 0, 0, whole - x.shape[1])))[0]


class PadByModulo(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(F.pad(x, (0, 0, 0, -x.shape[1] % 4)))[0]


class LoopOverChannels(Base):
    """A loop that has nothing to do with time: each channel alone, over the whole sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.channel = nn.GRU(1, 3, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.channel(x[:, :, n : n + 1])[0] for n in range(x.size(2))], -1)


class FourTurns(nn.Module):
    """A loop of four turns, as many as there are features."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.GRUCell(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = x.new_zeros(x.shape)
        for _ in range(4):
            h = self.head(self.cell(x, h))
        return h


@pytest.mark.parametrize(
    ("module", "example", "axes"),
    [
        (CeilByFloor(), SEQUENCE, ("batch", "-4*(-time//4)", 5)),
        (PadByModulo(), SEQUENCE, ("batch", "time + -time % 4", 5)),
        (LoopOverChannels(), SEQUENCE, ("batch", "time", 12)),
        (FourTurns(), (torch.randn(3, 4),), ("batch", 4)),
        (LoopOverSlices(), SEQUENCE, ("batch", "time", 5)),
        (LoopOverSlices(nn.RNN), SEQUENCE, ("batch", "time", 5)),
        (LoopOverUnbind(), SEQUENCE, ("batch", "time", 5)),
        (LoopOverHalf(), SEQUENCE, ("batch", 1, 5)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_taken(
    module: nn.Module, example: tuple[Tensor, ...], axes: tuple[object, ...], tmp_path: Path
) -> None:
    made = rnnedge.export(module, tmp_path / "m.onnx", example_inputs=example)
    assert made.contract.interface.outputs[0].axes == axes
    assert len(made.report.sizes) >= 3


def test_loop_over_channels_is_a_note(tmp_path: Path) -> None:
    made = rnnedge.export(LoopOverChannels(), tmp_path / "m.onnx", example_inputs=SEQUENCE)
    assert any("axis 2 of x is fixed to 4, and need not be" in note for note in made.notes)


def test_axes_of_one_size_in_the_example_are_not_tied(tmp_path: Path) -> None:
    class Three(Base):
        def forward(self, x: Tensor, s: Tensor) -> Tensor:
            return self.rnn(x, s[:1])[0]

    example = (torch.randn(3, 6, 4), torch.randn(3, 3, 5))  # three rows, and three states
    made = rnnedge.export(Three(), tmp_path / "m.onnx", example_inputs=example)
    assert made.contract.interface.inputs[1].axes == (3, "batch", 5)


def test_rows_made_of_a_batch_of_one_stay_dynamic(tmp_path: Path) -> None:
    class EachFeature(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.GRU(1, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            rows = x.transpose(1, 2).reshape(x.size(0) * 4, -1, 1)
            return self.rnn(rows)[1].reshape(x.size(0), 8)

    example = (torch.randn(1, 6, 4),)
    made = rnnedge.export(EachFeature(), tmp_path / "m.onnx", example_inputs=example)
    assert made.contract.interface.inputs[0].axes == ("batch", "time", 4)
    assert made.contract.interface.states == ()  # nobody could say which rows they belong to


def test_without_validation_nothing_is_run_at_other_sizes(tmp_path: Path) -> None:
    options = {"example_inputs": SEQUENCE, "validate": False}
    made = rnnedge.export(BranchOnParity(), tmp_path / "m.onnx", **options)
    assert made.report.sizes == []
    assert str(made.report) == "the file was not run at other sizes"


def test_rows_of_a_state_are_not_lengthened_into_a_crash(tmp_path: Path) -> None:
    """PyTorch reads past the end of a state with more rows than a packed LSTM has."""

    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.LSTM(4, 5, 2, batch_first=True)
            self.table = nn.Parameter(torch.randn(2, 5))

        def forward(self, x: Tensor, lengths: Tensor, h: Tensor, c: Tensor) -> Tensor:
            packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            _, (h_n, _) = self.rnn(packed, (h, c))
            return h_n + self.table.unsqueeze(1)

    states = torch.zeros(2, 3, 5), torch.zeros(2, 3, 5)
    example = (torch.randn(3, 6, 4), torch.tensor([6, 2, 4]), *states)
    made = rnnedge.export(Packed(), tmp_path / "m.onnx", example_inputs=example)
    assert made.contract.interface.inputs[2].axes == (2, "batch", 5)


def test_an_example_of_one_row_and_step_is_enough(tmp_path: Path) -> None:
    example = (torch.randn(1, 1, 4),)
    made = rnnedge.export(PadByModulo(), tmp_path / "m.onnx", example_inputs=example)
    assert made.contract.interface.inputs[0].axes == ("batch", "time", 4)


def test_two_batches_have_no_state_that_a_stream_could_make(tmp_path: Path) -> None:
    class Twice(Base):
        def forward(self, x: Tensor, z: Tensor) -> Tensor:
            return self.rnn(x)[0].mean() + self.rnn(z)[0]

    example = (torch.randn(2, 5, 4), torch.randn(3, 5, 4))
    made = rnnedge.export(Twice(), tmp_path / "m.onnx", example_inputs=example)
    assert made.contract.interface.states == ()


def test_a_size_that_torch_works_out_wrongly_gets_a_name_of_its_own(tmp_path: Path) -> None:
    """torch says `6//batch` for the 3 features of a rollout, which is so at the example's batch."""

    class Numbers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.GRU(1, 6, batch_first=True)
            self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            x = x.narrow(1, 1, x.size(1) - 1)
            lanes = x.transpose(1, 2).reshape(x.size(0) * 4, -1, 1)
            x = self.rnn(lanes)[0].reshape(x.size(0), 4, -1, 6).mean(1)
            x = self.first(x.flatten(0, 1)).view(-1, x.size(1), 6)
            x = self.second(x.reshape(-1, 6)).view(x.size(0), x.size(1), 6)
            return x.reshape((-1, x.shape[0], 3))

    made = rnnedge.export(Numbers(), tmp_path / "m.onnx", example_inputs=(torch.randn(2, 8, 4),))
    (spec,) = made.contract.interface.data_outputs
    assert spec.axes == ("output_axis_0", "batch", "output_axis_2")
    session = Session(tmp_path / "m.onnx")
    for batch, time in [(3, 5), (4, 9)]:
        sizes = {"batch": batch, "time": time}
        shape = session.run(np.zeros((batch, time, 4), np.float32)).output.shape
        declared = [size_of(axis, sizes) for axis in spec.axes]
        assert all(told in (None, size) for told, size in zip(declared, shape, strict=True))
