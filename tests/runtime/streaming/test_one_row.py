"""A stream of one row takes frames without a batch axis, and answers without one."""

import numpy as np
import pytest
from tiny_models import Tiny, silero_style

from rnnedge_runtime import InputError, Session

FRAMES = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)


def frames_of(stream):
    return [stream.step(frame[None]) for frame in FRAMES]


@pytest.fixture(params=["rnn", "lstm", "gru"])
def session(request):
    return Session(Tiny(request.param).content)


def test_the_answers_are_those_with_the_axis(session):
    expected, stream = frames_of(session.stream()), session.stream()
    for frame, answer in zip(FRAMES, expected, strict=True):
        found = stream.step(frame)
        assert found.shape == answer.shape[1:]
        np.testing.assert_array_equal(found, answer[0])


def test_both_forms_may_alternate(session):
    expected, stream = frames_of(session.stream()), session.stream()
    for number, (frame, answer) in enumerate(zip(FRAMES, expected, strict=True)):
        found = stream.step(frame if number % 2 else frame[None])
        np.testing.assert_array_equal(found.reshape(answer.shape), answer)


def test_by_name(session):
    found = session.stream().step({"input": FRAMES[0]})
    np.testing.assert_array_equal(found, frames_of(session.stream())[0][0])


def test_out_has_no_batch_axis(session):
    expected, stream = frames_of(session.stream()), session.stream()
    out = np.empty(expected[0].shape[1:], np.float32)
    for frame, answer in zip(FRAMES, expected, strict=True):
        assert stream.step(frame, out=out) is out
        np.testing.assert_array_equal(out, answer[0])


def test_a_view_without_copy(session):
    view = session.stream().step(FRAMES[0], copy=False)
    np.testing.assert_array_equal(view, frames_of(session.stream())[0][0])


def test_an_out_of_another_shape_is_refused(session):
    stream = session.stream()
    with pytest.raises(InputError, match="out: expected for output a writeable float32"):
        stream.step(FRAMES[0], out=np.empty(99, np.float32))
    np.testing.assert_array_equal(stream.step(FRAMES[0]), frames_of(session.stream())[0][0])


def test_a_model_of_frames_without_time():
    session = Session(silero_style()[1])
    features = session.interface.data_inputs[0].axes[-1]
    frame = np.ones(features, np.float32)
    one, other = (session.stream(constants={"sr": np.int64(16000)}) for _ in range(2))
    np.testing.assert_array_equal(one.step(frame), other.step(frame[None])[0])


def test_nan_is_refused(session):
    with pytest.raises(InputError, match="expected finite values"):
        session.stream().step(np.full(2, np.nan, np.float32))


def test_more_rows_need_the_axis(session):
    with pytest.raises(InputError, match="the stream has 2 rows, and takes a frame of each"):
        session.stream(2).step(FRAMES[0])
