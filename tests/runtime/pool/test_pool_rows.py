"""`StreamPool.step_rows`: frames that lie in one array are answered as those of a mapping."""

import re

import numpy as np
import pytest
from tiny_models import Tiny, two_inputs

from rnnedge_runtime import InputError, Session, StreamError

CELLS = {
    "rnn": Tiny("rnn"),
    "lstm": Tiny("lstm"),
    "gru-batch-first": Tiny("gru", batch_first=True),
    "lstm-lengths": Tiny("lstm", lengths=True),
}


@pytest.fixture(params=CELLS.values(), ids=CELLS)
def tiny(request):
    return request.param


def opened(content, count=3):
    pool = Session(content, threads=1).pool()
    return pool, [pool.open() for _ in range(count)]


@pytest.mark.parametrize("shape", [(2,), (5, 2)], ids=["frames", "chunks"])
def test_rows_are_answered_as_a_mapping_is(tiny, shape):
    rng = np.random.default_rng(0)
    pool, streams = opened(tiny.content)
    other, others = opened(tiny.content)
    for picked in ([0, 1, 2], [2, 0], [1]):
        frames = rng.standard_normal((len(picked), *shape)).astype(np.float32)
        given = pool.step_rows([streams[i] for i in picked], frames)
        expected = other.step({others[i]: frame for i, frame in zip(picked, frames, strict=True)})
        np.testing.assert_array_equal(given, np.stack([expected[others[i]] for i in picked]))
    for stream, twin in zip(streams, others, strict=True):
        np.testing.assert_array_equal(pool.state(stream), other.state(twin))


def test_rows_of_several_inputs_and_outputs():
    _, content = two_inputs()
    pool, streams = opened(content)
    other, others = opened(content)
    x = np.random.default_rng(0).standard_normal((3, 2)).astype(np.float32)
    given = pool.step_rows(streams, {"left": x[:, :1], "right": x[:, 1:]})
    expected = other.step(
        {s: {"left": row[:1], "right": row[1:]} for s, row in zip(others, x, strict=True)}
    )
    for name, rows in given.items():
        np.testing.assert_array_equal(rows, np.stack([expected[s][name] for s in others]))


NAN = np.zeros((3, 2), np.float32)
NAN[1, 0] = np.nan
WRONG = {
    "rows": (np.zeros((2, 2), np.float32), "input: expected a row for each of 3 stream(s), got"),
    "scalar": (np.float32(0), "input: expected a row for each of 3 stream(s), got float32[]"),
    "features": (np.zeros((3, 5), np.float32), "input: expected float32[2] or float32[time, 2],"),
    "dtype": (np.zeros((3, 2)), "input: expected float32[2] or float32[time, 2], got float64[2]"),
    "nan": (NAN, "input: expected finite values, got nan (1 of 6)"),
    "name": ({"x": np.zeros((3, 2), np.float32)}, "expected the inputs input; got x"),
}


@pytest.mark.parametrize(("frames", "message"), WRONG.values(), ids=WRONG)
def test_rows_that_do_not_fit_change_no_state(frames, message):
    pool, streams = opened(Tiny("gru").content)
    pool.step_rows(streams, np.ones((3, 2), np.float32))
    before = [pool.state(stream) for stream in streams]
    with pytest.raises(InputError, match=re.escape(message)):
        pool.step_rows(streams, frames)
    for stream, state in zip(streams, before, strict=True):
        np.testing.assert_array_equal(pool.state(stream), state)


@pytest.mark.parametrize("streams", [[], [0, 0]], ids=["none", "twice"])
def test_streams_that_come_twice_or_not_at_all(streams):
    pool, _ = opened(Tiny("gru").content)
    message = f"streams: expected one or more different streams, got {streams}"
    with pytest.raises(InputError, match=re.escape(message)):
        pool.step_rows(streams, np.zeros((len(streams), 2), np.float32))


def test_a_stream_that_is_not_open():
    pool, streams = opened(Tiny("gru").content)
    pool.close(streams[1])
    with pytest.raises(StreamError, match=r"^stream 1: is not open in this pool$"):
        pool.step_rows(streams, np.ones((3, 2), np.float32))
    assert not np.any(pool.state(streams[0]))
