"""What `validate` keeps: vectors of a model that passes, the smallest case of one that fails."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from breaking.broken import Broken
from broken_models import BROKEN
from torch import Tensor, nn

from rnnedge import Report, export, validate
from rnnedge.parity import Case
from rnnedge.parity.cases import make_inputs
from rnnedge_runtime import Session, WriteError
from rnnedge_runtime.proof.golden import Golden, read_golden
from rnnedge_runtime.proof.golden_check import check_golden


class Tagger(nn.Module):
    """A module, which takes neither states nor lengths."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(3, 4, batch_first=True)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0])


def _lstm() -> nn.LSTM:
    torch.manual_seed(0)
    return nn.LSTM(3, 4, batch_first=True)


def _write_lstm(path: Path) -> nn.Module:
    export(_lstm(), path, lengths=True)
    return _lstm()


def _write_module(path: Path) -> nn.Module:
    torch.manual_seed(0)
    module = Tagger()
    export(module, path, example_inputs=(torch.zeros(2, 5, 3),))
    return module


def _write_foreign(path: Path) -> nn.Module:
    """Write by hand, with its own names for inputs and outputs."""
    (original,) = {
        str(broken.original): broken.original
        for broken in BROKEN
        if str(broken.original) == "lstm-2-hand"
    }.values()
    onnx.save(original.model(), path)
    return original.layer


MODELS: dict[str, Callable[[Path], nn.Module]] = {
    "lstm": _write_lstm,
    "module": _write_module,
    "foreign": _write_foreign,
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tmp_path / "model.onnx"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "golden"


def _validate(model: Path, layer: nn.Module, **more: object) -> Report:
    return validate(model, against=layer, isolated=False, **more)


# --- golden vectors -------------------------------------------------------------------------------


def _check(model: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rnnedge_runtime", "check", str(model), str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("write", MODELS.values(), ids=MODELS)
def test_vectors_pass_on_the_device(
    write: Callable[[Path], nn.Module], model: Path, folder: Path
) -> None:
    layer = write(model)
    assert _validate(model, layer, golden=folder)
    done = _check(folder / "model.onnx", folder)
    assert done.returncode == 0, done.stdout + done.stderr


def test_vectors_fail_for_another_model(model: Path, folder: Path, tmp_path: Path) -> None:
    _validate(model, _write_lstm(model), golden=folder)
    torch.manual_seed(1)
    export(nn.LSTM(3, 4, batch_first=True), tmp_path / "other.onnx", lengths=True)
    done = _check(tmp_path / "other.onnx", folder)
    assert done.returncode == 3
    assert "output matches the vectors" in done.stdout


def test_vectors_are_not_written_when_the_model_fails(model: Path, folder: Path) -> None:
    export(nn.LSTM(3, 4, batch_first=True), model)
    assert not _validate(model, _lstm(), golden=folder)
    assert not folder.exists()


def test_vectors_that_cannot_be_written(model: Path, folder: Path) -> None:
    layer = _write_lstm(model)
    with pytest.raises(WriteError, match=r"expected an existing folder, found no folder"):
        _validate(model, layer, golden=folder / "below", quick=True)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, Golden]:
    """The full sweep of an LSTM, and the vectors that were kept of it."""
    folder = tmp_path_factory.mktemp("kept")
    layer = _write_lstm(folder / "model.onnx")
    report = _validate(folder / "model.onnx", layer, golden=folder / "golden")
    return report, read_golden(folder / "golden")


def _kept_cases(kept: tuple[Report, Golden]) -> list[Case]:
    report, golden = kept
    by_text = {str(result.case): result.case for result in report.results}
    return [by_text[vectors.case] for vectors in golden.sets]


def test_vectors_are_of_every_kind(kept: tuple[Report, Golden]) -> None:
    cases = _kept_cases(kept)
    assert {case.values for case in cases} >= {"normal", "zero", "saturated"}
    for kind in ("random_state", "ragged"):
        assert {getattr(case, kind) for case in cases} == {False, True}
    assert min(case.time for case in cases) == 1
    assert max(case.time for case in cases) == 300


def test_vectors_say_when_where_and_from_what_they_were_made(kept: tuple[Report, Golden]) -> None:
    report, golden = kept
    assert report.evidence is not None
    assert golden.made == {**report.evidence.facts(), **report.machine}
    for name in ("date", "command", "processor", "torch", "sha256 of parameters and buffers"):
        assert golden.made[name]


def test_vectors_are_single_calls(kept: tuple[Report, Golden]) -> None:
    assert {(case.way, case.chunk) for case in _kept_cases(kept)} == {("plain", 0)}


def test_vectors_are_few(kept: tuple[Report, Golden]) -> None:
    cases = _kept_cases(kept)
    assert len(set(cases)) == len(cases) <= 16


def test_vectors_allow_what_the_sweep_allowed(kept: tuple[Report, Golden]) -> None:
    """And half a unit in the last place, for the expected numbers are rounded."""
    report, golden = kept
    allowed = {(str(r.case), r.output): r.allowed for r in report.results}
    for vectors in golden.sets:
        assert vectors.allowed is not None
        for name, error in vectors.allowed.items():
            size = np.abs(vectors.outputs[name]).max()
            half = np.spacing(np.float32(size)) / 2
            assert error == pytest.approx(allowed[vectors.case, name] + half)


def test_vectors_hold_what_was_put_in(kept: tuple[Report, Golden]) -> None:
    report, golden = kept
    assert report.contract is not None
    for case, vectors in zip(_kept_cases(kept), golden.sets, strict=True):
        inputs = make_inputs(report.contract.interface, case)
        assert set(vectors.inputs) == set(inputs)
        for name, values in inputs.items():
            assert np.array_equal(vectors.inputs[name], values)


def test_vectors_hold_what_pytorch_answers_in_float64(kept: tuple[Report, Golden]) -> None:
    _, golden = kept
    assert golden.reference is not None
    assert golden.reference.endswith(" float64")
    full = next(vectors for vectors in golden.sets if vectors.case == "time 1, batch 1")
    with torch.no_grad():
        output, _ = _lstm().double()(torch.from_numpy(full.inputs["input"]).double())
    assert np.array_equal(full.outputs["output"], output.numpy().astype(np.float32))


def test_numbers_that_overflow_are_not_kept(model: Path, folder: Path) -> None:
    torch.manual_seed(0)
    layer = nn.RNN(3, 4, nonlinearity="relu")
    with torch.no_grad():
        for weight in layer.parameters():
            weight.abs_().mul_(3)
    export(layer, model)
    report = _validate(model, layer, golden=folder)
    assert any("beyond float32" in note for note in report.notes)
    golden = read_golden(folder)
    assert golden.sets
    for vectors in golden.sets:
        assert all(np.isfinite(values).all() for values in vectors.outputs.values())
    assert _check(folder / "model.onnx", folder).returncode == 0


# --- the failing case -----------------------------------------------------------------------------


@pytest.fixture
def failing(tmp_path: Path) -> Path:
    return tmp_path / "failing.npz"


def _broken(name: str) -> Broken:
    (found,) = [broken for broken in BROKEN if broken.name == name]
    return found


def test_failing_case_holds_inputs_and_both_answers(model: Path, failing: Path) -> None:
    broken = _broken("lstm-2-bidirectional-torchscript-swapped_directions-weights")
    broken.write(model)
    report = _validate(model, broken.layer, failing=failing)
    assert report.diagnosis is not None
    time, batch = report.diagnosis.smallest.time, report.diagnosis.smallest.batch
    with np.load(failing) as kept:
        names = [f"input/{name}" for name in ("input", "h_0", "c_0")]
        for side in ("expected", "got"):
            names += [f"{side}/{name}" for name in ("output", "h_n", "c_n")]
        assert set(kept) == set(names)
        assert kept["input/input"].shape[:2] == (time, batch)
        assert kept["expected/output"].dtype == np.float64
        assert np.abs(kept["expected/output"] - kept["got/output"]).max() > 1e-3


def test_failing_case_can_be_run_again(model: Path, failing: Path) -> None:
    """What is kept is what the model is given, and what it answers."""
    broken = _broken("gru-1-operator-gate_order-pytorch")
    broken.write(model)
    _validate(model, broken.layer, failing=failing)
    from rnnedge_runtime import Session

    with np.load(failing) as kept:
        session = Session(model, threads=1, engine="onnxruntime")
        state = {spec.name: kept[f"input/{spec.name}"] for spec in session.interface.state_inputs}
        result = session.run(kept["input/input"], state=state)
        assert np.array_equal(result.output, kept["got/output"])


def test_failing_case_of_a_model_that_raises_has_no_answer(model: Path, failing: Path) -> None:
    broken = _broken("rnn-2-batch_first-torchscript-frozen_length-traced_loop")
    broken.write(model)
    _validate(model, broken.layer, failing=failing)
    with np.load(failing) as kept:
        assert {name.partition("/")[0] for name in kept} == {"input", "expected"}


def test_no_failing_case_is_written_when_the_model_passes(model: Path, failing: Path) -> None:
    assert _validate(model, _write_lstm(model), failing=failing, quick=True)
    assert not failing.exists()


@pytest.mark.parametrize("seed", [0, 1])
def test_integers_rounded_by_other_threads_are_allowed(seed: int, tmp_path: Path) -> None:
    """Threads share the rows of a batch, and each rounds its own over their range."""
    torch.manual_seed(seed)
    layer = nn.LSTM(3, 4)
    model, folder = tmp_path / "model.onnx", tmp_path / "vectors"
    export(layer, model, quantize="int8:all")
    assert validate(model, against=layer, isolated=False, golden=folder)
    golden = read_golden(folder)
    for threads in (1, 2, 3):
        findings = check_golden(Session(model, threads=threads), golden, model=model)
        assert all(finding.passed for finding in findings), (threads, findings)


def test_wrong_integers_are_not_allowed(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layer = nn.LSTM(3, 4)
    model, folder, other = tmp_path / "model.onnx", tmp_path / "vectors", tmp_path / "other.onnx"
    export(layer, model, quantize="int8:all")
    assert validate(model, against=layer, isolated=False, golden=folder)
    with torch.no_grad():
        layer.weight_hh_l0[0] *= 1.5
    export(layer, other, quantize="int8:all")
    findings = check_golden(Session(other, threads=1), read_golden(folder))
    assert not all(finding.passed for finding in findings if finding.passed is not None)
