"""Names in a model file are anything: none moves the cursor, is markup, or passes for a line."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from commands import Done
from onnx import TensorProto, helper

from rnnedge_runtime import InputError, Session
from rnnedge_runtime.__main__ import main as runtime_main

ESCAPE, NEWLINE, MARKUP = "\x1b]0;owned\x07\x1b[31m", "\nrnnedge: PASS", "[/bold][red]"
NAME = f"x{ESCAPE}{NEWLINE}{MARKUP}\u202e"


@pytest.fixture
def model(tmp_path: object) -> str:
    w = helper.make_tensor(f"W{NAME}", TensorProto.FLOAT, [1, 9, 2], np.ones(18))
    r = helper.make_tensor("R", TensorProto.FLOAT, [1, 9, 3], np.full(27, 0.1))
    node = helper.make_node(
        "GRU", [f"in{NAME}", w.name, "R"], [f"y{NAME}"], name=f"node{NAME}", hidden_size=3
    )
    graph = helper.make_graph(
        [node],
        f"graph{NAME}",
        [helper.make_tensor_value_info(f"in{NAME}", TensorProto.FLOAT, ["t\x1b[1m", "[/b]", 2])],
        [helper.make_tensor_value_info(f"y{NAME}", TensorProto.FLOAT, ["t\x1b[1m", 1, "[/b]", 3])],
        [w, r],
        doc_string=NAME,
    )
    made = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
        producer_name=f"maker{NAME}",
    )
    onnx.save(made, f"{tmp_path}/model.onnx")
    return "model.onnx"


def _assert_harmless(done: Done) -> None:
    text = done.out + done.err
    assert text
    assert "Traceback" not in text
    assert all(line.isprintable() for line in text.split("\n"))
    assert "rnnedge: PASS" not in [line.strip() for line in text.split("\n")]


COMMANDS = {
    "inspect": ("inspect", "model.onnx"),
    "doctor": ("doctor", "model.onnx"),
    "bench": ("bench", "model.onnx"),
    "validate": ("validate", "model.onnx", "--against", "model.onnx", "--quick"),
    "export": ("export", "model.onnx", "--quantize", "int8", "-o", "small.onnx"),
}


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
def test_commands(model: str, rnn: Callable[..., Done], arguments: tuple[str, ...]) -> None:
    _assert_harmless(rnn(*arguments))


@pytest.mark.parametrize("command", ["info", "check"])
def test_commands_of_the_device(
    model: str,
    command: str,
    tmp_path: object,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(str(tmp_path))
    runtime_main([command, model])
    captured = capsys.readouterr()
    text = captured.out + captured.err
    assert text
    assert all(line.isprintable() for line in text.split("\n"))


def test_an_error_is_one_printable_line(model: str, tmp_path: object) -> None:
    session = Session(f"{tmp_path}/{model}")
    with pytest.raises(InputError) as caught:
        session.run({"other": np.zeros((2, 1, 2), np.float32)})
    assert str(caught.value).isprintable()
    assert r"\x1b[31m" in str(caught.value)
