"""Streams of a pool come and go: their places are used again, their states and numbers are not."""

import re
import threading
import time

import numpy as np
import pytest
from tiny_models import Tiny

from rnnedge_runtime import InputError, Session, StateError, StreamError

CELLS = {"rnn": Tiny("rnn"), "lstm": Tiny("lstm"), "gru-batch-first": Tiny("gru", batch_first=True)}
ONES = np.ones(2, np.float32)


@pytest.fixture(params=CELLS.values(), ids=CELLS)
def tiny(request):
    return request.param


@pytest.fixture
def session(tiny):
    return Session(tiny.content, threads=1)


def equal(states, others):
    return all(np.array_equal(*pair) for pair in zip(states, others, strict=True))


def test_a_place_that_is_used_again_starts_at_zeros(session):
    pool = session.pool(capacity=1)
    for _ in range(5):
        stream = pool.open()
        assert not any(map(np.any, pool.state(stream)))
        pool.step({stream: ONES})
        pool.close(stream)


def test_a_place_that_is_used_again_answers_as_a_new_one(session):
    pool = session.pool(capacity=2)
    first = pool.open()
    expected = [pool.step({first: ONES})[first].copy() for _ in range(5)]
    pool.close(first)
    second = pool.open()
    given = [pool.step({second: ONES})[second] for _ in range(5)]
    np.testing.assert_array_equal(given, expected)


def test_a_number_is_never_given_twice(session):
    pool, given = session.pool(capacity=3), []
    for _ in range(20):
        streams = [pool.open() for _ in range(3)]
        given += streams
        for stream in streams[::-1]:
            pool.close(stream)
    assert len(set(given)) == len(given)


def test_the_number_of_a_closed_stream_does_not_reach_who_has_its_place(session):
    pool = session.pool(capacity=1)
    old = pool.open()
    pool.close(old)
    new = pool.open()
    with pytest.raises(StreamError, match=f"^stream {old}: is not open in this pool$"):
        pool.step({old: ONES})
    assert not any(map(np.any, pool.state(new)))


def test_closing_one_leaves_the_others_as_they_are(session):
    pool = session.pool()
    streams = [pool.open() for _ in range(4)]
    pool.step({stream: ONES * i for i, stream in enumerate(streams)})
    before = [pool.state(stream) for stream in streams[1:]]
    pool.close(streams[0])
    pool.open()
    assert all(map(equal, before, [pool.state(stream) for stream in streams[1:]]))


def test_a_pool_knows_how_many_and_which_are_open(session):
    pool = session.pool()
    a, b = pool.open(), pool.open()
    pool.close(a)
    assert len(pool) == 1
    assert b in pool
    assert a not in pool


def test_a_full_pool_opens_no_more_until_one_is_closed(session):
    pool = session.pool(capacity=2)
    pool.open()
    second = pool.open()
    message = (
        "the pool is full with 2 stream(s): close one, or make a larger pool with "
        "Session.pool(capacity=...)"
    )
    with pytest.raises(StreamError, match=f"^{re.escape(message)}$"):
        pool.open()
    pool.close(second)
    assert pool.open() in pool


CALLS = {
    "step": lambda pool, stream: pool.step({stream: ONES}),
    "submit": lambda pool, stream: pool.submit(stream, ONES),
    "close": lambda pool, stream: pool.close(stream),
    "reset": lambda pool, stream: pool.reset(stream),
    "state": lambda pool, stream: pool.state(stream),
    "set_state": lambda pool, stream: pool.set_state(stream, pool._model.zero_state(1)),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("which", ["closed", "unknown", "text"])
def test_a_stream_that_is_not_open_is_refused(call, which):
    with Session(Tiny("gru").content, threads=1).pool() as pool:
        closed = pool.open()
        pool.close(closed)
        stream = {"closed": closed, "unknown": 99, "text": "7"}[which]
        with pytest.raises(StreamError, match=f"^stream {stream!r}: is not open in this pool$"):
            call(pool, stream)


def test_a_state_that_was_read_is_a_copy(session):
    pool = session.pool()
    stream = pool.open()
    pool.step({stream: ONES})
    before = pool.state(stream)
    for array in pool.state(stream):
        array[:] = 9
    assert equal(pool.state(stream), before)


def test_a_state_that_was_set_is_copied(tiny, session):
    pool, state = session.pool(), tiny.state(1)
    stream = pool.open()
    pool.set_state(stream, state)
    kept = [array.copy() for array in state]
    for array in state:
        array[:] = 9
    assert equal(pool.state(stream), kept)


def test_reset_is_of_one_stream_alone(session):
    pool = session.pool()
    a, b = pool.open(), pool.open()
    pool.step({a: ONES, b: ONES})
    before = pool.state(b)
    pool.reset(a)
    assert not any(map(np.any, pool.state(a)))
    assert equal(pool.state(b), before)


def test_a_state_moves_from_a_stream_to_a_pool_and_back(session):
    stream, expected, pool = session.stream(), session.stream(), session.pool()
    frames = np.random.default_rng(0).standard_normal((6, 1, 2)).astype(np.float32)
    for first, second in zip(frames[::2], frames[1::2], strict=True):
        stream.step(first)
        ours = pool.open(stream.state)
        pool.step({ours: second[0]})
        stream.state = pool.state(ours)
        pool.close(ours)
    for frame in frames:
        expected.step(frame)
    assert equal(stream.state, expected.state)


WRONG_STATES = {
    "batch": (lambda tiny: tiny.state(2), "h_0: expected float32[1, batch, 3] with batch=1, got"),
    "count": (lambda tiny: tiny.state(1) * 2, "expected 1 state(s) (h_0), got 2 array(s)"),
    "dtype": (lambda tiny: [tiny.state(1)[0].astype(np.float64)], "got float64[1, 1, 3]; convert"),
    "name": (lambda tiny: {"h": tiny.state(1)[0]}, "expected the states h_0, got h"),
}


@pytest.mark.parametrize(("state", "message"), WRONG_STATES.values(), ids=WRONG_STATES)
def test_a_wrong_state_is_refused_and_the_old_one_stays(state, message):
    tiny = Tiny("gru")
    pool = Session(tiny.content, threads=1).pool()
    stream = pool.open()
    pool.step({stream: ONES})
    before = pool.state(stream)
    with pytest.raises(StateError, match=re.escape(message)):
        pool.set_state(stream, state(tiny))
    assert equal(pool.state(stream), before)


def test_a_wrong_state_at_open_takes_no_place():
    tiny = Tiny("gru")
    pool = Session(tiny.content, threads=1).pool(capacity=1)
    with pytest.raises(StateError, match="h_0: expected"):
        pool.open(tiny.state(2))
    assert len(pool) == 0
    assert pool.open() in pool


AFTER_SHUTDOWN = {
    "open": (lambda pool, stream: pool.open(), "^the pool was shut down: make another"),
    "submit": (lambda pool, stream: pool.submit(stream, ONES), "^the pool was shut down: make an"),
    "step": (lambda pool, stream: pool.step({stream: ONES}), "is not open in this pool$"),
    "close": (lambda pool, stream: pool.close(stream), "is not open in this pool$"),
    "state": (lambda pool, stream: pool.state(stream), "is not open in this pool$"),
}


@pytest.mark.parametrize(("call", "message"), AFTER_SHUTDOWN.values(), ids=AFTER_SHUTDOWN)
@pytest.mark.parametrize("submitted", [False, True], ids=["never-submitted", "submitted"])
def test_a_pool_that_was_shut_down_takes_no_calls(call, message, submitted):
    pool = Session(Tiny("gru").content, threads=1).pool()
    stream = pool.open()
    if submitted:
        pool.submit(stream, ONES).result(30)
    pool.shutdown()
    with pytest.raises(StreamError, match=message):
        call(pool, stream)
    assert len(pool) == 0


def test_a_pool_is_shut_down_at_the_end_of_a_block_and_may_be_again():
    with Session(Tiny("gru").content, threads=1).pool() as pool:
        stream = pool.open()
    assert stream not in pool
    pool.shutdown()


WRONG_NUMBERS = {
    "capacity-0": ({"capacity": 0}, "capacity: expected an integer of 1 or more, got 0"),
    "capacity-float": ({"capacity": 2.0}, "capacity: expected an integer of 1 or more, got 2.0"),
    "waiting-0": ({"max_waiting": 0}, "max_waiting: expected an integer of 1 or more, got 0"),
    "delay-negative": ({"max_delay_ms": -1}, "max_delay_ms: expected 0 or more, got -1"),
    "delay-nan": ({"max_delay_ms": np.nan}, "max_delay_ms: expected 0 or more, got nan"),
    "delay-text": ({"max_delay_ms": "2"}, "max_delay_ms: expected 0 or more, got '2'"),
}


@pytest.mark.parametrize(("numbers", "message"), WRONG_NUMBERS.values(), ids=WRONG_NUMBERS)
def test_a_number_out_of_its_range_is_refused(numbers, message):
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        Session(Tiny("gru").content).pool(**numbers)


def test_streams_come_and_go_while_a_step_runs(monkeypatch):
    """Nobody waits for the model, and a slot does not change hands before its step has ended."""
    session = Session(Tiny("gru").content, engine="onnxruntime", threads=1)
    pool, run = session.pool(capacity=3), session.run
    staying, leaving = pool.open(), pool.open()
    frame = np.ones(2, np.float32)
    coming = []

    def meanwhile(*arguments, **options):
        def others():
            pool.close(leaving)
            coming.append(pool.open())

        thread = threading.Thread(target=others)
        thread.start()
        thread.join(10)
        assert not thread.is_alive(), "open or close waited for the step"
        return run(*arguments, **options)

    monkeypatch.setattr(session, "run", meanwhile)
    answers = pool.step({staying: frame, leaving: frame})
    monkeypatch.undo()
    np.testing.assert_array_equal(answers[staying], answers[leaving])
    assert not np.any(pool.state(coming[0]))
    assert np.any(pool.state(staying))
    assert not np.any(pool.state(pool.open())), "the slot that was left begins at zeros"


def test_a_full_pool_has_room_again_when_the_step_of_a_closed_stream_has_ended(monkeypatch):
    session = Session(Tiny("gru").content, engine="onnxruntime", threads=1)
    pool, run = session.pool(capacity=1), session.run
    stream, begun = pool.open(), threading.Event()

    def slow(*arguments, **options):
        pool.close(stream)
        begun.set()
        time.sleep(0.05)
        return run(*arguments, **options)

    monkeypatch.setattr(session, "run", slow)
    stepping = threading.Thread(target=pool.step, args=[{stream: np.ones(2, np.float32)}])
    stepping.start()
    assert begun.wait(10)
    assert not np.any(pool.state(pool.open()))
    stepping.join()
