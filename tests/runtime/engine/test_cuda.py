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
STREAMED = ("rnn", "lstm", "gru", "gru-lengths")


@pytest.fixture(params=CELLS.values(), ids=CELLS)
def tiny(request):
    return request.param


@pytest.fixture(params=[CELLS[name] for name in STREAMED], ids=STREAMED)
def streamed(request):
    return request.param


def close(given, expected, atol=2e-6):
    np.testing.assert_allclose(given, expected, rtol=1e-5, atol=atol)


@pytest.mark.parametrize(("time", "batch"), [(1, 1), (1, 4), (17, 1), (33, 5)])
def test_it_answers_what_the_cpu_does(tiny, time, batch):
    x, state = tiny.input(time, batch), tiny.state(batch)
    cuda = Session(tiny.content, device="cuda").run(x, state=state)
    cpu = Session(tiny.content, device="cpu").run(x, state=state)
    for name, array in cpu.outputs.items():
        close(cuda.outputs[name], array)


def test_tf32_is_nearly_that(tiny):
    x, state = tiny.input(17, 5), tiny.state(5)
    cuda = Session(tiny.content, device="cuda", tf32=True).run(x, state=state)
    close(cuda.output, Session(tiny.content).run(x, state=state).output, atol=5e-3)


def test_lengths_end_the_rows_there_too():
    tiny, lengths = Tiny("gru", lengths=True), [7, 0, 3]
    x, state = tiny.input(7, 3), tiny.state(3)
    result = Session(tiny.content, device="cuda").run(x, lengths=lengths, state=state)
    close(result.output, tiny.expected(x, state, lengths)[0])


def test_a_stream_keeps_its_state_there_too(streamed):
    x, stream = streamed.input(9, 2), Session(streamed.content, device="cuda").stream(2)
    close(np.stack([stream.step(frame) for frame in x]), streamed.expected(x)[0])


def test_a_stream_takes_a_state_and_tells_it(streamed):
    x, state = streamed.input(9, 2), streamed.state(2)
    stream = Session(streamed.content, device="cuda").stream(2)
    stream.state = state
    output, finals = streamed.expected(x, state)
    close(np.stack([stream.step(frame) for frame in x]), output)
    for given, expected in zip(stream.state, finals, strict=True):
        close(given, expected)


def test_chunks_of_several_lengths_equal_the_whole(streamed):
    x, stream = streamed.input(12, 2), Session(streamed.content, device="cuda").stream(2)
    chunks = [stream.step(x[start:end]) for start, end in ((0, 5), (5, 6), (6, 12))]
    close(np.concatenate(chunks), streamed.expected(x)[0])


def test_streams_of_a_pool_do_not_see_each_other(streamed):
    x, pool = streamed.input(8, 3), Session(streamed.content, device="cuda").pool()
    slots = [pool.open() for _ in range(3)]
    answers = [pool.step(dict(zip(slots, frame, strict=True))) for frame in x]
    for row, slot in enumerate(slots):
        given = np.stack([answer[slot] for answer in answers])
        close(given, streamed.expected(x[:, row : row + 1])[0][:, 0])


def test_the_device_is_named():
    assert Session(Tiny("gru").content, device="cuda").device == "cuda"


def test_recurrent_operators_stay_on_it(tiny):
    info = Session(tiny.content, device="cuda").info
    if info.nodes is None:
        pytest.skip("this ONNX Runtime does not report")
    assert not {"RNN", "LSTM", "GRU"} & {node.operator for node in info.fell_back}


def test_auto_takes_it():
    assert Session(Tiny("gru").content, device="auto").device == "cuda"


def test_cpu_stays_the_cpu():
    assert Session(Tiny("gru").content, device="cpu").device == "cpu"
