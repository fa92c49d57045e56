"""Inputs that are made up have the sizes that a file states, up to a limit."""

from dataclasses import replace

import numpy as np
import pytest
from tiny_models import Tiny

from rnnedge_runtime import Session
from rnnedge_runtime.contract import TensorSpec
from rnnedge_runtime.errors import InputError
from rnnedge_runtime.foreign.example_inputs import example_inputs


@pytest.mark.parametrize("dtype", ["float32", "int64"])
def test_an_input_that_no_memory_holds_is_refused(dtype):
    spec = TensorSpec("x", dtype, ("time", "batch", 2**31))
    with pytest.raises(InputError, match=r"expected at most 67,108,864 numbers for an example, g"):
        example_inputs([spec], 5, 2)


def test_a_frame_that_no_memory_holds_is_not_made():
    wide = Tiny("gru").graph()
    wide.inputs = [replace(wide.inputs[0], axes=("time", "batch", 2**62)), *wide.inputs[1:]]
    session = Session(wide.content(), threads=1, engine="onnxruntime")
    with session.stream() as stream, pytest.raises(InputError):
        stream.step(np.ones((1, 2), np.float32))


def test_an_axis_without_a_meaning_has_its_own_size():
    spec = TensorSpec("x", "float32", ("time", "batch", "words"))
    assert example_inputs([spec], 5, 2)["x"].shape == (5, 2, 6)
