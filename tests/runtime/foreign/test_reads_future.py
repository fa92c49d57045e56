"""Models of other makers that run backwards over time: said, and not streamed."""

import pytest
import tiny_onnx
from tiny_models import Tiny

from rnnedge_runtime import Session, StateError
from rnnedge_runtime.contract import TensorSpec
from rnnedge_runtime.foreign.reads_future import backward_nodes

BOTH = Tiny("gru", bidirectional=True)


def turned(operator, **attributes):
    """Return a model of one node, which ONNX Runtime need not take."""
    node = tiny_onnx.node(operator, ["x"], ["y"], **attributes)
    return tiny_onnx.model([node], [], [], {})


FOUND = {
    "bidirectional": (turned("GRU", direction="bidirectional"), ("a node (GRU) is bidirectional",)),
    "reverse": (turned("RNN", direction="reverse"), ("a node (RNN) runs backwards",)),
    "forward": (turned("LSTM", direction="forward"), ()),
    "no-direction": (turned("LSTM", hidden_size=3), ()),
    "int8": (
        turned("DynamicQuantizeLSTM", direction="reverse"),
        ("a node (DynamicQuantizeLSTM) runs backwards",),
    ),
    "scan-input": (turned("Scan", scan_input_directions=[0, 1]), ("a node (Scan) runs backwards",)),
    "scan-output": (turned("Scan", scan_output_directions=[1]), ("a node (Scan) runs backwards",)),
    "scan-forward": (turned("Scan", scan_input_directions=[0], scan_output_directions=[0]), ()),
    "turned-around": (turned("ReverseSequence"), ("a node (ReverseSequence) reverses time",)),
    "other": (turned("Transpose", perm=[1, 0, 2]), ()),
    "no-protobuf": (b"ORTM, the format of its own", ()),
    "cut-off": (turned("GRU", direction="reverse")[:-9], ()),
}


@pytest.mark.parametrize(("content", "expected"), FOUND.values(), ids=FOUND)
def test_nodes(content, expected):
    assert backward_nodes(content) == expected


def test_a_file_that_is_gone(tmp_path):
    assert backward_nodes(tmp_path / "model.onnx") == ()


def test_info_says_why_there_is_no_delay(tmp_path):
    (tmp_path / "model.onnx").write_bytes(BOTH.graph().content())
    info = Session(tmp_path / "model.onnx").info
    assert (info.delay, info.hindrances) == (None, ("a node (GRU) is bidirectional",))


@pytest.mark.parametrize("opened", [Session.stream, Session.pool], ids=["stream", "pool"])
def test_it_is_not_streamed(opened):
    with pytest.raises(StateError, match=r"cannot be streamed, .*: a node \(GRU\) is bidirec"):
        opened(Session(BOTH.graph().content()))


def test_one_that_runs_forward_is_streamed():
    info = Session(Tiny("gru").graph().content()).info
    assert (info.delay, info.hindrances) == (0, ())


def test_frames_of_one_size_may_be_run_backwards_inside():
    graph = BOTH.graph()
    graph.inputs[0] = TensorSpec("input", "float32", (4, "batch", 2))
    graph.outputs[0] = TensorSpec("output", "float32", (4, "batch", 6))
    session = Session(graph.content())
    assert session.info.delay == 0
    assert session.stream().step(BOTH.input(4, 1)).shape == (4, 1, 6)
