"""`StreamPool.step`: each stream is answered as if it were alone."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from tiny_models import Tiny, two_inputs

from rnnedge_runtime import Session

CELLS = {
    "rnn": Tiny("rnn"),
    "lstm": Tiny("lstm"),
    "gru": Tiny("gru"),
    "gru-batch-first": Tiny("gru", batch_first=True),
    "lstm-lengths": Tiny("lstm", lengths=True),
}
EXACT = {name: tiny for name, tiny in CELLS.items() if tiny.cell != "rnn"}
"""Whose answers do not depend on the size of the batch; an RNN's do in the last bits."""


@pytest.fixture(params=CELLS.values(), ids=CELLS)
def tiny(request):
    return request.param


@pytest.fixture
def session(tiny):
    return Session(tiny.content, threads=1)


def frames(count, seed=0, features=2):
    """Return float32 [features] for each of some streams."""
    random = np.random.default_rng(seed)
    return list(random.standard_normal((count, features)).astype(np.float32))


def alone(session, inputs):
    """Return float32 [time, hidden]: what its own stream answers."""
    stream = session.stream()
    return np.stack([stream.step(frame[None])[0] for frame in inputs])


def equal(states, others):
    return all(np.array_equal(*pair) for pair in zip(states, others, strict=True))


def test_streams_in_random_order_are_answered_as_alone(tiny, session):
    rng = np.random.default_rng(0)
    pool = session.pool()
    streams = [pool.open() for _ in range(7)]
    inputs = rng.standard_normal((7, 30, 2)).astype(np.float32)
    given = [[] for _ in streams]
    while any(len(answers) < 30 for answers in given):
        picked = [s for s in rng.permutation(7) if rng.random() < 0.6 and len(given[s]) < 30]
        answers = pool.step({streams[s]: inputs[s, len(given[s])] for s in picked})
        for s in picked:
            given[s].append(answers[streams[s]])
    for s in range(7):
        x = inputs[s][None] if tiny.batch_first else inputs[s][:, None]
        expected = tiny.expected(x)[0]
        np.testing.assert_allclose(np.stack(given[s]), np.squeeze(expected), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("tiny", EXACT.values(), ids=EXACT)
@pytest.mark.parametrize("others", [0, 1, 2, 30, 200])
def test_who_else_is_in_the_batch_changes_no_bit(tiny, others):
    session = Session(tiny.content, threads=1)
    pool = session.pool()
    ours, *rest = [pool.open() for _ in range(1 + others)]
    inputs = frames(10, seed=5)
    given = []
    for t, frame in enumerate(inputs):
        crowd = dict(zip(rest, frames(others, seed=t), strict=True))
        given.append(pool.step({**crowd, ours: frame})[ours])
    np.testing.assert_array_equal(given, alone(session, inputs))


def test_a_stream_without_a_frame_keeps_its_state_to_the_bit(session):
    pool = session.pool()
    quiet, busy = pool.open(), pool.open()
    pool.step(dict(zip([quiet, busy], frames(2), strict=True)))
    before = pool.state(quiet)
    for t in range(40):  # more than the steps between two looks for tiny numbers
        pool.step({busy: frames(1, seed=t)[0]})
    assert equal(pool.state(quiet), before)


def test_tiny_numbers_of_a_stream_without_a_frame_are_kept(session):
    pool = session.pool()
    quiet, busy = pool.open(), pool.open()
    pool.set_state(quiet, [np.full_like(array, 1e-30) for array in pool.state(quiet)])
    for t in range(40):
        pool.step({busy: frames(1, seed=t)[0]})
    assert all((array == np.float32(1e-30)).all() for array in pool.state(quiet))


def test_no_frames_are_no_answers(session):
    pool = session.pool()
    stream = pool.open()
    pool.step({stream: frames(1)[0]})
    before = pool.state(stream)
    assert pool.step({}) == {}
    assert equal(pool.state(stream), before)


def test_a_pool_of_one(tiny, session):
    pool = session.pool(capacity=1)
    inputs, stream = frames(8), pool.open()
    given = [pool.step({stream: frame})[stream] for frame in inputs]
    np.testing.assert_array_equal(given, alone(session, inputs))


def test_chunks_of_different_lengths_in_one_step(tiny, session):
    pool, random = session.pool(), np.random.default_rng(3)
    streams = [pool.open() for _ in range(6)]
    given = {stream: [] for stream in streams}
    inputs = {stream: [] for stream in streams}
    for _ in range(4):
        sizes = dict(zip(streams, [0, 1, 1, 3, 3, 5], strict=True))  # 0: without a time axis
        step = {
            stream: random.standard_normal((size, 2) if size else 2).astype(np.float32)
            for stream, size in sizes.items()
        }
        for stream, answer in pool.step(step).items():
            assert answer.shape == (*step[stream].shape[:-1], 3)
            given[stream].append(answer.reshape(-1, 3))
            inputs[stream].append(step[stream].reshape(-1, 2))
    for stream in streams:
        expected = alone(session, np.concatenate(inputs[stream]))
        np.testing.assert_allclose(np.concatenate(given[stream]), expected, rtol=1e-5, atol=2e-6)


def test_answers_come_in_the_order_of_the_frames(session):
    pool = session.pool()
    a, b, c = pool.open(), pool.open(), pool.open()
    step = {c: frames(1)[0], a: np.ones((4, 2), np.float32), b: frames(1)[0]}
    assert list(pool.step(step)) == [c, a, b]


def test_several_inputs_and_outputs():
    tiny, content = two_inputs()
    pool, x = Session(content, threads=1).pool(), tiny.input(6, 3)
    streams = [pool.open() for _ in range(3)]
    given = []
    for now in x:
        rows = {
            stream: {"right": now[i, 1:], "left": now[i, :1]} for i, stream in enumerate(streams)
        }
        given.append(pool.step(rows))
    for i, stream in enumerate(streams):
        output = np.stack([answers[stream]["output"] for answers in given])
        negative = np.stack([answers[stream]["negative"] for answers in given])
        np.testing.assert_allclose(output, tiny.expected(x)[0][:, i], rtol=1e-5, atol=2e-6)
        np.testing.assert_array_equal(negative, -output)


def test_several_inputs_as_chunks():
    tiny, content = two_inputs()
    pool, x = Session(content, threads=1).pool(), tiny.input(6, 1)[:, 0]
    stream = pool.open()
    answer = pool.step({stream: {"left": x[:, :1], "right": x[:, 1:]}})[stream]
    assert {name: array.shape for name, array in answer.items()} == {
        "output": (6, 3),
        "negative": (6, 3),
    }


def test_a_model_whose_only_output_is_its_state():
    tiny = Tiny("gru")
    graph = tiny.graph()
    del graph.outputs[0]
    interface = replace(tiny.interface, outputs=tuple(graph.outputs))
    session = Session(graph.content(replace(tiny.contract, interface=interface)), threads=1)
    pool, stream = session.pool(), session.stream()
    ours, frame = pool.open(), frames(1)[0]
    assert pool.step({ours: frame}) == {ours: {}}
    assert stream.step(frame[None]) == {}
    assert equal(pool.state(ours), stream.state)


def test_thousands_of_streams():
    tiny = Tiny("lstm")
    session = Session(tiny.content, threads=1)
    pool = session.pool(capacity=3000)
    streams = [pool.open() for _ in range(3000)]
    inputs = np.random.default_rng(0).standard_normal((5, 3000, 2)).astype(np.float32)
    given = [pool.step(dict(zip(streams, now, strict=True))) for now in inputs]
    for i in (0, 1, 1777, 2999):
        steps = [answers[streams[i]] for answers in given]
        np.testing.assert_array_equal(steps, alone(session, inputs[:, i]))


def test_many_threads_step_streams_of_one_pool():
    tiny = Tiny("gru")
    session = Session(tiny.content, threads=1)
    pool, start = session.pool(), threading.Barrier(6)
    inputs = [frames(60, seed=s) for s in range(6)]

    def run(mine):
        start.wait(30)
        stream = pool.open()
        given = [pool.step({stream: frame})[stream] for frame in mine]
        pool.close(stream)
        return given

    with ThreadPoolExecutor(6) as threads:
        given = list(threads.map(run, inputs))
    for answers, mine in zip(given, inputs, strict=True):
        np.testing.assert_array_equal(answers, alone(session, mine))


def silenced(capacity=4):
    """Return a pool over an RNN whose state decays to 0.3 of itself at each silent step."""
    tiny = Tiny("rnn", hidden_size=8, nonlinearity="relu")
    graph = tiny.graph()
    graph.constants["B"][:] = 0
    graph.constants["R"] *= np.float32(0.3)
    return Session(graph.content(tiny.contract), threads=1).pool(capacity=capacity)


@pytest.mark.parametrize("others", [1, 15])
def test_states_of_streams_that_take_turns_do_not_stay_denormal(others):
    """Each has its steps counted: of 16 streams in turns, every 16th step is the same stream's."""
    pool = silenced(1 + others)
    streams = [pool.open([np.full((1, 1, 8), 1e-30, np.float32)]) for _ in range(1 + others)]
    for _ in range(16):
        for stream in streams:
            pool.step({stream: np.zeros(2, np.float32)})
    assert not any(np.any(pool.state(stream)) for stream in streams)


def test_when_tiny_numbers_go_does_not_depend_on_the_others():
    session = silenced()._model
    start, silence = [np.full((1, 1, 8), 1e-22, np.float32)], np.zeros(2, np.float32)
    pool, stream = session.pool(), session.stream()
    other = pool.open()
    for _ in range(7):
        pool.step({other: silence})
    ours = pool.open(start)
    stream.state = start
    for _ in range(40):
        pool.step({other: silence, ours: silence})
        stream.step(silence[None])
        np.testing.assert_array_equal(np.equal(pool.state(ours), 0), np.equal(stream.state, 0))
