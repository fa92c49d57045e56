"""`Session.decode`: which models it takes, what it refuses, and what it says."""

from dataclasses import replace

import numpy as np
import pytest
from tiny_models import Tiny

from rnnedge_runtime import EngineError, InputError, Session, StateError
from rnnedge_runtime.contract import TensorSpec

TINY = Tiny("gru", input_size=4, hidden_size=3)
TABLE = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32) * 3


def decoder(axes=("time", "batch"), *, seen=(), bias=None):
    """Return a file that reads symbols, looks them up, and gives a GRU's output as logits.

    Args:
        axes: Of the symbols; those of the logits are the same.
        seen: Further inputs, which the file does not use.
        bias: What is added to the logits.
    """
    core = TINY.graph()
    by_row = len(axes) == 1
    face = TINY.interface
    inputs = [TensorSpec("symbol", "int64", axes), *seen, *face.inputs[1:]]
    outputs = [TensorSpec("logits", "float32", (*axes, 3)), *face.outputs[1:]]
    core.drop("output")
    core.inputs[:], core.outputs[:] = inputs, outputs
    core.constants["table"] = TABLE
    core.constants["bias"] = np.zeros(3, np.float32) if bias is None else np.float32(bias)
    core.add("Add", ["raw", "bias"], ["biased"])
    core.nodes.insert(0, ("Gather", ["table", "symbol"], ["looked" if by_row else "input"], {}))
    if by_row:
        core.nodes.insert(1, ("Unsqueeze", ["looked", "zero"], ["input"], {}))
        core.add("Squeeze", ["biased", "zero"], ["logits"])
    else:
        core.add("Identity", ["biased"], ["logits"])
    interface = replace(face, inputs=tuple(inputs), outputs=tuple(outputs))
    return core.content(replace(TINY.contract, interface=interface))


def greedy(state, steps, start=1, stop=None):
    """Return the symbols of one row by the equations."""
    written, symbol = [], start
    for _ in range(steps):
        output, state = TINY.expected(TABLE[[symbol]][:, None], state)
        symbol = int(output[0, 0].argmax())
        if symbol == stop:
            break
        written.append(symbol)
    return written


@pytest.fixture(scope="module")
def session():
    return Session(decoder(), threads=1)


@pytest.mark.parametrize("axes", [("time", "batch"), ("batch",), (1, "batch")], ids=str)
def test_symbols_with_and_without_an_axis_of_time(axes):
    state = TINY.state(3)
    decoded = Session(decoder(axes), threads=1).decode(1, None, 9, state=state)
    for row, tokens in enumerate(decoded.tokens):
        assert tokens == greedy(tuple(array[:, [row]] for array in state), 9)
    assert not decoded.finished.any()


def test_each_row_has_its_own_start(session):
    decoded = session.decode([0, 2, 4], 1, 6)
    assert decoded.tokens == [greedy(None, 6, start, stop=1) for start in (0, 2, 4)]


def test_several_symbols_may_stop(session):
    decoded = session.decode([0, 2, 4], [0, 1, 2], 6)
    assert decoded.tokens == [[], [], []]
    assert decoded.finished.all()
    assert (decoded.scores < 0).all()


def of_int32(contract):
    """Return a file of int32 symbols, which gives a GRU's output as logits."""
    core = TINY.graph()
    core.inputs[0] = TensorSpec("symbol", "int32", ("time", "batch"))
    core.nodes.insert(0, ("Gather", ["table", "symbol"], ["input"], {}))
    core.constants["table"] = TABLE
    if contract is None:
        return core.content()
    interface = replace(TINY.interface, inputs=tuple(core.inputs))
    return core.content(replace(contract, interface=interface))


def test_int32_symbols():
    session = Session(of_int32(TINY.contract), threads=1)
    assert session.decode(1, None, 5).tokens == [greedy(None, 5)]


def test_a_symbol_that_the_dtype_does_not_hold_is_refused():
    with pytest.raises(InputError, match="cannot take the symbol 2147483649"):
        Session(of_int32(TINY.contract), threads=1).decode(2**31 + 1, None, 5)


def test_a_model_without_a_contract():
    session = Session(of_int32(None), threads=1)
    assert session.decode(1, None, 5, beam=1).tokens == [greedy(None, 5)]


WRONG = {
    "float-start": ({"start": 1.5}, "start: expected a symbol"),
    "negative-start": ({"start": -1}, "start: expected a symbol"),
    "no-rows": ({"start": []}, "start: expected a symbol"),
    "ragged-start": ({"start": [[1], [1, 2]]}, "start: expected an array"),
    "stop-beyond": ({"stop": 3}, "stop: expected a symbol from 0 to 2"),
    "float-stop": ({"stop": 1.0}, "stop: expected a symbol from 0 to 2"),
    "no-steps": ({"max_steps": 0}, "max_steps: expected an integer of 1 or more, got 0"),
    "true-steps": ({"max_steps": True}, "max_steps: expected an integer"),
    "no-beam": ({"beam": 0}, "beam: expected an integer of 1 or more, got 0"),
    "penalty": ({"length_penalty": float("nan")}, "length_penalty: expected a finite number"),
    "names": ({"inputs": {"memory": [1.0]}}, "expected names of data inputs"),
    "no-mapping": ({"inputs": [1]}, "inputs: expected a mapping by name, got list"),
    "rows": ({"start": [1, 1], "state": TINY.state(3)}, "as many symbols as h_0 has rows, 3"),
    "symbol": ({"symbol": "x"}, "symbol: expected .*, got 'x': the model has "),
    "logits": ({"logits": "h_n"}, "logits: expected float.*, got 'h_n': the model has "),
}


@pytest.mark.parametrize(("arguments", "message"), WRONG.values(), ids=WRONG)
def test_arguments_are_checked(session, arguments, message):
    with pytest.raises(InputError, match=message):
        session.decode(**{"start": 1, "stop": 0, "max_steps": 4} | arguments)


def test_a_model_of_frames_is_refused():
    with pytest.raises(InputError, match="symbol: expected a model with an integer"):
        Session(TINY.content).decode(1, None, 4)


def test_inputs_that_are_left_out_are_named():
    content = decoder(seen=(TensorSpec("memory", "float32", ("batch", "source", 2)),))
    with pytest.raises(InputError, match="inputs: expected a value for memory"):
        Session(content).decode(1, None, 4)


def test_a_memory_with_the_rows_of_another_batch_is_refused():
    content = decoder(seen=(TensorSpec("memory", "float32", ("batch", "source", 2)),))
    memory = np.zeros((2, 5, 2), np.float32)
    with pytest.raises(InputError, match="as many symbols as memory has rows, 2, got 3"):
        Session(content).decode([1, 1, 1], None, 4, inputs={"memory": memory})


def test_a_model_without_states_is_refused():
    with pytest.raises(StateError, match="no states to keep"):
        Session(Tiny("gru", states=False).content).decode(1, None, 4)


def test_nan_is_no_choice():
    with pytest.raises(EngineError, match="logits: expected logits to choose by, got nan"):
        Session(decoder(bias=[0, np.nan, 0])).decode([1, 2], None, 4)


def test_all_masked_is_no_choice():
    with pytest.raises(EngineError, match="got -inf as the highest of row 0"):
        Session(decoder(bias=[-np.inf] * 3)).decode(1, None, 4, beam=2)


@pytest.mark.parametrize("engine", ["onnxruntime", "native"])
def test_a_symbol_without_a_row_in_the_table(engine):
    if engine == "native":
        pytest.importorskip("rnnedge_native")
    with pytest.raises(EngineError, match="failed"):
        Session(decoder(), engine=engine, threads=1).decode(5, None, 4)
