"""`Session(engine=)`: which engine is taken and why, and streams and pools on the native one."""

import gc
import sys
import threading
import weakref

import numpy as np
import pytest

native = pytest.importorskip(
    "rnnedge_native",
    reason="rnnedge-native is not built, which takes a C compiler",
    exc_type=ImportError,
)
from small_models import one  # noqa: E402

from rnnedge_runtime import Session  # noqa: E402
from rnnedge_runtime.engine.native import MEASURED  # noqa: E402
from rnnedge_runtime.errors import (  # noqa: E402
    DeviceError,
    InputError,
    MissingPackageError,
    ModelError,
    OptionError,
    StateError,
    StreamError,
)

CELLS = ("rnn", "lstm", "gru")


@pytest.fixture(params=CELLS)
def sessions(request, exported):
    """A model opened by both engines."""
    _, model = exported(cell=request.param, hidden_size=7, num_layers=2)
    return Session(model, engine="native"), Session(model, engine="onnxruntime", threads=1)


def frames(count, batch=2, seed=0):
    shape = (count, batch, 5)
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_the_engine_says_its_name_and_reason(sessions):
    ours, theirs = sessions
    assert (ours.engine.name, ours.engine.reason) == ("native", "it was asked for")
    assert (theirs.engine.name, theirs.engine.reason) == ("onnxruntime", "it was asked for")
    assert ours.info.providers == (f"native {native.instructions()[0]}",)


def test_run_with_a_state(sessions):
    ours, theirs = sessions
    x = frames(9)
    first, second = ours.run(x), theirs.run(x)
    assert np.abs(first.output - second.output).max() < 1e-6
    first, second = ours.run(x, state=first.state), theirs.run(x, state=second.state)
    for one_side, other in zip(first.state, second.state, strict=True):
        assert np.abs(one_side - other).max() < 1e-6


def test_an_empty_batch(sessions):
    assert sessions[0].run(frames(4, 0)).output.shape == (4, 0, 7)


def test_a_stream_steps_as_the_whole(sessions):
    ours, _ = sessions
    x = frames(40)
    stream = ours.stream(2)
    steps = np.stack([stream.step(frame) for frame in x])
    whole = ours.run(x)
    assert np.array_equal(steps, whole.output)
    for kept, final in zip(stream.state, whole.state, strict=True):
        assert np.array_equal(kept, final)


def test_single_frames_and_chunks_in_turn(sessions):
    ours, _ = sessions
    x = frames(60)
    stream, parts, at = ours.stream(2), [], 0
    for size in (1, 1, 3, 1, 3, 3, 3, 1, 5, 1, 1, 7, 7, 7, 7, 1, 1, 1, 1, 1, 4):
        if size == 1:
            parts.append(stream.step(x[at])[None])
        else:
            parts.append(stream.step(x[at : at + size]))
        at += size
    assert np.array_equal(np.concatenate(parts), ours.run(x[:at]).output)


def test_an_answer_is_the_callers_to_keep(sessions):
    stream = sessions[0].stream(2)
    first, second = stream.step(frames(1)[0]), stream.step(frames(1)[0])
    assert not np.array_equal(first, second)
    assert first.base is None


def test_out_is_written_and_returned(sessions):
    ours, _ = sessions
    x, out = frames(2), np.zeros((2, 7), np.float32)
    first, second = ours.stream(2), ours.stream(2)
    for frame in x:
        assert first.step(frame, out=out) is out
        assert np.array_equal(out, second.step(frame))


@pytest.mark.parametrize(
    "out", [np.zeros((2, 6), np.float32), np.zeros((2, 7)), [0.0]], ids=["shape", "dtype", "list"]
)
def test_an_out_that_does_not_fit(sessions, out):
    stream = sessions[0].stream(2)
    with pytest.raises(InputError, match="out: expected for output a writeable"):
        stream.step(frames(1)[0], out=out)
    assert not np.any(stream.state[0])


def test_out_that_is_a_view(sessions):
    stream, twin = sessions[0].stream(2), sessions[0].stream(2)
    out = np.zeros((2, 14), np.float32)[:, ::2]
    assert stream.step(frames(1)[0], out=out) is out
    assert np.array_equal(out, twin.step(frames(1)[0]))


def test_a_view_instead_of_a_copy(sessions):
    stream, twin = sessions[0].stream(2), sessions[0].stream(2)
    view = stream.step(frames(1)[0], copy=False)
    assert not view.flags.writeable
    assert np.array_equal(view, twin.step(frames(1)[0]))


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (np.zeros((2, 6), np.float32), r"expected float32\[batch, 5\] for one step"),
        (np.zeros((2, 5)), "got float64"),
        (np.zeros((3, 5), np.float32), "expected 2 row"),
        (np.full((2, 5), np.nan, np.float32), "expected finite values, got nan"),
        (np.full((2, 5), -np.inf, np.float32), "expected finite values, got -inf"),
    ],
    ids=["features", "dtype", "batch", "nan", "infinity"],
)
def test_a_frame_that_does_not_fit_leaves_the_state(sessions, frame, message):
    stream = sessions[0].stream(2)
    stream.step(frames(1)[0])
    before = stream.state
    with pytest.raises(InputError, match=message):
        stream.step(frame)
    for one_side, other in zip(before, stream.state, strict=True):
        assert np.array_equal(one_side, other)


def test_frames_that_lie_apart_or_are_swapped(sessions):
    stream, twin = sessions[0].stream(2), sessions[0].stream(2)
    frame = frames(1)[0]
    wide = np.zeros((2, 10), np.float32)
    wide[:, ::2] = frame
    assert np.array_equal(stream.step(wide[:, ::2]), twin.step(frame))
    with pytest.raises(InputError, match="got >f4"):
        stream.step(frame.astype(">f4"))


def test_reset_clone_and_set_state(sessions):
    stream = sessions[0].stream(2)
    first = stream.step(frames(1)[0])
    kept, twin = stream.state, stream.clone()
    second = stream.step(frames(1)[0])
    assert np.array_equal(twin.step(frames(1)[0]), second)
    stream.state = kept
    assert np.array_equal(stream.step(frames(1)[0]), second)
    stream.reset()
    assert np.array_equal(stream.step(frames(1)[0]), first)
    stream.reset(rows=[1])
    assert not np.any(stream.state[0][:, 1])


def test_save_and_load_between_engines(sessions, tmp_path):
    ours, theirs = sessions
    stream = ours.stream(2)
    stream.step(frames(1)[0])
    stream.save(tmp_path / "state.npz")
    other = theirs.stream(2)
    other.load(tmp_path / "state.npz")
    assert np.abs(other.step(frames(1)[0]) - stream.step(frames(1)[0])).max() < 1e-6


def test_a_closed_stream(sessions):
    stream = sessions[0].stream(2)
    step = stream.step
    step(frames(1)[0])
    stream.close()
    for call in (stream.step, step):
        with pytest.raises(StreamError, match="the stream is closed"):
            call(frames(1)[0])


def test_a_stream_that_another_thread_is_in(sessions):
    stream = sessions[0].stream(2)

    def step_inside():
        with pytest.raises(StreamError, match="in use by another thread"):
            stream.step(frames(1)[0])

    stream._alone(step_inside)
    stream.step(frames(1)[0])


def test_a_stream_does_not_outlive_its_last_reference(sessions):
    stream = sessions[0].stream(2)
    gone = weakref.ref(stream)
    del stream
    gc.collect()
    assert gone() is None


def test_a_pool(sessions):
    ours, theirs = sessions
    pools = [session.pool() for session in (ours, theirs)]
    opened = [[pool.open() for _ in range(3)] for pool in pools]
    for chosen in ((0, 1, 2), (1,), (2, 0), (0, 1, 2)):
        frame = frames(1, 3)[0]
        answers = [
            pool.step({streams[i]: frame[i] for i in chosen})
            for pool, streams in zip(pools, opened, strict=True)
        ]
        for i in chosen:
            difference = answers[0][opened[0][i]] - answers[1][opened[1][i]]
            assert np.abs(difference).max() < 1e-6


def test_run_from_many_threads(sessions):
    ours, _ = sessions
    inputs = [frames(400, 8, seed=seed) for seed in range(4)]  # long enough to let others run
    expected = [ours.run(x).output for x in inputs]
    wrong = []

    def work(index):
        for _ in range(10):
            if not np.array_equal(ours.run(inputs[index]).output, expected[index]):
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_new_shapes_from_many_threads(sessions):
    ours, theirs = sessions
    inputs = [frames(time, 2) for time in range(1, 90)]  # more than the shapes that are kept
    wrong = []

    def work():
        for x in inputs:
            if np.abs(ours.run(x).output - expected[len(x)]).max() > 1e-6:
                wrong.append(len(x))

    expected = {len(x): theirs.run(x).output for x in inputs}
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_an_unknown_engine():
    with pytest.raises(OptionError, match="engine: expected auto, native, onnxruntime, got 'ort'"):
        Session(one("Neg"), engine="ort")


def test_a_model_that_the_native_engine_does_not_know():
    with pytest.raises(
        ModelError, match=r"node 'CumSum_0' \(CumSum\): the native engine has no CumSum"
    ):
        Session(one("CumSum"), engine="native")


@pytest.fixture
def _compared(monkeypatch):
    """The table of measurements, as on a processor that was compared up to hidden size 8."""
    monkeypatch.setitem(MEASURED, native.instructions()[0], 8)


@pytest.mark.usefixtures("_compared")
def test_auto_takes_the_native_engine_where_it_was_no_slower(exported):
    _, model = exported(cell="gru", hidden_size=8)
    engine = Session(model, threads=1).engine
    assert (engine.name, engine.reason) == ("native", "it was measured to be no slower")


@pytest.mark.usefixtures("_compared")
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, "threads: the native engine was compared with threads=1"),
        ({"threads": 2}, "threads=2: the native engine was compared with threads=1"),
        ({"device": "auto"}, "device 'auto' was asked for, and the native engine runs on the CPU"),
    ],
    ids=["threads", "two", "device"],
)
def test_auto_takes_onnx_runtime_for_these_options(exported, options, reason):
    _, model = exported(cell="gru", hidden_size=8)
    engine = Session(model, **options).engine
    assert (engine.name, engine.reason) == ("onnxruntime", reason)


@pytest.mark.usefixtures("_compared")
def test_auto_takes_onnx_runtime_past_what_was_measured(exported):
    _, model = exported(cell="gru", hidden_size=9)
    engine = Session(model, threads=1).engine
    assert engine.name == "onnxruntime"
    assert engine.reason == "the native engine was compared up to hidden size 8"


@pytest.mark.usefixtures("_compared")
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_auto_takes_onnx_runtime_for_int8(exported, cell):
    """Each row is rounded by itself there, so that a batch is answered differently."""
    _, model = exported(cell=cell, hidden_size=8, quantize="int8:all")
    engine = Session(model, threads=1).engine
    assert engine.name == "onnxruntime"
    assert engine.reason.startswith("the model computes in int8")


def test_auto_takes_onnx_runtime_on_a_processor_that_was_not_compared(exported, monkeypatch):
    _, model = exported(cell="gru", hidden_size=8)
    monkeypatch.delitem(MEASURED, native.instructions()[0], raising=False)
    reason = Session(model, threads=1).engine.reason
    assert reason.startswith("the native engine was not compared on a processor with")


@pytest.mark.usefixtures("_compared")
@pytest.mark.parametrize(
    ("operator", "reason"),
    [
        ("Asin", "node 'Asin_0' (Asin): the native engine has no Asin"),
        ("Erf", "was compared on recurrent layers, and finds none"),
    ],
)
def test_auto_takes_onnx_runtime_for_other_models(operator, reason):
    engine = Session(one(operator), threads=1).engine
    assert engine.name == "onnxruntime"
    assert reason in engine.reason


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"device": "cuda"}, DeviceError, "the native engine runs on the CPU"),
        (
            {"options": {"session.disable_prepacking": "1"}},
            OptionError,
            "session.disable_prepacking is an option of ONNX Runtime",
        ),
    ],
    ids=["device", "entries"],
)
def test_options_that_it_does_not_have(options, error, message):
    with pytest.raises(error, match=message):
        Session(one("Neg"), engine="native", **options)


def test_a_wheel_of_another_version(monkeypatch):
    monkeypatch.setattr(native, "__version__", "9.9.9")
    with pytest.raises(OptionError, match=r"rnnedge-native 9\.9\.9 does not fit rnnedge-runtime"):
        Session(one("Neg"), engine="native")


def test_without_the_wheel(monkeypatch):
    monkeypatch.setitem(sys.modules, "rnnedge_native", None)
    monkeypatch.delitem(sys.modules, "rnnedge_runtime.engine.native", raising=False)
    assert Session(one("Neg")).engine.reason == "rnnedge-native is not installed"
    with pytest.raises(MissingPackageError, match=r"pip install 'rnnedge-runtime\[native\]'"):
        Session(one("Neg"), engine="native")


def test_auto_without_onnx_runtime(exported, monkeypatch):
    _, model = exported(cell="gru", hidden_size=600)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    for name in ("library", "onnx_runtime", "inference_session"):
        monkeypatch.delitem(sys.modules, f"rnnedge_runtime.engine.{name}", raising=False)
    engine = Session(model).engine
    assert (engine.name, engine.reason) == ("native", "onnxruntime is not installed")
    with pytest.raises(ModelError, match="the native engine has no Asin"):
        Session(one("Asin"))


def test_a_model_without_states_has_no_stream():
    session = Session(one("Neg"), engine="native")
    with pytest.raises(StateError, match="no states to keep"):
        session.stream()


def test_shapes_that_lead_to_nothing():
    session = Session(one("Neg"), engine="native")
    with pytest.raises(InputError):
        session.run(np.zeros((1, 0, 4), np.float32))
