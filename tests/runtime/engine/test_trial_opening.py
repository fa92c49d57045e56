"""A model that is opened in a child first: what ends the child does not end the command."""

import numpy as np
import pytest
import tiny_onnx
from tiny_models import Tiny

from rnnedge_runtime import ModelError
from rnnedge_runtime.__main__ import main
from rnnedge_runtime.engine.opening_cost import check_opening
from rnnedge_runtime.engine.trial_opening import check_that_it_opens

DIES = tiny_onnx.model(
    [
        tiny_onnx.node("CumSum", ["a", "zero"], ["b"]),  # whose values are not followed
        tiny_onnx.node("Div", ["least", "b"], ["y"]),
    ],
    [],
    [tiny_onnx.value("y", "int64", [1])],
    {
        "least": np.array([-(2**63)], np.int64),
        "a": np.array([-1], np.int64),
        "zero": np.array(0, np.int64),
    },
)


@pytest.fixture
def deadly(tmp_path):
    path = tmp_path / "m.onnx"
    path.write_bytes(DIES)
    check_opening(path, "it")  # or the trial would not be needed
    return path


def test_a_model_that_ends_the_process(deadly):
    with pytest.raises(ModelError, match=r"m\.onnx: opening it ends the process: SIGFPE$"):
        check_that_it_opens(deadly, engine="onnxruntime")


def test_info_of_a_model_that_ends_the_process(deadly, capsys):
    assert main(["info", str(deadly), "--engine", "onnxruntime"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"rnnedge_runtime: {deadly}: opening it ends the process: SIGFPE\n"


def test_a_model_that_does_not_open_in_time(tmp_path):
    (tmp_path / "m.onnx").write_bytes(Tiny("gru").content)
    with pytest.raises(ModelError, match=r"m\.onnx: opening it did not end within 0\.001 s$"):
        check_that_it_opens(tmp_path / "m.onnx", time_limit=0.001)


def test_whole_and_damaged_models_pass(tmp_path):
    for content in (Tiny("gru").content, b"damaged"):
        (tmp_path / "m.onnx").write_bytes(content)
        check_that_it_opens(tmp_path / "m.onnx")


def test_a_model_whose_first_step_ends_the_process(tmp_path):
    nodes = [
        tiny_onnx.node("Mul", ["x", "zero"], ["none"]),
        tiny_onnx.node("Sub", ["none", "one"], ["minus"]),
        tiny_onnx.node("Cast", ["minus"], ["whole"], to=7),
        tiny_onnx.node("Div", ["least", "whole"], ["y"]),
    ]
    constants = {
        "zero": np.zeros(1, np.float32),
        "one": np.ones(1, np.float32),
        "least": np.array([-(2**63)], np.int64),
    }
    x = tiny_onnx.value("x", "float32", ["time", "batch", 1])
    y = tiny_onnx.value("y", "int64", ["time", "batch", 1])
    path = tmp_path / "m.onnx"
    path.write_bytes(tiny_onnx.model(nodes, [x], [y], constants))
    check_that_it_opens(path, engine="onnxruntime")
    with pytest.raises(ModelError, match="opening it and running one step ends the process: SIGFP"):
        check_that_it_opens(path, engine="onnxruntime", step=True)
