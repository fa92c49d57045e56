"""What `rnnedge validate` and `export` write besides their verdict."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from rnnedge.cli import main

GRU = ("--cell", "gru", "--input-size", "3", "--hidden-size", "4")


def _run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    return int(stopped.value.code or 0)


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    assert _run("export", *GRU, "-o", "model.onnx", "--no-validate") == 0
    return "model.onnx"


def test_quick_runs_fewer_cases(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert _run("validate", model, *GRU, "--json") == 0
    full = json.loads(capsys.readouterr().out)["outputs"][0]["cases"]
    assert _run("validate", model, *GRU, "--json", "--quick") == 0
    assert json.loads(capsys.readouterr().out)["outputs"][0]["cases"] < full / 2


def test_three_reports_of_one_run(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("parity.html", "parity.json", "parity.xml")
    flags = [word for name in names for word in ("--report", name)]
    assert _run("validate", model, *GRU, "--quick", *flags) == 0
    assert "PASS" in Path("parity.html").read_text(encoding="utf-8")
    assert json.loads(Path("parity.json").read_text(encoding="utf-8"))["passed"] is True
    assert ElementTree.parse("parity.xml").getroot().get("failures") == "0"
    assert "wrote parity.html\n" in capsys.readouterr().out


def test_report_of_a_failure_is_written_too(model: str) -> None:
    assert _run("validate", model, *GRU, "--seed", "9", "--quick", "--report", "r.json") == 3
    values = json.loads(Path("r.json").read_text(encoding="utf-8"))
    assert values["passed"] is False
    assert values["diagnosis"]["cause"] == "other weights"


def test_report_of_an_unknown_kind(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("validate", model, *GRU, "--report", "r.pdf") == 1
    assert capsys.readouterr().err.startswith("rnnedge: r.pdf: expected a name that ends in")


def test_golden_vectors_pass_on_the_device(model: str) -> None:
    assert _run("validate", model, *GRU, "--quick", "--golden", "vectors") == 0
    command = [sys.executable, "-m", "rnnedge_runtime", "check", model, "vectors"]
    assert subprocess.run(command, capture_output=True).returncode == 0
    content = bytearray(Path(model).read_bytes())
    content[len(content) // 2] ^= 1
    Path(model).write_bytes(content)
    assert subprocess.run(command, capture_output=True).returncode != 0


def test_export_writes_golden_vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert _run("export", *GRU, "-o", "model.onnx", "--golden", "vectors") == 0
    assert Path("vectors/golden.json").is_file()
    assert Path("vectors/model.onnx").read_bytes() == Path("model.onnx").read_bytes()


def test_golden_vectors_need_validation(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert _run("export", *GRU, "-o", "b.onnx", "--golden", "v", "--no-validate") == 2
    assert "--golden requires validation" in capsys.readouterr().err
    assert not Path("b.onnx").exists()


def test_no_golden_vectors_of_a_failure(model: str) -> None:
    assert _run("validate", model, *GRU, "--seed", "9", "--quick", "--golden", "vectors") == 3
    assert not Path("vectors").exists()


def test_smallest_failing_case_is_kept(model: str) -> None:
    assert _run("validate", model, *GRU, "--seed", "9", "--quick", "--save-failing", "f.npz") == 3
    with np.load("f.npz") as kept:
        assert kept["input/input"].shape == (1, 1, 3)
        assert np.abs(kept["expected/output"] - kept["got/output"]).max() > 1e-3


def test_failing_case_of_a_model_that_passes(model: str) -> None:
    assert _run("validate", model, *GRU, "--quick", "--save-failing", "f.npz") == 0
    assert not Path("f.npz").exists()
