"""Inputs that are given once, to a stream or to a pool, instead of at each step."""

import re

import numpy as np
import pytest
import tiny_onnx
from tiny_models import Tiny, silero_style, two_inputs

from rnnedge_runtime import InputError, Session
from rnnedge_runtime.contract import TensorSpec

TINY, CONTENT = silero_style()
RATES = {
    "number": 8000,
    "array": np.array(8000),
    "scalar-of-numpy": np.int64(8000),
}


@pytest.fixture(scope="module")
def session():
    """A voice detector that answers half of the LSTM's output where sr is 8000."""
    return Session(CONTENT, threads=1)


def with_speed(dtype, axes):
    """Return the model with an input `speed` that the output is multiplied by."""
    graph = Tiny("gru").graph()
    graph.drop("output")
    graph.inputs.append(TensorSpec("speed", dtype, axes))
    graph.add("Cast", ["speed"], ["factor"], to=tiny_onnx.DTYPES["float32"])
    graph.add("Mul", ["raw", "factor"], ["output"])
    return graph.content()


@pytest.mark.parametrize("rate", RATES.values(), ids=RATES)
def test_a_stream_is_given_its_frames_alone(session, rate):
    x = TINY.input(5, 2)
    stream = session.stream(batch=2, constants={"sr": rate})
    steps = [stream.step(frame) for frame in x]
    np.testing.assert_allclose(steps, TINY.expected(x)[0] / 2, rtol=1e-5, atol=2e-6)


def test_the_first_step_runs_on_bound_buffers(session, monkeypatch):
    stream = session.stream(constants={"sr": 8000})
    monkeypatch.setattr(Session, "run", None)
    assert stream.step(np.zeros((1, 4), np.float32)).shape == (1, 3)


def test_a_chunk_beside_a_constant():
    tiny = Tiny("gru")
    stream = Session(with_speed("float32", ())).stream(batch=2, constants={"speed": 2})
    x = tiny.input(6, 2)
    chunks = [stream.step({"input": part}) for part in np.split(x, 3)]  # from the third on, bound
    np.testing.assert_allclose(
        np.concatenate(chunks), tiny.expected(x)[0] * 2, rtol=1e-5, atol=4e-6
    )


def test_a_constant_for_each_row():
    tiny = Tiny("gru")
    rows = np.array([[1.0], [0.0]], np.float32)
    stream = Session(with_speed("float32", ("batch", 1))).stream(2, constants={"speed": rows})
    rows[:] = 7  # the stream has its own
    x = tiny.input(1, 2)
    answer = stream.step(x[0])
    assert not answer[1].any()
    np.testing.assert_allclose(answer[0], tiny.expected(x)[0][0, 0], rtol=1e-5, atol=2e-6)


def test_a_clone_has_the_same_constants(session):
    stream = session.stream(constants={"sr": 8000})
    frame = TINY.input(1, 1)[0]
    stream.step(frame)
    twin = stream.clone()
    assert np.array_equal(twin.step(frame), stream.step(frame))


@pytest.mark.parametrize("rate", RATES.values(), ids=RATES)
def test_a_pool_is_given_its_frames_alone(session, rate):
    x = TINY.input(3, 2)
    with session.pool(constants={"sr": rate}) as pool:
        a, b = pool.open(), pool.open()
        together = pool.step({a: x[0, 0], b: x[0, 1]})
        rows = pool.step_rows([b, a], x[1, ::-1])
        queued = [pool.submit(a, x[2, 0]), pool.submit(b, x[2, 1])]
        answers = [[together[a], together[b]], rows[::-1], [each.result() for each in queued]]
    np.testing.assert_allclose(answers, TINY.expected(x)[0] / 2, rtol=1e-5, atol=2e-6)


WRONG = {
    "no-mapping": (16000, "constants: expected a mapping by input name, got int"),
    "unknown": (
        {"rate": 16000},
        "constants: expected names of data inputs (input, sr), got 'rate'",
    ),
    "state": (
        {"state": np.zeros((2, 1, 3), np.float32)},
        "constants: expected names of data inputs (input, sr), got 'state'",
    ),
    "dtype": (
        {"sr": np.float32(16000)},
        "sr: expected int64[], got float32[]; convert it with .astype('int64')",
    ),
    "fraction": ({"sr": 0.5}, "sr: expected int64[], got float64[]; convert it with"),
    "shape": ({"sr": np.array([16000])}, "sr: expected int64[], got int64[1]"),
    "text": ({"sr": "16 kHz"}, "sr: expected int64[], got <U6[]"),
    "all": (
        {"sr": 16000, "input": np.zeros((1, 4), np.float32)},
        "constants: expected at least one of input, sr to be left for the frames",
    ),
}


@pytest.mark.parametrize("opened", [Session.stream, Session.pool], ids=["stream", "pool"])
@pytest.mark.parametrize(("constants", "message"), WRONG.values(), ids=WRONG)
def test_what_does_not_fit_is_refused(session, opened, constants, message):
    with pytest.raises(InputError, match=f"^{re.escape(message)}"):
        opened(session, constants=constants)


def test_an_integer_that_its_dtype_cannot_hold_is_refused():
    session = Session(with_speed("int32", ()))
    with pytest.raises(InputError, match=r"^speed: expected int32\[\], got int64\[\]"):
        session.stream(constants={"speed": 3_000_000_000})


def test_nan_is_refused():
    with pytest.raises(InputError, match=r"^speed: expected finite values, got nan"):
        Session(with_speed("float32", ())).stream(constants={"speed": float("nan")})


def test_an_input_with_a_time_axis_is_no_constant():
    session = Session(two_inputs()[1])
    message = r"^constants: left float32\[time, batch, 1\] has a time axis: pass it with each"
    with pytest.raises(InputError, match=message):
        session.stream(constants={"left": np.zeros((1, 1, 1), np.float32)})


def test_a_constant_comes_with_no_frame(session):
    stream = session.stream(constants={"sr": 16000})
    frame = {"input": np.zeros((1, 4), np.float32), "sr": np.array(8000)}
    with pytest.raises(
        InputError, match=r"^sr: is a constant of the stream: leave it out of the fr"
    ):
        stream.step(frame)


def test_a_constant_of_a_pool_comes_with_no_frame(session):
    pool = session.pool(constants={"sr": 16000})
    stream = pool.open()
    with pytest.raises(InputError, match="expected the inputs input; got input, sr"):
        pool.step({stream: {"input": np.zeros(4, np.float32), "sr": np.array(8000)}})


def test_a_pool_takes_no_constant_for_each_row():
    session = Session(with_speed("float32", ("batch", 1)))
    message = (
        r"^constants: speed float32\[batch, 1\] has a batch axis: pass it with the frames of each"
    )
    with pytest.raises(InputError, match=message):
        session.pool(constants={"speed": np.ones((1, 1), np.float32)})
