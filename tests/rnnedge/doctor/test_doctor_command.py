"""`rnnedge doctor`: what it prints, writes and exits with."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import handmade
import pytest

from rnnedge.cli import main
from rnnedge.errors import WriteError

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def doctor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Run:
    """A function that runs the command in a folder with `sick.onnx`, `well.onnx`, `text.onnx`."""
    monkeypatch.chdir(tmp_path)
    sick = handmade.plain("LSTM")
    sick.graph.node[-1].CopyFrom(handmade.helper.make_node("Reshape", ["Y", "s"], ["y"], name="f"))
    constant = handmade.np.array([5, -1, 4], "int64")
    sick.graph.initializer.append(handmade.numpy_helper.from_array(constant, "s"))
    handmade.save(sick, tmp_path, "sick.onnx")
    handmade.save(handmade.plain("RNN", states=True), tmp_path, "well.onnx")
    handmade.save(handmade.with_head(op="LSTM"), tmp_path, "head.onnx")
    (tmp_path / "text.onnx").write_text("no model at all")

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stopped:
            main(["doctor", *arguments])
        captured = capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    return run


def _json(out: str) -> Any:
    (line,) = out.splitlines()
    return json.loads(line)


def test_well(doctor: Run) -> None:
    code, out, err = doctor("well.onnx")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "well.onnx: nothing found"


def test_sick(doctor: Run) -> None:
    code, out, err = doctor("sick.onnx")
    assert code == 3
    (line,) = err.splitlines()
    assert line.startswith("rnnedge: sick.onnx: 1 error, ")
    assert "; first: x axis 0: time is declared open (time), and only 5 works: " in line
    assert "time is declared open" in out
    assert "f holds [5, -1, 4]" in out.replace("\n", " ")


def test_warnings_are_no_failure(doctor: Run) -> None:
    code, out, _ = doctor("head.onnx")
    assert code == 0
    assert out.splitlines()[-1] == "head.onnx: 1 warning, 2 notes"


def test_json(doctor: Run) -> None:
    code, out, err = doctor("sick.onnx", "--json")
    told = _json(out)
    assert (code, told["healthy"], len(err.splitlines())) == (3, False, 1)
    first = told["findings"][0]
    assert (first["kind"], first["severity"]) == ("frozen-time", "error")
    assert set(first) == {"kind", "severity", "where", "problem", "remedy", "fixable", "basis"}


def test_runtime(doctor: Run) -> None:
    code, _, err = doctor("well.onnx", "--runtime", "onnx2c")
    assert code == 3
    assert "first: onnx2c: rnn_1: LSTM only, at fixed sizes" in err
    code, out, _ = doctor("well.onnx", "--runtime", "cuda")
    assert code == 0
    assert "onnx2c" not in out


def test_fix(doctor: Run, tmp_path: Path) -> None:
    code, out, err = doctor("sick.onnx", "--fix", "out.onnx")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert "repaired: exported again" in lines
    assert "  output y is now output" in lines
    assert any(line.startswith("  proof: reproduces the file at time 5, ") for line in lines)
    sha256 = hashlib.sha256((tmp_path / "out.onnx").read_bytes()).hexdigest()
    assert f"wrote out.onnx (sha256 {sha256[:12]})" in lines
    assert lines[-1] == "out.onnx: 2 notes"
    assert doctor("out.onnx")[0] == 0


def test_fix_as_json(doctor: Run) -> None:
    code, out, _ = doctor("head.onnx", "--fix", "out.onnx", "--json")
    told = _json(out)
    assert (code, told["healthy"], told["output"]) == (0, True, "out.onnx")
    assert [repair["name"] for repair in told["repairs"]] == ["states exposed"]
    assert told["before"]["model"] == "head.onnx"
    assert told["reasons"][0].startswith("export again: ")


def test_fix_that_leaves_an_error(doctor: Run) -> None:
    mean = handmade.helper.make_node("ReduceMean", ["a"], ["m"], axes=[1], keepdims=1)
    model = handmade.with_head([mean, handmade.helper.make_node("Sub", ["a", "m"], ["b"])])
    handmade.save(model, Path.cwd(), "coupled.onnx")
    code, out, err = doctor("coupled.onnx", "--fix", "out.onnx")
    assert code == 3
    assert "wrote out.onnx" in out
    assert "  left: error: y: a row's answer depends on the other rows" in out
    assert err.startswith("rnnedge: out.onnx: 1 error; first: y: ")


def test_a_repair_that_is_refused_leaves_the_findings(doctor: Run) -> None:
    code, out, err = doctor("well.onnx", "--fix", "out.onnx")
    assert code == 1
    assert err.startswith("rnnedge: well.onnx: nothing found, so there is nothing to repair")
    assert "recurrent layers: 1 RNN (forward)" in out
    code, out, _ = doctor("well.onnx", "--fix", "out.onnx", "--json")
    assert code == 1
    assert _json(out)["healthy"] is True


def test_a_repair_that_fails_leaves_the_findings(
    doctor: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise WriteError("out.onnx: no space left on the device")

    monkeypatch.setattr("rnnedge.doctor.fixing.write_file", full)
    code, out, err = doctor("sick.onnx", "--fix", "out.onnx")
    assert (code, err) == (1, "rnnedge: out.onnx: no space left on the device\n")
    assert "time is declared open" in out


def test_what_was_repaired_is_told_from_what_may_be(doctor: Run) -> None:
    told = _json(doctor("sick.onnx", "--json")[1])
    assert {f["kind"] for f in told["findings"] if f["fixable"]} >= {"frozen-time"}
    told = _json(doctor("sick.onnx", "--fix", "out.onnx", "--json")[1])
    repaired = {f["kind"] for f in told["before"]["findings"] if f["fixable"]}
    assert "frozen-time" in repaired
    assert repaired.isdisjoint(f["kind"] for f in told["after"]["findings"])


REFUSED = {
    "missing": (("no.onnx",), 1, "no.onnx: expected an ONNX file, found no such file"),
    "text": (("text.onnx",), 1, "text.onnx: expected an ONNX file, got a text file"),
    "folder": (("sick.onnx", "--fix", "no/out.onnx"), 1, "no/out.onnx: expected an existing folde"),
    "runtime": (("well.onnx", "--runtime", "abacus"), 2, "Invalid value for '--runtime': expected"),
    "limit": (("well.onnx", "--time-limit", "0"), 2, "Invalid value for '--time-limit'"),
    "nothing": ((), 2, "Missing argument 'MODEL'"),
}


@pytest.mark.parametrize(("arguments", "code", "words"), REFUSED.values(), ids=REFUSED)
def test_refused(arguments: tuple[str, ...], code: int, words: str, doctor: Run) -> None:
    before = sorted(path.name for path in Path.cwd().iterdir())
    given, out, err = doctor(*arguments)
    (line,) = err.splitlines()
    assert (given, out) == (code, "")
    assert line.startswith(f"rnnedge: {words}")
    assert sorted(path.name for path in Path.cwd().iterdir()) == before


@pytest.mark.parametrize("arguments", [("--help",), ("head.onnx",), ("sick.onnx",)])
def test_examining_needs_no_torch(arguments: tuple[str, ...], doctor: Run) -> None:
    code = (
        "import sys\nfrom rnnedge.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit:\n    print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "doctor", *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "False"
