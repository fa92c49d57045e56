"""Golden vectors of exported models: written, read by others, and each flipped bit is found."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import pytest
import torch
from onnx.backend.test.runner import Runner
from onnx.reference import ReferenceEvaluator
from torch import nn

from rnnedge import export
from rnnedge.golden_vectors import write_golden
from rnnedge_runtime import Session
from rnnedge_runtime.proof.golden import Golden, GoldenSet, read_golden
from rnnedge_runtime.proof.golden_check import FILE, RUNS, check_golden

REFERENCE = f"PyTorch {torch.__version__} float64"
ALLOWED = 1e-6
SHAPES = ((1, 1), (2, 3), (5, 2), (17, 1))


def _state_names(layer: nn.RNNBase) -> str:
    return "hc" if isinstance(layer, nn.LSTM) else "h"


def make_set(layer: nn.RNNBase, time: int, batch: int) -> GoldenSet:
    """Return random inputs of a bare layer and what it answers in float64."""
    width = layer.proj_size or layer.hidden_size
    rows = layer.num_layers * (2 if layer.bidirectional else 1)
    sizes = {"h": width, "c": layer.hidden_size}
    outer = (batch, time) if layer.batch_first else (time, batch)
    x = torch.randn(*outer, layer.input_size)
    state = {name: torch.randn(rows, batch, sizes[name]) for name in _state_names(layer)}
    start = tuple(tensor.double() for tensor in state.values())
    with torch.no_grad():
        output, final = copy.deepcopy(layer).double()(
            x.double(), start if len(start) == 2 else start[0]
        )
    finals = final if isinstance(final, tuple) else (final,)
    outputs = {"output": output} | {f"{n}_n": f for n, f in zip(state, finals, strict=True)}
    return GoldenSet(
        case=f"time {time}, batch {batch}, random state",
        inputs={"input": x.numpy()} | {f"{name}_0": h.numpy() for name, h in state.items()},
        outputs={name: tensor.float().numpy() for name, tensor in outputs.items()},
        allowed=dict.fromkeys(outputs, ALLOWED),
    )


def write(layer: nn.RNNBase, folder: Path) -> tuple[Path, list[GoldenSet]]:
    torch.manual_seed(7)
    export(layer, folder / "layer.onnx")
    sets = [make_set(layer, *shape) for shape in SHAPES]
    write_golden(folder / "golden", model=folder / "layer.onnx", sets=sets, reference=REFERENCE)
    return folder / "golden", sets


def seeded(make: Callable[[], nn.RNNBase]) -> nn.RNNBase:
    torch.manual_seed(3)
    return make()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[GoldenSet]]:
    """The folder of a small LSTM, and the sets that were written into it."""
    return write(seeded(lambda: nn.LSTM(2, 3)), tmp_path_factory.mktemp("lstm"))


@pytest.fixture(scope="module")
def golden(written: tuple[Path, list[GoldenSet]]) -> Golden:
    return read_golden(written[0])


@pytest.fixture(scope="module")
def content(written: tuple[Path, list[GoldenSet]]) -> bytes:
    return (written[0] / "model.onnx").read_bytes()


def run_check(model: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rnnedge_runtime", "check", str(model), str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


LAYERS: dict[str, Callable[[], nn.RNNBase]] = {
    "rnn": lambda: nn.RNN(2, 3, num_layers=2),
    "relu": lambda: nn.RNN(2, 3, nonlinearity="relu", batch_first=True),
    "proj": lambda: nn.LSTM(2, 4, proj_size=3, bidirectional=True),
    "gru": lambda: nn.GRU(2, 3, bidirectional=True, bias=False),
}


@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_an_exported_layer_passes(make: Callable[[], nn.RNNBase], tmp_path: Path) -> None:
    folder, _ = write(seeded(make), tmp_path)
    done = run_check(tmp_path / "layer.onnx", folder)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert f"pass  {RUNS}: 4 set(s), expected outputs from {REFERENCE}\n" in done.stdout


def test_what_was_written_is_read_back(
    golden: Golden, written: tuple[Path, list[GoldenSet]]
) -> None:
    for index, (given, made) in enumerate(zip(golden.sets, written[1], strict=True)):
        assert given.directory == f"test_data_set_{index}"
        assert (given.case, given.allowed) == (made.case, made.allowed)
        for mine, yours in ((given.inputs, made.inputs), (given.outputs, made.outputs)):
            assert list(mine) == list(yours)
            assert all(mine[name].tobytes() == yours[name].tobytes() for name in yours)


def test_the_record(written: tuple[Path, list[GoldenSet]]) -> None:
    record = json.loads((written[0] / "golden.json").read_bytes())
    assert (record["format"], record["model"], record["reference"]) == (1, "model.onnx", REFERENCE)
    assert record["versions"]["onnx"] == onnx.__version__
    assert record["sets"][1] == {
        "directory": "test_data_set_1",
        "case": "time 2, batch 3, random state",
        "allowed": {"output": ALLOWED, "h_n": ALLOWED, "c_n": ALLOWED},
    }


def test_onnx_reads_the_tensors(written: tuple[Path, list[GoldenSet]]) -> None:
    folder, sets = written
    for index, made in enumerate(sets):
        for kind, tensors in (("input", made.inputs), ("output", made.outputs)):
            for at, (name, values) in enumerate(tensors.items()):
                path = folder / f"test_data_set_{index}" / f"{kind}_{at}.pb"
                tensor = onnx.load_tensor(path)
                assert tensor.name == name
                given = onnx.numpy_helper.to_array(tensor)
                assert (given.dtype, given.shape) == (values.dtype, values.shape)
                assert given.tobytes() == values.tobytes()


def test_onnx_own_tests_run_the_folder(written: tuple[Path, list[GoldenSet]]) -> None:
    """As `onnx.backend.test` does it: tensors by their place, answers from another program."""
    folder, sets = written
    model = ReferenceEvaluator(str(folder / "model.onnx"))
    places = sorted(folder.glob("test_data_set*"))
    assert len(places) == len(sets)
    for place in places:
        inputs, outputs = (
            [
                onnx.numpy_helper.to_array(onnx.load_tensor(place / f"{kind}_{index}.pb"))
                for index in range(len(list(place.glob(f"{kind}_*.pb"))))
            ]
            for kind in ("input", "output")
        )
        answers = list(model.run(None, dict(zip(model.input_names, inputs, strict=True))))
        Runner.assert_similar_outputs(outputs, answers, rtol=1e-3, atol=ALLOWED)


def test_the_model_beside_the_vectors_is_a_copy(written: tuple[Path, list[GoldenSet]]) -> None:
    folder, _ = written
    assert (folder / "model.onnx").read_bytes() == (folder.parent / "layer.onnx").read_bytes()


def weights(content: bytes) -> Iterator[int]:
    """Give where each float32 of the weights lies in the file."""
    for tensor in onnx.load_model_from_string(content).graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            start = content.index(tensor.raw_data)
            yield from range(start, start + len(tensor.raw_data), 4)


def flipped(content: bytes, at: int, bit: int) -> bytes:
    """Flip a bit, 0 the lowest of the mantissa, of the float32 at `at`."""
    made = bytearray(content)
    made[at + bit // 8] ^= 1 << bit % 8
    return bytes(made)


def failing(golden: Golden, content: bytes) -> list[str]:
    found = check_golden(Session(content, threads=1), golden, model=content)
    return [finding.name for finding in found if finding.passed is False]


def test_the_weights_are_where_the_flips_go(golden: Golden, content: bytes) -> None:
    elements = sum(p.numel() for p in nn.LSTM(2, 3).parameters())
    assert len(set(weights(content))) == elements
    assert failing(golden, content) == []


@pytest.mark.parametrize("bit", range(32))
def test_a_flipped_bit_of_any_weight_fails(golden: Golden, content: bytes, bit: int) -> None:
    for at in list(weights(content))[:: 1 if bit in (0, 31) else 7]:
        assert FILE in failing(golden, flipped(content, at, bit)), at


@pytest.mark.parametrize("bit", range(23, 32))
def test_a_flipped_exponent_or_sign_fails_by_the_numbers(
    golden: Golden, content: bytes, bit: int
) -> None:
    for at in weights(content):
        found = failing(golden, flipped(content, at, bit))
        assert [name for name in found if name != FILE] != [], at


@pytest.mark.parametrize("bit", [0, 22, 23, 30, 31])
def test_the_command_fails_on_a_flipped_bit(
    written: tuple[Path, list[GoldenSet]], content: bytes, tmp_path: Path, bit: int
) -> None:
    model = tmp_path / "flipped.onnx"
    model.write_bytes(flipped(content, next(weights(content)), bit))
    done = run_check(model, written[0])
    assert (done.returncode, done.stderr) == (3, "")
    assert f"FAIL  {FILE}: its sha256 is " in done.stdout
    assert done.stdout.splitlines()[-1].startswith("FAIL: ")
