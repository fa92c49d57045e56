"""`Stream`: the state is kept between calls, and nothing else is."""

import re

import numpy as np
import pytest
from tiny_models import Tiny, two_inputs

from rnnedge_runtime import EngineError, InputError, Session, StateError

CELLS = {
    "rnn": Tiny("rnn"),
    "lstm": Tiny("lstm"),
    "gru": Tiny("gru"),
    "lstm-lengths": Tiny("lstm", lengths=True),
    "gru-batch-first": Tiny("gru", batch_first=True),
}
CHUNKS = {
    "single-steps": [1] * 7,
    "ragged": [2, 1, 4],
    "whole": [7],
}


@pytest.fixture(params=CELLS.values(), ids=CELLS)
def tiny(request):
    return request.param


@pytest.fixture
def session(tiny):
    return Session(tiny.content)


def time_axis(tiny):
    return 1 if tiny.batch_first else 0


def frame(tiny, batch=2, seed=1):
    """Return float32 [batch, features]."""
    return tiny.input(1, batch, seed).squeeze(time_axis(tiny))


def equal(states, others):
    return all(np.array_equal(*pair) for pair in zip(states, others, strict=True))


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("sizes", CHUNKS.values(), ids=CHUNKS)
def test_chunks_equal_the_whole(tiny, session, sizes, batch):
    x, stream = tiny.input(7, batch), session.stream(batch)
    cuts = np.cumsum(sizes)[:-1]
    steps = [stream.step(chunk) for chunk in np.split(x, cuts, time_axis(tiny))]
    given = np.concatenate(steps, time_axis(tiny))
    np.testing.assert_allclose(given, tiny.expected(x)[0], rtol=1e-5, atol=2e-6)


def test_frames_equal_the_whole(tiny, session):
    x, stream = tiny.input(7, 2), session.stream(batch=2)
    frames = np.moveaxis(x, time_axis(tiny), 0)
    steps = np.stack([stream.step(frame) for frame in frames], time_axis(tiny))
    np.testing.assert_allclose(steps, tiny.expected(x)[0], rtol=1e-5, atol=2e-6)


def test_a_frame_is_answered_without_a_time_axis(tiny, session):
    assert session.stream(2).step(frame(tiny)).shape == (2, 3)


def test_a_chunk_is_answered_with_a_time_axis(tiny, session):
    chunk = tiny.input(4, 2)
    assert session.stream(2).step(chunk).shape == (*chunk.shape[:2], 3)


def test_a_chunk_of_one_step_keeps_its_time_axis(tiny, session):
    assert session.stream(2).step(tiny.input(1, 2)).ndim == 3


def test_the_state_after_a_chunk(tiny, session):
    x, stream = tiny.input(5, 2), session.stream(2)
    stream.step(x)
    np.testing.assert_allclose(stream.state, tiny.expected(x)[1], rtol=1e-5, atol=2e-6)


def test_it_starts_at_zeros(tiny, session):
    assert not np.any(session.stream(2).state)


def test_reset_goes_back_to_zeros(tiny, session):
    stream = session.stream(2)
    first = stream.step(frame(tiny))
    stream.reset()
    np.testing.assert_array_equal(stream.step(frame(tiny)), first)


def test_a_snapshot_is_a_copy(tiny, session):
    stream = session.stream(2)
    stream.step(frame(tiny))
    snapshot = stream.state
    kept = [array.copy() for array in snapshot]
    for array in snapshot:
        array[:] = 9
    assert equal(stream.state, kept)


def test_a_snapshot_does_not_move_with_the_stream(tiny, session):
    stream = session.stream(2)
    stream.step(frame(tiny))
    snapshot = stream.state
    kept = [array.copy() for array in snapshot]
    stream.step(frame(tiny, seed=5))
    assert equal(snapshot, kept)


def test_a_state_that_was_set_is_copied(tiny, session):
    stream, state = session.stream(2), tiny.state(2)
    stream.state = state
    kept = [array.copy() for array in state]
    for array in state:
        array[:] = 9
    assert equal(stream.state, kept)


def test_going_back_to_a_snapshot_repeats_the_answer(tiny, session):
    stream = session.stream(2)
    stream.step(frame(tiny))
    snapshot = stream.state
    first = stream.step(frame(tiny, seed=5))
    stream.step(frame(tiny, seed=6))
    stream.state = snapshot
    np.testing.assert_array_equal(stream.step(frame(tiny, seed=5)), first)


def test_streams_of_one_session_do_not_share_state(tiny, session):
    first, second = session.stream(2), session.stream(2)
    first.step(frame(tiny, seed=7))
    assert not np.any(second.state)


WRONG_FRAMES = {
    "features": (
        np.zeros((2, 5), np.float32),
        "input: expected float32[batch, 2] for one step, or [time, batch, 2] for a chunk, "
        "got float32[2, 5]",
    ),
    "rows": (
        np.zeros((3, 2), np.float32),
        "input: expected 2 row(s), the batch of the stream, got 3",
    ),
    "rows-of-a-chunk": (
        np.zeros((4, 1, 2), np.float32),
        "input: expected 2 row(s), the batch of the stream",
    ),
    "no-rows": (np.zeros((0, 2), np.float32), "input: expected 2 row(s), the batch of the stream"),
    "no-steps": (
        np.zeros((0, 2, 2), np.float32),
        "input: expected a time axis of 1 or more steps, got 0",
    ),
    "float64": (np.zeros((2, 2)), "got float64[2, 2]; convert it with .astype('float32')"),
    "rank": (
        np.zeros(2, np.float32),
        "input: expected float32[batch, 2] for one step, or [time, batch, 2] for a chunk, got "
        "float32[2]; the stream has 2 rows, and takes a frame of each in one array",
    ),
    "list": (
        [[0.0, 0.0], [0.0, 0.0]],
        "got float64[2, 2]; make an array of it with np.asarray(x, 'float32')",
    ),
    "exchanged": (
        np.zeros((2, 5, 2), np.float32),
        "got 5; time and batch of the input seem to be exchanged: x.swapaxes(0, 1)",
    ),
    "ragged-lists": ([[1.0], [1.0, 2.0]], "input: expected an array, got list: "),
    "unknown-name": ({"x": np.zeros((2, 2), np.float32)}, "the inputs input; unknown: x"),
    "missing-name": ({}, "expected the inputs input; missing: input"),
}


@pytest.mark.parametrize(("given", "message"), WRONG_FRAMES.values(), ids=WRONG_FRAMES)
def test_a_wrong_frame_is_refused(given, message):
    with pytest.raises(InputError, match=re.escape(message)):
        Session(Tiny("gru").content).stream(2).step(given)


@pytest.mark.parametrize("given", [case[0] for case in WRONG_FRAMES.values()], ids=WRONG_FRAMES)
def test_a_wrong_frame_leaves_the_state_as_it_was(given):
    tiny = Tiny("gru")
    stream = Session(tiny.content).stream(2)
    stream.step(frame(tiny))
    before = stream.state
    with pytest.raises(InputError):
        stream.step(given)
    assert equal(stream.state, before)


@pytest.mark.parametrize("chunk", [False, True], ids=["frame", "chunk"])
def test_a_failing_engine_leaves_the_state_as_it_was(chunk, monkeypatch):
    tiny = Tiny("gru")
    session = Session(tiny.content)
    stream = session.stream(2)
    stream.step(frame(tiny))
    before = stream.state
    monkeypatch.setattr(session, "_run", None)
    monkeypatch.setattr(stream._usual, "_runs", [None, None])
    with pytest.raises(EngineError):
        stream.step(tiny.input(3, 2) if chunk else frame(tiny))
    assert equal(stream.state, before)


def test_a_wrong_state_leaves_the_state_as_it_was():
    tiny = Tiny("lstm")
    stream = Session(tiny.content).stream(2)
    stream.step(frame(tiny))
    before = stream.state
    with pytest.raises(StateError):
        stream.state = (tiny.state(2)[0], tiny.state(3)[1])
    assert equal(stream.state, before)


def test_a_state_of_another_batch_is_refused():
    tiny = Tiny("gru")
    message = "h_0: expected float32[1, batch, 3] with batch=2, got float32[1, 4, 3]"
    stream = Session(tiny.content).stream(2)
    with pytest.raises(StateError, match=re.escape(message)):
        stream.state = tiny.state(4)


@pytest.mark.parametrize("batch", [0, -1, 1.0, "2", None])
def test_a_wrong_batch_is_refused(batch):
    message = f"batch: expected an integer of 1 or more, got {batch!r}"
    with pytest.raises(InputError, match=re.escape(message)):
        Session(Tiny("gru").content).stream(batch)


def test_a_numpy_integer_as_batch():
    assert Session(Tiny("gru").content).stream(np.int64(2)).state[0].shape == (1, 2, 3)


def test_a_model_without_states_cannot_be_streamed():
    message = "the model has no states to keep between calls: export it with states (--states)"
    with pytest.raises(StateError, match=re.escape(message)):
        Session(Tiny("gru", states=False).content).stream()


def test_a_bidirectional_model_cannot_be_streamed():
    message = (
        r"the layer is bidirectional.*use Session\.run, which takes a state and gives the next$"
    )
    with pytest.raises(StateError, match=message):
        Session(Tiny("gru", bidirectional=True).content).stream()


@pytest.fixture
def two():
    tiny, content = two_inputs()
    return tiny, Session(content).stream(2)


def test_several_inputs_and_outputs_step_by_step(two):
    tiny, stream = two
    x = tiny.input(5, 2)
    steps = [stream.step({"left": now[:, :1], "right": now[:, 1:]}) for now in x]
    for name, sign in (("output", 1), ("negative", -1)):
        given = np.stack([step[name] for step in steps])
        np.testing.assert_allclose(given, sign * tiny.expected(x)[0], rtol=1e-5, atol=2e-6)


def test_several_inputs_as_chunks_keep_their_time_axis(two):
    tiny, stream = two
    x = tiny.input(5, 2)
    answer = stream.step({"left": x[..., :1], "right": x[..., 1:]})
    assert {name: array.shape for name, array in answer.items()} == {
        "output": (5, 2, 3),
        "negative": (5, 2, 3),
    }


def test_a_bare_frame_for_several_inputs_is_refused(two):
    message = "expected a mapping with the inputs left, right, got one array"
    with pytest.raises(InputError, match=message):
        two[1].step(np.zeros((2, 1), np.float32))


def test_a_frame_beside_a_chunk_is_refused(two):
    tiny, stream = two
    x = tiny.input(3, 2)
    with pytest.raises(InputError, match=r"right: expected .* with time=1, batch=2, got .*\[3, 2"):
        stream.step({"left": x[0, :, :1], "right": x[..., 1:]})
