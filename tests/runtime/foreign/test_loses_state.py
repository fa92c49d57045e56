"""Models of other makers whose recurrent nodes start anew at each call: said, and not streamed."""

import numpy as np
import pytest
import tiny_onnx
from tiny_models import Tiny

from rnnedge_runtime import Session, StateError
from rnnedge_runtime.contract import TensorSpec
from rnnedge_runtime.foreign.loses_state import lost_states

LSTM = Tiny("lstm")
CELL = "a node (LSTM) loses its cell state (initial_c) between calls"
HIDDEN = "a node (LSTM) loses its hidden state (initial_h) between calls"
BOTH = (
    "a node (LSTM) loses its hidden state (initial_h) and its cell state (initial_c) between calls"
)
GRU = "a node (GRU) loses its hidden state (initial_h) between calls"
ZERO = np.zeros(1, np.float32)


def recurrent(operator, *initial, x="x", made=(), **attributes):
    """Return a node with these initial states; its outputs are called `y`, or as `made` says."""
    return tiny_onnx.node(
        operator, [x, "W", "R", "", "", *initial], list(made or ("y",)), hidden_size=3, **attributes
    )


def model(*nodes, **parts):
    return tiny_onnx.model(
        nodes,
        [tiny_onnx.value("x", "float32", ["time", "batch", 2])]
        + [tiny_onnx.value(name, "float32", [1, "batch", 3]) for name in ("h", "c", "other")],
        [tiny_onnx.value("y", "float32", ["time", 1, "batch", 3])],
        {"zero": ZERO, "count": np.zeros(1, np.int64), "start": np.ones((1, 1, 3), np.float32)},
        **parts,
    )


def node(operator, inputs, outputs, **attributes):
    return tiny_onnx.node(operator, inputs.split(), outputs.split(), **attributes)


def by_size(measured, kept):
    """Run a GRU from `kept`, or from zeros where a value has no entries, as published files do."""
    branches = {
        name: tiny_onnx.graph(
            [recurrent("GRU", start, made=[f"{name}_y"])],
            [],
            [tiny_onnx.value(f"{name}_y", "float32", ["time", 1, "batch", 3])],
            {},
        )
        for name, start in (("then_branch", "start"), ("else_branch", kept))
    }
    return [
        node("Size", measured, "entries"),
        node("Equal", "entries count", "is_empty"),
        node("If", "is_empty", "y", **branches),
    ]


def scan(start, *, after="h_out"):
    body = tiny_onnx.graph(
        [node("Add", "h_in x_t", "h_out"), node("Identity", "h_in", "h_same")],
        [tiny_onnx.value(name, "float32", [1, 3]) for name in ("h_in", "x_t")],
        [tiny_onnx.value(name, "float32", [1, 3]) for name in (after, "h_out")],
        {},
    )
    return node("Scan", f"{start} x", "last y", num_scan_inputs=1, body=body)


def loop(start, *, after="h_out"):
    body = tiny_onnx.graph(
        [node("Add", "h_in h_in", "h_out"), node("Identity", "h_in", "h_same")],
        [tiny_onnx.value(name, "float32", [1]) for name in ("step", "go", "h_in")],
        [tiny_onnx.value(name, "float32", [1]) for name in ("go", after)],
        {},
    )
    return node("Loop", f"count go {start}", "last", body=body)


def either(then, otherwise):
    """Return an If that gives one of two values from around it."""
    branches = [
        tiny_onnx.graph(
            [node("Identity", source, "taken")], [], [tiny_onnx.value("taken", "float32", [1])], {}
        )
        for source in (then, otherwise)
    ]
    return node("If", "go", "picked", then_branch=branches[0], else_branch=branches[1])


WRAPPED = tiny_onnx.function(
    "own", "Wrapped", ["x", "start"], ["y"], [recurrent("GRU", "start", made=["y"])]
)
HALF = tiny_onnx.function("own", "Half", ["given"], ["half"], [node("Mul", "given given", "half")])
SCAN = "a node (Scan) loses its state 0 between calls"
LOOP = "a node (Loop) loses its state 0 between calls"

FOUND = {
    "all": (model(recurrent("LSTM", "h", "c")), ()),
    "no-cell": (model(recurrent("LSTM", "h")), (CELL,)),
    "no-cell-left-out": (model(recurrent("LSTM", "h", "")), (CELL,)),
    "no-hidden": (model(recurrent("LSTM", "", "c")), (HIDDEN,)),
    "neither": (model(recurrent("LSTM")), (BOTH,)),
    "not-handed-on": (model(recurrent("LSTM", "h", "other")), (CELL,)),
    "int8": (
        model(recurrent("DynamicQuantizeLSTM", "h", domain="com.microsoft")),
        (CELL.replace("(LSTM)", "(DynamicQuantizeLSTM)"),),
    ),
    "beside": (model(recurrent("GRU", "h"), recurrent("GRU", made=["", "z"])), (GRU,)),
    "beside-rnn": (model(recurrent("GRU", "h"), recurrent("RNN")), (GRU.replace("GRU", "RNN"),)),
    "constant": (model(recurrent("GRU", "start")), (GRU,)),
    "zeros-of-its-shape": (
        model(node("Shape", "h", "s"), node("ConstantOfShape", "s", "z"), recurrent("GRU", "z")),
        (GRU,),
    ),
    "reset": (model(node("Mul", "h keep", "k"), recurrent("GRU", "k")), ()),
    "parts": (model(node("Split", "h", "a b"), recurrent("LSTM", "a", "b")), ()),
    "decoder": (
        model(recurrent("GRU", "h", made=["", "m"]), recurrent("GRU", "m", made=["z"])),
        (GRU,),
    ),
    "either": (model(either("h", "c"), recurrent("GRU", "picked")), ()),
    "or-zeros": (model(either("h", "start"), recurrent("GRU", "picked")), (GRU,)),
    "scan": (model(scan("h")), ()),
    "scan-anew": (model(scan("start")), (SCAN,)),
    "scan-of-data": (model(scan("x")), (SCAN,)),
    "scan-constant": (model(scan("start", after="h_same")), ()),
    "loop": (model(loop("h")), ()),
    "loop-anew": (model(loop("start")), (LOOP,)),
    "loop-counter": (model(loop("count")), ()),
    "loop-list": (model(node("SequenceEmpty", "", "list"), loop("list")), ()),
    "loop-constant": (model(loop("start", after="h_same")), ()),
    "inside": (
        model(node("If", "go", "z", then_branch=tiny_onnx.graph([recurrent("GRU")], [], [], {}))),
        (GRU,),
    ),
    "function": (
        model(node("Wrapped", "x h", "y", domain="own"), functions=[WRAPPED], domains=["own"]),
        (),
    ),
    "function-anew": (
        model(node("Wrapped", "x start", "y", domain="own"), functions=[WRAPPED], domains=["own"]),
        (GRU,),
    ),
    "through-a-function": (
        model(
            node("Half", "h", "k", domain="own"),
            recurrent("GRU", "k"),
            functions=[HALF],
            domains=["own"],
        ),
        (),
    ),
    "steps-of-one-number": (
        model(
            recurrent("GRU", x="bands"),
            values=[tiny_onnx.value("bands", "float32", [16, "n", 2])],
        ),
        (),
    ),
    "steps-of-one-number-in-the-middle": (
        model(
            recurrent("GRU", x="bands", layout=1),
            values=[tiny_onnx.value("bands", "float32", ["n", 16, 2])],
        ),
        (),
    ),
    "steps-of-any-number": (
        model(recurrent("GRU", x="z"), values=[tiny_onnx.value("z", "float32", ["t", 16, 2])]),
        (GRU,),
    ),
    "zeros-where-the-state-is-empty": (model(*by_size("h", "h")), ()),
    "zeros-by-the-data": (model(*by_size("x", "h")), (GRU,)),
    "zeros-in-every-branch": (model(*by_size("h", "start")), (GRU,)),
    "other": (model(node("Add", "x x", "y")), ()),
    "no-protobuf": (b"ORTM, the format of its own", ()),
}  # fmt: skip


@pytest.mark.parametrize(("content", "expected"), FOUND.values(), ids=FOUND)
def test_nodes(content, expected):
    assert lost_states(content, ["h", "c"], open_time=True) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [(model(recurrent("GRU")), ()), (model(recurrent("LSTM", "h")), (CELL,))],
    ids=["none", "half"],
)
def test_frames_of_one_size_may_run_a_node_inside(content, expected):
    assert lost_states(content, ["h", "c"], open_time=False) == expected


def test_a_file_that_is_gone(tmp_path):
    assert lost_states(tmp_path / "model.onnx", ["h"], open_time=True) == ()


def half():
    """Return an LSTM that takes and gives the hidden state only, as some makers write it."""
    graph = LSTM.graph()
    graph.inputs = [spec for spec in graph.inputs if spec.name != "c_0"]
    graph.outputs = [spec for spec in graph.outputs if spec.name != "c_n"]
    operator, inputs, outputs, attributes = graph.nodes[0]
    graph.nodes[0] = operator, inputs[:6], outputs[:2], attributes
    graph.drop("c_n")
    return graph


@pytest.mark.parametrize("opened", [Session.stream, Session.pool], ids=["stream", "pool"])
@pytest.mark.parametrize("states", [None, {"h_n": "h_0"}], ids=["by-name", "as-told"])
def test_it_is_not_streamed(opened, states):
    session = Session(half().content(), states=states)
    assert session.info.hindrances == (CELL,)
    message = r"cannot be streamed, .*: a node \(LSTM\) loses its cell state \(initial_c\)"
    with pytest.raises(StateError, match=message):
        opened(session)


def test_its_chunks_would_differ_from_the_whole():
    """What the refusal is for: the answers of chunks, as `run` gives them."""
    session = Session(half().content())
    x = LSTM.input(8, 2)
    whole, state, parts = session.run(x).output, None, []
    for chunk in np.split(x, 4):
        result = session.run(chunk, state=state)
        state = result.state
        parts.append(result.output)
    assert np.abs(np.concatenate(parts) - whole).max() > 0.01


def test_frames_of_one_size_lose_it_too():
    graph = half()
    graph.inputs[0] = TensorSpec("input", "float32", (1, "batch", 2))
    graph.outputs[0] = TensorSpec("output", "float32", (1, "batch", 3))
    with pytest.raises(StateError, match=r"loses its cell state"):
        Session(graph.content()).stream()


def test_one_that_keeps_both_is_streamed():
    assert Session(LSTM.graph().content()).info.hindrances == ()
