"""A module that answers otherwise when it runs again is not a function of its inputs."""

import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import rnnedge
from rnnedge_exporters.sandbox.session import Worker
from rnnedge_runtime import Session

X = torch.randn(5, 2, 4, generator=torch.Generator().manual_seed(0))


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rnn = nn.GRU(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x)[0]


class FunctionalDropout(Base):
    def forward(self, x: Tensor) -> Tensor:
        output, _ = self.rnn(x)
        return F.dropout(output, 0.5)


class DropoutBefore(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(F.dropout1d(x, 0.2, training=True))[0]


class AlwaysOn(nn.Dropout):
    def forward(self, input: Tensor) -> Tensor:
        return F.dropout(input, self.p, training=True)


class MonteCarlo(Base):
    def __init__(self) -> None:
        super().__init__()
        self.drop = AlwaysOn(0.3)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.rnn(x)[0])


class Noise(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x + torch.randn_like(x) * 1e-3)[0]


class Mask(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x * torch.bernoulli(torch.full_like(x, 0.5)))[0]


class RandomStart(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x, torch.rand(1, x.size(1), 5))[0]


class Sampled(Base):
    def forward(self, x: Tensor) -> Tensor:
        return torch.multinomial(self.rnn(x)[0].softmax(-1)[-1], 1)


class OwnGenerator(Base):
    def __init__(self) -> None:
        super().__init__()
        self.random = torch.Generator().manual_seed(0)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x + torch.randn(x.shape, generator=self.random))[0]


class PythonsRandom(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x * random.random())[0]


class NumpysRandom(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x * float(np.random.rand()))[0]  # noqa: NPY002


class SlowerEachTime(Base):
    def forward(self, x: Tensor) -> Tensor:
        self.rnn.weight_hh_l0.data.mul_(0.9)
        return self.rnn(x)[0]


RANDOM: dict[type[Base], str] = {
    FunctionalDropout: r"at line \d+ of test_repeatable.py \(return F.dropout\(output, 0.5\)\), and"
    r" .*training=self.training",
    DropoutBefore: r"at line \d+ .*F.dropout1d.*training=self.training\) is off in eval mode",
    MonteCarlo: r"at line \d+ .*\) in drop, .*training=self.training",
    Noise: r"at line \d+ .*torch.randn_like.*take them as an argument",
    Mask: r"at line \d+ .*torch.bernoulli",
    RandomStart: r"at line \d+ .*torch.rand",
    Sampled: r"at line \d+ .*torch.multinomial",
    OwnGenerator: r"at line \d+ .*generator=self.random",
    PythonsRandom: "random numbers of Python's random",
    NumpysRandom: "random numbers of numpy.random",
    SlowerEachTime: r"differently each time it runs on the same inputs, and changes rnn\.weight_hh",
}


@pytest.mark.parametrize("kind", RANDOM, ids=lambda kind: kind.__name__)
def test_random_answers_are_refused(kind: type[Base], tmp_path: Path) -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    module = kind()
    after = torch.get_rng_state()
    with pytest.raises(rnnedge.ExportError, match=f"^{kind.__name__} .*{RANDOM[kind]}"):
        rnnedge.export(module, tmp_path / "m.onnx", example_inputs=(X,))
    assert not list(tmp_path.iterdir())
    assert torch.equal(torch.get_rng_state(), after)  # the caller's numbers go on as they were
    assert not torch.equal(before, after)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of the module without random numbers, with the same weights."""
    path = tmp_path_factory.mktemp("plain") / "m.onnx"
    rnnedge.export(Base(), path, example_inputs=(X,))
    return path


@pytest.mark.parametrize(
    "kind", [FunctionalDropout, MonteCarlo, Noise, OwnGenerator, PythonsRandom]
)
def test_a_random_source_is_an_error_of_validate(
    kind: type[Base], plain: Path, worker: Worker
) -> None:
    with pytest.raises(rnnedge.SourceError, match=f"^{kind.__name__} .*no file can be compared"):
        rnnedge.validate(plain, against=kind(), quick=True, worker=worker)


class NoisyWhenLong(Base):
    """Draws in some cases only, the first of the sweep not among them."""

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x + torch.randn_like(x) if len(x) > 20 else x)[0]


def test_numbers_that_some_cases_draw_are_found(plain: Path, worker: Worker) -> None:
    with pytest.raises(rnnedge.SourceError, match=r"NoisyWhenLong draws random numbers at line"):
        rnnedge.validate(plain, against=NoisyWhenLong(), quick=True, worker=worker)


class OffInEval(Base):
    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            x = x + torch.randn_like(x)
        return F.dropout(self.rnn(x)[0], 0.5, training=self.training)


class DrawnForNothing(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x + torch.randn_like(x) * 0.0)[0]


class NoDropout(Base):
    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(self.rnn(x)[0], 0.0)


class Counting(Base):
    """State that matters to nothing: counters and a history."""

    def __init__(self) -> None:
        super().__init__()
        self.calls, self.seen = 0, []  # type: ignore[var-annotated]
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.seen.append(tuple(x.shape))
        self.steps += 1
        return self.rnn(x)[0]


class StateInABuffer(Base):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("h", torch.zeros(1, 2, 5))

    def forward(self, x: Tensor) -> Tensor:
        output, self.h = self.rnn(x, self.h)
        return output


class StateInPlace(Base):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("h", torch.zeros(1, 2, 5))

    def forward(self, x: Tensor) -> Tensor:
        output, h = self.rnn(x, self.h)
        self.h.copy_(h)
        return output


@pytest.mark.parametrize(
    ("kind", "note"),
    [
        (OffInEval, ""),
        (DrawnForNothing, r"draws random numbers at line \d+ .*, which change nothing"),
        (NoDropout, ""),
        (Counting, ""),
        (StateInABuffer, ""),
    ],
)
def test_what_answers_the_same_is_exported(kind: type[Base], note: str, tmp_path: Path) -> None:
    module: Any = kind()
    result = rnnedge.export(module, tmp_path / "m.onnx", example_inputs=(X,))
    if note:
        assert re.search(note, result.notes[0])
    else:
        assert not result.notes
        assert result.contract.interface.states  # nothing hinders a stream
    x = np.random.default_rng(1).standard_normal((8, 3, 4)).astype(np.float32)
    want = Base().double()(torch.from_numpy(x).double()).detach().numpy()
    (got, *_) = Session(tmp_path / "m.onnx").run(x).outputs.values()
    assert np.abs(got - want).max() < 1e-6


def test_state_in_place_is_a_note(tmp_path: Path) -> None:
    result = rnnedge.export(
        StateInPlace(),
        tmp_path / "m.onnx",
        example_inputs=(X,),
        dynamic_axes={"x": {0: "time"}},
    )
    assert "state kept in self.h starts anew at each call" in result.notes


class GrowsLouder(Base):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.rnn(x)[0] * self.calls


class StateAndCounter(GrowsLouder):
    def __init__(self) -> None:
        super().__init__()
        self.h: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        output, self.h = self.rnn(x * self.calls, self.h)
        return output


@pytest.mark.parametrize(("kind", "name"), [(GrowsLouder, "calls"), (StateAndCounter, "calls")])
def test_state_that_changes_the_next_answer_is_named(
    kind: type[Base], name: str, tmp_path: Path
) -> None:
    with pytest.raises(
        rnnedge.ExportError,
        match=rf"when it is called again, since its forward changes self\.{name}: take what it",
    ):
        rnnedge.export(kind(), tmp_path / "m.onnx", example_inputs=(X,))


class NeverInEval(Base):
    """Keeps normalizing by the batch, although it has running statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(5)

    def train(self, mode: bool = True) -> "NeverInEval":
        super().train(mode)
        self.norm.training = True
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.rnn(x)[0].transpose(1, 2))


def test_statistics_of_the_batch_beside_running_ones_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        rnnedge.ExportError, match=r"by the statistics of its batch at line \d+ .* in norm"
    ):
        rnnedge.export(NeverInEval(), tmp_path / "m.onnx", example_inputs=(X,))
