"""`run` and `bench --stream` of `python -m rnnedge_runtime`, and its errors of usage, in a line."""

import json
import re

import numpy as np
import pytest
from tiny_models import Tiny

from rnnedge_runtime import Session
from rnnedge_runtime.__main__ import main


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.onnx").write_bytes(Tiny("lstm", lengths=True).content)
    (tmp_path / "both.onnx").write_bytes(Tiny("gru", bidirectional=True).content)
    size = Session("model.onnx").interface.data_inputs[0].axes[-1]
    np.save("x.npy", np.random.default_rng(0).standard_normal((4, 2, size)).astype(np.float32))
    np.save("lengths.npy", np.array([4, 2]))
    return tmp_path


@pytest.fixture
def typed(files, capsys):
    """Type a line; the code, what was printed, and what was printed on stderr."""

    def typed(line):
        try:
            code = main(line.split())
        except SystemExit as exit:
            code = exit.code
        said = capsys.readouterr()
        return code, said.out, said.err

    return typed


def test_run_writes_what_the_session_answers(typed):
    code, out, err = typed("run model.onnx --input x.npy --lengths lengths.npy -o out.npz")
    assert (code, err) == (0, "")
    expected = Session("model.onnx").run(np.load("x.npy"), lengths=[4, 2]).outputs
    with np.load("out.npz") as written:
        assert set(written) > set(expected)  # and the digest of the model
        for name, array in expected.items():
            np.testing.assert_array_equal(written[name], array)
            assert f"{name} float32{list(array.shape)}" in out
    assert out.splitlines()[-1] == "wrote out.npz"


def test_run_goes_on_from_what_it_wrote(typed):
    x = np.load("x.npy")
    np.save("first.npy", x[:3])
    np.save("last.npy", x[3:])
    assert typed("run model.onnx --input first.npy -o out.npz")[0] == 0
    code, _, err = typed("run model.onnx --input input=last.npy --state out.npz -o next.npz")
    assert (code, err) == (0, "")
    with np.load("next.npz") as written:
        np.testing.assert_array_equal(
            written["output"][-1], Session("model.onnx").run(x).output[-1]
        )


def test_run_prints_json(typed):
    told = json.loads(typed("run model.onnx --input x.npy --json")[1])
    assert told["outputs"]["output"]["shape"][:2] == [4, 2]
    assert (told["device"], told["written"]) == ("cpu", None)
    assert told["machine"]["engine"] in ("onnxruntime", "native")


def test_frames_are_measured(typed):
    told = json.loads(typed("bench model.onnx --stream --rate 100 --seconds 0.001 --json")[1])
    (stream,) = told["streams"]
    assert stream["latency"]["count"] >= 10
    assert 0 <= stream["missed_share"] <= 1
    assert told["latency_ms"] == []
    code, out, _ = typed("bench model.onnx --stream --rate 100 --batch 1 2 --seconds 0.001")
    assert code == 0
    heading, *rows = out.splitlines()
    assert heading.split()[-1] == "late"
    assert [row.split()[0] for row in rows[:2]] == ["1", "2"]
    assert max(map(len, [heading, *rows])) < 60


ERRORS = {
    "nothing": ("", 2, "usage: python -m rnnedge_runtime"),
    "another command": ("infos model.onnx", 2, "did you mean info?"),
    "no model": (
        "check",
        2,
        "required: model, such as: python -m rnnedge_runtime check m",
    ),
    "no input": (
        "run model.onnx",
        2,
        "required: --input, such as: python -m rnnedge_ru",
    ),
    "another option": (
        "bench model.onnx --thread 1",
        2,
        "no such option --thread; did you mean",
    ),
    "an option of none": (
        "info model.onnx --zzz",
        2,
        "no such option --zzz (see",
    ),
    "an argument too many": (
        "run model.onnx y.npy --input x.npy",
        2,
        "one argument too many: y.npy: what the model is fed with is --input y.npy",
    ),
    "a wrong number": (
        "bench model.onnx --seconds 0",
        2,
        "--seconds: expected a number above 0",
    ),
    "a wrong choice": (
        "info model.onnx --device tpu",
        2,
        "--device: invalid choice: 'tpu'",
    ),
    "exchanged": (
        "check . model.onnx",
        1,
        "exchanged: python -m rnnedge_runtime check m",
    ),
    "other vectors": ("check model.onnx vector", 1, "found no such folder; there is vectors"),
    "another model": ("info modl.onnx", 1, "found no such file; there is model.onnx"),
    "a backslash": ("info .\\model.onnx", 1, "found no such file; there is model.onnx"),
    "another array": ("run model.onnx --input xx.npy", 1, "found no such file; there is x.npy"),
    "the model as output": (
        "run model.onnx --input x.npy -o model.onnx",
        1,
        "is the same file as model.onnx",
    ),
    "no stream": ("bench both.onnx --stream", 1, "the model cannot be streamed"),
}


@pytest.mark.parametrize(("line", "code", "advice"), ERRORS.values(), ids=ERRORS)
def test_an_error_is_a_line_that_says_what_to_type(line, code, advice, typed, files):
    (files / "vectors" / "test_data_set_0").mkdir(parents=True)
    got, out, err = typed(line)
    assert (got, out) == (code, "")
    assert advice in err
    assert len(err.splitlines()) == 1 or not line


def test_names_of_commands_work_as_the_help_says(typed):
    code, out, _ = typed("--help")
    assert code == 0
    examples = re.findall(r"^  python -m rnnedge_runtime (.*)", out, re.MULTILINE)
    assert [line.split()[0] for line in examples] == ["info", "check", "run", "bench"]
    for line in examples:
        more = " --time 1 --batch 1 --seconds 0.001" if line.startswith("bench") else ""
        assert typed(line + more)[0] == 0
