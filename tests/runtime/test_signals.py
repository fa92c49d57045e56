"""A signal handler that raises: everything stays usable, and its exception arrives as it is."""

import functools
import signal

import numpy as np
import pytest
from interrupting import interrupted, moments
from tiny_models import Tiny

from rnnedge_runtime import EngineError, Session, StreamError

FRAME = np.ones((1, 2), np.float32)
CHUNK = np.ones((3, 1, 2), np.float32)
LSTM = Tiny("lstm")

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="needs SIGALRM")


@pytest.fixture(scope="module", params=["onnxruntime", "native"])
def session(request):
    if request.param == "native":
        pytest.importorskip("rnnedge_native")
    return Session(LSTM.content, threads=1, engine=request.param)


def same(a, b) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def states_after(session, steps) -> list:
    stream = session.stream()
    found = [stream.state]
    for step in steps:
        stream.step(step)
        found.append(stream.state)
    return found


@pytest.mark.parametrize("frame", [FRAME, CHUNK], ids=["frame", "chunk"])
def test_a_step_that_is_interrupted_happened_or_did_not(session, frame):
    stream = session.stream()
    before, after = states_after(session, [frame])
    least = 1 if session.engine.name == "native" else 5  # one call of C does it all
    for moment in moments(lambda: stream.step(frame), least=least):
        state = stream.state  # which is refused if the stream is locked
        assert same(state, before) or same(state, after), moment
        stream.state = before


CHANGES = {
    "set": lambda stream: setattr(stream, "state", [np.ones((1, 1, 3), np.float32)] * 2),
    "reset": lambda stream: stream.reset(),
    "rows": lambda stream: stream.reset(rows=[0]),
    "clone": lambda stream: stream.clone(),
    "read": lambda stream: stream.state,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_of_the_state_that_is_interrupted_is_whole_or_nothing(session, change):
    stream, other = session.stream(), session.stream()
    stream.step(FRAME)
    before = stream.state
    other.state = before
    change(other)
    for moment in moments(lambda: change(stream)):
        assert same(stream.state, before) or same(stream.state, other.state), moment
        stream.state = before


def test_a_stream_whose_close_is_interrupted_is_closed_or_works(session):
    for moment in range(8):
        stream = session.stream()
        if not interrupted(stream.close, moment):
            break
        if stream._closed:
            with pytest.raises(StreamError, match="the stream is closed"):
                stream.step(FRAME)
        else:
            stream.step(FRAME)


def room(pool) -> int:
    opened = []
    try:
        while True:
            opened.append(pool.open())
    except StreamError:
        for stream in opened:
            pool.close(stream)
        return len(opened)


def test_an_open_that_is_interrupted_leaves_no_slot_behind(session):
    pool = session.pool(capacity=3)
    kept = pool.open()
    for again in (False, True):
        if again:  # a slot that was in use before
            pool.close(pool.open())
        for moment in moments(pool.open):
            assert (len(pool), kept in pool, room(pool)) == (1, True, 2), moment
        pool.close(max(pool._slots.of_stream))


def test_a_close_that_is_interrupted_leaves_no_slot_behind(session):
    pool = session.pool(capacity=2)
    for moment in range(50):
        stream = pool.open()
        if not interrupted(lambda stream=stream: pool.close(stream), moment):
            assert moment >= 2
            break
        if stream in pool:
            pool.close(stream)
        assert (len(pool), room(pool)) == (0, 2), moment


@pytest.mark.parametrize("way", ["step", "step_rows", "mixed"])
def test_a_step_of_a_pool_that_is_interrupted_happened_or_did_not(session, way):
    pool = session.pool(capacity=3)
    a, b = pool.open(), pool.open()
    frames = {a: FRAME[0], b: CHUNK[:, 0] if way == "mixed" else FRAME[0]}
    before = states_after(session, [FRAME])
    chunk = states_after(session, [CHUNK])

    def step():
        if way == "step_rows":
            pool.step_rows([a, b], np.concatenate([FRAME, FRAME]))
        else:
            pool.step(frames)

    step()  # the first one prepares the engine
    pool.reset(a)
    pool.reset(b)
    for moment in moments(step):
        one, other = pool.state(a), pool.state(b)
        last = chunk if way == "mixed" else before
        nothing = same(one, before[0]) and same(other, before[0])
        close = [np.abs(x - y).max() < 1e-6 for x, y in zip(other, last[1], strict=True)]
        assert nothing or (same(one, before[1]) and all(close)), moment
        assert room(pool) == 1, moment
        pool.reset(a)
        pool.reset(b)


def test_a_close_during_a_step_that_is_interrupted_frees_its_slot(session, monkeypatch):
    pool = session.pool(capacity=2)
    monkeypatch.setattr(pool._steps, "_row_steps", None)
    answer = pool._model._run

    def run(names, feeds):
        pool.close(closed)
        return answer(names, feeds)

    monkeypatch.setattr(pool._model, "_run", run)
    for moment in range(400):
        kept, closed = pool.open(), pool.open()
        frames = {kept: FRAME[0]}
        ended = not interrupted(lambda frames=frames: pool.step(frames), moment)
        for stream in list(pool._slots.of_stream):
            pool.close(stream)
        assert room(pool) == 2, moment
        if ended:
            assert moment > 20
            break


class AlarmError(Exception):
    """What the application's handler raises."""


def handler(number, frame):
    raise AlarmError(number)


class Handlers:
    def method(self, number, frame):
        raise AlarmError(number)

    def __call__(self, number, frame):
        raise AlarmError(number)


WAYS = {
    "function": handler,
    "method": Handlers().method,
    "object": Handlers(),
    "partial": functools.partial(handler),
    "lambda": lambda number, frame: handler(number, frame),
}


@pytest.fixture(params=WAYS.values(), ids=WAYS)
def alarm(request):
    old = signal.signal(signal.SIGALRM, request.param)
    yield
    signal.signal(signal.SIGALRM, old)


@pytest.mark.usefixtures("alarm")
def test_the_exception_of_a_handler_is_not_an_error_of_the_engine(monkeypatch):
    session = Session(LSTM.content, threads=1, engine="onnxruntime")
    answer = session._run

    def run(names, feeds):
        signal.raise_signal(signal.SIGALRM)
        return answer(names, feeds)

    monkeypatch.setattr(session, "_run", run)
    with pytest.raises(AlarmError):
        session.run(CHUNK)
    with pytest.raises(AlarmError):
        session.stream()  # which runs a step to warm up


def test_the_exception_of_a_handler_arrives_from_a_bound_step(monkeypatch):
    old = signal.signal(signal.SIGALRM, handler)
    try:
        stream = Session(LSTM.content, threads=1, engine="onnxruntime").stream()
        run = lambda: signal.raise_signal(signal.SIGALRM)  # noqa: E731
        monkeypatch.setattr(stream._usual, "_runs", [run, run])
        with pytest.raises(AlarmError):
            stream.step(FRAME)
        assert not stream.state[0].any()
    finally:
        signal.signal(signal.SIGALRM, old)


def test_an_exception_of_the_engine_is_an_engine_error_while_handlers_are_set(monkeypatch):
    old = signal.signal(signal.SIGALRM, handler)
    try:
        session = Session(LSTM.content, threads=1, engine="onnxruntime")

        def run(names, feeds):
            raise AlarmError("of the engine")

        monkeypatch.setattr(session, "_run", run)
        with pytest.raises(EngineError, match="of the engine"):
            session.run(CHUNK)
    finally:
        signal.signal(signal.SIGALRM, old)


def test_real_timers_never_lock_a_stream(session):
    """Not only where a profiler is called."""
    old = signal.signal(signal.SIGALRM, handler)
    stream, seen = session.stream(), 0
    try:
        for turn in range(300):
            try:
                signal.setitimer(signal.ITIMER_REAL, 1e-5 * (1 + turn % 20))
                while True:
                    stream.step(FRAME)
                    assert stream.state
            except AlarmError:
                seen += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert seen == 300
    stream.step(FRAME)
