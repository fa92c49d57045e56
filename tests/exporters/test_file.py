"""The file itself: its bytes, its opset, and what is left when it cannot be written."""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from rnnedge_exporters import HIGHEST_OPSET, LOWEST_OPSET, ExportError, export
from rnnedge_exporters.onnx_model import serialize
from rnnedge_runtime import Session, WriteError

LAYERS = {
    "tanh": lambda: nn.RNN(3, 4),
    "relu": lambda: nn.RNN(3, 4, nonlinearity="relu"),
    "lstm": lambda: nn.LSTM(3, 4, num_layers=2, bidirectional=True),
    "gru": lambda: nn.GRU(3, 4, batch_first=True),
    "proj": lambda: nn.LSTM(3, 4, proj_size=2),
}
OPTIONS = {"plain": {}, "lengths": {"lengths": True, "states": False}}


@pytest.fixture(params=LAYERS)
def layer(request: pytest.FixtureRequest) -> nn.RNNBase:
    return _seeded(request.param)


@pytest.fixture
def lstm() -> nn.LSTM:
    return _seeded("lstm")


def _seeded(cell: str) -> nn.RNNBase:
    torch.manual_seed(11)
    return LAYERS[cell]()


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_same_source_gives_the_same_bytes(layer: nn.RNNBase, options: dict, tmp_path: Path) -> None:
    export(layer, tmp_path / "first.onnx", **options)
    for index, other in enumerate(LAYERS.values()):  # what came before must leave no trace
        export(other(), tmp_path / f"between{index}.onnx", lengths=True, target="cuda")
    export(layer, tmp_path / "second.onnx", **options)
    assert (tmp_path / "first.onnx").read_bytes() == (tmp_path / "second.onnx").read_bytes()


IN_ANOTHER_PROCESS = """
import hashlib, sys, torch
from torch import nn
from rnnedge_exporters import export
for name, make in {
    "tanh": lambda: nn.RNN(3, 4),
    "relu": lambda: nn.RNN(3, 4, nonlinearity="relu"),
    "lstm": lambda: nn.LSTM(3, 4, num_layers=2, bidirectional=True),
    "gru": lambda: nn.GRU(3, 4, batch_first=True),
    "proj": lambda: nn.LSTM(3, 4, proj_size=2),
}.items():
    torch.manual_seed(11)
    path = export(make(), "model.onnx", lengths=True).path
    print(name, hashlib.sha256(path.read_bytes()).hexdigest())
"""


def test_same_source_gives_the_same_bytes_in_another_process(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", IN_ANOTHER_PROCESS],
        cwd=elsewhere,
        env={**os.environ, "PYTHONHASHSEED": "4242", "HOME": str(elsewhere)},
        capture_output=True,
        text=True,
        check=True,
    )
    here = []
    for cell in LAYERS:
        path = export(_seeded(cell), tmp_path / "model.onnx", lengths=True).path
        here.append(f"{cell} {hashlib.sha256(path.read_bytes()).hexdigest()}")
    assert done.stdout.splitlines() == here


@pytest.mark.parametrize(
    "secret",
    [os.getcwd(), str(Path.home()), str(Path(torch.__file__).parents[1]), platform.node()],
    ids=["working_folder", "home", "site_packages", "hostname"],
)
def test_nothing_of_this_machine_is_in_the_bytes(
    secret: str, layer: nn.RNNBase, tmp_path: Path
) -> None:
    if len(secret) < 5:
        pytest.skip(f"{secret!r} is so short that it may be among the weights by chance")
    content = export(layer, tmp_path / "model.onnx", lengths=True).path.read_bytes()
    assert secret.encode() not in content


def test_folder_written_to_is_not_in_the_bytes(layer: nn.RNNBase, tmp_path: Path) -> None:
    content = export(layer, tmp_path / "model.onnx").path.read_bytes()
    assert str(tmp_path).encode() not in content


def test_result_names_the_file_and_its_size(lstm: nn.LSTM, tmp_path: Path) -> None:
    result = export(lstm, str(tmp_path / "model.onnx"))
    assert result.path == tmp_path / "model.onnx"
    assert result.bytes == result.path.stat().st_size


def test_result_prints_on_one_line(lstm: nn.LSTM, tmp_path: Path) -> None:
    result = export(lstm, tmp_path / "model.onnx")
    assert str(result).startswith(f"{result.path} ({result.bytes:,} bytes, opset 17, sha256 ")
    assert "\n" not in str(result)


def test_file_is_readable_as_any_other(lstm: nn.LSTM, tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    export(lstm, tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize("opset", range(LOWEST_OPSET, HIGHEST_OPSET + 1))
def test_every_opset_is_valid_and_runs(
    opset: int, layer: nn.RNNBase, tmp_path: Path, in_torch: Callable
) -> None:
    export(layer, tmp_path / "model.onnx", lengths=True, opset=opset)
    model = onnx.load(tmp_path / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", opset)]
    x = np.random.default_rng(0).standard_normal((5, 2, 3)).astype(np.float32)
    output = Session(tmp_path / "model.onnx").run(x).output
    expected = in_torch(layer, x)["output"]
    assert output.shape == expected.shape
    assert np.abs(output - expected).max() < 1e-5


def test_default_opset_is_the_lowest(lstm: nn.LSTM, tmp_path: Path) -> None:
    assert export(lstm, tmp_path / "model.onnx").contract.opset == LOWEST_OPSET


@pytest.mark.parametrize("opset", [16, 24, 0, -1, "18", 18.0, True])
def test_opset_out_of_range(opset: object, lstm: nn.LSTM, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=rf"^opset: expected 17 to 23, got {opset!r}$"):
        export(lstm, tmp_path / "model.onnx", opset=opset)
    assert list(tmp_path.iterdir()) == []


def test_missing_folder(lstm: nn.LSTM, tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=r"expected an existing folder, found no .*no: create it"):
        export(lstm, tmp_path / "no" / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_folder_as_target(lstm: nn.LSTM, tmp_path: Path) -> None:
    with pytest.raises(WriteError, match=r"expected the name of a file to write, found a folder"):
        export(lstm, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that refuses files")
def test_folder_that_cannot_be_written(lstm: nn.LSTM) -> None:
    with pytest.raises(WriteError, match=r"^/proc/self/model.onnx: cannot be written: "):
        export(lstm, "/proc/self/model.onnx")


def test_disk_full(lstm: nn.LSTM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export(nn.GRU(3, 4), tmp_path / "model.onnx")
    before = _contents(tmp_path)

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteError, match=r"cannot be written: No space left on device$"):
        export(lstm, tmp_path / "model.onnx")
    assert _contents(tmp_path) == before


def test_existing_file_stays_when_the_export_fails(tmp_path: Path) -> None:
    export(nn.GRU(3, 4), tmp_path / "model.onnx")
    before = _contents(tmp_path)
    with pytest.raises(ExportError, match=r"their cells inside, found none"):
        export(nn.Linear(3, 4), tmp_path / "model.onnx", example_inputs=(torch.zeros(2, 3),))
    assert _contents(tmp_path) == before


def test_result_shows_both_digests(lstm: nn.LSTM, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    result = export(lstm, path)
    assert result.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    weights = result.contract.weights_digest
    assert weights.startswith("sha256:")
    assert str(result).endswith(f", sha256 {result.sha256[:12]}, weights digest {weights[7:19]})")


def test_model_over_the_limit_of_protobuf(
    lstm: nn.LSTM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serialize, "LARGEST", 100)
    with pytest.raises(ExportError, match=r"and one ONNX file holds at most 100$"):
        export(lstm, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}
