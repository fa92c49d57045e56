"""CUDA against the CPU; skipped where onnxruntime has no CUDA provider."""

import numpy as np
import pytest
from tiny_models import Tiny

from rnnedge_runtime import Session

pytestmark = pytest.mark.cuda

CELLS = {
    "rnn": Tiny("rnn"),
    "lstm": Tiny("lstm"),
    "gru": Tiny("gru"),
    "lstm-both-directions": Tiny("lstm", bidirectional=True),
    "gru-lengths": Tiny("gru", lengths=True),
}


@pytest.fixture(params=CELLS.values(), ids=CELLS)
def tiny(request):
    return request.param


def close(given, expected):
    # The provider multiplies in TF32 by default, which keeps 10 bits of mantissa.
    np.testing.assert_allclose(given, expected, rtol=0, atol=5e-3)


@pytest.mark.parametrize(("time", "batch"), [(1, 1), (1, 4), (17, 1), (33, 5)])
def test_it_answers_what_the_cpu_does(tiny, time, batch):
    x, state = tiny.input(time, batch), tiny.state(batch)
    cuda = Session(tiny.content, device="cuda").run(x, state=state)
    cpu = Session(tiny.content, device="cpu").run(x, state=state)
    for name, array in cpu.outputs.items():
        close(cuda.outputs[name], array)


def test_lengths_end_the_rows_there_too():
    tiny, lengths = Tiny("gru", lengths=True), [7, 0, 3]
    x, state = tiny.input(7, 3), tiny.state(3)
    result = Session(tiny.content, device="cuda").run(x, lengths=lengths, state=state)
    close(result.output, tiny.expected(x, state, lengths)[0])


def test_a_stream_keeps_its_state_there_too():
    tiny = Tiny("lstm")
    x, stream = tiny.input(9, 2), Session(tiny.content, device="cuda").stream(2)
    close(np.stack([stream.step(frame) for frame in x]), tiny.expected(x)[0])


def test_the_device_is_named():
    assert Session(Tiny("gru").content, device="cuda").device == "cuda"


def test_auto_takes_it():
    assert Session(Tiny("gru").content, device="auto").device == "cuda"


def test_cpu_stays_the_cpu():
    assert Session(Tiny("gru").content, device="cpu").device == "cpu"
