"""The models that these tests write are valid ONNX; needs the onnx package, so not on a device."""

import pytest
from tiny_models import Tiny, silero_style, two_inputs

onnx = pytest.importorskip("onnx", reason="onnx is not installed here, as on a device")

MODELS = {
    "rnn-relu": Tiny("rnn", nonlinearity="relu").content,
    "lstm-lengths-both-directions": Tiny("lstm", lengths=True, bidirectional=True).content,
    "gru-batch-first": Tiny("gru", batch_first=True).content,
    "foreign-unnamed-axes": Tiny("gru").graph().content(axes={"batch": None, "time": None}),
    "two-inputs": two_inputs()[1],
    "silero": silero_style()[1],
}


@pytest.mark.parametrize("content", MODELS.values(), ids=MODELS)
def test_the_checker_accepts_it(content):
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)


def test_what_was_written_is_read_back():
    tiny = Tiny("lstm")
    graph = onnx.load_from_string(tiny.content).graph
    constants = {i.name: onnx.numpy_helper.to_array(i) for i in graph.initializer}
    assert (constants["W"] == tiny.graph().constants["W"]).all()
