"""The buffers of a stream: whose the answers are, `out=`, threads, and what must not get in."""

import re
import threading
import tracemalloc

import numpy as np
import pytest
from tiny_models import Graph, Tiny, silero_style, two_inputs

from rnnedge_runtime import InputError, Session, StreamError
from rnnedge_runtime.contract import TensorSpec

CELLS = {
    "rnn": Tiny("rnn"),
    "lstm": Tiny("lstm"),
    "gru-batch-first": Tiny("gru", batch_first=True),
    "gru-lengths": Tiny("gru", lengths=True),
}


@pytest.fixture(params=CELLS.values(), ids=CELLS)
def tiny(request):
    return request.param


def frames(tiny, steps, batch=1, seed=1):
    """Return float32 [batch, features] for each step."""
    return list(np.moveaxis(tiny.input(steps, batch, seed), 1 if tiny.batch_first else 0, 0))


def answers(tiny, steps, batch=1, seed=1):
    """Return float32 [batch, hidden] for each step, as a fresh stream gives them."""
    stream = Session(tiny.content).stream(batch)
    return [stream.step(frame) for frame in frames(tiny, steps, batch, seed)]


def test_what_is_returned_is_the_callers(tiny):
    stream = Session(tiny.content).stream()
    first, second = frames(tiny, 2)
    given = stream.step(first)
    kept = given.copy()
    stream.step(second)
    np.testing.assert_array_equal(given, kept)


def test_without_a_copy_the_answers_are_the_same(tiny):
    stream = Session(tiny.content).stream()
    for frame, expected in zip(frames(tiny, 5), answers(tiny, 5), strict=True):
        np.testing.assert_array_equal(stream.step(frame, copy=False), expected)


def test_a_view_cannot_be_written():
    tiny = Tiny("gru")
    view = Session(tiny.content).stream().step(frames(tiny, 1)[0], copy=False)
    with pytest.raises(ValueError, match="read-only"):
        view[:] = 0


def test_views_of_several_outputs_come_in_a_mapping_of_the_callers():
    tiny, content = two_inputs()
    stream, x = Session(content).stream(), tiny.input(1, 1)[0]
    pair = {"left": x[:, :1], "right": x[:, 1:]}
    for _ in range(5):
        given = stream.step(pair, copy=False)
        assert set(given) == {"output", "negative"}
        given.clear()


def test_out_is_written_and_returned(tiny):
    stream, out = Session(tiny.content).stream(), np.empty((1, 3), np.float32)
    for frame, expected in zip(frames(tiny, 5), answers(tiny, 5), strict=True):
        assert stream.step(frame, out=out) is out
        np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("times", [1, 3])
def test_out_of_a_chunk(times):
    tiny = Tiny("lstm")
    stream, out = Session(tiny.content).stream(2), np.empty((4, 2, 3), np.float32)
    expected = Session(tiny.content).stream(2)
    for seed in range(times):
        chunk = tiny.input(4, 2, seed)
        stream.step(chunk, out=out)
        np.testing.assert_array_equal(out, expected.step(chunk))


def test_out_of_several_outputs():
    tiny, content = two_inputs()
    x = tiny.input(1, 2)[0]
    pair = {"left": x[:, :1], "right": x[:, 1:]}
    expected = Session(content).stream(2).step(pair)
    out = {name: np.empty_like(array) for name, array in expected.items()}
    given = Session(content).stream(2).step(pair, out=out)
    for name, array in expected.items():
        assert given[name] is out[name]
        np.testing.assert_array_equal(out[name], array)


WRONG_OUTS = {
    "shape": (np.empty((3, 3), np.float32), "got float32[3, 3]"),
    "dtype": (np.empty((1, 3), np.float64), "got float64[1, 3]"),
    "read-only": (np.broadcast_to(np.float32(0), (1, 3)), "got float32[1, 3], read-only"),
    "list": ([[0.0] * 3], "got list"),
    "other-name": ({"y": np.empty((1, 3), np.float32)}, "got NoneType"),
}


@pytest.mark.parametrize(("out", "message"), WRONG_OUTS.values(), ids=WRONG_OUTS)
def test_a_wrong_out_is_refused_before_anything_runs(out, message):
    tiny = Tiny("gru")
    stream = Session(tiny.content).stream()
    expected = f"out: expected for output a writeable float32[1, 3], {message}"
    with pytest.raises(InputError, match=re.escape(expected)):
        stream.step(frames(tiny, 1)[0], out=out)
    assert not np.any(stream.state)


def test_the_frame_is_not_changed(tiny):
    stream, frame = Session(tiny.content).stream(), frames(tiny, 1)[0] * np.float32(1e-40)
    kept = frame.copy()
    stream.step(frame)
    np.testing.assert_array_equal(frame.view(np.uint32), kept.view(np.uint32))


@pytest.mark.parametrize("size", [2, 3])
def test_a_chunk_that_comes_again_is_answered_alike(tiny, size):
    """From the second on its buffers are bound."""
    x = tiny.input(4 * size, 2)
    stream = Session(tiny.content).stream(2)
    axis = 1 if tiny.batch_first else 0
    given = np.concatenate([stream.step(part) for part in np.split(x, 4, axis)], axis)
    np.testing.assert_allclose(given, tiny.expected(x)[0], rtol=1e-5, atol=2e-6)


def test_many_sizes_of_chunks_in_turns(tiny):
    axis = 1 if tiny.batch_first else 0
    sizes = [1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 1, 2, 2, 3]
    x = tiny.input(sum(sizes), 1)
    stream = Session(tiny.content).stream()
    parts = np.split(x, np.cumsum(sizes)[:-1], axis)
    given = np.concatenate([stream.step(part) for part in parts], axis)
    np.testing.assert_allclose(given, tiny.expected(x)[0], rtol=1e-5, atol=5e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("chunk", [False, True], ids=["frame", "chunk"])
def test_what_is_not_finite_is_refused(tiny, bad, chunk):
    stream = Session(tiny.content).stream()
    frame = tiny.input(3, 1) if chunk else frames(tiny, 1)[0]
    stream.step(frame)
    before = stream.state
    frame = frame.copy()
    frame[..., -1] = bad
    message = f"input: expected finite values, got {np.float32(bad)} ("
    with pytest.raises(InputError, match=re.escape(message)):
        stream.step(frame)
    for given, kept in zip(stream.state, before, strict=True):
        np.testing.assert_array_equal(given, kept)


def test_large_numbers_are_not_refused():
    tiny = Tiny("lstm")
    answer = Session(tiny.content).stream().step(np.full((1, 2), 1e30, np.float32))
    assert np.isfinite(answer).all()


def test_a_closed_stream_takes_no_step(tiny):
    stream = Session(tiny.content).stream()
    stream.close()
    with pytest.raises(StreamError, match=r"^the stream is closed: open a new one with Session"):
        stream.step(frames(tiny, 1)[0])


def test_the_end_of_a_block_closes():
    tiny = Tiny("gru")
    with Session(tiny.content).stream() as stream:
        stream.step(frames(tiny, 1)[0])
    with pytest.raises(StreamError, match="closed"):
        stream.state  # noqa: B018


@pytest.mark.parametrize(
    "call",
    [
        lambda stream, frame: stream.step(frame),
        lambda stream, frame: stream.state,
        lambda stream, frame: stream.reset(),
        lambda stream, frame: stream.close(),
    ],
    ids=["step", "state", "reset", "close"],
)
def test_a_second_thread_is_refused_while_the_first_is_inside(call, monkeypatch):
    tiny = Tiny("gru")
    stream, frame = Session(tiny.content).stream(), frames(tiny, 1)[0]
    inside, go_on = threading.Event(), threading.Event()

    def slow():
        inside.set()
        assert go_on.wait(10)

    monkeypatch.setattr(stream._usual, "_runs", [slow, slow])
    first = threading.Thread(target=stream.step, args=(frame,))
    first.start()
    assert inside.wait(10)
    with pytest.raises(StreamError, match=r"^the stream is in use by another thread: use one"):
        call(stream, frame)
    go_on.set()
    first.join()
    stream.reset()  # and afterwards it is free again


def test_a_state_that_decays_becomes_zero_and_not_denormal():
    tiny = Tiny("rnn", hidden_size=8, nonlinearity="relu")
    graph = tiny.graph()
    graph.constants["B"][:] = 0
    graph.constants["R"] *= np.float32(0.3)
    stream = Session(graph.content(tiny.contract)).stream()
    stream.state = (np.full((1, 1, 8), 0.5, np.float32),)
    stream.step(np.ones((1, 2), np.float32))
    silence, seen = np.zeros((1, 2), np.float32), []
    for _ in range(12):
        for _ in range(16):
            stream.step(silence)
        seen.append(np.abs(stream.state).max())
    assert seen[0] > 0
    assert all(value == 0 or value >= 1e-18 for value in seen)


def test_a_state_that_decays_in_ragged_chunks_does_not_stay_denormal():
    tiny = Tiny("rnn", nonlinearity="relu")
    graph = tiny.graph()
    graph.constants["B"][:] = 0
    graph.constants["R"][:] = np.eye(3) * np.float32(0.98)
    stream = Session(graph.content(tiny.contract)).stream()
    stream.state = [np.full((1, 1, 3), 1e-36, np.float32)]
    for turn in range(16):  # chunks of one size are bound from the second in a row on
        stream.step(np.zeros((1 + turn % 2, 1, 2), np.float32))
    assert not np.any(stream.state)


def test_the_callers_numpy_still_knows_denormal_numbers():
    stream = Session(Tiny("gru").content, threads=1).stream()
    for _ in range(20):
        stream.step(np.zeros((1, 2), np.float32))
    assert np.float32(1e-40) * np.float32(0.5) > 0


def test_a_step_allocates_nothing_of_its_own():
    tiny = Tiny("lstm", input_size=64, hidden_size=512)
    stream, frame = Session(tiny.content, threads=1).stream(), np.ones((1, 64), np.float32)
    out = np.empty((1, 512), np.float32)
    peaks = []
    tracemalloc.start()
    try:
        for _ in range(4):  # what Python itself keeps of code that runs often is allocated once
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            for _ in range(100):
                stream.step(frame, out=out)
            peaks.append(tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()
    assert min(peaks) < 4096, "less than one output and one half of the state"


def test_a_model_of_another_maker_is_bound_too():
    _, content = silero_style()
    stream = Session(content).stream()
    rng = np.random.default_rng(0)
    session, state = Session(content), None
    for _ in range(5):
        pair = {"input": rng.standard_normal((1, 4)).astype(np.float32), "sr": np.int64(8000)}
        answer = stream.step(pair)
        expected = session.run(pair, state=state or session.zero_state(1))
        state = expected.state
        np.testing.assert_array_equal(answer, expected.output)


def test_a_model_without_a_time_axis_takes_the_short_way(monkeypatch):
    tiny = Tiny("gru", input_size=4)
    state = ("float32", (1, "batch", 3))
    graph = Graph(
        inputs=[TensorSpec("frame", "float32", ("batch", 4)), TensorSpec("h_0", *state)],
        outputs=[TensorSpec("output", "float32", ("batch", 3)), TensorSpec("h_n", *state)],
        constants=tiny.graph().constants,
    )
    graph.add("Unsqueeze", ["frame", "zero"], ["input"])  # [1, batch, 4]
    names = ["input", "W", "R", "B", "", "h_0"]
    graph.add("GRU", names, ["", "h_n"], hidden_size=3, linear_before_reset=1)
    graph.add("Squeeze", ["h_n", "zero"], ["output"])
    stream = Session(graph.content(), threads=1).stream(batch=2)
    monkeypatch.setattr(stream, "_step_of_any_shape", None)
    x = tiny.input(5, 2)
    steps = [stream.step(frame) for frame in x]
    np.testing.assert_allclose(steps, tiny.expected(x)[0], rtol=1e-5, atol=2e-6)
    with pytest.raises(InputError, match="frame: expected finite values"):
        stream.step(np.full((2, 4), np.nan, np.float32))
