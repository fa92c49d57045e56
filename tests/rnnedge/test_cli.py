"""The command line: what each command prints, writes and exits with."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from commands import Done
from torch import nn

import rnnedge
from rnnedge_runtime import Session

GRU = ("--cell", "gru", "--input-size", "3", "--hidden-size", "4")


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A GRU that `--cell gru --input-size 3 --hidden-size 4` describes."""
    spec = rnnedge.RNNSpec(cell="gru", input_size=3, hidden_size=4)
    rnnedge.export(rnnedge.build(spec, seed=0), tmp_path / "model.onnx")
    return "model.onnx"


def _input(time: int = 6, batch: int = 2) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((time, batch, 3)).astype(np.float32)


# --- in a separate process ----------------------------------------------------------------------


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Callable[..., Done]]:
    """A function that runs `python -m rnnedge` in an empty working folder."""

    def run(*arguments: str, **environment: str) -> Done:
        done = subprocess.run(
            [sys.executable, "-m", "rnnedge", *arguments],
            cwd=tmp_path,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    return run


def test_process_that_is_done(shell: Callable[..., Done], tmp_path: Path) -> None:
    done = shell("export", *GRU, "-o", "model.onnx")
    assert (done.code, done.err) == (0, "")
    assert (tmp_path / "model.onnx").is_file()


def test_process_that_ends_on_an_error(shell: Callable[..., Done], tmp_path: Path) -> None:
    done = shell("export", "no.pt", "-o", "model.onnx")
    assert (done.code, done.out) == (1, "")
    assert done.err == "rnnedge: no.pt: expected a checkpoint, found no such file\n"
    assert list(tmp_path.iterdir()) == []


def test_process_that_is_used_wrongly(shell: Callable[..., Done]) -> None:
    done = shell("tune")
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "rnnedge: Missing option '-o' / '--output'. Such as: rnnedge tune weights.pt -o best.onnx "
        "(see rnnedge tune --help)\n"
    )


def test_process_that_finds_a_difference(shell: Callable[..., Done], model: str) -> None:
    done = shell("validate", model, *GRU, "--seed", "1", "--json")
    assert done.code == 3
    assert done.json["passed"] is False
    assert done.err.startswith("rnnedge: FAIL: model.onnx is not gru(")
    assert len(done.err.splitlines()) == 1


def test_process_that_warns(shell: Callable[..., Done], tmp_path: Path) -> None:
    weights = nn.RNN(3, 4).state_dict()
    weights["weight_hh_l0"][1, 1] = float("nan")
    torch.save(weights, tmp_path / "w.pt")
    done = shell("export", "w.pt", "-o", "model.onnx")
    assert done.code == 0
    assert done.err.startswith("rnnedge: warning: weight_hh_l0: 1 of 16 values are NaN or infinite")
    assert len(done.err.splitlines()) == 1
    assert (tmp_path / "model.onnx").is_file()


def test_process_whose_output_is_ascii(shell: Callable[..., Done]) -> None:
    done = shell("export", *GRU, "-o", "modèle.onnx", "--no-validate", PYTHONIOENCODING="ascii")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("wrote mod\\xe8le.onnx (")


# --- rnnedge --------------------------------------------------------------------------------------


def test_no_command_shows_the_help(rnn: Callable[..., Done]) -> None:
    done = rnn()
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Usage: rnnedge [OPTIONS] COMMAND")


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help(flag: str, rnn: Callable[..., Done]) -> None:
    done = rnn(flag)
    assert (done.code, done.err) == (0, "")
    for command in ("export", "validate", "inspect", "run", "bench", "tune"):
        assert f"\n  {command} " in done.out


@pytest.mark.parametrize("command", ["export", "validate", "inspect", "run", "bench", "tune"])
def test_help_of_a_command(command: str, rnn: Callable[..., Done]) -> None:
    done = rnn(command, "--help")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"Usage: rnnedge {command} ")


def test_version(rnn: Callable[..., Done]) -> None:
    assert rnn("--version").out == f"rnnedge, version {rnnedge.__version__}\n"


def test_warnings_of_the_caller_stay(rnn: Callable[..., Done]) -> None:
    import warnings

    before = warnings.showwarning
    rnn("--help")
    assert warnings.showwarning is before


# --- export ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        (*GRU, "--num-layers", "2", "--bidirectional", "--batch-first", "--no-bias"),
        ("--cell", "rnn", "--input-size", "3", "--hidden-size", "4", "--nonlinearity", "relu"),
        ("--cell", "lstm", "--input-size", "3", "--hidden-size", "4", "--proj-size", "2"),
        (*GRU, "--lengths"),
        (*GRU, "--no-states"),
        (*GRU, "--target", "cuda", "--opset", "20"),
        (*GRU, "--no-validate"),
    ],
    ids=["gru", "relu", "proj", "lengths", "no_states", "cuda", "no_validate"],
)
def test_export(options: tuple[str, ...], rnn: Callable[..., Done], tmp_path: Path) -> None:
    done = rnn("export", *options, "-o", "model.onnx")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[-3].startswith("wrote model.onnx (")
    assert lines[-2:] == ["next:", "python -m rnnedge_runtime check model.onnx"]
    assert any(line.startswith("PASS: ") for line in lines) == ("--no-validate" not in options)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_export_as_json(rnn: Callable[..., Done]) -> None:
    values = rnn("export", *GRU, "-o", "model.onnx", "--json").json
    assert values["written"] is True
    assert values["report"]["passed"] is True
    assert values["contract"]["layers"][0]["cell"] == "gru"
    assert values["bytes"] == Path("model.onnx").stat().st_size


def test_export_as_json_without_validation(rnn: Callable[..., Done]) -> None:
    values = rnn("export", *GRU, "-o", "model.onnx", "--json", "--no-validate").json
    assert values["report"] is None


@pytest.mark.parametrize("kind", ["toml", "json"])
def test_export_of_a_specification(kind: str, rnn: Callable[..., Done], tmp_path: Path) -> None:
    texts = {
        "toml": "input_size = 3\nhidden_size = 4",
        "json": '{"input_size": 3, "hidden_size": 4}',
    }
    (tmp_path / f"layer.{kind}").write_text(texts[kind], encoding="utf-8")
    values = rnn("export", f"layer.{kind}", "-o", "model.onnx", "--json").json
    assert values["contract"]["layers"][0]["hidden_size"] == 4


def test_export_of_a_checkpoint(rnn: Callable[..., Done], tmp_path: Path) -> None:
    weights = {f"net.rnn.{n}": w for n, w in nn.LSTM(3, 4).state_dict().items()}
    torch.save({"model": weights, "ema": weights, "epoch": 3}, tmp_path / "w.pt")
    arguments = ("--key", "ema", "--prefix", "net.rnn", "--batch-first", "-o", "model.onnx")
    values = rnn("export", "w.pt", *arguments, "--json").json
    assert values["contract"]["interface"]["inputs"][0]["axes"] == ["batch", "time", 3]


def test_export_of_python_code(
    rnn: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "code_for_export.py").write_text(
        "from torch import nn\ndef make():\n    return nn.GRU(3, 4)", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert rnn("export", "code_for_export:make", "-o", "model.onnx").code == 0
    sys.modules.pop("code_for_export")


def test_export_without_a_seed_is_the_same_each_time(rnn: Callable[..., Done]) -> None:
    rnn("export", *GRU, "-o", "a.onnx")
    rnn("export", *GRU, "-o", "b.onnx")
    assert Path("a.onnx").read_bytes() == Path("b.onnx").read_bytes()


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_export_that_fails_validation_writes_nothing(
    as_json: bool, rnn: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(nn.GRU(3, 4).state_dict(), tmp_path / "w.pt")
    rnnedge.export(nn.RNN(3, 4), tmp_path / "model.onnx")
    before = (tmp_path / "model.onnx").read_bytes()
    from rnnedge.parity import validate

    def against_another(path: Path, *, against: Any, **more: Any) -> rnnedge.Report:
        return validate(path, against=nn.GRU(3, 4), **more)

    monkeypatch.setattr("rnnedge.parity.validate", against_another)
    done = rnn("export", "w.pt", "-o", "model.onnx", *["--json"] * as_json)
    assert done.code == 3
    assert done.err.startswith("rnnedge: FAIL: model.onnx is not ")
    assert done.err.endswith("; nothing was written\n")
    assert (tmp_path / "model.onnx").read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"w.pt", "model.onnx"}
    if as_json:
        assert done.json["written"] is False


# --- validate -------------------------------------------------------------------------------------


def test_validate_against_options(rnn: Callable[..., Done], model: str) -> None:
    done = rnn("validate", model, *GRU)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-1].startswith("PASS: model.onnx computes what gru(")


def test_validate_against_a_checkpoint(rnn: Callable[..., Done], model: str) -> None:
    layer = rnnedge.build(rnnedge.RNNSpec(cell="gru", input_size=3, hidden_size=4), seed=0)
    torch.save(layer.state_dict(), "w.pt")
    assert rnn("validate", model, "--against", "w.pt").code == 0


def test_validate_as_json(rnn: Callable[..., Done], model: str) -> None:
    values = rnn("validate", model, *GRU, "--json").json
    assert values["passed"] is True
    assert [output["name"] for output in values["outputs"]] == ["output", "h_n"]


def test_validate_finds_a_difference(rnn: Callable[..., Done], model: str) -> None:
    done = rnn("validate", model, *GRU, "--seed", "1")
    assert done.code == 3
    assert "FAIL" in done.out
    assert done.err.startswith("rnnedge: FAIL: model.onnx is not gru(")


def test_validate_keeps_to_the_tolerance(rnn: Callable[..., Done], model: str) -> None:
    assert rnn("validate", model, *GRU, "--seed", "1", "--atol", "10").code == 0


@pytest.mark.filterwarnings("ignore::rnnedge.WeightsWarning")
def test_difference_that_is_infinite_is_null_in_json(rnn: Callable[..., Done], model: str) -> None:
    weights = {name: w * float("nan") for name, w in nn.GRU(3, 4).state_dict().items()}
    torch.save(weights, "w.pt")
    done = rnn("validate", model, "--against", "w.pt", "--json")
    assert done.code == 3
    assert [output["max_abs"] for output in done.json["outputs"]] == [None, None]


# --- inspect --------------------------------------------------------------------------------------


def test_inspect(rnn: Callable[..., Done], model: str) -> None:
    done = rnn("inspect", model)
    assert (done.code, done.err) == (0, "")
    for words in ("108 parameters", "gru", "time, batch, 3", "initial state, from h_n", "sha256:"):
        assert words in done.out


def test_inspect_says_how_it_runs(rnn: Callable[..., Done], model: str) -> None:
    lines = rnn("inspect", model).out.splitlines()
    assert "a step   168 FLOPs a row" in lines
    assert "a step   432 bytes of weights are read" in lines
    assert any(line.startswith("memory   ") for line in lines)
    assert "stream   bytes of state for a row: 16" in lines
    assert "stream   delay 0 step(s)" in lines
    assert any(line.startswith("nodes    ") for line in lines)


def test_inspect_says_why_it_cannot_be_streamed(rnn: Callable[..., Done]) -> None:
    rnnedge.export(nn.GRU(3, 4, bidirectional=True), "both.onnx")
    assert (
        "\nstream   not possible: the layer is bidirectional\n" in rnn("inspect", "both.onnx").out
    )


def test_inspect_says_what_cuda_leaves_to_the_cpu(rnn: Callable[..., Done]) -> None:
    rnnedge.export(
        nn.RNN(3, 4, nonlinearity="relu"), "relu.onnx", target="cuda", lowering="operator"
    )
    words = "on cuda, RNN l0/RNN will fall back because its activation is Relu"
    assert words in rnn("inspect", "relu.onnx").out.splitlines()


def test_inspect_as_json_holds_what_the_session_tells(rnn: Callable[..., Done], model: str) -> None:
    values = rnn("inspect", model, "--json").json
    assert values["work"] == {"flops": 168, "weight_bytes": 432, "stored_bytes": 432}
    assert (values["session"]["state_bytes"], values["session"]["delay"]) == (16, 0)
    assert (values["session"]["fell_back"], values["cuda_fallbacks"]) == ([], [])
    assert set(values["session"]["nodes_by_provider"]) <= {"CPUExecutionProvider"}


def test_inspect_as_json(rnn: Callable[..., Done], model: str) -> None:
    values = rnn("inspect", model, "--json").json
    assert values["parameters"] == 108
    assert values["contract"]["layers"][0]["hidden_size"] == 4


def test_inspect_model_of_others(rnn: Callable[..., Done], model: str) -> None:
    proto = onnx.load(model)
    del proto.metadata_props[:]
    onnx.save(proto, model)
    done = rnn("inspect", model)
    assert done.code == 0
    assert done.out.splitlines()[-1] == "contract none: rnnedge did not export this model"


# --- run ------------------------------------------------------------------------------------------


def test_run(rnn: Callable[..., Done], model: str) -> None:
    np.save("x.npy", _input())
    done = rnn("run", model, "--input", "x.npy", "-o", "out.npz")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        "output float32[6, 2, 4]",
        "h_n float32[1, 2, 4]",
        "wrote out.npz",
    ]


def test_run_writes_what_the_session_answers(rnn: Callable[..., Done], model: str) -> None:
    np.save("x.npy", _input())
    rnn("run", model, "--input", "x.npy", "-o", "out.npz")
    expected = Session(model).run(_input()).outputs
    with np.load("out.npz") as written:
        assert set(written.files) == {*expected, "rnnedge.digest"}
        for name, value in expected.items():
            assert np.array_equal(written[name], value)


def test_run_refuses_the_state_of_another_model(rnn: Callable[..., Done], model: str) -> None:
    rnn("export", *GRU, "--seed", "1", "-o", "other.onnx", "--no-validate")
    np.save("x.npy", _input())
    rnn("run", model, "--input", "x.npy", "-o", "first.npz")
    done = rnn("run", "other.onnx", "--input", "x.npy", "--state", "first.npz", "-o", "second.npz")
    assert done.code == 1
    assert "first.npz: the state belongs to the model sha256:" in done.err
    assert not Path("second.npz").exists()


def test_run_goes_on_from_what_a_stream_saved(rnn: Callable[..., Done], model: str) -> None:
    x = _input()[:, :1]
    stream = Session(model).stream()
    stream.step(x[:3])
    stream.save("state.npz")
    np.save("x.npy", x[3:])
    rnn("run", model, "--input", "x.npy", "--state", "state.npz", "-o", "out.npz")
    with np.load("out.npz") as written:
        assert np.abs(written["output"] - Session(model).run(x).output[3:]).max() < 1e-6


def test_run_without_an_output_says_so(rnn: Callable[..., Done], model: str) -> None:
    np.save("x.npy", _input())
    done = rnn("run", model, "--input", "x.npy")
    assert done.out.splitlines()[-1] == "nothing written: -o out.npz keeps the outputs"


@pytest.mark.parametrize("given", ["x.npy", "input=x.npy", "x.npz"], ids=["npy", "named", "npz"])
def test_run_takes_inputs_in_three_ways(given: str, rnn: Callable[..., Done], model: str) -> None:
    np.save("x.npy", _input())
    np.savez("x.npz", input=_input())
    assert rnn("run", model, "--input", given).code == 0


def test_run_with_options_of_the_session(rnn: Callable[..., Done], model: str) -> None:
    np.save("x.npy", _input())
    given = ("--no-spinning", "--no-arena", "--memory-pattern")
    entry = ("--session-option", "session.disable_prepacking=1")
    assert rnn("run", model, "--input", "x.npy", *given, *entry).code == 0


def test_run_with_a_wrong_option_of_the_session(rnn: Callable[..., Done], model: str) -> None:
    done = rnn("run", model, "--input", "x.npy", "--session-option", "session.spin=1")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(
        "rnnedge: options: this ONNX Runtime has no session entry 'session.spin'"
    )


def test_run_as_json(rnn: Callable[..., Done], model: str) -> None:
    np.save("x.npy", _input())
    assert rnn("run", model, "--input", "x.npy", "--json").json == {
        "outputs": {
            "output": {"dtype": "float32", "shape": [6, 2, 4]},
            "h_n": {"dtype": "float32", "shape": [1, 2, 4]},
        },
        "device": "cpu",
        "written": None,
    }


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_run_goes_on_where_the_last_one_ended(cell: str, rnn: Callable[..., Done]) -> None:
    options = ("--cell", cell, "--input-size", "3", "--hidden-size", "4", "--num-layers", "2")
    rnn("export", *options, "-o", "model.onnx", "--no-validate")
    x = _input(9)
    np.save("first.npy", x[:5])
    np.save("second.npy", x[5:])
    rnn("run", "model.onnx", "--input", "first.npy", "-o", "first.npz")
    rnn("run", "model.onnx", "--input", "second.npy", "--state", "first.npz", "-o", "second.npz")
    whole = Session("model.onnx").run(x).outputs
    with np.load("first.npz") as first, np.load("second.npz") as second:
        joined = np.concatenate([first["output"], second["output"]])
        assert joined.shape == whole["output"].shape
        assert np.abs(joined - whole["output"]).max() < 1e-6
        for name in whole.keys() - {"output"}:
            assert np.abs(second[name] - whole[name]).max() < 1e-6


def test_run_takes_a_state_by_the_names_of_the_inputs(rnn: Callable[..., Done], model: str) -> None:
    state = np.ones((1, 2, 4), np.float32)
    np.save("x.npy", _input())
    np.savez("state.npz", h_0=state)
    rnn("run", model, "--input", "x.npy", "--state", "state.npz", "-o", "out.npz")
    with np.load("out.npz") as written:
        assert np.array_equal(written["h_n"], Session(model).run(_input(), state=state).state[0])


def test_run_with_lengths(rnn: Callable[..., Done]) -> None:
    rnn("export", *GRU, "--lengths", "-o", "model.onnx", "--no-validate")
    np.save("x.npy", _input())
    np.save("lengths.npy", np.array([6, 2]))
    rnn("run", "model.onnx", "--input", "x.npy", "--lengths", "lengths.npy", "-o", "out.npz")
    with np.load("out.npz") as written:
        assert not written["output"][2:, 1].any()
        assert np.array_equal(written["output"][1, 1], written["h_n"][0, 1])


def test_run_replaces_an_output_file(rnn: Callable[..., Done], model: str, tmp_path: Path) -> None:
    np.save("x.npy", _input())
    np.savez("out.npz", old=_input())
    rnn("run", model, "--input", "x.npy", "-o", "out.npz")
    assert {path.name for path in tmp_path.iterdir()} == {"model.onnx", "x.npy", "out.npz"}
    assert Path("out.npz").read_bytes()[:2] == b"PK"


# --- bench ----------------------------------------------------------------------------------------

FAST = ("--time", "2", "--time", "3", "--batch", "1", "--seconds", "0.001")


def test_bench(rnn: Callable[..., Done], model: str) -> None:
    done = rnn("bench", model, *FAST)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[0].strip() == "model.onnx, cpu, 1 thread(s)"
    assert "torch" not in done.out


def test_bench_as_json(rnn: Callable[..., Done], model: str) -> None:
    values = rnn("bench", model, *FAST, "--json").json
    assert [(row["time"], row["batch"]) for row in values["shapes"]] == [(2, 1), (3, 1)]
    assert values["shapes"][0]["latency"]["rnnedge"]["count"] >= 10


@pytest.mark.parametrize("source", [GRU, ("--source", "w.pt")], ids=["options", "checkpoint"])
def test_bench_beside_torch(source: tuple[str, ...], rnn: Callable[..., Done], model: str) -> None:
    spec = rnnedge.RNNSpec(cell="gru", input_size=3, hidden_size=4)
    torch.save(rnnedge.build(spec, seed=0).state_dict(), "w.pt")
    values = rnn("bench", model, *source, *FAST, "--json").json
    assert {"rnnedge", "torch"} <= set(values["shapes"][0]["latency"])


def test_bench_prints_torch_beside_it(rnn: Callable[..., Done], model: str) -> None:
    assert "torch ms" in rnn("bench", model, *GRU, *FAST).out
