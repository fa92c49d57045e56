"""Files that voice detectors are published in, as the package silero-vad brings them."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from commands import Done

from rnnedge_runtime import Session
from rnnedge_runtime.__main__ import main as device_main

SPEC = find_spec("silero_vad")
pytestmark = pytest.mark.skipif(SPEC is None, reason="silero-vad is not installed")
DATA = Path(SPEC.origin).parent / "data" if SPEC and SPEC.origin else Path()
STATES = {
    "silero_vad.onnx": {"stateN": "state"},
    "silero_vad_16k_op15.onnx": {"stateN": "state"},
    "silero_vad_16k_sequence.onnx": {"hn": "h", "cn": "c"},
    "silero_vad_half.onnx": {"stateN": "state"},
}


@pytest.mark.parametrize(("name", "states"), STATES.items(), ids=STATES)
def test_states(name, states):
    found = Session(DATA / name).interface.states
    assert {pair.output: pair.input for pair in found} == states


@pytest.mark.parametrize("name", STATES)
def test_check(name, capsys):
    assert device_main(["check", str(DATA / name)]) == 0, capsys.readouterr().out


@pytest.mark.parametrize("name", STATES)
@pytest.mark.parametrize("option", [[], ["--stream"]], ids=["whole", "stream"])
def test_bench(name, option, rnn: Callable[..., Done]):
    done = rnn("bench", str(DATA / name), "--count", "1", "--warmup", "0", *option)
    assert (done.code, done.err) == (0, "")


def test_samples_of_a_frame_are_not_fixed():
    """The file takes 512 samples, or 576 with the last 64 of those before."""
    session = Session(DATA / "silero_vad.onnx")
    stream = session.stream(constants={"sr": np.array(16000)})
    shapes = [stream.step(np.zeros((1, size), np.float32)).shape for size in (512, 576)]
    assert shapes == [(1, 1), (1, 1)]
