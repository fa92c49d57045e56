"""`LoadedModel`, `Stream` and `StreamPool` over an engine that is not ONNX Runtime."""

import numpy as np
import pytest
from numpy_engine import NumpyEngine
from tiny_models import Tiny

from rnnedge_runtime import (
    EngineError,
    InputError,
    ModelError,
    Session,
    StateError,
    Stream,
    StreamPool,
)
from rnnedge_runtime.loaded_model import LoadedModel

LSTM = Tiny("lstm")


def close(left, right):
    np.testing.assert_allclose(left, right, atol=1e-6)


@pytest.fixture
def engine():
    return NumpyEngine(LSTM)


@pytest.fixture
def model(engine):
    return LoadedModel(engine, b"")


def test_it_runs(model, engine):
    x, state = LSTM.input(4, 3), LSTM.state(3)
    output, finals = LSTM.expected(x, state)
    result = model.run(x, state=state)
    close(result.output, output)
    for given, expected in zip(result.state, finals, strict=True):
        close(given, expected)
    assert engine.calls == 1


def test_it_has_what_the_contract_says(model):
    assert model.interface == LSTM.interface
    assert model.contract == LSTM.contract
    assert model.digest == LSTM.contract.weights_digest
    assert model.hindrances == ()


def test_lengths_reach_the_engine():
    tiny = Tiny("gru", lengths=True)
    x = tiny.input(4, 2)
    result = LoadedModel(NumpyEngine(tiny), b"").run(x, lengths=[4, 1])
    close(result.output, tiny.expected(x, lengths=[4, 1])[0])


def test_an_empty_batch_does_not_reach_the_engine(model, engine):
    assert model.run(LSTM.input(3, 0)).output.shape == (3, 0, 3)
    assert engine.calls == 0


def test_a_wrong_input_does_not_reach_the_engine(model, engine):
    with pytest.raises(InputError, match=r"^input: expected float32\[time, batch, 2\]"):
        model.run(LSTM.input(3, 2).astype(np.float64))
    assert engine.calls == 0


def test_steps_of_a_stream_are_bound(model, engine):
    stream, x = Stream(model, 2), LSTM.input(5, 2)
    calls = engine.calls
    for frame, expected in zip(x, LSTM.expected(x)[0], strict=True):
        close(stream.step(frame), expected)
    assert (engine.calls, engine.bound) == (calls, 5)


def test_a_stream_goes_on_from_a_file(model, tmp_path):
    stream, x = Stream(model, 1), LSTM.input(4, 1)
    stream.step(x[:2])
    stream.save(tmp_path / "state.npz")
    twin = Stream(model, 1)
    twin.load(tmp_path / "state.npz")
    close(twin.step(x[2:]), LSTM.expected(x)[0][2:])


def test_a_pool_steps_together(model, engine):
    x = LSTM.input(3, 2)
    expected = LSTM.expected(x)[0]
    with StreamPool(model, capacity=2) as pool:
        a, b = pool.open(), pool.open()
        for time in range(3):
            answers = pool.step({a: x[time, 0], b: x[time, 1]})
            close(np.stack([answers[a], answers[b]]), expected[time])
    assert engine.calls == 3


def test_its_failure_names_it(model, engine):
    engine.failure = RuntimeError("out of\npaper")
    with pytest.raises(EngineError, match=r"^The numpy engine failed: out of paper$"):
        model.run(LSTM.input(1, 1))


def test_its_failure_in_a_stream_names_it_and_leaves_the_state(model, engine):
    stream = Stream(model, 1)
    stream.step(LSTM.input(1, 1)[0])
    before = stream.state
    engine.failure = RuntimeError("out of paper")
    with pytest.raises(EngineError, match=r"^The numpy engine failed: out of paper$"):
        stream.step(LSTM.input(1, 1)[0])
    for left, right in zip(stream.state, before, strict=True):
        np.testing.assert_array_equal(left, right)


def test_a_model_that_reads_the_future_is_not_streamed():
    model = LoadedModel(NumpyEngine(Tiny("gru", bidirectional=True)), b"")
    with pytest.raises(StateError, match="the layer is bidirectional"):
        Stream(model)


def test_a_session_says_which_engine_it_took_and_why():
    engine = Session(LSTM.content, engine="onnxruntime").engine
    assert (engine.name, engine.title) == ("onnxruntime", "ONNX Runtime")
    assert engine.reason == "it was asked for"
    assert engine.device == "cpu"


def test_a_model_without_outputs_is_refused():
    graph = Tiny("gru").graph()
    graph.outputs = []
    with pytest.raises(ModelError, match="the model: expected a model with outputs, found none"):
        Session(graph.content(), threads=1, engine="onnxruntime")
