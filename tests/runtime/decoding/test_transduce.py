"""`Session.transduce`: what it refuses, and what it says."""

from dataclasses import replace

import numpy as np
import pytest
from tiny_models import Tiny

from rnnedge_runtime import InputError, Session, StateError
from rnnedge_runtime.contract import TensorSpec

TINY = Tiny("gru", input_size=4, hidden_size=3)


def transducer(table=None):
    """Return a file that adds a frame to the row of a symbol, and gives a GRU's output."""
    core = TINY.graph()
    frame = TensorSpec("frame", "float32", ("time", "batch", 4))
    core.inputs[:1] = [frame, TensorSpec("symbol", "int64", ("time", "batch"))]
    rows = np.random.default_rng(0).normal(size=(3, 4)) if table is None else table
    core.constants["table"] = np.float32(rows)
    core.nodes.insert(0, ("Gather", ["table", "symbol"], ["looked"], {}))
    core.nodes.insert(1, ("Add", ["looked", "frame"], ["input"], {}))
    interface = replace(TINY.interface, inputs=tuple(core.inputs))
    return core.content(replace(TINY.contract, interface=interface))


FRAMES = np.random.default_rng(1).normal(size=(2, 5, 4)).astype(np.float32)
WRONG = {
    "rank": ({"frames": FRAMES[0]}, "frames: expected float32.batch, time, 4."),
    "features": ({"frames": FRAMES[..., :3]}, "frames: expected float32.batch, time, 4."),
    "dtype": ({"frames": FRAMES.astype(float)}, "got float64"),
    "empty": ({"frames": FRAMES[:, :0]}, "frames: expected"),
    "nan": ({"frames": FRAMES * np.nan}, "frame: expected finite values"),
    "blank": ({"blank": 3}, "blank: expected a symbol from 0 to 2, got 3"),
    "true": ({"blank": True}, "blank: expected a symbol"),
    "no-symbols": ({"max_symbols": 0}, "max_symbols: expected an integer of 1 or more"),
    "lengths": ({"lengths": [5, 6]}, "lengths: expected lengths from 0 to 5"),
    "starts": ({"start": [1, 1, 1]}, "start: expected one symbol, or one for each of 2"),
    "prompt": ({"start": [[1, 1], [1, 1]]}, "start: expected one symbol, or one for each of 2"),
    "frame": ({"frame": "x"}, "frame: expected a model with a float input 'x'"),
}


@pytest.fixture(scope="module")
def session():
    return Session(transducer(), threads=1)


@pytest.mark.parametrize(("arguments", "message"), WRONG.values(), ids=WRONG)
def test_arguments_are_checked(session, arguments, message):
    with pytest.raises(InputError, match=message):
        session.transduce(**{"frames": FRAMES, "blank": 0} | arguments)


def test_a_state_of_other_rows_is_refused(session):
    with pytest.raises(StateError, match="h_0"):
        session.transduce(FRAMES, 0, state=TINY.state(3))


def test_rows_do_not_see_each_other(session):
    together = session.transduce(FRAMES, 0, 2, lengths=[5, 2])
    alone = [session.transduce(FRAMES[:1], 0, 2), session.transduce(FRAMES[1:, :2], 0, 2)]
    assert together.tokens == [one.tokens[0] for one in alone]


def test_rows_without_frames_write_nothing(session):
    decoded = session.transduce(FRAMES, 0, lengths=[0, 0])
    assert decoded.tokens == [[], []]
    assert decoded.scores.tolist() == [0.0, 0.0]


def test_a_model_of_frames_alone_is_refused():
    with pytest.raises(InputError, match="symbol: expected a model with an integer"):
        Session(TINY.content).transduce(FRAMES, 0)
