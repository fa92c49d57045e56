"""The state of a stream as a value: reset by rows, cloned, saved and loaded."""

import re
from dataclasses import replace

import numpy as np
import pytest
from tiny_models import Tiny, silero_style

from rnnedge_runtime import Session, StateError, WriteError

LSTM, GRU = Tiny("lstm"), Tiny("gru")


@pytest.fixture(params=[LSTM, GRU, Tiny("rnn"), Tiny("lstm", batch_first=True)], ids=str)
def tiny(request):
    return request.param


def started(tiny, batch=3, steps=4):
    """Return a stream that has run some steps."""
    stream = Session(tiny.content).stream(batch)
    stream.step(tiny.input(steps, batch))
    return stream


def assert_equal(states, others):
    for given, expected in zip(states, others, strict=True):
        np.testing.assert_array_equal(given, expected)


def test_rows_are_reset_and_the_others_kept_to_the_bit(tiny):
    stream = started(tiny)
    expected = stream.state
    for array in expected:
        array[:, [0, 2]] = 0
    stream.reset(rows=[0, 2])
    assert_equal(stream.state, expected)


def test_no_rows_are_reset(tiny):
    stream = started(tiny)
    expected = stream.state
    stream.reset(rows=[])
    assert_equal(stream.state, expected)


@pytest.mark.parametrize("rows", [[3], [-1], [0.5], ["0"]], ids=str)
def test_rows_that_the_stream_has_not(rows):
    stream = started(LSTM)
    before = stream.state
    with pytest.raises(StateError, match=r"^rows: expected integers from 0 to 2, got \["):
        stream.reset(rows=rows)
    assert_equal(stream.state, before)


def test_a_clone_goes_on_alone(tiny):
    stream = started(tiny)
    twin = stream.clone()
    chunk = tiny.input(2, 3, 5)
    before = stream.state
    answer = twin.step(chunk)
    assert_equal(stream.state, before)
    np.testing.assert_array_equal(stream.step(chunk), answer)


def test_a_clone_rounds_tiny_numbers_away_at_the_same_step():
    tiny = Tiny("rnn", nonlinearity="relu")
    graph = tiny.graph()
    graph.constants["B"][:] = 0
    stream, silence = Session(graph.content(tiny.contract)).stream(), np.zeros((1, 2), np.float32)
    for _ in range(7):
        stream.step(silence)
    stream.state = [np.full((1, 1, 3), 1e-22, np.float32)]
    twin = stream.clone()
    for _ in range(60):
        np.testing.assert_array_equal(stream.step(silence), twin.step(silence))


def test_saved_and_loaded_to_the_bit(tiny, tmp_path):
    stream, file = started(tiny), tmp_path / "state.npz"
    stream.save(file)
    other = Session(tiny.content).stream(3)
    other.load(file)
    assert_equal(other.state, stream.state)
    chunk = tiny.input(2, 3, 5)
    np.testing.assert_array_equal(other.step(chunk), stream.step(chunk))


def test_another_process_goes_on_to_the_bit(tmp_path, python):
    model, file = tmp_path / "model.onnx", tmp_path / "state.npz"
    model.write_bytes(LSTM.content)
    stream = started(LSTM, batch=1)
    stream.save(file)
    code = (
        "import numpy as np; from rnnedge_runtime import Session\n"
        "stream = Session('model.onnx').stream(); stream.load('state.npz')\n"
        "print(stream.step(np.ones((1, 2), np.float32)).tobytes().hex())"
    )
    done = python("-c", code)
    expected = stream.step(np.ones((1, 2), np.float32)).tobytes().hex()
    assert done.stdout.strip() == expected, done.stderr


def test_saving_replaces_the_file_and_leaves_nothing_else(tmp_path):
    stream, file = started(GRU), tmp_path / "state.npz"
    np.savez(file, older=np.zeros(3))
    stream.save(file)
    stream.save(file)
    assert [path.name for path in tmp_path.iterdir()] == ["state.npz"]


def test_a_file_that_cannot_be_written(tmp_path):
    file = tmp_path / "no" / "state.npz"
    with pytest.raises(WriteError, match=r"state\.npz: expected an existing folder, found no fold"):
        started(GRU).save(file)


def test_the_state_of_another_model_is_refused(tmp_path):
    file = tmp_path / "state.npz"
    started(GRU).save(file)
    contract = replace(GRU.contract, weights_digest="sha256:" + 64 * "1")
    stream = Session(GRU.graph().content(contract)).stream()
    before = stream.state
    message = (
        r"the state belongs to the model sha256:.*, and this model is sha256:.*: open the model"
    )
    with pytest.raises(StateError, match=message):
        stream.load(file)
    assert_equal(stream.state, before)


def test_the_state_of_another_batch_is_refused(tmp_path):
    file = tmp_path / "state.npz"
    started(GRU, batch=2).save(file)
    stream = started(GRU)
    before = stream.state
    with pytest.raises(StateError, match=r"h_0: expected float32\[1, batch, 3\] with batch=3"):
        stream.load(file)
    assert_equal(stream.state, before)


FILES = {
    "missing": (None, "the state cannot be read: No such file"),
    "empty": (b"", "expected a state from Stream.save, found another or a damaged file"),
    "text": (b"not a state", "expected a state from Stream.save, found another or a damaged file"),
    "cut": ("cut", "expected a state from Stream.save, found another or a damaged file"),
    "other-npz": ("other", "expected a state from Stream.save, found another or a damaged file"),
    "npy": ("npy", "expected a state from Stream.save, found another or a damaged file"),
}


@pytest.mark.parametrize(("content", "message"), FILES.values(), ids=FILES)
def test_a_file_that_is_no_state(content, message, tmp_path):
    file, stream = tmp_path / "state.npz", started(GRU)
    if content == "cut":
        stream.save(file)
        file.write_bytes(file.read_bytes()[:-40])
    elif content == "other":
        np.savez(file, h_0=np.zeros((1, 3, 3), np.float32))
    elif content == "npy":
        with file.open("wb") as opened:
            np.save(opened, np.zeros(3))
    elif content is not None:
        file.write_bytes(content)
    with pytest.raises(StateError, match=re.escape(f"{file}: {message}")):
        stream.load(file)


def test_a_file_with_any_wrong_byte_is_refused_or_holds_a_state(tmp_path):
    """The check sums of an archive find most, and no other kind of exception comes through."""
    file, stream = tmp_path / "state.npz", started(GRU)
    stream.save(file)
    content, refused = file.read_bytes(), 0
    for place in range(len(content)):
        for value in (0xFF, content[place] ^ 1, 8, 14):
            file.write_bytes(content[:place] + bytes([value]) + content[place + 1 :])
            try:
                stream.load(file)
            except StateError:
                refused += 1
    assert refused > len(content)


def test_a_model_of_another_maker_is_known_by_its_file(tmp_path):
    _, content = silero_style()
    model, file = tmp_path / "model.onnx", tmp_path / "state.npz"
    model.write_bytes(content)
    from_file, from_bytes = Session(model), Session(content)
    assert from_file.digest == from_bytes.digest
    from_file.stream().save(file)
    from_bytes.stream().load(file)
    assert from_file.digest != Session(GRU.content).digest


def test_the_file_is_read_by_numpy_alone(tmp_path, python):
    file = tmp_path / "state.npz"
    stream = started(LSTM)
    stream.save(file)
    code = f"import numpy; print(*numpy.load({str(file)!r}, allow_pickle=False))"
    done = python("-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["rnnedge.digest", "h_0", "c_0"]
