"""What can be set on ONNX Runtime, and what `Session.info` reports of a session."""

import re

import numpy as np
import pytest
from tiny_models import Tiny

from rnnedge_runtime import OptionError, Session
from rnnedge_runtime.engine.inference_session import open_inference_session
from rnnedge_runtime.engine.options import EngineOptions

LSTM = Tiny("lstm")
OPTIONS = {
    "threads": {"threads": 2},
    "no-spinning": {"threads": 2, "spinning": False},
    "no-arena": {"arena": False},
    "memory-pattern": {"memory_pattern": True},
    "no-prepacking": {"options": {"session.disable_prepacking": "1"}},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_an_option_changes_no_answer(options):
    x = LSTM.input(5, 2)
    given = Session(LSTM.content, **options).run(x).output
    np.testing.assert_allclose(given, LSTM.expected(x)[0], rtol=1e-5, atol=2e-6)


def test_options_reach_onnxruntime():
    asked = EngineOptions(
        threads=2,
        spinning=False,
        arena=False,
        memory_pattern=True,
        entries={"session.disable_prepacking": "1"},
    )
    engine, _ = open_inference_session(LSTM.content, device="cpu", options=asked)
    settings = engine.get_session_options()
    assert settings.intra_op_num_threads == 2
    assert not settings.enable_cpu_mem_arena
    assert settings.enable_mem_pattern
    assert settings.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    assert settings.get_session_config_entry("session.disable_prepacking") == "1"


def test_a_wrong_name_is_refused_and_the_nearest_is_told():
    message = (
        "options: this ONNX Runtime has no session entry 'session.disable_prepaking'; "
        "did you mean 'session.disable_prepacking'?"
    )
    with pytest.raises(OptionError, match=re.escape(message)):
        Session(LSTM.content, options={"session.disable_prepaking": "1"})


def test_a_name_that_is_like_no_other():
    with pytest.raises(OptionError, match=r"has no session entry 'fast'$"):
        Session(LSTM.content, options={"fast": "1"})


def test_a_value_that_is_no_text():
    message = r"^options: expected text for 'session.disable_prepacking', got True$"
    with pytest.raises(OptionError, match=message):
        Session(LSTM.content, options={"session.disable_prepacking": True})


def test_options_that_are_not_the_default_in_words():
    asked = EngineOptions(
        threads=2, spinning=False, arena=False, memory_pattern=True, entries={"session.x": "1"}
    )
    assert asked.changed == ("no spinning", "no arena", "memory pattern", "session.x=1")
    assert EngineOptions(threads=2).changed == ()


def test_info_of_a_stream():
    info = Session(LSTM.content, threads=1, engine="onnxruntime").info
    assert [spec.name for spec in info.states] == ["h_0", "c_0"]
    assert info.state_bytes == 2 * 3 * 4
    assert (info.delay, info.hindrances) == (0, ())
    assert (info.device, info.providers) == ("cpu", ("CPUExecutionProvider",))
    assert info.options.threads == 1
    assert info.fell_back == ()


def test_info_of_what_reads_the_future():
    info = Session(Tiny("gru", bidirectional=True).content).info
    assert info.delay is None
    assert info.hindrances == ("the layer is bidirectional",)


def test_info_of_a_model_without_states():
    info = Session(Tiny("gru", states=False).content).info
    assert (info.states, info.state_bytes, info.delay) == ((), 0, None)
    assert "no states" in info.hindrances[-1]


def test_info_names_the_provider_of_each_node():
    info = Session(LSTM.content).info
    if info.nodes is None:
        pytest.skip("this ONNX Runtime does not report")
    assert {node.provider for node in info.nodes} == {"CPUExecutionProvider"}
    assert "LSTM" in {node.operator for node in info.nodes}
