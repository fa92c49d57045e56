"""What a module's source decides of sizes and values, and an export keeps open."""

import copy
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import rnnedge
from rnnedge_runtime import Session


def valid_length(steps: int) -> int:
    """A helper in the same file, as fully convolutional models have one."""
    return int(math.ceil(int(steps) / 4)) * 4  # noqa: RUF046


class Whole(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(3, 3, 4, stride=4)
        self.rnn = nn.GRU(3, 4, batch_first=True)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        steps = x.shape[1]
        padded = F.pad(x, (0, 0, 0, valid_length(steps) - steps))
        y = self.rnn(self.conv(padded.transpose(1, 2)).transpose(1, 2))[0]
        whole = int(math.floor(steps / 3) / 2) + math.ceil((steps - 9) / 2)
        return y, y[:, : int(steps * 0.29) + 1], y * int(steps / 2), y * whole


class Asserts(nn.Module):
    """Compares the padded steps and the values of lengths with what it expects of them."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(3, 4, batch_first=True, bidirectional=True)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        assert lengths.min() >= 1, "rows without steps"
        assert int(lengths.max()) <= x.size(1)
        kept = copy.deepcopy(lengths)
        packed = pack_padded_sequence(x, kept.cpu(), batch_first=True, enforce_sorted=False)
        y: Tensor = pad_packed_sequence(self.rnn(packed)[0], batch_first=True)[0]
        assert list(y.size()) == [x.size(0), x.size(1), 8]
        return y


class OwnInt(nn.Module):
    """Has another function under the name of `int`."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(3, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        def int(number: float) -> float:
            return number + 1

        y: Tensor = self.rnn(x)[0]
        return y * int(1.5)


Exported = Callable[..., Session]


@pytest.fixture
def exported(tmp_path: Path) -> Exported:
    def export(module: nn.Module, *example: Tensor) -> Session:
        rnnedge.export(module, tmp_path / "m.onnx", example_inputs=example)
        return Session(tmp_path / "m.onnx", threads=1)

    return export


def drawn(batch: int, steps: int) -> Tensor:
    return torch.randn(batch, steps, 3, generator=torch.Generator().manual_seed(steps))


def test_sizes_rounded_by_int_are_computed_in_the_file(exported: Exported) -> None:
    module = Whole().eval()
    session = exported(module, drawn(2, 10))
    for batch, steps in [(1, 1), (3, 4), (2, 9), (1, 100), (2, 47)]:
        x = drawn(batch, steps)
        with torch.inference_mode():
            expected = [part.numpy() for part in module(x)]
        for given, wanted in zip(session.run(x.numpy()).outputs.values(), expected, strict=True):
            assert given.shape == wanted.shape
            assert abs(given - wanted).max() < 1e-5 * max(1, abs(wanted).max())


def test_asserts_on_values_are_left_out(exported: Exported) -> None:
    module = Asserts().eval()
    session = exported(module, drawn(3, 7), torch.tensor([4, 7, 2]))
    for lengths in ([9, 9, 9], [1, 5, 9], [9]):
        x = drawn(len(lengths), 9)
        with torch.inference_mode():
            expected = module(x, torch.tensor(lengths)).numpy()
        assert abs(session.run(x.numpy(), lengths=lengths).output - expected).max() < 1e-5


def test_another_int_stays_what_it_is(exported: Exported) -> None:
    module = OwnInt().eval()
    x = drawn(2, 5)
    answered = exported(module, drawn(2, 7)).run(x.numpy()).output
    assert abs(answered - module(x).detach().numpy()).max() < 1e-5


def test_the_code_of_the_module_is_put_back(exported: Exported) -> None:
    codes = Whole.forward.__code__, valid_length.__code__
    exported(Whole().eval(), drawn(2, 10))
    assert (Whole.forward.__code__, valid_length.__code__) == codes
    assert not [name for name in globals() if name.startswith("__rnnedge")]


class WrittenOnly(nn.Module):
    """Keeps its last state in an attribute that it never reads, and starts from so many rows."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(3, 4, batch_first=True)
        self.hidden: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor
        y, self.hidden = self.rnn(x, torch.zeros(1, 3, 4))
        return y


def test_an_attribute_that_is_only_written_is_no_state(exported: Exported) -> None:
    with pytest.raises(rnnedge.ExportError, match=r"^axis 0 of x \(batch\) would be fixed to 3 by"):
        exported(WrittenOnly(), drawn(3, 5))


class Words(nn.Module):
    """Runs over the letters of each word; their numbers are [batch, words]."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(3, 4, batch_first=True)

    def forward(self, letters: Tensor, counts: Tensor) -> tuple[Tensor, ...]:
        batch, words = counts.shape
        rows = letters.view(batch * words, -1, 3)
        packed = pack_padded_sequence(rows, counts.view(-1), batch_first=True, enforce_sorted=False)
        last = self.rnn(packed)[1][0][-1].view(batch, words, 4)
        parts = torch.split(last, batch, dim=0)  # as many as there are rows, so one
        return torch.cat(parts, dim=-1), torch.tensor(counts, dtype=torch.float)


@pytest.mark.filterwarnings("ignore:To copy construct from a tensor")
def test_lengths_of_words_are_data(exported: Exported) -> None:
    module = Words().eval()
    session = exported(module, torch.randn(2, 5, 7, 3), torch.randint(1, 8, (2, 5)))
    assert session.interface.lengths is None
    random = torch.Generator().manual_seed(0)
    letters = torch.randn(3, 2, 9, 3, generator=random)
    counts = torch.randint(1, 10, (3, 2), generator=random)
    with torch.inference_mode():
        expected = module(letters, counts)
    answered = session.run({"letters": letters.numpy(), "counts": counts.numpy()}).outputs
    for given, wanted in zip(answered.values(), expected, strict=True):
        assert abs(given - wanted.numpy()).max() < 1e-5
