"""`export` and `validate` where SOURCE is an ONNX file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from commands import Done
from onnx_files import node_file, tagger

from rnnedge_exporters.quantization.onnx_file import recurrent
from rnnedge_runtime import Session
from rnnedge_runtime.proof.golden import read_golden
from rnnedge_runtime.proof.golden_check import check_golden


def test_export_says_what_was_done(rnn: Callable[..., Done], tmp_path: Path) -> None:
    tagger(tmp_path / "model.onnx", "LSTM", 256)
    answer = rnn("export", "model.onnx", "--quantize", "int8", "-o", "small.onnx")
    assert (answer.code, answer.err) == (0, "")
    assert "parity with the original, weights rounded" in answer.out
    rows = [[cell.strip() for cell in line.split("|")] for line in answer.out.splitlines()]
    assert ["/rnn/LSTM", "lstm", "computes in int8"] in [row[1:4] for row in rows]
    assert "\n/rnn/LSTM computes in int8: from width 256 on, int8 is 1.9 to 2.2 times" in answer.out
    assert "\ny: off by up to " in answer.out
    assert "\nPASS: small.onnx computes what model.onnx computes with its weights r" in answer.out
    size, before = ((tmp_path / name).stat().st_size for name in ("small.onnx", "model.onnx"))
    assert f"\nwrote small.onnx ({size:,} bytes, of " in answer.out
    assert size < 0.3 * before
    again = rnn("validate", "small.onnx", "--against", "model.onnx")
    assert again.code == 0
    assert again.out.splitlines()[-1] in answer.out


def test_json(rnn: Callable[..., Done], tmp_path: Path) -> None:
    node_file(tmp_path / "model.onnx", "GRU", linear_before_reset=1)
    answer = rnn("export", "model.onnx", "--dtype", "float16", "-o", "small.onnx", "--json").json
    (layer,) = answer["quantization"]
    assert (layer["name"], layer["done"]) == ("rnn", "stored in float16")
    assert (answer["written"], answer["contract"]) == (True, None)
    assert answer["report"]["passed"] is True
    assert {cost["name"] for cost in answer["report"]["rounding"]["costs"]} == {"Y", "Y_h"}
    report = rnn("validate", "small.onnx", "--against", "model.onnx", "--json").json
    assert report["passed"] is True


def test_no_validation(rnn: Callable[..., Done], tmp_path: Path) -> None:
    path = node_file(tmp_path / "model.onnx", "LSTM", outputs=1)
    model = onnx.load(path)
    model.opset_import.append(onnx.helper.make_opsetid("com.acme", 3))
    model.graph.node.append(onnx.helper.make_node("Fancy", ["Y"], ["z"], domain="com.acme"))
    model.graph.output.append(onnx.helper.make_tensor_value_info("z", 1, None))
    onnx.save(model, path)
    command = ("export", "model.onnx", "--quantize", "int8", "-o", "small.onnx")
    answer = rnn(*command)
    assert answer.code == 1
    assert answer.err.startswith("rnnedge: model.onnx cannot be opened by ONNX Runtime: ")
    assert not (tmp_path / "small.onnx").exists()
    answer = rnn(*command, "--no-validate")
    assert (answer.code, answer.err) == (0, "")
    assert "PASS" not in answer.out
    assert (tmp_path / "small.onnx").exists()


def test_a_mistake(
    rnn: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node_file(tmp_path / "model.onnx", "LSTM")
    command = ("export", "model.onnx", "--quantize", "int8:all", "-o", "small.onnx")
    with monkeypatch.context() as patch:
        patch.setitem(recurrent._GATES, "lstm", (0, 1, 2, 3))
        answer = rnn(*command)
        assert answer.code == 3
        assert answer.err.startswith("rnnedge: FAIL: small.onnx is not model.onnx with its weights")
        assert answer.err.endswith("cases fail; nothing was written\n")
        assert not (tmp_path / "small.onnx").exists()
        assert rnn(*command, "--json").json["written"] is False
        rnn(*command, "--no-validate")
    answer = rnn("validate", "small.onnx", "--against", "model.onnx")
    assert (answer.code, answer.err.count("\n")) == (3, 1)
    assert answer.err.startswith("rnnedge: FAIL: small.onnx is not model.onnx with its weights")


@pytest.mark.parametrize(
    "options",
    ["--lengths", "--hidden-size 4", "--max-error 0.1", "--lowering scan"],
)
def test_options_of_pytorch_sources(options: str, rnn: Callable[..., Done], tmp_path: Path) -> None:
    node_file(tmp_path / "model.onnx", "LSTM")
    command = ("export", "model.onnx", "--quantize", "int8", "-o", "small.onnx")
    answer = rnn(*command, *options.split())
    assert answer.code == 2
    name = options.split()[0]
    assert answer.err.startswith(f"rnnedge: {name}: requires a PyTorch source, got model.onnx")
    answer = rnn("validate", "model.onnx", "--against", "model.onnx", "--cell", "gru")
    assert answer.code == 2
    assert answer.err.startswith("rnnedge: --cell: requires a PyTorch source, got model.onnx")


def test_reports_and_golden_vectors(rnn: Callable[..., Done], tmp_path: Path) -> None:
    node_file(tmp_path / "model.onnx", "GRU", linear_before_reset=1)
    rnn("export", "model.onnx", "--dtype", "float16", "-o", "small.onnx", "--golden", "exported")
    files = ("r.json", "r.xml", "r.html")
    reports = [part for file in files for part in ("--report", file)]
    against = ("validate", "small.onnx", "--against", "model.onnx")
    answer = rnn(*against, *reports, "--golden", "golden", "--time-limit", "30", "--quick")
    assert (answer.code, answer.err) == (0, "")
    for name in (*files, "golden"):
        assert f"wrote {name}" in answer.out
    assert json.loads((tmp_path / "r.json").read_text())["passed"] is True
    for folder in ("exported", "golden"):
        model, vectors = tmp_path / "small.onnx", read_golden(tmp_path / folder)
        assert all(f.passed for f in check_golden(Session(model), vectors, model=model))


def test_a_failing_case_is_kept(rnn: Callable[..., Done], tmp_path: Path) -> None:
    for name, seed in (("a.onnx", 1), ("b.onnx", 2)):
        rnn("export", "--cell", "gru", "--input-size", "3", "--hidden-size", "4",
            "--seed", str(seed), "-o", name)  # fmt: skip
    answer = rnn("validate", "a.onnx", "--against", "b.onnx", "--save-failing", "failing.npz")
    assert answer.code == 3
    assert answer.err.startswith("rnnedge: FAIL: a.onnx is not b.onnx: output off by ")
    assert answer.err.endswith("; other weights\n")
    assert "cause          other weights (" in answer.out
    assert "wrote failing.npz" in answer.out
    assert (tmp_path / "failing.npz").exists()
