"""Mistakes that people make: each error says what to type, and typing that works."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from commands import Done
from torch import nn

import rnnedge

X = torch.zeros(5, 2, 3)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(3, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.gru(x)[0]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    torch.manual_seed(0)
    layer = nn.GRU(3, 4)
    torch.save(layer.state_dict(), folder / "weights.pt")
    rnnedge.export(layer, folder / "model.onnx")
    torch.save(nn.GRU(5, 4).state_dict(), folder / "other_weights.pt")
    (folder / "models").mkdir()
    (folder / "models" / "one.onnx").write_bytes((folder / "model.onnx").read_bytes())
    (folder / "x.csv").write_text("1,2,3\n4,5,6\n")
    np.save(folder / "exchanged.npy", np.zeros((3, 5, 2), np.float32))
    return folder


@pytest.fixture
def typed(
    files: Path, rnn: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Done]:
    monkeypatch.chdir(files)
    return lambda line: rnn(*shlex.split(line))


MADE = "rnnedge export weights.pt -o weights.onnx makes an ONNX file of it"
MESSAGES = {
    "validate without a source": (
        "validate model.onnx",
        "validate model.onnx --against weights.pt",
    ),
    "tune without a source": ("tune -o b.onnx", "rnnedge tune weights.pt -o b.onnx"),
    "tune a file without a source": (
        "tune model.onnx -o b.onnx",
        "rnnedge tune model.onnx --against weights.pt -o b.onnx",
    ),
    "export of nothing": ("export", "rnnedge export weights.pt"),
    "a second argument of validate": (
        "validate model.onnx weights.pt",
        "rnnedge validate model.onnx --against weights.pt",
    ),
    "a second argument of export": ("export weights.pt m.onnx", "the file to write is -o m.onnx"),
    "a second argument of bench": ("bench model.onnx weights.pt", "--against weights.pt"),
    "a second argument of tune": ("tune weights.pt b.onnx -o c.onnx", "-o b.onnx"),
    "a second argument of doctor": ("doctor model.onnx b.onnx", "--fix b.onnx"),
    "a second argument of run": ("run model.onnx x.npy --input x.npy", "--input x.npy"),
    "no input": ("run model.onnx", "rnnedge run model.onnx --input x.npy -o out.npz"),
    "a checkpoint to inspect": ("inspect weights.pt", MADE),
    "a checkpoint to bench": ("bench weights.pt", MADE),
    "a checkpoint to doctor": ("doctor weights.pt", MADE),
    "a checkpoint to run": ("run weights.pt --input x.npy", MADE),
    "exchanged arguments of validate": ("validate weights.pt --against model.onnx", MADE),
    "a folder to inspect": ("inspect models", "got a folder: name a file in it: models/one.onnx"),
    "a folder to doctor": ("doctor models", "got a folder: name a file in it: models/one.onnx"),
    "a folder as a source": (
        "export .",
        "is a folder: name a file in it, such as model.onnx, other_weights.pt, weights.pt",
    ),
    "exchanged axes": ("run model.onnx --input exchanged.npy", "np.moveaxis(x, 0, 2)"),
    "C in one file": ("export weights.pt --target c -o kws.c", "a folder of files: -o kws"),
    "another array": ("run model.onnx --input exchangd.npy", "there is exchanged.npy"),
    "a layer for a module": (
        "validate model.onnx --against other_weights.pt",
        "--against package.module:Class --weights CHECKPOINT",
    ),
    "a model to export": ("export model.onnx", "--quantize int8 or --dtype float16 writes"),
}


@pytest.mark.parametrize(("line", "advice"), MESSAGES.values(), ids=MESSAGES)
def test_the_error_says_what_to_type(line: str, advice: str, typed: Callable[[str], Done]) -> None:
    done = typed(line)
    assert done.code in (1, 2)
    assert done.out == ""
    (said,) = done.err.splitlines()
    assert advice in said


def test_what_the_error_of_validate_says_works(typed: Callable[[str], Done]) -> None:
    (said,) = typed("validate model.onnx weights.pt").err.splitlines()
    (command,) = re.findall(r"rnnedge (validate .*?) \(see", said)
    assert typed(f"{command} --quick").code == 0


@pytest.mark.parametrize("name", ["", "input="])
def test_what_the_error_of_a_csv_says_works(
    name: str, typed: Callable[[str], Done], files: Path
) -> None:
    (said,) = typed(f"run model.onnx --input {name}x.csv").err.splitlines()
    (program,) = re.findall(r'python -c "(.*?)" makes', said)
    subprocess.run([sys.executable, "-c", program], cwd=files, check=True)
    (given,) = re.findall(r"then: (--input \S+)$", said)
    done = typed(f"run model.onnx {given}")
    assert done.out.splitlines()[0] == "output float32[2, 1, 4]"


def test_int8_says_what_it_costs_and_how_to_measure(typed: Callable[[str], Done]) -> None:
    out = typed("export weights.pt --quantize int8 -o small.onnx").out
    said = r"^weights: [\d,]+ bytes in the file, \d\.\d\dx of [\d,]+ in float32$"
    assert re.search(said, out, re.MULTILINE)
    for words in (
        "1 of 1 layers become float32 when the file is opened: ",
        "bytes of memory, and no speed is gained",
        "to compute all recurrent layers in int8: --quantize int8:all",
        "rnnedge validate small.onnx --against weights.pt --calibrate DATA",
        "rnnedge bench small.onnx --beside FLOAT32.onnx",
    ):
        assert words in out


CALLS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a state dict": (
        lambda to: rnnedge.export(Net().state_dict(), to),  # type: ignore[arg-type]
        "got a state dict: pass the module after module.load_state_dict",
    ),
    "a class": (lambda to: rnnedge.export(Net, to), "got the class Net: pass an instance"),  # type: ignore[arg-type]
    "a path": (
        lambda to: rnnedge.export("w.pt", to),  # type: ignore[arg-type]
        "got the path 'w.pt': pass rnnedge.load_source('w.pt').module",
    ),
    "exchanged": (
        lambda to: rnnedge.export(to, Net()),  # type: ignore[arg-type]
        "they seem to be exchanged: export(model, path)",
    ),
    "the order of torch": (
        lambda to: rnnedge.export(Net(), (X,), to),  # type: ignore[arg-type, call-arg, misc]
        "rnnedge.export(model, 'model.onnx', example_inputs=(x,))",
    ),
    "two of the order of torch": (
        lambda to: rnnedge.export(Net(), (X,)),  # type: ignore[arg-type]
        "export(model, 'model.onnx', example_inputs=(x,))",
    ),
    "a name of torch": (
        lambda to: rnnedge.export(Net(), to, opset_version=17),  # type: ignore[call-arg]
        "opset_version= of torch.onnx.export is: opset=",
    ),
    "lists as example inputs": (
        lambda to: rnnedge.export(Net(), to, example_inputs=([[0.0]],)),
        "got none (x is a list): torch.tensor(x) makes one",
    ),
    "a module as the file": (
        lambda to: rnnedge.validate(Net(), against=to),  # type: ignore[arg-type]
        "got Net: rnnedge.validate('model.onnx', against=module)",
    ),
    "by position": (
        lambda to: rnnedge.validate(to, Net()),  # type: ignore[call-arg, misc]
        "rnnedge.validate('model.onnx', against=module)",
    ),
    "validate with a state dict": (
        lambda to: rnnedge.validate(to, against=Net().state_dict()),  # type: ignore[arg-type]
        "against: expected an nn.Module or a path, got a state dict: pass the module",
    ),
}


@pytest.mark.parametrize(("call", "advice"), CALLS.values(), ids=CALLS)
def test_in_python(call: Callable[[Path], Any], advice: str, tmp_path: Path) -> None:
    with pytest.raises((rnnedge.RnnEdgeError, TypeError), match=re.escape(advice)):
        call(tmp_path / "m.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numpy_arrays_are_example_inputs(dtype: type, tmp_path: Path) -> None:
    net = Net()
    rnnedge.export(net, tmp_path / "a.onnx", example_inputs=(X,))
    given = X.numpy().astype(dtype)
    rnnedge.export(
        net, tmp_path / "b.onnx", example_inputs=given if dtype is np.float64 else {"x": given}
    )
    assert (tmp_path / "b.onnx").read_bytes() == (tmp_path / "a.onnx").read_bytes()


def test_arrays_of_text_are_no_example_inputs(tmp_path: Path) -> None:
    with pytest.raises(rnnedge.ExportError, match="expected numbers in example_inputs"):
        rnnedge.export(Net(), tmp_path / "a.onnx", example_inputs=(np.array(["a"]),))


def test_sizes_that_are_all_fixed_are_a_note(typed: Callable[[str], Done], files: Path) -> None:
    (files / "whole_net.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.gru = nn.GRU(3, 4)\n"
        "    def forward(self, x):\n"
        "        return self.gru(x)[0]\n"
    )
    line = "export whole_net:Net -o fixed.onnx --no-validate --input x=float32[5,1,3]"
    out = typed(line).out
    assert "every size is fixed in the file, as in --input x=float32[5, 1, 3]: write batch" in out
    assert "the batch is fixed to 1, since dynamic_axes (--input) does not name its axis" in out


def test_int8_in_c_has_no_advice_for_files(typed: Callable[[str], Done]) -> None:
    out = typed("export weights.pt --quantize int8 --target c -o small").out
    assert "bytes of weights that may be rounded" in out
    for words in ("when the file is opened", "rnnedge bench", "rnnedge validate"):
        assert words not in out
