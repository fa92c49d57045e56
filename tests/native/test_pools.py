"""Pools on the native engine: a step is one call, whose rows lie in the states of all slots."""

import threading

import numpy as np
import pytest

pytest.importorskip(
    "rnnedge_native",
    reason="rnnedge-native is not built, which takes a C compiler",
    exc_type=ImportError,
)
import torch

import rnnedge
from rnnedge_runtime import Session
from rnnedge_runtime.engine.native_rows import NativeRowSteps
from rnnedge_runtime.errors import EngineError, InputError, StreamError
from rnnedge_runtime.loaded_model import LoadedModel

SIZE = 5


@pytest.fixture(params=("rnn", "lstm", "gru"))
def session(request, exported):
    _, model = exported(cell=request.param, hidden_size=7, num_layers=2)
    return Session(model, engine="native")


@pytest.fixture
def runs(monkeypatch):
    """How often a pool went through `run`, which is not the one call of the engine."""
    counted = []
    run = LoadedModel.run

    def counting(self, *given, **named):
        counted.append(given)
        return run(self, *given, **named)

    monkeypatch.setattr(LoadedModel, "run", counting)
    return counted


def rows(count, steps=1, seed=0):
    shape = (steps, count, SIZE)
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def alone(session, frames):
    stream = session.stream()
    return np.stack([stream.step(frame[None])[0] for frame in frames])


def test_rows_are_answered_as_streams_alone(session, runs):
    x = rows(9, 40)
    pool = session.pool(capacity=12)
    streams = [pool.open() for _ in range(9)]
    runs.clear()
    answers = np.stack([pool.step_rows(streams, frame) for frame in x])
    assert not runs
    for at in range(9):
        assert np.array_equal(answers[:, at], alone(session, x[:, at]))


def test_a_mapping_in_random_order_is_answered_as_streams_alone(session, runs):
    random = np.random.default_rng(3)
    x = rows(6, 50)
    pool = session.pool(capacity=6)
    streams = [pool.open() for _ in range(6)]
    runs.clear()
    made = {stream: [] for stream in streams}
    for _ in range(120):
        picked = random.permutation(6)[: random.integers(1, 7)]
        frames = {streams[at]: x[len(made[streams[at]]) % 50, at] for at in picked}
        for stream, answer in pool.step(frames).items():
            made[stream].append(answer)
    assert not runs
    for at, stream in enumerate(streams):
        count = len(made[stream])
        expected = alone(session, x[np.arange(count) % 50, at])
        assert np.array_equal(np.stack(made[stream]), expected)


def test_single_frames_and_chunks_take_turns(session):
    x = rows(3, 30)
    pool = session.pool(capacity=4)
    streams = [pool.open() for _ in range(3)]
    parts, at = [], 0
    for size in (1, 4, 1, 1, 7, 16):
        frames = x[at] if size == 1 else x[at : at + size].swapaxes(0, 1)
        answer = pool.step_rows(streams, frames)
        parts.append(answer[:, None] if size == 1 else answer)
        at += size
    answers = np.concatenate(parts, 1)
    for row in range(3):
        assert np.array_equal(answers[row], alone(session, x[:, row]))


def test_states_are_kept_and_set(session):
    x = rows(2, 3)
    pool = session.pool(capacity=3)
    first, second = pool.open(), pool.open()
    stream = session.stream()
    pool.step_rows([first, second], x[0])
    stream.step(x[0, 1:])
    for ours, theirs in zip(pool.state(second), stream.state, strict=True):
        assert np.array_equal(ours, theirs)
    pool.set_state(first, pool.state(second))
    same = pool.step_rows((first, second), np.repeat(x[1, 1:], 2, 0))
    assert np.array_equal(same[0], same[1])
    assert np.array_equal(same[0], stream.step(x[1, 1:])[0])


def test_a_slot_that_is_used_again_starts_at_zeros(session):
    x = rows(2, 2)
    pool = session.pool(capacity=2)
    kept, left = pool.open(), pool.open()
    pool.step_rows([kept, left], x[0])
    pool.close(left)
    came = pool.open()
    answer = pool.step_rows([came, kept], x[1])
    assert np.array_equal(answer[0], alone(session, x[1:, 0])[0])


@pytest.mark.parametrize(
    ("streams", "frames", "error"),
    [
        ([0, 0], rows(2)[0], InputError),
        ([0, 9], rows(2)[0], StreamError),
        ([0, 1], rows(3)[0], InputError),
        ([0, 1], rows(2)[0][:, :-1].copy(), InputError),
        ([0, 1], np.full((2, SIZE), np.nan, np.float32), InputError),
        ([0, 1], np.full((2, SIZE), np.inf, np.float32), InputError),
        ([], rows(0)[0], InputError),
    ],
    ids=["twice", "not open", "more rows", "fewer features", "NaN", "infinity", "none"],
)
def test_what_does_not_fit_is_refused_and_changes_no_state(session, streams, frames, error):
    pool = session.pool(capacity=4)
    opened = [pool.open(), pool.open()]
    pool.step_rows(opened, rows(2, seed=1)[0])
    before = [pool.state(stream) for stream in opened]
    with pytest.raises(error):
        pool.step_rows(streams, frames)
    for old, stream in zip(before, opened, strict=True):
        for ours, theirs in zip(old, pool.state(stream), strict=True):
            assert np.array_equal(ours, theirs)
    assert pool.step_rows(opened, rows(2, seed=2)[0]).shape == (2, 7)


@pytest.mark.parametrize(
    "changed",
    [
        np.asfortranarray,
        lambda frames: frames[::-1][::-1],
        list,
        tuple,
    ],
    ids=["columns", "views", "list of arrays", "tuple of arrays"],
)
def test_whatever_holds_the_same_numbers_gives_the_same(session, changed):
    x = rows(3)[0]
    answers = []
    for frames in (x, changed(x)):
        pool = session.pool(capacity=3)
        answers.append(pool.step_rows([pool.open() for _ in range(3)], frames))
    assert np.array_equal(*answers)


def test_tiny_numbers_of_a_state_become_zero_by_the_steps_of_its_stream(exported):
    _, model = exported(cell="rnn", hidden_size=7, nonlinearity="relu")
    session = Session(model, engine="native")
    pool = session.pool(capacity=2)
    busy, idle = pool.open(), pool.open()
    tiny = np.full((1, 1, 7), 1e-30, np.float32)
    for _ in range(15):
        pool.step_rows([busy], rows(1)[0])
    pool.set_state(busy, tiny)
    pool.set_state(idle, tiny)
    frames = np.zeros((2, SIZE), np.float32)
    stream = session.stream()
    for _ in range(15):
        stream.step(rows(1)[0])
    stream.state = tiny
    pool.step_rows([busy, idle], frames)
    stream.step(frames[:1])
    assert np.array_equal(pool.state(busy)[0], stream.state[0])


class Tagger(torch.nn.Module):
    """Embedding, GRU, Linear, batch first."""

    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(9, SIZE)
        self.gru = torch.nn.GRU(SIZE, 6, 2, batch_first=True)
        self.linear = torch.nn.Linear(6, 3)

    def forward(self, x):
        return self.linear(self.gru(self.embedding(x))[0])


@pytest.fixture(scope="module")
def tagger(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("tagger") / "model.onnx"
    rnnedge.export(Tagger().eval(), path, example_inputs=(torch.zeros(2, 3, dtype=torch.int64),))
    return Session(path, engine="native")


def test_symbols_of_a_module(tagger, runs):
    x = np.random.default_rng(0).integers(0, 9, (20, 4))
    pool = tagger.pool(capacity=4)
    streams = [pool.open() for _ in range(4)]
    runs.clear()
    answers = np.stack([pool.step_rows(streams, row) for row in x])
    assert not runs
    for at in range(4):
        stream = tagger.stream()
        expected = np.stack([stream.step(row[at : at + 1])[0] for row in x])
        assert np.array_equal(answers[:, at], expected)


def test_any_number_of_streams_is_answered_as_alone(session, runs, monkeypatch):
    """Past a few numbers, some rows of a step stay unused."""
    monkeypatch.setattr("rnnedge_runtime.engine.native_rows._EXACT", 2)
    x, random = rows(60, 40), np.random.default_rng(5)
    pool = session.pool(capacity=60)
    streams = [pool.open() for _ in range(60)]
    runs.clear()
    made = {stream: [] for stream in streams}
    for count in (60, 3, *random.integers(17, 60, 30)):
        picked = [int(at) for at in random.permutation(60)[:count]]
        frames = np.stack([x[len(made[streams[at]]), at] for at in picked])
        answers = pool.step_rows([streams[at] for at in picked], frames)
        assert answers.shape == (count, 7)
        for at, answer in zip(picked, answers, strict=True):
            made[streams[at]].append(answer)
    assert not runs
    for at in (0, 17, 59):
        answered = np.stack(made[streams[at]])
        assert np.array_equal(answered, alone(session, x[: len(answered), at]))


def test_unused_rows_hold_nothing_of_an_earlier_step(tagger, runs, monkeypatch):
    monkeypatch.setattr("rnnedge_runtime.engine.native_rows._EXACT", 1)
    pool = tagger.pool(capacity=40)
    streams = [pool.open() for _ in range(40)]
    pool.step_rows(streams, np.zeros(40, np.int64))
    with pytest.raises(EngineError, match="99"):
        pool.step_rows(streams[:35], np.full(35, 99))
    runs.clear()
    assert pool.step_rows(streams[:33], np.ones(33, np.int64)).shape == (33, 3)
    assert not runs


def test_a_symbol_that_the_table_does_not_have_changes_no_state(tagger):
    pool = tagger.pool(capacity=2)
    streams = [pool.open(), pool.open()]
    pool.step_rows(streams, np.array([1, 2]))
    before = [pool.state(stream) for stream in streams]
    with pytest.raises(EngineError, match="99"):
        pool.step_rows(streams, np.array([3, 99]))
    for old, stream in zip(before, streams, strict=True):
        assert np.array_equal(old[0], pool.state(stream)[0])


def test_threads_share_a_pool(exported):
    """Steps that are long enough let other threads run, which open, close and step streams."""
    _, model = exported(cell="gru", hidden_size=64)
    session = Session(model, engine="native")
    pool = session.pool(capacity=40)
    x = rows(16, 30)
    wrong = []

    def work(seed):
        frames = x[:, np.random.default_rng(seed).permutation(16)]
        streams = [pool.open() for _ in range(16)]
        answers = np.stack([pool.step_rows(streams, frame) for frame in frames])
        for stream in streams:
            pool.close(stream)
        expected = alone(session, frames[:, 5])
        if not np.array_equal(answers[:, 5], expected):
            wrong.append(seed)

    for round_ in range(3):
        threads = [threading.Thread(target=work, args=(2 * round_ + at,)) for at in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong
    assert len(pool) == 0


def test_a_slot_is_not_used_again_before_the_step_ends(session, monkeypatch):
    pool = session.pool(capacity=1)
    stream = pool.open()
    step = NativeRowSteps.__call__

    def closing(self, streams, frames):
        pool.close(stream)
        with pytest.raises(StreamError, match="full"):
            pool.open()
        return step(self, streams, frames)

    monkeypatch.setattr(NativeRowSteps, "__call__", closing)
    with pytest.raises(StreamError, match="not open"):
        pool.step_rows([stream], rows(1)[0])
    assert pool.open() != stream


class Twice(torch.nn.Module):
    """A GRU whose output is given twice."""

    def __init__(self):
        super().__init__()
        self.gru = torch.nn.GRU(SIZE, 6)

    def forward(self, x):
        y, _ = self.gru(x)
        return y, y * 2


def test_a_model_of_two_outputs(tmp_path, runs):
    path = tmp_path / "model.onnx"
    torch.manual_seed(0)
    rnnedge.export(Twice().eval(), path, example_inputs=(torch.zeros(3, 2, SIZE),))
    session = Session(path, engine="native")
    pool, x = session.pool(capacity=2), rows(2, 5)
    streams = [pool.open(), pool.open()]
    runs.clear()
    answers = [pool.step_rows(streams, frame) for frame in x]
    assert len(runs) == 5
    first, second = answers[-1].values()
    assert np.array_equal(first * 2, second)
    assert np.array_equal(first, next(iter(session.run(x).outputs.values()))[-1])
