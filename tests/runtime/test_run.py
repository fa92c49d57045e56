"""`Session.run` against the equations in float64."""

import numpy as np
import pytest
from tiny_models import Tiny, two_inputs

from rnnedge_runtime import Session
from rnnedge_runtime.engine.inference_session import open_inference_session

CELLS = {
    "rnn-tanh": Tiny("rnn"),
    "rnn-relu": Tiny("rnn", nonlinearity="relu"),
    "lstm": Tiny("lstm"),
    "gru": Tiny("gru"),
    "rnn-both-directions": Tiny("rnn", bidirectional=True),
    "lstm-both-directions": Tiny("lstm", bidirectional=True),
    "gru-both-directions": Tiny("gru", bidirectional=True),
    "lstm-batch-first": Tiny("lstm", batch_first=True),
    "gru-batch-first-both": Tiny("gru", batch_first=True, bidirectional=True),
}
SHAPES = [(1, 1), (2, 1), (1, 3), (7, 2), (40, 5)]


@pytest.fixture(params=CELLS.values(), ids=CELLS)
def tiny(request):
    return request.param


@pytest.fixture
def session(tiny):
    return Session(tiny.content)


def close(given, expected):
    np.testing.assert_allclose(given, expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize(("time", "batch"), SHAPES)
def test_output_from_a_zero_state(tiny, session, time, batch):
    x = tiny.input(time, batch)
    close(session.run(x).output, tiny.expected(x)[0])


@pytest.mark.parametrize(("time", "batch"), SHAPES)
def test_output_from_a_given_state(tiny, session, time, batch):
    x, state = tiny.input(time, batch), tiny.state(batch)
    close(session.run(x, state=state).output, tiny.expected(x, state)[0])


@pytest.mark.parametrize(("time", "batch"), SHAPES)
def test_final_state(tiny, session, time, batch):
    x, state = tiny.input(time, batch), tiny.state(batch)
    result = session.run(x, state=state)
    for given, expected in zip(result.state, tiny.expected(x, state)[1], strict=True):
        close(given, expected)


def test_outputs_have_the_promised_names_in_order(tiny, session):
    names = [spec.name for spec in tiny.interface.outputs]
    assert list(session.run(tiny.input(3, 2)).outputs) == names


def test_outputs_have_the_promised_dtypes_and_shapes(tiny, session):
    outputs = session.run(tiny.input(3, 2)).outputs
    sizes = {"time": 3, "batch": 2}
    for spec in tiny.interface.outputs:
        assert outputs[spec.name].dtype == spec.dtype
        assert outputs[spec.name].shape == tuple(sizes.get(axis, axis) for axis in spec.axes)


def test_state_is_the_final_outputs_in_order(tiny, session):
    result = session.run(tiny.input(3, 2))
    assert [id(array) for array in result.state] == [
        id(result.outputs[f"{letter}_n"]) for letter in tiny.letters
    ]


def test_the_final_state_can_be_given_back(tiny, session):
    first = session.run(tiny.input(3, 2))
    assert session.run(tiny.input(1, 2), state=first.state).output.any()


def test_input_and_state_are_not_changed(tiny, session):
    x, state = tiny.input(3, 2), tiny.state(2)
    copies = x.copy(), [array.copy() for array in state]
    session.run(x, state=state)
    np.testing.assert_array_equal(x, copies[0])
    np.testing.assert_array_equal(state, copies[1])


def test_a_mapping_by_name_equals_the_bare_array(tiny, session):
    x = tiny.input(3, 2)
    np.testing.assert_array_equal(session.run({"input": x}).output, session.run(x).output)


@pytest.mark.parametrize(
    "layout",
    [lambda x: np.asfortranarray(x), lambda x: np.repeat(x, 2, axis=0)[::2], lambda x: x.copy()],
    ids=["column-major", "every-second-step", "read-only"],
)
def test_any_memory_layout_is_taken(layout):
    tiny = Tiny("gru")
    session, x = Session(tiny.content), tiny.input(6, 3)
    laid_out = layout(x)
    laid_out.flags.writeable = False
    np.testing.assert_array_equal(session.run(laid_out).output, session.run(x).output)


CALLS = {
    "other-numbers": lambda x, state: (x + 1, None),
    "the-state-of-another": lambda x, state: (x, state),
    "other-time": lambda x, state: (x[:2], state),
    "other-batch": lambda x, state: (x[:, :1], [part[:, :1] for part in state]),
    "every-second-step": lambda x, state: (np.repeat(x, 2, axis=0)[::2], tuple(state)),
    "a-list": lambda x, state: (x.astype(np.float32), list(state)),
}


@pytest.mark.parametrize("lengths", [False, True], ids=["", "lengths"])
@pytest.mark.parametrize("second", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("first", CALLS.values(), ids=CALLS)
def test_a_call_answers_the_same_after_any_other(first, second, lengths):
    tiny = Tiny("lstm", lengths=lengths)
    session, x, state = Session(tiny.content), tiny.input(5, 2), tuple(tiny.state(2))
    for call in (first, second, first):
        data, given = call(x, state)
        result = session.run(data, state=given)
        close(result.output, tiny.expected(data, given)[0])


def test_lengths_are_not_those_of_the_call_before():
    tiny = Tiny("gru", lengths=True)
    session, x = Session(tiny.content), tiny.input(4, 2)
    session.run(x)
    assert not session.run(x, lengths=[4, 1]).output[1:, 1].any()
    close(session.run(x).output, tiny.expected(x)[0])


def test_an_engine_that_has_its_public_names_only(monkeypatch):
    class Public:
        def __init__(self, engine):
            self._engine = engine

        def __getattr__(self, name):
            if name.startswith("_"):
                raise AttributeError(name)
            return getattr(self._engine, name)

    def opened(*arguments, **options):
        engine, device = open_inference_session(*arguments, **options)
        return Public(engine), device

    monkeypatch.setattr("rnnedge_runtime.engine.onnx_runtime.open_inference_session", opened)
    tiny = Tiny("lstm")
    x = tiny.input(3, 2)
    close(Session(tiny.content).run(x).output, tiny.expected(x)[0])


def test_state_by_input_name():
    tiny = Tiny("lstm")
    session, x, (h, c) = Session(tiny.content), tiny.input(3, 2), tiny.state(2)
    by_name = session.run(x, state={"c_0": c, "h_0": h})
    np.testing.assert_array_equal(by_name.output, session.run(x, state=(h, c)).output)


def test_an_only_state_as_a_bare_array():
    tiny = Tiny("gru")
    session, x, (h,) = Session(tiny.content), tiny.input(3, 2), tiny.state(2)
    np.testing.assert_array_equal(session.run(x, state=h).output, session.run(x, state=[h]).output)


def test_without_states_the_final_ones_are_outputs_all_the_same():
    tiny = Tiny("lstm", states=False)
    x = tiny.input(3, 2)
    result = Session(tiny.content).run(x)
    assert result.state == ()
    close(result.outputs["c_n"], tiny.expected(x)[1][1])


def test_several_inputs_and_outputs_by_name():
    tiny, content = two_inputs()
    x = tiny.input(5, 2)
    result = Session(content).run({"right": x[..., 1:], "left": x[..., :1]})
    close(result.outputs["output"], tiny.expected(x)[0])
    close(result.outputs["negative"], -tiny.expected(x)[0])


def test_repr_lists_inputs_outputs_and_device():
    assert repr(Session(Tiny("gru").content)) == (
        "Session(input float32[time, batch, 2], h_0 float32[1, batch, 3] -> "
        "output float32[time, batch, 3], h_n float32[1, batch, 3], device='cpu')"
    )


def test_zero_state_has_the_shapes_of_the_states():
    zeros = Session(Tiny("lstm", bidirectional=True).content).zero_state(4)
    assert [(z.shape, z.dtype.name, z.any()) for z in zeros] == [((2, 4, 3), "float32", False)] * 2
