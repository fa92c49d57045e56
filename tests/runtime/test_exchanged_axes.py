"""Inputs whose axes are in another order: the error says how to reorder them."""

import re

import numpy as np
import pytest
from tiny_models import Tiny

from rnnedge_runtime import InputError, Session, StateError

TIME, BATCH = 5, 3


@pytest.fixture(scope="module")
def session():
    return Session(Tiny("gru").content)


@pytest.fixture(scope="module")
def features(session):
    return session.interface.data_inputs[0].axes[-1]


@pytest.mark.parametrize("place", [0, 1])
def test_features_at_another_place(session, features, place):
    right = np.zeros((TIME, BATCH, features), np.float32)
    wrong = np.moveaxis(right, 2, place)
    message = f"to move its axis of {features} there: np.moveaxis(x, {place}, 2)"
    with pytest.raises(InputError, match=re.escape(message)):
        session.run(wrong)
    session.run(np.moveaxis(wrong, place, 2))  # what the message says


def test_a_state_of_the_other_axis(session, features):
    state = session.zero_state(BATCH)
    exchanged = np.zeros((BATCH, TIME, features), np.float32)
    with pytest.raises(StateError, match=r"seem to be exchanged: x.swapaxes\(0, 1\)$"):
        session.run(exchanged, state=state)
    session.run(exchanged.swapaxes(0, 1), state=state)


def test_a_state_of_neither_axis(session, features):
    with pytest.raises(StateError) as raised:
        session.run(np.zeros((TIME, BATCH, features), np.float32), state=session.zero_state(7))
    assert "exchanged" not in str(raised.value)


def test_lengths_of_the_other_axis():
    session = Session(Tiny("gru", lengths=True).content)
    features = session.interface.data_inputs[0].axes[-1]
    exchanged = np.zeros((BATCH, TIME, features), np.float32)
    with pytest.raises(InputError, match=r"seem to be exchanged: x.swapaxes\(0, 1\)$"):
        session.run(exchanged, lengths=[2] * BATCH)
    session.run(exchanged.swapaxes(0, 1), lengths=[2] * BATCH)


def test_a_list_is_made_an_array_by_what_the_error_says(session, features):
    values = [[[0.5] * features]]
    with pytest.raises(InputError, match=r"make an array of it with np.asarray\(x, 'float32'\)$"):
        session.run(values)
    session.run(np.asarray(values, "float32"))
