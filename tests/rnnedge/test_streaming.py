"""However a sequence is cut and batched, a stream answers as PyTorch's whole run."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

import rnnedge
from rnnedge_runtime import Session

ROWS, TIME, FEATURES, HIDDEN = 4, 23, 5, 7
Array = NDArray[Any]


class Tagger(nn.Module):
    """Tokens to the probabilities of tags."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(30, 6)
        self.rnn = nn.LSTM(6, HIDDEN, batch_first=True)
        self.head = nn.Linear(HIDDEN, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.rnn(self.embedding(tokens))[0]).softmax(-1)


class Spotter(nn.Module):
    """A causal convolution, whose last steps are kept as a context, and a GRU."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(FEATURES, 6, 3, dilation=2)
        self.rnn = nn.GRU(6, HIDDEN, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        features = torch.relu(self.conv(F.pad(x.transpose(1, 2), (4, 0))))
        return self.rnn(features.transpose(1, 2))[0]


class Mixed(nn.Module):
    """Two layers of a GRU beneath an LSTM: three states of two widths."""

    def __init__(self) -> None:
        super().__init__()
        self.below = nn.GRU(FEATURES, 6, num_layers=2)
        self.above = nn.LSTM(6, HIDDEN)

    def forward(self, x: Tensor) -> Tensor:
        y = self.below(x)[0]
        return self.above(torch.relu(y))[0] + 0.5


@dataclass(frozen=True, eq=False)
class Case:
    """A model and how it is exported.

    Attributes:
        make: Makes the module.
        batch_first: Whether its batch axis is the first.
        varies: The axes whose size changes the last bits, since matrices of another shape are
            multiplied in another order. There are none for the steps of LSTM and GRU.
        tokens: Whether it takes int64 tokens instead of float32 features.
        options: Of `rnnedge.export`.
    """

    make: Callable[[], nn.Module]
    batch_first: bool
    varies: str = ""
    tokens: bool = False
    options: dict[str, Any] = field(default_factory=dict)


LAYERS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
CASES = {
    f"{name}-{layers}{'-batch-first' * first}": Case(
        lambda kind=kind, layers=layers, first=first: kind(
            FEATURES, HIDDEN, num_layers=layers, batch_first=first
        ),
        first,
        "batch" if name == "rnn" else "",
    )
    for name, kind in LAYERS.items()
    for layers in (1, 2)
    for first in (False, True)
}
CASES |= {
    "lstm-lengths": Case(lambda: nn.LSTM(FEATURES, HIDDEN), False, options={"lengths": True}),
    "gru-without-biases": Case(lambda: nn.GRU(FEATURES, HIDDEN, bias=False), False),
    "lstm-projected": Case(lambda: nn.LSTM(FEATURES, HIDDEN, proj_size=3), False, "batch time"),
    "rnn-relu": Case(lambda: nn.RNN(FEATURES, HIDDEN, nonlinearity="relu"), False, "batch"),
    "module-tagger": Case(Tagger, True, "batch time", tokens=True),
    "module-spotter": Case(Spotter, True, "batch time"),
    "module-mixed": Case(Mixed, False),
}


class Subject:
    """An exported model, its sequences, and what PyTorch answers for them in one call."""

    def __init__(self, case: Case) -> None:
        torch.manual_seed(0)
        module, random = case.make().eval(), np.random.default_rng(0)
        self.axis = 1 if case.batch_first else 0
        x = random.standard_normal((ROWS, TIME, FEATURES)).astype(np.float32)
        if case.tokens:
            x = random.integers(0, 30, (ROWS, TIME))
        self.rows: Array = x  # [rows, time, ...]
        self.x: Array = x if case.batch_first else np.ascontiguousarray(x.swapaxes(0, 1))
        options = dict(case.options)
        if not isinstance(module, nn.RNNBase):
            options |= {"example_inputs": (torch.from_numpy(self.x),), "states": True}
        with TemporaryDirectory() as folder:
            rnnedge.export(module, Path(folder) / "model.onnx", **options)
            self.session = Session(Path(folder, "model.onnx").read_bytes(), threads=1)
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a projection, which oneDNN does not have
            answer = module(torch.from_numpy(self.x))
        whole = (answer if isinstance(answer, Tensor) else answer[0]).numpy()
        self.expected = whole if case.batch_first else whole.swapaxes(0, 1)  # [rows, time, ...]

    def by_row(self, chunks: list[Array]) -> Array:
        """Return [rows, time, ...] from answers with a time axis."""
        whole = np.concatenate(chunks, self.axis)
        return whole if self.axis else whole.swapaxes(0, 1)


subject_of = cache(Subject)


@pytest.fixture(params=CASES.values(), ids=CASES)
def subject(request: pytest.FixtureRequest) -> Subject:
    return subject_of(request.param)


def whole_run(subject: Subject, _: Path) -> Array:
    return subject.by_row([subject.session.run(subject.x).output])


def steps_of_one(subject: Subject, _: Path) -> Array:
    stream = subject.session.stream(ROWS)
    return np.stack([stream.step(frame) for frame in np.moveaxis(subject.x, subject.axis, 0)], 1)


def steps_of_one_row(subject: Subject, _: Path) -> Array:
    rows = []
    for row in subject.rows:
        stream = subject.session.stream()
        rows.append([stream.step(frame[None])[0] for frame in row])
    return np.array(rows)


def ragged_chunks(subject: Subject, _: Path) -> Array:
    stream, cuts = subject.session.stream(ROWS), np.cumsum([1, 4, 4, 4, 2, 1, 1])
    return subject.by_row([stream.step(part) for part in np.split(subject.x, cuts, subject.axis)])


def steps_saved_and_loaded_in_between(subject: Subject, folder: Path) -> Array:
    stream, given = subject.session.stream(ROWS), []
    for t, frame in enumerate(np.moveaxis(subject.x, subject.axis, 0)):
        if t % 5 == 3:
            stream.save(folder / "state.npz")
            stream.close()
            stream = subject.session.stream(ROWS)
            stream.load(folder / "state.npz")
        given.append(stream.step(frame))
    return np.stack(given, 1)


def steps_of_a_pool_in_random_order(subject: Subject, _: Path) -> Array:
    pool, random = subject.session.pool(capacity=ROWS), np.random.default_rng(1)
    streams = [pool.open() for _ in range(ROWS)]
    given: list[list[Array]] = [[] for _ in streams]
    while any(len(answers) < TIME for answers in given):
        some = [
            r for r in random.permutation(ROWS) if random.random() < 0.6 and len(given[r]) < TIME
        ]
        answers = pool.step({streams[r]: subject.rows[r, len(given[r])] for r in some})
        for r in some:
            given[r].append(answers[streams[r]])
    return np.array(given)


def chunks_of_a_pool(subject: Subject, _: Path) -> Array:
    pool = subject.session.pool(capacity=ROWS)
    streams = [pool.open() for _ in range(ROWS)]
    cuts = [np.cumsum([1 + r, 4, 4, 4, 2 + r]) for r in range(ROWS)]
    parts = [np.split(row, cut) for row, cut in zip(subject.rows, cuts, strict=True)]
    given = [pool.step(dict(zip(streams, step, strict=True))) for step in zip(*parts, strict=True)]
    return np.stack([np.concatenate([answers[s] for answers in given]) for s in streams])


def frames_through_the_queue(subject: Subject, _: Path) -> Array:
    with subject.session.pool(max_delay_ms=0.1) as pool:
        streams = [pool.open() for _ in range(ROWS)]
        futures = [
            [pool.submit(stream, frame) for frame in row]
            for stream, row in zip(streams, subject.rows, strict=True)
        ]
        return np.array([[future.result(30) for future in row] for row in futures])


Way = Callable[[Subject, Path], Array]
WAYS: dict[Way, str] = {
    whole_run: "time",
    steps_of_one: "",
    steps_of_one_row: "batch",
    ragged_chunks: "time",
    steps_saved_and_loaded_in_between: "",
    steps_of_a_pool_in_random_order: "batch",
    chunks_of_a_pool: "batch time",
    frames_through_the_queue: "batch",
}
"""And which sizes are others than in `steps_of_one`."""
EQUAL = {
    f"{name}-{way.__name__}": (case, way)
    for name, case in CASES.items()
    for way, changed in WAYS.items()
    if not set(changed.split()) & set(case.varies.split())
}


@pytest.mark.parametrize("way", WAYS)
def test_each_way_answers_as_the_whole_run_in_pytorch(
    subject: Subject, way: Way, tmp_path: Path
) -> None:
    given = way(subject, tmp_path)
    assert given.shape == subject.expected.shape
    np.testing.assert_allclose(given, subject.expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("subject", "way"), EQUAL.values(), ids=EQUAL, indirect=["subject"])
def test_ways_are_equal_to_the_last_bit(subject: Subject, way: Way, tmp_path: Path) -> None:
    given, expected = way(subject, tmp_path), steps_of_one(subject, tmp_path)
    np.testing.assert_array_equal(given, expected)
