"""Models that rnnedge did not make: states by name, lengths, and what is refused."""

import re

import numpy as np
import pytest
import tiny_onnx
from tiny_models import Graph, Tiny, silero_style

from rnnedge_runtime import Session, StateError
from rnnedge_runtime.contract import StatePair, TensorSpec

GRU = Tiny("gru")
LSTM = Tiny("lstm")
AXES = {
    "named": {"batch": "N", "time": "T"},
    "ours": {},
    "data-unnamed": {"batch": "N", "time": None},
}
GRU_NAMES = {
    "h0-hn": {"h_0": "h0", "h_n": "hn"},
    "h_0-h_n": {},
    "hx-hy": {"h_0": "hx", "h_n": "hy"},
    "onnx": {"input": "X", "output": "Y", "h_0": "initial_h", "h_n": "Y_h"},
    "state-stateN": {"h_0": "state", "h_n": "stateN"},
    "in-out": {"h_0": "hidden_in", "h_n": "hidden_out"},
    "past-present": {"h_0": "past_hidden", "h_n": "present_hidden"},
    "dots": {"h_0": "decoder.state", "h_n": "decoder.new.state"},
}


def pairs(session):
    return [(pair.output, pair.input) for pair in session.interface.states]


@pytest.mark.parametrize("names", GRU_NAMES.values(), ids=GRU_NAMES)
def test_a_state_is_found_by_its_names(names):
    session = Session(GRU.graph().content(names=names))
    assert pairs(session) == [(names.get("h_n", "h_n"), names.get("h_0", "h_0"))]


@pytest.mark.parametrize("axes", AXES.values(), ids=AXES)
@pytest.mark.parametrize("names", GRU_NAMES.values(), ids=GRU_NAMES)
def test_it_streams_as_it_runs(names, axes):
    session = Session(GRU.graph().content(names=names, axes=axes))
    x = GRU.input(6, 2)
    stream = session.stream(batch=2)
    chunks = np.concatenate([stream.step(x[:1]), stream.step(x[1:4]), stream.step(x[4:])])
    np.testing.assert_allclose(chunks, GRU.expected(x)[0], rtol=1e-5, atol=2e-6)


def test_the_two_states_of_an_lstm():
    names = {"h_0": "initial_h", "c_0": "initial_c", "h_n": "Y_h", "c_n": "Y_c"}
    session = Session(LSTM.graph().content(names=names))
    assert pairs(session) == [("Y_h", "initial_h"), ("Y_c", "initial_c")]


def test_no_contract():
    assert Session(GRU.graph().content()).contract is None


def test_the_graph_finds_states_whatever_they_are_called():
    names = {"h_0": "carry", "h_n": "memory"}
    assert pairs(Session(GRU.graph().content(names=names))) == [("memory", "carry")]


def test_no_states_at_all():
    session = Session(Tiny("gru", states=False).graph().content())
    assert session.interface.states == ()


def test_states_as_told():
    names = {"h_0": "carry", "h_n": "memory"}
    session = Session(GRU.graph().content(names=names), states={"memory": "carry"})
    assert session.interface.states == (StatePair("carry", "memory"),)


def test_told_that_there_are_none():
    session = Session(GRU.graph().content(), states={})
    assert [spec.name for spec in session.interface.data_inputs] == ["input", "h_0"]


WRONG = {
    "input": ({"h_n": "nowhere"}, "states: the model has no input 'nowhere'; it has input, h_0"),
    "output": ({"nowhere": "h_0"}, "states: the model has no output 'nowhere'; it has output, h_n"),
}


@pytest.mark.parametrize(("states", "message"), WRONG.values(), ids=WRONG)
def test_told_a_name_that_is_not_there(states, message):
    with pytest.raises(StateError, match=re.escape(message)):
        Session(GRU.graph().content(), states=states)


@pytest.mark.parametrize("dtype", ["int64", "int32"])
def test_lengths_are_found_by_name_and_dtype(dtype):
    tiny = Tiny("gru", lengths=True)
    graph = tiny.graph()
    graph.drop("is_empty"), graph.drop("empty"), graph.drop("h_n")
    graph.add("Identity", ["raw_h"], ["h_n"])
    graph.inputs[1] = TensorSpec("lengths", dtype, ("batch",))
    session = Session(graph.content(names={"lengths": "seq_lens"}))
    x = tiny.input(5, 2)
    np.testing.assert_allclose(
        session.run(x, lengths=[5, 2]).output,
        tiny.expected(x, lengths=[5, 2])[0],
        rtol=1e-5,
        atol=2e-6,
    )


def test_an_integer_matrix_is_not_lengths():
    graph = GRU.graph()
    graph.inputs.append(TensorSpec("token_lens", "int64", ("batch", 2)))
    assert Session(graph.content()).interface.lengths is None


def silero(axes=None):
    tiny, content = silero_style(axes)
    return tiny, Session(content)


UNNAMED = {"named": {}, "unnamed": {"batch": None}}


@pytest.mark.parametrize("axes", UNNAMED.values(), ids=UNNAMED)
def test_silero_style_state(axes):
    assert pairs(silero(axes)[1]) == [("stateN", "state")]


@pytest.mark.parametrize("axes", UNNAMED.values(), ids=UNNAMED)
@pytest.mark.parametrize("batch", [1, 3])
def test_silero_style_stream(axes, batch):
    tiny, session = silero(axes)
    x = tiny.input(4, batch)
    stream = session.stream(batch)
    steps = [stream.step({"input": frame, "sr": np.array(16000)}) for frame in x]
    np.testing.assert_allclose(steps, tiny.expected(x)[0], rtol=1e-5, atol=2e-6)


def test_silero_style_first_call_without_a_state():
    tiny, session = silero()
    x = tiny.input(1, 2)
    result = session.run({"input": x[0], "sr": np.array(16000)})
    np.testing.assert_allclose(result.output, tiny.expected(x)[0][0], rtol=1e-5, atol=2e-6)


def test_a_state_whose_size_cannot_be_known_has_to_be_given():
    specs = [TensorSpec(name, "float32", ("slots", "width")) for name in ("cache_in", "cache_out")]
    x, y = (TensorSpec(name, "float32", ("batch", 2)) for name in "xy")
    graph = Graph([x, specs[0]], [y, specs[1]], {})
    graph.add("Relu", ["x"], ["y"])
    graph.add("Tanh", ["cache_in"], ["cache_out"])
    message = "cache_in: the size of its axis 'slots' does not follow from the inputs: pass the"
    with pytest.raises(StateError, match=message):
        Session(graph.content()).run({"x": np.ones((1, 2), np.float32)})


def test_a_scalar_stays_a_scalar():
    scalar = TensorSpec("sr", "int64", ())
    graph = Graph([scalar], [TensorSpec("same", "int64", ())], {})
    graph.add("Unsqueeze", ["sr", "zero"], ["line"])
    graph.add("Shape", ["line"], ["shape"])
    graph.add("Squeeze", ["shape", "zero"], ["same"])
    graph.constants["zero"] = np.array([0])
    assert Session(graph.content()).run(np.array(7)).output == 1


def test_half_and_double_precision_inputs_are_named_in_numpy_words():
    graph = GRU.graph()
    graph.inputs += [TensorSpec(d, d, (2,)) for d in tiny_onnx.DTYPES]
    dtypes = {spec.name: spec.dtype for spec in Session(graph.content()).interface.inputs[2:]}
    assert dtypes == {name: name for name in tiny_onnx.DTYPES}
