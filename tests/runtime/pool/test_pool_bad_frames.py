"""Bad frames, models that cannot be pooled, and engines that fail: no state of a pool changes."""

import re
from dataclasses import replace

import numpy as np
import pytest
from tiny_models import Tiny, silero_style, two_inputs

from rnnedge_runtime import EngineError, InputError, Session, StateError

GOOD = np.ones(2, np.float32)
FORMS = "expected float32[2] or float32[time, 2]"
WRONG = {
    "features": (np.zeros(5, np.float32), f"input: {FORMS}, got float32[5]"),
    "with-a-batch-axis": (
        np.zeros((1, 1, 2), np.float32),
        f"input: {FORMS}, got float32[1, 1, 2]; frames of a pool have no batch axis",
    ),
    "float64": (np.zeros(2), f"input: {FORMS}, got float64[2]"),
    "no-steps": (np.zeros((0, 2), np.float32), f"input: {FORMS}, got float32[0, 2]"),
    "scalar": (np.float32(1), f"input: {FORMS}, got float32[]"),
    "ragged": ([[1.0], [1.0, 2.0]], "input: expected an array, got list: "),
    "nothing": (None, f"input: {FORMS}, got object[]"),
    "unknown-name": ({"x": GOOD}, "expected the inputs input; got x"),
    "no-names": ({}, "expected the inputs input; got "),
    "nan": (GOOD * np.nan, "input: expected finite values, got nan (2 of 2), which would stay"),
    "infinity": (
        np.array([1, -np.inf], np.float32),
        "input: expected finite values, got -inf (1 of 2)",
    ),
}


@pytest.fixture
def started():
    """Return a pool with three streams that have run a step, and their numbers."""
    pool = Session(Tiny("lstm").content, threads=1, engine="onnxruntime").pool()
    streams = [pool.open() for _ in range(3)]
    pool.step({stream: GOOD * i for i, stream in enumerate(streams)})
    return pool, streams


def states(pool, streams):
    return np.stack([np.stack(pool.state(stream)) for stream in streams])


@pytest.mark.parametrize(("bad", "message"), WRONG.values(), ids=WRONG)
def test_a_bad_frame_is_refused_by_name(started, bad, message):
    pool, (a, b, c) = started
    with pytest.raises(InputError, match=f"^{re.escape(f'stream {b}: {message}')}") as caught:
        pool.step({a: GOOD, b: bad, c: GOOD})
    assert caught.value.streams == (b,)


@pytest.mark.parametrize("bad", [case[0] for case in WRONG.values()], ids=WRONG)
def test_a_bad_frame_changes_no_state(started, bad):
    pool, streams = started
    before = states(pool, streams)
    with pytest.raises(InputError):
        pool.step({streams[0]: GOOD, streams[1]: bad, streams[2]: GOOD})
    np.testing.assert_array_equal(states(pool, streams), before)


@pytest.mark.parametrize(("bad", "message"), WRONG.values(), ids=WRONG)
def test_a_bad_frame_is_refused_when_it_is_submitted(started, bad, message):
    pool, streams = started
    with pool, pytest.raises(InputError, match=re.escape(f"stream {streams[1]}: {message}")) as e:
        pool.submit(streams[1], bad)
    assert e.value.streams == (streams[1],)


def test_all_bad_frames_are_named(started):
    pool, (a, b, c) = started
    with pytest.raises(InputError, match=rf"^stream {c} \(and 1 more\): input: ") as caught:
        pool.step({c: GOOD * np.nan, b: GOOD, a: np.zeros(7, np.float32)})
    assert caught.value.streams == (c, a)


def test_without_the_bad_frame_the_step_is_as_if_it_had_never_been(started):
    pool, (a, b, c) = started
    twin = pool._model.pool()
    others = [twin.open(pool.state(stream)) for stream in (a, b, c)]
    with pytest.raises(InputError) as caught:
        pool.step({a: GOOD, b: GOOD * np.nan, c: GOOD})
    frames = {s: GOOD for s in (a, b, c) if s not in caught.value.streams}
    given = pool.step(frames)
    expected = twin.step({others[0]: GOOD, others[2]: GOOD})
    np.testing.assert_array_equal(given[a], expected[others[0]])
    np.testing.assert_array_equal(given[c], expected[others[2]])


@pytest.mark.parametrize("setting", ["raise", "warn"])
@pytest.mark.parametrize("size", [1e30, 1e-40], ids=["large", "denormal"])
def test_large_and_small_numbers_pass_whatever_numpy_is_told_about_them(started, size, setting):
    pool, (a, *_) = started
    stream = pool._model.stream()
    with np.errstate(all=setting):
        assert np.isfinite(pool.step({a: GOOD * np.float32(size)})[a]).all()
        assert np.isfinite(stream.step(np.full((1, 2), size, np.float32))).all()


@pytest.mark.parametrize("chunks", [False, True], ids=["one-group", "two-groups"])
def test_a_failing_engine_changes_no_state(started, chunks, monkeypatch):
    pool, streams = started
    before = states(pool, streams)
    run, calls = pool._model._run, []

    def fails_last(*arguments):
        calls.append(None)
        if len(calls) > chunks:
            raise RuntimeError("the accelerator is gone")
        return run(*arguments)

    monkeypatch.setattr(pool._model, "_run", fails_last)
    frames = {stream: GOOD for stream in streams}
    if chunks:
        frames[streams[2]] = np.ones((4, 2), np.float32)
    with pytest.raises(EngineError, match=r"^ONNX Runtime failed: the accelerator is gone$"):
        pool.step(frames)
    np.testing.assert_array_equal(states(pool, streams), before)


UNEVEN = {
    "chunks-of-two-lengths": (np.zeros((2, 1), np.float32), np.zeros((3, 1), np.float32), 2, 3),
    "a-frame-beside-a-chunk": (np.zeros(1, np.float32), np.zeros((3, 1), np.float32), 1, 3),
}


@pytest.mark.parametrize(("left", "right", "first", "second"), UNEVEN.values(), ids=UNEVEN)
def test_inputs_of_one_frame_that_do_not_fit_each_other(left, right, first, second):
    _, content = two_inputs()
    pool = Session(content, threads=1).pool()
    a, b = pool.open(), pool.open()
    good = {"left": np.zeros(1, np.float32), "right": np.zeros(1, np.float32)}
    message = f"stream {b}: right: expected time={first}, as the other inputs have it, got {second}"
    with pytest.raises(InputError, match=f"^{re.escape(message)}$") as caught:
        pool.step({a: good, b: {"left": left, "right": right}})
    assert caught.value.streams == (b,)


def test_one_array_for_several_inputs():
    pool = Session(two_inputs()[1], threads=1).pool()
    stream = pool.open()
    message = "expected a mapping with the inputs left, right, got one array"
    with pytest.raises(InputError, match=f"^stream {stream}: {message}$"):
        pool.step({stream: GOOD})


def test_an_input_without_a_batch_axis_cannot_be_pooled():
    session = Session(silero_style()[1], threads=1)
    message = (
        "sr int64[]: has no axis named batch, so streams cannot share a call: pass it once, "
        "as Session.pool(constants={name: value})"
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        session.pool()


def test_a_state_without_a_batch_axis_cannot_be_pooled():
    tiny = Tiny("gru")
    graph = tiny.graph()
    graph.inputs[1] = replace(graph.inputs[1], axes=(1, 1, 3))
    interface = replace(tiny.interface, inputs=tuple(graph.inputs))
    session = Session(graph.content(replace(tiny.contract, interface=interface)), threads=1)
    with pytest.raises(StateError, match=r"^h_0.*: has no axis named batch, so streams"):
        session.pool()


def test_an_output_without_a_batch_axis_cannot_be_pooled():
    tiny = Tiny("gru")
    graph = tiny.graph()
    graph.outputs[0] = replace(graph.outputs[0], axes=("time", "rows", 3))
    interface = replace(tiny.interface, outputs=tuple(graph.outputs))
    session = Session(graph.content(replace(tiny.contract, interface=interface)), threads=1)
    with pytest.raises(StateError, match=r"^output.*: has no axis named batch, so streams"):
        session.pool()


def test_a_model_without_states_cannot_be_pooled():
    with pytest.raises(StateError, match=r"^the model has no states to keep between calls"):
        Session(Tiny("gru", states=False).content).pool()


def test_a_model_that_reads_the_future_cannot_be_pooled():
    with pytest.raises(
        StateError,
        match=r"the layer is bidirectional; use Session\.run, which takes a state and gives",
    ):
        Session(Tiny("gru", bidirectional=True).content).pool()
