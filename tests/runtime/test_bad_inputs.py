"""What does not fit is refused before ONNX Runtime sees it: expected, got, which, what to do."""

import re

import numpy as np
import pytest
from tiny_models import Tiny, two_inputs

from rnnedge_runtime import EngineError, InputError, Session, StateError
from rnnedge_runtime.contract import TensorSpec

LSTM = Tiny("lstm", lengths=True)
X = LSTM.input(5, 2)
H, C = LSTM.state(2)


CALLS_BEFORE = {
    "none": [],
    "one-from-zeros": [{}],
    "one-with-a-state": [{"state": (H, C)}],
}
"""A call like the one before is not checked again: one that is unlike it is."""


@pytest.fixture(params=CALLS_BEFORE.values(), ids=CALLS_BEFORE)
def session(request):
    opened = Session(LSTM.content)
    for arguments in request.param:
        opened.run(X, **arguments)
    return opened


INPUTS = {
    "rank-too-low": (
        X[:, 0],
        "input: expected float32[time, batch, 2], got float32[5, 2]; "
        "one sequence is a batch of 1: x[:, None, :]",
    ),
    "rank-too-high": (X[None], "input: expected float32[time, batch, 2], got float32[1, 5, 2, 2]"),
    "scalar": (np.float32(1), "input: expected float32[time, batch, 2], got float32[]"),
    "features": (
        np.zeros((5, 2, 7), np.float32),
        "input: expected float32[time, batch, 2] with time=5, batch=2, got float32[5, 2, 7]",
    ),
    "float64": (
        X.astype(np.float64),
        "got float64[5, 2, 2]; convert it with .astype('float32')",
    ),
    "integers": (X.astype(np.int64), "got int64[5, 2, 2]; convert it with .astype('float32')"),
    "big-endian": (X.astype(">f4"), "got >f4[5, 2, 2]; convert it with .astype('float32')"),
    "text": (np.full(X.shape, "x"), "input: expected float32[time, batch, 2], got <U1[5, 2, 2]"),
    "ragged-lists": ([[1.0], [1.0, 2.0]], "input: expected an array, got list: "),
    "unknown-name": ({"x": X}, "expected the inputs input; unknown: x"),
    "one-name-too-many": ({"input": X, "h_0": H}, "expected the inputs input; unknown: h_0"),
    "name-that-is-no-text": ({0: X}, "expected the inputs input; unknown: 0"),
    "missing-name": ({}, "expected the inputs input; missing: input"),
    "no-steps": (X[:0], "input: expected a time axis of 1 or more steps, got 0"),
    "no-steps-and-no-rows": (X[:0, :0], "input: expected a time axis of 1 or more steps, got 0"),
}


@pytest.mark.parametrize(("given", "message"), INPUTS.values(), ids=INPUTS)
def test_input(session, given, message):
    with pytest.raises(InputError, match=re.escape(message)):
        session.run(given)


def test_batch_first_is_in_the_message():
    session = Session(Tiny("gru", batch_first=True).content)
    with pytest.raises(InputError, match=re.escape("[batch, time, 2], got float32[5, 2]; one seq")):
        session.run(X[:, 0])


LENGTHS = {
    "below-zero": (
        [5, -1],
        "lengths: expected lengths from 0 to 5, the number of steps, got -1 at row 1",
    ),
    "above-time": (
        [6, 5],
        "lengths: expected lengths from 0 to 5, the number of steps, got 6 at row 0",
    ),
    "floats": (
        [5.0, 2.0],
        "lengths: expected integers, got float64; convert them with .astype('int64')",
    ),
    "booleans": ([True, False], "lengths: expected integers, got bool"),
    "text": (["5", "2"], "lengths: expected integers, got <U1"),
    "too-many": (
        [5, 2, 1],
        "lengths: expected one length for each of the 2 row(s) of the batch, got shape [3]",
    ),
    "a-column": ([[5], [2]], "of the 2 row(s) of the batch, got shape [2, 1]"),
    "one-number": (5, "of the 2 row(s) of the batch, got shape []"),
    "ragged": ([[5], [2, 1]], "lengths: expected an array, got list: "),
}


@pytest.mark.parametrize(("given", "message"), LENGTHS.values(), ids=LENGTHS)
def test_lengths(session, given, message):
    with pytest.raises(InputError, match=re.escape(message)):
        session.run(X, lengths=given)


def test_lengths_for_a_model_without():
    message = "the model takes no lengths: export it with lengths=True (--lengths)"
    with pytest.raises(InputError, match=re.escape(message)):
        Session(Tiny("lstm").content).run(X, lengths=[5, 5])


STATES = {
    "batch": (
        (H[:, :1], C),
        "h_0: expected float32[1, batch, 3] with batch=2, got float32[1, 1, 3]",
    ),
    "hidden": ((H, C[..., :2]), "c_0: expected float32[1, batch, 3] with batch=2, got float32[1,"),
    "rank": ((H[0], C), "h_0: expected float32[1, batch, 3], got float32[2, 3]"),
    "dtype": (
        (H.astype(np.float64), C),
        "h_0: expected float32[1, batch, 3] with batch=2, got flo",
    ),
    "too-few": ((H,), "expected 2 state(s) (h_0, c_0), got 1 array(s)"),
    "none-of-them": ((), "expected 2 state(s) (h_0, c_0), got 0 array(s)"),
    "bare-array": (H, "expected 2 state(s) (h_0, c_0), got 1 array(s)"),
    "unknown-name": ({"h": H, "c_0": C}, "expected the states h_0, c_0, got h, c_0"),
    "missing-name": ({"h_0": H}, "expected the states h_0, c_0, got h_0"),
    "ragged": (([[1.0], [1.0, 2.0]], C), "h_0: expected an array, got list: "),
}


@pytest.mark.parametrize(("given", "message"), STATES.values(), ids=STATES)
def test_state(session, given, message):
    with pytest.raises(StateError, match=re.escape(message)):
        session.run(X, state=given)


def test_state_for_a_model_without():
    message = "the model takes no state: export it with states (--states)"
    with pytest.raises(StateError, match=re.escape(message)):
        Session(Tiny("lstm", states=False).content).run(X, state=(H, C))


@pytest.fixture
def two():
    return Session(two_inputs()[1])


def test_a_bare_array_for_a_model_of_several_inputs(two):
    message = "expected a mapping with the inputs left, right, got one array"
    with pytest.raises(InputError, match=message):
        two.run(X)


def test_one_of_several_inputs_missing(two):
    with pytest.raises(InputError, match="expected the inputs left, right; missing: right"):
        two.run({"left": X[..., :1]})


def test_inputs_that_do_not_agree_with_each_other(two):
    message = "right: expected float32[time, batch, 1] with time=5, batch=2, got float32[4, 2, 1]"
    with pytest.raises(InputError, match=re.escape(message)):
        two.run({"left": X[..., :1], "right": X[:4, :, :1]})


def test_steps_of_which_a_model_keeps_none():
    tiny = Tiny("gru")
    shorter = TensorSpec("output", "float32", ("time - 2", "batch", 3))
    session = Session(tiny.promising(outputs=(shorter, *tiny.interface.outputs[1:])))
    session.run(tiny.input(3, 2))
    message = "input: expected more than 2 step(s): output float32[time - 2, batch, 3] would have "
    with pytest.raises(InputError, match=f"^{re.escape(message)}time - 2 = 0$"):
        session.run(tiny.input(2, 2))


def test_what_onnxruntime_raises_is_an_engine_error():
    # A contract that promises more features than the graph takes lets a wrong input through.
    wide = TensorSpec("input", "float32", ("time", "batch", 9))
    tiny = Tiny("gru")
    session = Session(tiny.promising(inputs=(wide, *tiny.interface.inputs[1:])))
    with pytest.raises(EngineError, match=r"^ONNX Runtime failed: [^\n]+$"):
        session.run(np.zeros((5, 2, 9), np.float32))
