"""Every bad input ends in one clear line on stderr, the right exit code, and no file left."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import rnnedge
from rnnedge.cli import main
from rnnedge_runtime.contract import METADATA_KEY

LAYER = "--input-size 3 --hidden-size 4"
CODE = """
from torch import nn
layer = nn.GRU(3, 4)
number = 3
class Needs(nn.Module):
    def __init__(self, size):
        super().__init__()
"""


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with right and wrong files of every kind."""
    folder = tmp_path_factory.mktemp("material")
    torch.manual_seed(0)
    _models(folder)
    _weights(folder)
    _arrays(folder)
    texts = {
        "unknown.toml": "input_size = 3\nhidden_size = 4\ncolour = 1",
        "type.toml": "input_size = '3'\nhidden_size = 4",
        "zero.json": '{"input_size": 0, "hidden_size": 4}',
        "relu.toml": "cell = 'lstm'\ninput_size = 3\nhidden_size = 4\nnonlinearity = 'relu'",
        "proj.toml": "cell = 'lstm'\ninput_size = 3\nhidden_size = 4\nproj_size = 4",
        "broken.toml": "input_size = ",
        "code_with_errors.py": CODE,
        "text.pt": "no weights at all",
        "text.npy": "no array at all",
        "text.onnx": "no model at all",
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def _models(folder: Path) -> None:
    layer = nn.GRU(3, 4)
    rnnedge.export(layer, folder / "model.onnx")
    rnnedge.export(layer, folder / "lengths.onnx", lengths=True)
    rnnedge.export(layer, folder / "stateless.onnx", states=False)
    for name, change in {"newer": {"format": 99}, "damaged": {"layers": 3}}.items():
        model = onnx.load(folder / "model.onnx")
        (entry,) = [p for p in model.metadata_props if p.key == METADATA_KEY]
        entry.value = json.dumps({**json.loads(entry.value), **change})
        onnx.save(model, folder / f"{name}.onnx")
    whole = (folder / "model.onnx").read_bytes()
    (folder / "half.onnx").write_bytes(whole[: len(whole) // 2])


def _weights(folder: Path) -> None:
    weights = nn.GRU(3, 4).state_dict()
    torch.save(weights, folder / "w.pt")
    larger = nn.ModuleDict({"rnn": nn.GRU(3, 4), "fc": nn.Linear(4, 2)})
    torch.save(larger.state_dict(), folder / "larger.pt")
    torch.save({"model": weights, "ema": weights}, folder / "two.pt")
    torch.save({**weights, "bias_hh_l0": torch.zeros(7)}, folder / "misfit.pt")
    torch.save(nn.Linear(3, 4).state_dict(), folder / "linear.pt")
    save_file(weights, folder / "w.safetensors")
    np.savez(folder / "w.npz", **{name: weight.numpy() for name, weight in weights.items()})
    for name in ("w.pt", "w.safetensors", "w.npz"):
        content = (folder / name).read_bytes()
        (folder / f"half.{name.partition('.')[2]}").write_bytes(content[: len(content) // 2])


def _arrays(folder: Path) -> None:
    x = np.zeros((6, 2, 3), np.float32)
    arrays = {
        "x": x,
        "rank2": x[:, 0],
        "features": np.zeros((6, 2, 5), np.float32),
        "double": x.astype(np.float64),
        "no_steps": x[:0],
        "objects": np.array([{}], dtype=object),
        "long": np.array([6, 7]),
        "negative": np.array([6, -1]),
        "three": np.array([6, 6, 6]),
        "fractions": np.array([6.0, 2.5]),
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    np.savez(folder / "x.npz", x=x)
    np.savez(folder / "other_state.npz", c_0=np.zeros((1, 2, 4), np.float32))
    np.savez(folder / "rows_state.npz", h_0=np.zeros((1, 3, 4), np.float32))
    np.savez(folder / "double_state.npz", h_0=np.zeros((1, 2, 4)))


@pytest.fixture
def refused(
    material: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[str], tuple[int, str]]:
    """A function that runs a command which must fail, and gives its exit code and its one line."""
    folder = tmp_path / "work"
    shutil.copytree(material, folder)
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)

    def run(command: str) -> tuple[int, str]:
        before = sorted(os.listdir())
        with pytest.raises(SystemExit) as stopped:
            main(command.split())
        captured = capsys.readouterr()
        assert captured.out == ""
        assert [name for name in sorted(os.listdir()) if name != "__pycache__"] == before
        assert captured.err.endswith("\n")
        (line,) = captured.err.splitlines()
        assert line.startswith("rnnedge: ")
        return int(stopped.value.code or 0), line.removeprefix("rnnedge: ")

    return run


EXPORT = {
    "no_size": ("--cell gru --input-size 3", "expected a SOURCE"),
    "unknown_key": ("unknown.toml", "unknown.toml: unknown key colour; expected keys are cell, "),
    "wrong_type": ("type.toml", "type.toml: input_size: expected an integer, got str '3'"),
    "zero": ("zero.json", "zero.json: input_size: expected 1 or more, got 0"),
    "relu": ("relu.toml", "relu.toml: nonlinearity: expected 'tanh', the only one that lstm has"),
    "proj": ("proj.toml", "proj.toml: proj_size: expected 0 to 3, below hidden_size, got 4"),
    "broken": ("broken.toml", "broken.toml: expected a readable TOML file: "),
    "no_spec": ("no.toml", "no.toml: expected a specification, found no such file"),
    "option_zero": ("--input-size 0 --hidden-size 4", "options: input_size: expected 1 or more"),
    "option_below": ("--input-size 3 --hidden-size -4", "options: hidden_size: expected 1 or more"),
    "option_layers": (f"{LAYER} --num-layers 0", "options: num_layers: expected 1 or more, got 0"),
    "option_relu": (f"--cell lstm {LAYER} --nonlinearity relu", "options: nonlinearity: expected"),
    "option_proj": (f"--cell lstm {LAYER} --proj-size 9", "options: proj_size: expected 0 to 3"),
    "option_dropout": (f"{LAYER} --dropout 2", "options: dropout: expected 0 to 1, got 2.0"),
    "too_large": ("--input-size 3 --hidden-size 99999999999", "rnn(3->99999999999): its weights"),
    "opset": (f"{LAYER} --opset 9", "opset: expected 17 to 23, got 9"),
    "no_checkpoint": ("no.pt", "no.pt: expected a checkpoint, found no such file"),
    "text": ("text.pt", "text.pt: expected a torch checkpoint: it does not begin like one"),
    "half_pt": ("half.pt", "half.pt: expected a torch checkpoint: it is damaged, or cut short"),
    "half_safetensors": ("half.safetensors", "half.safetensors: expected a safetensors file: "),
    "half_npz": ("half.npz", "half.npz: expected an npz archive: "),
    "larger": ("larger.pt", "larger.pt: the layer 'rnn.' is 4 of 6 tensors; exported alone, it wo"),
    "ambiguous": ("two.pt", "two.pt: 2 dictionaries hold recurrent weights: 'model', 'ema': ch"),
    "misfit": ("misfit.pt", "misfit.pt: bias_hh_l0: expected shape [12] for gru("),
    "no_layer": ("linear.pt", "linear.pt: expected weights named like weight_ih_l0"),
    "contradiction": ("w.pt --hidden-size 5", "w.pt: --hidden-size is 5, and its weights say 4"),
    "key": ("w.pt --key model", "w.pt: no dictionary 'model' (--key) of tensors inside; there"),
    "prefix": ("w.pt --prefix enc", "w.pt: no recurrent layer has the prefix 'enc'; there are ''"),
    "seed": ("w.pt --seed 1", "--seed 1: w.pt has its own weights"),
    "no_module": ("no_such_code:layer", "no_such_code:layer: no_such_code does not import: Module"),
    "no_name": ("code_with_errors:no", "code_with_errors:no: code_with_errors has no no"),
    "number": ("code_with_errors:number", "code_with_errors:number: expected an nn.Module, or a"),
    "needs": ("code_with_errors:Needs", "code_with_errors:Needs: it takes Needs(size): write "),
    "call": ("code_with_errors:Needs(1+x)", "code_with_errors:Needs(1+x): expected literals as "),
    "many": ("code_with_errors:Needs(1,2)", "code_with_errors:Needs: too many positional arg"),
    "argument": ("code_with_errors:Needs --arg x=1", "code_with_errors:Needs: missing a required"),
    "twice": ("code_with_errors:Needs(size=1) --arg size=1", "code_with_errors:Needs(size=1): --a"),
    "layer_only": ("a.toml --layer-only", "--layer-only: requires a checkpoint, got a.toml"),
    "weights": ("w.pt --weights w.pt", "--weights w.pt: requires package.module:name, got w.pt"),
    "misfit_module": ("code_with_errors:layer --weights larger.pt", "larger.pt does not fit code"),
    "code_options": ("code_with_errors:layer --bias", "--bias: code_with_errors:layer has its own"),
    "kind": ("model.tflite", "model.tflite: expected a specification (.toml, .json), a checkpo"),
    "onnx": ("model.onnx", "model.onnx: is an ONNX file already: --quantize int8 or --dtype flo"),
    "no_onnx": ("no.onnx --quantize int8", "no.onnx: expected an ONNX file, found no such file"),
    "onnx_opset": ("model.onnx --quantize int8 --opset 9", "opset: expected 17, that of model.onn"),
}  # fmt: skip


@pytest.mark.parametrize("validate", ["", "--no-validate"], ids=["validate", "no_validate"])
@pytest.mark.parametrize(("source", "words"), EXPORT.values(), ids=EXPORT)
def test_export(
    source: str, words: str, validate: str, refused: Callable[[str], tuple[int, str]]
) -> None:
    code, line = refused(f"export {source} -o out.onnx {validate}")
    assert line.startswith(words)
    assert code == 1


USAGE = {
    "command": ("frobnicate", "No such command 'frobnicate'"),
    "option": (f"export {LAYER} -o out.onnx --colour 1", "No such option"),
    "cell": (f"export {LAYER} -o out.onnx --cell transformer", "Invalid value for '--cell'"),
    "number": ("export --input-size x --hidden-size 4 -o out.onnx", "Invalid value for '--input-s"),
    "opset": (f"export {LAYER} -o out.onnx --opset new", "Invalid value for '--opset'"),
    "target": (f"export {LAYER} -o out.onnx --target tpu", "Invalid value for '--target'"),
    "quantize": (f"export {LAYER} -o out.onnx --quantize int4", "Invalid value for '--quantize'"),
    "dtype": (f"export {LAYER} -o out.onnx --dtype half", "Invalid value for '--dtype'"),
    "seed": (f"export {LAYER} -o out.onnx --seed -1", "Invalid value for '--seed'"),
    "large_seed": (f"export {LAYER} -o out.onnx --seed {10**30}", "Invalid value for '--seed'"),
    "argument": (
        "export a:B --arg 1 -o out.onnx",
        "Invalid value for '--arg': expected NAME=VALUE",
    ),
    "no_model": ("inspect", "Missing argument 'MODEL'"),
    "no_input": ("run model.onnx", "Missing option '--input'"),
    "device": ("run model.onnx --input x.npy --device tpu", "Invalid value for '--device'"),
    "threads": ("run model.onnx --input x.npy --threads 0", "Invalid value for '--threads'"),
    "atol": (f"validate model.onnx --cell gru {LAYER} --atol 0", "Invalid value for '--atol'"),
    "time": ("bench model.onnx --time 0", "Invalid value for '--time'"),
    "batch": ("bench model.onnx --batch -1", "Invalid value for '--batch'"),
    "seconds": ("bench model.onnx --seconds 0", "Invalid value for '--seconds'"),
}


@pytest.mark.parametrize(("command", "words"), USAGE.values(), ids=USAGE)
def test_wrong_usage(command: str, words: str, refused: Callable[[str], tuple[int, str]]) -> None:
    code, line = refused(command)
    assert line.startswith(words)
    assert line.endswith(" --help)")
    assert code == 2


MODELS = {
    "missing": ("no.onnx", "no.onnx: expected an ONNX file, found no such file"),
    "text": ("text.onnx", "text.onnx: expected an ONNX file, got a text file"),
    "half": ("half.onnx", "half.onnx cannot be opened by ONNX Runtime: "),
    "newer": ("newer.onnx", "newer.onnx"),
    "damaged": ("damaged.onnx", "damaged.onnx has a damaged contract under 'rnnedge.contract'"),
}
COMMANDS = {
    "inspect": "inspect {}",
    "run": "run {} --input x.npy -o out.npz",
    "bench": "bench {} --time 1 --batch 1 --seconds 0.001",
    "validate": f"validate {{}} --cell gru {LAYER}",
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
@pytest.mark.parametrize(("model", "words"), MODELS.values(), ids=MODELS)
def test_model(
    model: str, words: str, command: str, refused: Callable[[str], tuple[int, str]]
) -> None:
    code, line = refused(command.format(model))
    assert line.startswith(words)
    assert code == 1


def test_newer_format_says_what_to_do(refused: Callable[[str], tuple[int, str]]) -> None:
    _, line = refused("inspect newer.onnx")
    assert "99" in line
    assert "update rnnedge-runtime" in line


INPUTS = {
    "missing": ("no.npy", "no.npy: expected an .npy file, found no such file"),
    "text": ("text.npy", "text.npy: expected an .npy file: it is not one"),
    "folder": (".", ".: expected an .npy file, found no such file"),
    "objects": ("objects.npy", "objects.npy: expected an .npy file: it holds pickled objects"),
    "rank": ("rank2.npy", "input: expected float32[time, batch, 3], got float32[6, 3]; one seq"),
    "features": ("features.npy", "input: expected float32[time, batch, 3] with time=6, batch=2"),
    "dtype": ("double.npy", "input: expected float32[time, batch, 3], got float64[6, 2, 3]; conv"),
    "no_steps": ("no_steps.npy", "input: expected "),
    "name": ("other=x.npy", "expected the inputs input; unknown: other"),
    "npz_name": ("x.npz", "expected the inputs input; unknown: x"),
    "npz_for_npy": ("input=x.npz", "x.npz: expected one array (.npy), got an .npz archive"),
    "half_npz": ("half.npz", "half.npz: expected an .npz file: "),
}
LENGTHS = {
    "missing": ("no.npy", "no.npy: expected an .npy file, found no such file"),
    "long": (
        "long.npy",
        "lengths: expected lengths from 0 to 6, the number of steps",
    ),
    "negative": ("negative.npy", "lengths: expected lengths from 0 to 6, the number of steps"),
    "three": ("three.npy", "lengths: expected one length for each of the 2 row"),
    "fractions": ("fractions.npy", "lengths: expected integers, got float64"),
}
STATES = {
    "missing": ("no.npz", "no.npz: expected an .npz file, found no such file"),
    "npy": ("x.npy", "x.npy: expected arrays by name (.npz), got one array"),
    "half": ("half.npz", "half.npz: expected an .npz file: "),
    "name": ("other_state.npz", "--state other_state.npz: expected h_0 or h_n, found c_0"),
    "rows": ("rows_state.npz", "h_0: expected float32[1, batch, 4] with batch=2, got float32[1, 3"),
    "dtype": ("double_state.npz", "h_0: expected float32[1, batch, 4] with batch=2, got float64"),
}


@pytest.mark.parametrize(("given", "words"), INPUTS.values(), ids=INPUTS)
def test_input(given: str, words: str, refused: Callable[[str], tuple[int, str]]) -> None:
    code, line = refused(f"run model.onnx --input {given} -o out.npz")
    assert line.startswith(words)
    assert code == 1


@pytest.mark.parametrize(("file", "words"), LENGTHS.values(), ids=LENGTHS)
def test_lengths(file: str, words: str, refused: Callable[[str], tuple[int, str]]) -> None:
    code, line = refused(f"run lengths.onnx --input x.npy --lengths {file} -o out.npz")
    assert line.startswith(words)
    assert code == 1


def test_lengths_for_a_model_without(refused: Callable[[str], tuple[int, str]]) -> None:
    code, line = refused("run model.onnx --input x.npy --lengths three.npy -o out.npz")
    assert line.startswith("the model takes no lengths: export it with lengths=True (--lengths)")
    assert code == 1


@pytest.mark.parametrize(("file", "words"), STATES.values(), ids=STATES)
def test_state(file: str, words: str, refused: Callable[[str], tuple[int, str]]) -> None:
    code, line = refused(f"run model.onnx --input x.npy --state {file} -o out.npz")
    assert line.startswith(words)
    assert code == 1


def test_state_for_a_model_without(refused: Callable[[str], tuple[int, str]]) -> None:
    code, line = refused("run stateless.onnx --input x.npy --state rows_state.npz -o out.npz")
    assert line.startswith("the model takes no state: export it with states (--states)")
    assert code == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA may work here")
@pytest.mark.parametrize(
    "command",
    [
        "run model.onnx --input x.npy -o out.npz",
        "bench model.onnx",
        f"validate model.onnx --cell gru {LAYER}",
    ],
    ids=["run", "bench", "validate"],
)
def test_cuda_that_is_not_there(command: str, refused: Callable[[str], tuple[int, str]]) -> None:
    code, line = refused(f"{command} --device cuda")
    assert line.startswith("device='cuda': ONNX Runtime ")
    assert code == 1


MISFITS = {
    "hidden": ("--cell gru --input-size 3 --hidden-size 5", "model.onnx does not fit gru("),
    "input": ("--cell gru --input-size 2 --hidden-size 4", "model.onnx does not fit gru("),
    "cell": (f"--cell lstm {LAYER}", "model.onnx does not fit lstm("),
    "directions": (f"--cell gru {LAYER} --bidirectional", "model.onnx does not fit gru("),
    "missing": ("--against no.pt", "no.pt: expected a checkpoint, found no such file"),
    "code": ("--against code_with_errors:number", "code_with_errors:number: expected an nn.Module"),
}


@pytest.mark.parametrize(("source", "words"), MISFITS.values(), ids=MISFITS)
def test_validate(source: str, words: str, refused: Callable[[str], tuple[int, str]]) -> None:
    code, line = refused(f"validate model.onnx {source}")
    assert line.startswith(words)
    assert code == 1


BENCH_MISFITS = {
    "input": ("--cell gru --input-size 2 --hidden-size 4", "model.onnx does not fit gru("),
    "hidden": ("--cell gru --input-size 3 --hidden-size 5", "model.onnx does not fit gru("),
}


@pytest.mark.parametrize(("source", "words"), BENCH_MISFITS.values(), ids=BENCH_MISFITS)
def test_bench(source: str, words: str, refused: Callable[[str], tuple[int, str]]) -> None:
    code, line = refused(f"bench model.onnx {source} --time 1 --batch 1 --seconds 0.001")
    assert line.startswith(words)
    assert code == 1


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device", "out"), "rnnedge: out: No space left on device\n"),
        (OSError("odd\x1b[2J"), "rnnedge: odd\\x1b[2J\n"),
        (MemoryError(), "rnnedge: not enough memory: the system gives no more\n"),
    ],
    ids=["disk", "escape", "memory"],
)
def test_what_the_system_refuses_is_one_line(
    error: Exception,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("rnnedge.cli.commands.main", fail)
    with pytest.raises(SystemExit) as ended:
        main(["inspect", "m.onnx"])
    assert ended.value.code == 1
    assert capsys.readouterr().err == said
