"""Arguments of kinds that nobody planned for: they are taken for what they are, or refused."""

import copy
import pickle
import re

import numpy as np
import pytest
from tiny_models import Tiny

from rnnedge_runtime import InputError, ModelError, Session, StateError, StreamError
from rnnedge_runtime.errors import OptionError, RnnEdgeError

LSTM = Tiny("lstm")
X = np.ones((3, 1, 2), np.float32)
ZERO, NAN = np.zeros((1, 1, 3), np.float32), np.full((1, 1, 3), np.nan, np.float32)
NO_NAN = "^c_0: expected a state without NaN, got 3 of 3 value.s.: NaN would stay in the state$"


@pytest.fixture(scope="module", params=["onnxruntime", "native"])
def session(request):
    if request.param == "native":
        pytest.importorskip("rnnedge_native")
    return Session(LSTM.content, threads=1, engine=request.param)


def words(value):
    return re.sub(" at 0x.*", "", str(value))


def stream_state(session, state):
    session.stream().state = state


def pool_state(session, state):
    pool = session.pool()
    pool.set_state(pool.open(), state)


def loaded(session, state):
    np.savez("state.npz", h_0=state[0], c_0=state[1], **{"rnnedge.digest": session.digest})
    session.stream().load("state.npz")


ENTRIES = {
    "run": lambda session, state: session.run(X, state=state),
    "by-name": lambda session, state: session.run(X, state=dict(zip(("h_0", "c_0"), state))),  # noqa: B905
    "set": stream_state,
    "load": loaded,
    "open": lambda session, state: session.pool().open(state),
    "set_state": pool_state,
}


@pytest.mark.parametrize("enter", ENTRIES.values(), ids=ENTRIES)
def test_nan_never_enters_a_state(session, enter, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):  # the second call of a shape takes a shorter way
        enter(session, (ZERO, ZERO))
        with pytest.raises(StateError, match=NO_NAN):
            enter(session, (ZERO, NAN))


def test_infinity_may_be_a_state():
    """Such as the largest score so far, in a model of another maker."""
    assert Session(LSTM.content).run(X, state=(ZERO, ZERO + np.inf)).output.shape == (3, 1, 3)


class NeedsGrad:
    """What torch raises for a tensor that requires a gradient."""

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad.")


MASKED = np.ma.masked_array(X, mask=X > 0)
ODD = {
    "masked": (MASKED, "expected an array, got a masked array whose masked values mean nothing"),
    "requires-grad": (NeedsGrad(), "expected an array, got NeedsGrad: Can't call numpy"),
    "ragged": ([[1.0], [1.0, 2.0]], "expected an array, got list: "),
    "none": (None, r"expected float32\[time, batch, 2\]"),
    "text": ("abc", r"expected float32\[time, batch, 2\]"),
}


@pytest.mark.parametrize(("odd", "message"), ODD.values(), ids=ODD)
def test_an_odd_array_is_refused_by_every_call(session, odd, message):
    with pytest.raises(InputError, match=rf"^input: {message}"):
        session.run(odd)
    with pytest.raises(InputError, match=r"^input: "):
        session.stream().step(odd)
    pool = session.pool()
    stream = pool.open()
    for call in (
        lambda: pool.step({stream: odd}),
        lambda: pool.step_rows([stream], odd),
        lambda: pool.submit(stream, odd),
    ):
        with pytest.raises(InputError, match=r"input: "):
            call()
    with pytest.raises(StateError, match=r"^h_0: "):
        session.run(X, state=(odd, odd))


def test_a_masked_array_without_masked_values_is_an_array(session):
    given = session.run(np.ma.masked_array(X, mask=X > 9)).output
    np.testing.assert_array_equal(given, session.run(X).output)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_model_of_any_kind_of_bytes(kind):
    content = kind(LSTM.content)
    opened = Session(content, threads=1)
    if kind is bytearray:
        content[:] = bytes(len(content))  # what the session keeps is its own
    np.testing.assert_array_equal(
        opened.run(X).output, Session(LSTM.content, threads=1).run(X).output
    )


WRONG_MODELS = {
    "none": (None, "expected the path of an .onnx file or its bytes, got NoneType"),
    "number": (5, "expected the path of an .onnx file or its bytes, got int"),
    "list": ([1], "expected the path of an .onnx file or its bytes, got list"),
    "null": ("a\0b", "expected a path, got a null character in it"),
}


@pytest.mark.parametrize(("model", "message"), WRONG_MODELS.values(), ids=WRONG_MODELS)
@pytest.mark.parametrize("engine", ["auto", "onnxruntime", "native"])
def test_what_is_no_model(model, message, engine):
    with pytest.raises(ModelError, match=message):
        Session(model, engine=engine)


@pytest.mark.parametrize("number", [np.int64(1), np.uint8(1), np.array(1)], ids=repr)
def test_numbers_of_numpy_are_numbers(number):
    session = Session(LSTM.content, threads=number)
    assert session.engine.options.threads == 1
    assert session.stream(batch=number).batch == 1
    assert len(session.pool(capacity=number, max_waiting=number)) == 0


def test_options_that_are_no_mapping_of_text():
    for options in ([("a", "b")], "a=b", {1: "2"}, {"a": 2}):
        with pytest.raises(OptionError, match=r"^options: expected "):
            Session(LSTM.content, options=options)


@pytest.mark.parametrize("number", [True, 1.0, "1", None, 0, -1, 10**30], ids=repr)
def test_what_is_no_number_of_rows(session, number):
    with pytest.raises(InputError, match=r"^batch: expected an integer of 1 or more, got "):
        session.stream(batch=number)


def test_a_batch_that_does_not_fit_in_memory(session):
    with pytest.raises(StateError, match=r"^h_0: zeros of float32\[1, 1099511627776, 3\] do not"):
        session.stream(batch=2**40)


@pytest.mark.parametrize("make", [copy.copy, copy.deepcopy], ids=["copy", "deepcopy"])
def test_the_copy_of_a_stream_has_its_own_state(session, make):
    stream = session.stream()
    stream.step(X[0])
    before, twin = stream.state, make(stream)
    np.testing.assert_array_equal(twin.state, before)
    twin.step(X[0])
    np.testing.assert_array_equal(stream.state, before)
    np.testing.assert_array_equal(stream.step(X[0]), session.run(X[:2]).output[1])


def test_the_copy_of_a_session_is_the_session(session):
    assert copy.copy(session) is copy.deepcopy(session) is session


def test_what_is_open_is_not_pickled(session):
    with pytest.raises(ModelError, match=r"^a session of a model given as bytes cannot be pickled"):
        pickle.dumps(session)
    with pytest.raises(StreamError, match=r"^a stream cannot be pickled: write its state with"):
        pickle.dumps(session.stream())


ROWS = [[[1], [1, 2]], [True], "a", [2], [-1], {0}, np.ma.masked_array([0], mask=True), object()]


@pytest.mark.parametrize("rows", ROWS, ids=words)
def test_what_is_no_row(session, rows):
    with pytest.raises(StateError, match=r"^rows: expected "):
        session.stream().reset(rows=rows)


STREAMS = [[0], {}, None, "0", -1, np.array([0, 1]), 1.5]


@pytest.mark.parametrize("stream", STREAMS, ids=words)
def test_what_is_no_stream_of_a_pool(session, stream):
    pool = session.pool()
    pool.open()
    for call in (
        pool.close,
        pool.state,
        pool.reset,
        lambda stream: pool.submit(stream, X[0, 0]),
        lambda stream: pool.set_state(stream, (ZERO, ZERO)),
        lambda stream: pool.step_rows([stream], X[0]),
    ):
        with pytest.raises(RnnEdgeError, match=r"stream"):
            call(stream)


@pytest.mark.parametrize(
    "frames", [None, 5, [X[0]], "abc"], ids=lambda value: re.sub(" at 0x.*", "", str(value))
)
def test_what_are_no_frames_of_a_pool(session, frames):
    with pytest.raises(InputError, match=r"^expected a mapping of streams to frames, got "):
        session.pool().step(frames)


@pytest.mark.parametrize(
    "state",
    [5, object(), None, "ab", [None, None]],
    ids=lambda value: re.sub(" at 0x.*", "", str(value)),
)
def test_what_is_no_state(session, state):
    if state is None:
        session.run(X, state=state)
        return
    with pytest.raises(StateError, match=r"^(expected the states h_0, c_0, got|h_0: expected)"):
        session.run(X, state=state)
