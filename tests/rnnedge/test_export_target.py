"""`rnnedge export` without `-o`, what it says that it wrote, and the command that it ends with."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import Done
from onnx_files import node_file
from torch import nn

import rnnedge
from rnnedge.cli.export_target import default_output, next_command
from rnnedge_runtime import Session
from rnnedge_runtime.__main__ import main as run_on_device

GRU = ("--cell", "gru", "--input-size", "3", "--hidden-size", "4")
CODE = """
from torch import nn

class KeywordSpotter(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(3, 4, batch_first=True)

    def forward(self, x):
        return self.rnn(x)[0]

class TwoTimes(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.GRU(3, 4), nn.GRU(3, 4)

    def forward(self, source, target):
        return self.decoder(target, self.encoder(source)[1])[0]
"""
NAMES = {
    None: "lstm.onnx",
    "kws.pt": "kws.onnx",
    "runs/7/kws.pt": "kws.onnx",
    "/models/kws.safetensors": "kws.onnx",
    "epoch=3.5-val.ckpt": "epoch=3.5-val.onnx",
    "kws.pth.tar": "kws.onnx",
    "weights": "weights.onnx",
    "layer.toml": "layer.onnx",
    "my model.JSON": "my model.onnx",
    "package.module:KeywordSpotter": "keyword_spotter.onnx",
    "package.module:SileroVAD2": "silero_vad2.onnx",
    "package.module:LSTM": "lstm.onnx",
    "package.module:make_model": "make_model.onnx",
    "package.module:Models.Small": "small.onnx",
    "package.module:Small(10, 'a.b')": "small.onnx",
    "theirs.onnx": "theirs_int8.onnx",
    "exports/theirs.ONNX": "theirs_int8.onnx",
}


@pytest.mark.parametrize(("source", "name"), NAMES.items(), ids=map(str, NAMES))
def test_name(source: str | None, name: str) -> None:
    assert default_output(source, cell="lstm", quantize="int8", dtype="float32") == name


def test_name_of_what_options_leave_to_the_default() -> None:
    assert default_output(None, cell=None, quantize=None, dtype="float32") == "rnn.onnx"


def test_name_of_an_onnx_file_in_half() -> None:
    name = default_output("a.onnx", cell=None, quantize=None, dtype="float16")
    assert name == "a_float16.onnx"


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    (tmp_path / "runs").mkdir()
    torch.save(nn.GRU(3, 4).state_dict(), tmp_path / "runs" / "kws.pt")
    (tmp_path / "code_to_name.py").write_text(CODE, encoding="utf-8")
    node_file(tmp_path / "theirs.onnx", "LSTM")
    return tmp_path


WITHOUT = {
    "options": (GRU, "gru.onnx"),
    "checkpoint": (("runs/kws.pt",), "kws.onnx"),
    "module": (
        ("code_to_name:KeywordSpotter", "--input", "x=float32[batch,time,3]"),
        "keyword_spotter.onnx",
    ),
    "onnx": (("theirs.onnx", "--dtype", "float16"), "theirs_float16.onnx"),
}


@pytest.mark.parametrize("kind", ["options", "checkpoint", "onnx"])
def test_export_names_the_file(kind: str, rnn: Callable[..., Done], sources: Path) -> None:
    arguments, name = WITHOUT[kind]
    done = rnn("export", *arguments, "--no-validate")
    assert (done.code, done.err) == (0, "")
    assert f"wrote {name} (" in done.out
    assert Session(sources / name).interface.inputs


@pytest.mark.parametrize("content", [b"", b"a text", None], ids=["empty", "text", "model"])
@pytest.mark.parametrize("force", [False, True], ids=["", "force"])
@pytest.mark.parametrize(("arguments", "name"), WITHOUT.values(), ids=WITHOUT)
def test_export_replaces_nothing_that_was_not_named(
    content: bytes | None,
    force: bool,
    arguments: tuple[str, ...],
    name: str,
    rnn: Callable[..., Done],
    sources: Path,
) -> None:
    before = (sources / "theirs.onnx").read_bytes() if content is None else content
    (sources / name).write_bytes(before)
    done = rnn("export", *arguments, *["--force"] * force)
    assert (done.code, done.out) == (1, "")
    words = f"{name}: already exists: -o {name} replaces it, another name keeps it"
    assert done.err == f"rnnedge: {words}\n"
    assert (sources / name).read_bytes() == before


def test_file_that_comes_while_it_is_exported_stays(
    rnn: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rnnedge.parity import validate

    def slow(*arguments: object, **options: object) -> rnnedge.Report:
        (tmp_path / "gru.onnx").write_bytes(b"mine")
        return validate(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("rnnedge.parity.validate", slow)
    done = rnn("export", *GRU)
    assert done.code == 1
    assert done.err.startswith("rnnedge: gru.onnx: already exists")
    assert (tmp_path / "gru.onnx").read_bytes() == b"mine"


# --- what it says ---------------------------------------------------------------------------------


def test_wrote_line_shows_both_digests(rnn: Callable[..., Done]) -> None:
    lines = rnn("export", *GRU, "--no-validate").out.splitlines()
    content = Path("gru.onnx").read_bytes()
    contract = Session("gru.onnx").contract
    assert contract is not None
    sha256 = hashlib.sha256(content).hexdigest()
    weights = contract.weights_digest.removeprefix("sha256:")
    assert lines[0] == (
        f"wrote gru.onnx ({len(content):,} bytes, opset 17, sha256 {sha256[:12]}, "
        f"weights digest {weights[:12]})"
    )


@pytest.mark.parametrize("arguments", [GRU, ("theirs.onnx", "--quantize", "int8")])
def test_json_has_the_whole_digest(
    arguments: tuple[str, ...], rnn: Callable[..., Done], sources: Path
) -> None:
    values = rnn("export", *arguments, "--no-validate", "--json").json
    sha256 = hashlib.sha256(Path(values["model"]).read_bytes()).hexdigest()
    assert values["sha256"] == sha256


def test_wrote_line_of_an_onnx_file(rnn: Callable[..., Done], sources: Path) -> None:
    out = rnn("export", "theirs.onnx", "--quantize", "int8", "--no-validate").out
    sha256 = hashlib.sha256(Path("theirs_int8.onnx").read_bytes()).hexdigest()
    assert f", sha256 {sha256[:12]})\n" in out


# --- the next command -----------------------------------------------------------------------------

TWO_TIMES = (
    *("code_to_name:TwoTimes", "--input", "source=float32[time,batch,3]"),
    *("--input", "target=float32[steps,batch,3]", "--no-validate"),
)
NEXT = {
    "layer": ((*GRU, "--no-validate"), "python -m rnnedge_runtime check gru.onnx"),
    "lengths": ((*GRU, "--lengths", "--no-validate"), "python -m rnnedge_runtime check gru.onnx"),
    "int8": ((*GRU, "--quantize", "int8:all"), "python -m rnnedge_runtime check gru.onnx"),
    "vectors": ((*GRU, "--golden", "gold"), "python -m rnnedge_runtime check gru.onnx gold"),
    "space": (
        (*GRU, "--no-validate", "-o", "my $model.onnx"),
        "python -m rnnedge_runtime check 'my $model.onnx'",
    ),
    "dash": (
        (*GRU, "--no-validate", "-o", "-m.onnx"),
        "python -m rnnedge_runtime check ./-m.onnx",
    ),
    "module": (WITHOUT["module"][0], "python -m rnnedge_runtime check keyword_spotter.onnx"),
    "two times": (TWO_TIMES, "rnnedge inspect two_times.onnx"),
    "onnx": (("theirs.onnx", "--quantize", "int8"), "rnnedge inspect theirs_int8.onnx"),
}


@pytest.mark.parametrize(("arguments", "command"), NEXT.values(), ids=NEXT)
def test_last_line_works_when_it_is_pasted(
    arguments: tuple[str, ...],
    command: str,
    rnn: Callable[..., Done],
    sources: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    last = rnn("export", *arguments).out.splitlines()[-1]
    assert last == command
    program, *words = shlex.split(last)
    if program == "python":
        assert run_on_device(words[2:]) == 0, capsys.readouterr().out
    else:
        assert rnn(*words).code == 0


def test_next_command_after_an_onnx_file_of_rnnedge(tmp_path: Path) -> None:
    made = rnnedge.export(nn.GRU(3, 4), tmp_path / "a.onnx")
    command = next_command("a.onnx", made.contract.interface)
    assert command == "python -m rnnedge_runtime check a.onnx"


def test_run_says_what_it_wrote(rnn: Callable[..., Done]) -> None:
    rnn("export", *GRU, "--no-validate")
    np.save("x.npy", np.zeros((2, 1, 3), np.float32))
    assert rnn("run", "gru.onnx", "--input", "x.npy", "-o", "y.npz").out.endswith("wrote y.npz\n")
