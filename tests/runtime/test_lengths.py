"""Rows that end at their own lengths, as in a PackedSequence."""

import numpy as np
import pytest
from tiny_models import Tiny

from rnnedge_runtime import Session

CELLS = {
    "rnn-tanh": Tiny("rnn", lengths=True),
    "rnn-relu": Tiny("rnn", nonlinearity="relu", lengths=True),
    "lstm": Tiny("lstm", lengths=True),
    "gru": Tiny("gru", lengths=True),
    "lstm-both-directions": Tiny("lstm", bidirectional=True, lengths=True),
    "gru-both-directions": Tiny("gru", bidirectional=True, lengths=True),
    "lstm-batch-first": Tiny("lstm", batch_first=True, lengths=True),
}
LENGTHS = {
    "full": [6, 6, 6],
    "ragged": [6, 1, 4],
    "shorter-than-time": [2, 3, 2],
    "one-empty": [5, 0, 6],
    "all-empty": [0, 0, 0],
}


@pytest.fixture(params=CELLS.values(), ids=CELLS)
def tiny(request):
    return request.param


@pytest.fixture
def session(tiny):
    return Session(tiny.content)


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_output_is_zero_past_a_row_and_right_before(tiny, session, lengths):
    x, state = tiny.input(6, 3), tiny.state(3)
    output = session.run(x, lengths=lengths, state=state).output
    expected, _ = tiny.expected(x, state, lengths)
    np.testing.assert_allclose(output, expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_final_state_is_the_one_at_the_end_of_each_row(tiny, session, lengths):
    x, state = tiny.input(6, 3), tiny.state(3)
    result = session.run(x, lengths=lengths, state=state)
    _, expected = tiny.expected(x, state, lengths)
    np.testing.assert_allclose(result.state, expected, rtol=1e-5, atol=2e-6)


def test_a_row_of_length_zero_keeps_its_state_bit_for_bit(tiny, session):
    state = tiny.state(3)
    result = session.run(tiny.input(6, 3), lengths=[6, 0, 2], state=state)
    for after, before in zip(result.state, state, strict=True):
        np.testing.assert_array_equal(after[:, 1], before[:, 1])


def test_without_lengths_every_row_is_full(tiny, session):
    x = tiny.input(6, 3)
    full = session.run(x, lengths=[6, 6, 6])
    np.testing.assert_array_equal(session.run(x).output, full.output)


def test_padding_is_not_read(tiny, session):
    x, lengths = tiny.input(6, 3), [6, 1, 4]
    padded = x.copy()
    for row, length in enumerate(lengths):
        padded.swapaxes(0, 1 if tiny.batch_first else 0)[length:, row] = np.nan
    first, second = (session.run(each, lengths=lengths).outputs for each in (x, padded))
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8"])
def test_any_integer_dtype_is_taken(dtype):
    tiny = Tiny("gru", lengths=True)
    session, x = Session(tiny.content), tiny.input(6, 2)
    given = session.run(x, lengths=np.array([6, 3], dtype))
    np.testing.assert_array_equal(given.output, session.run(x, lengths=[6, 3]).output)
