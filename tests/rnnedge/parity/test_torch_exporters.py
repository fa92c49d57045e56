"""Files of torch's own two exporters: what is right passes, and what each gets wrong is said."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from breaking.broken import Broken
from broken_models import BROKEN
from torch import nn

from rnnedge import Report, SourceError, export, validate
from rnnedge.parity import Case
from rnnedge.parity.results import Diagnosis

TIME, BATCH = 5, 2
"""The example that both exporters see."""
CELLS = ("RNN", "LSTM", "GRU")

EXPORTER = f"""
import contextlib, logging, os, sys, warnings
import networkx, onnxscript.function_libs.torch_lib.ops, sympy
import torch, torch._dynamo, torch.export._trace, torch.onnx._internal.exporter._core
warnings.simplefilter("ignore")
logging.disable()

def export(cell, dynamo, batch_first, path):
    torch.manual_seed(0)
    layer = getattr(torch.nn, cell)(3, 4, 2, batch_first=batch_first).eval()
    x = torch.ones(({BATCH}, {TIME}, 3) if batch_first else ({TIME}, {BATCH}, 3))
    if dynamo:
        axes = {{axis: torch.export.Dim.AUTO for axis in (0, 1)}}
        more = dict(dynamo=True, external_data=False, dynamic_shapes=(axes,))
    else:
        names = ("batch", "time") if batch_first else ("time", "batch")
        more = dict(dynamo=False, dynamic_axes={{"input": dict(enumerate(names))}})
    torch.onnx.export(layer, (x,), path, input_names=["input"], **more)

for line in sys.stdin:
    cell, dynamo, batch_first, path = line.rstrip().split(" ", 3)
    process = os.fork()
    if not process:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            export(cell, dynamo == "True", batch_first == "True", path)
        os._exit(0)
    print(os.waitpid(process, 0)[1], flush=True)
"""
"""Exports each layer in a separate process: the newer exporter's next answer depends on its last.

They fork off one that has imported what both need, which takes seconds.
"""

Exported = Callable[..., Path]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exported]:
    """A function that exports the layer which `_layer` makes."""
    folder = tmp_path_factory.mktemp("exported")
    with subprocess.Popen(
        [sys.executable, "-c", EXPORTER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as exporter:
        assert exporter.stdin is not None
        assert exporter.stdout is not None

        def exported(cell: str, *, dynamo: bool, batch_first: bool = False) -> Path:
            path = folder / f"{cell}-{dynamo}-{batch_first}.onnx"
            if not path.exists():
                exporter.stdin.write(f"{cell} {dynamo} {batch_first} {path}\n")
                exporter.stdin.flush()
                assert exporter.stdout.readline() == "0\n"
            return path

        yield exported
        exporter.stdin.close()


def _layer(cell: str, *, batch_first: bool = False) -> nn.RNNBase:
    torch.manual_seed(0)
    return getattr(nn, cell)(3, 4, 2, batch_first=batch_first)


def _validate(model: Path, against: nn.Module | Path) -> Report:
    return validate(model, against=against, isolated=False)


def _diagnosis(report: Report) -> Diagnosis:
    assert not report
    assert report.diagnosis is not None
    return report.diagnosis


@pytest.mark.parametrize("batch_first", [False, True], ids=["time_first", "batch_first"])
@pytest.mark.parametrize("cell", CELLS)
def test_older_exporter_is_right(cell: str, batch_first: bool, exported: Exported) -> None:
    model = exported(cell, dynamo=False, batch_first=batch_first)
    report = _validate(model, _layer(cell, batch_first=batch_first))
    assert report, report


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_newer_exporter_is_right_for_batch_first(cell: str, exported: Exported) -> None:
    model = exported(cell, dynamo=True, batch_first=True)
    report = _validate(model, _layer(cell, batch_first=True))
    assert report, report


@pytest.mark.parametrize("cell", CELLS)
def test_newer_exporter_freezes_time(cell: str, exported: Exported) -> None:
    found = _diagnosis(_validate(exported(cell, dynamo=True), _layer(cell)))
    assert (found.cause, found.place) == ("frozen length", "time")
    assert found.evidence.startswith(f"right at time {TIME}, else raised: ONNX Runtime failed: ")
    assert found.smallest == Case(1, 1)
    assert "dynamic" in found.remedy


@pytest.mark.parametrize("cell", CELLS)
def test_frozen_file_is_right_at_its_example(cell: str, exported: Exported) -> None:
    """The one shape that `torch.onnx.export(..., verify=True)` looks at."""
    model, cases = exported(cell, dynamo=True), [Case(TIME, BATCH)]
    assert validate(model, against=_layer(cell), isolated=False, cases=cases)


# --- against a checkpoint -------------------------------------------------------------------------


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return tmp_path / "weights.pt"


def test_checkpoint_needs_no_class(exported: Exported, checkpoint: Path) -> None:
    torch.save(_layer("GRU").state_dict(), checkpoint)
    report = _validate(exported("GRU", dynamo=False), checkpoint)
    assert report, report
    assert report.notes == (
        "batch_first=False: the checkpoint does not say, the answers of the file do",
    )


def test_layout_is_found_in_the_answers(exported: Exported, checkpoint: Path) -> None:
    torch.save(_layer("LSTM", batch_first=True).state_dict(), checkpoint)
    report = _validate(exported("LSTM", dynamo=False, batch_first=True), checkpoint)
    assert report, report
    assert report.notes == (
        "batch_first=True: the checkpoint does not say, the answers of the file do",
    )
    assert report.source.endswith("lstm(3->4, num_layers=2, batch_first)")


def test_layout_and_nonlinearity_are_found_in_the_answers(checkpoint: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    layer = nn.RNN(3, 4, nonlinearity="relu", batch_first=True)
    torch.save(layer.state_dict(), checkpoint)
    export(layer, tmp_path / "model.onnx")
    report = _validate(tmp_path / "model.onnx", checkpoint)
    assert report, report
    assert report.notes == (
        "batch_first=True and nonlinearity='relu': the checkpoint does not say, the answers "
        "of the file do",
    )


def _broken(name: str) -> Broken:
    (found,) = [broken for broken in BROKEN if broken.name == name]
    return found


@pytest.mark.parametrize(
    "name",
    [
        "rnn-2-batch_first-torchscript-frozen_length-traced_loop",
        "relu-3-batch_first-no_states-torchscript-frozen_length-no_batch_axis",
    ],
)
def test_layout_of_a_frozen_file_is_found(name: str, checkpoint: Path, tmp_path: Path) -> None:
    broken = _broken(name)
    broken.write(tmp_path / "model.onnx")
    torch.save(broken.layer.state_dict(), checkpoint)
    report = _validate(tmp_path / "model.onnx", checkpoint)
    assert _diagnosis(report).cause.startswith("frozen")
    assert report.notes[0].startswith("batch_first=True")


@pytest.mark.parametrize(
    "name",
    [
        "lstm-1-batch_first-torchscript-gate_order-pytorch",
        "gru-2-bidirectional-batch_first-torchscript-bias_halves-no_recurrent",
        "gru-1-batch_first-hand-transposed_weights-R",
    ],
)
def test_layout_of_a_wrong_file_is_found_in_its_shapes(
    name: str, checkpoint: Path, tmp_path: Path
) -> None:
    broken = _broken(name)
    broken.write(tmp_path / "model.onnx")
    torch.save(broken.layer.state_dict(), checkpoint)
    report = _validate(tmp_path / "model.onnx", checkpoint)
    assert _diagnosis(report).cause == broken.cause
    assert report.notes[0] == (
        "batch_first=True: the checkpoint does not say, the shapes of the answers of the file do"
    )


class Two(nn.Module):
    """Two layers of the same shape."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.encoder = nn.GRU(3, 4)
        self.decoder = nn.GRU(3, 4)


@pytest.mark.parametrize("name", ["encoder", "decoder"])
def test_layer_in_the_file_is_taken(name: str, checkpoint: Path, tmp_path: Path) -> None:
    torch.save(Two().state_dict(), checkpoint)
    export(getattr(Two(), name), tmp_path / "model.onnx")
    report = _validate(tmp_path / "model.onnx", checkpoint)
    assert report, report
    assert report.source == f"{checkpoint} {name} gru(3->4) (4 of 8 tensors)"


def test_layer_that_is_not_in_the_file_is_asked_for(checkpoint: Path, tmp_path: Path) -> None:
    torch.save(Two().state_dict(), checkpoint)
    export(nn.GRU(3, 4), tmp_path / "model.onnx")
    with pytest.raises(SourceError, match=r"2 recurrent layers, .*'encoder\.', 'decoder\.'"):
        _validate(tmp_path / "model.onnx", checkpoint)
