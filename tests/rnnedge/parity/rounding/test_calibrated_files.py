"""Files whose rounding the user's data decided: better, proved, and no place to hide a mistake."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import rounded_files
import torch
from commands import Done
from numpy.typing import NDArray
from rounded_files import FORMS, change
from torch import Tensor, nn

from rnnedge import export, validate
from rnnedge.parity.from_checkpoint import layer_in_file
from rnnedge.parity.rounding.matched_weights import hold
from rnnedge.parity.rounding.quantized_weights import StoredWeight, read_stored
from rnnedge.sources.weight_names import find_layers
from rnnedge_exporters.calibration.moments import collect_moments
from rnnedge_exporters.calibration.sequences import read_sequences
from rnnedge_runtime import Session
from rnnedge_runtime.contract import METADATA_KEY

FEATURES, HIDDEN = 12, rounded_files.HIDDEN
IN_INT8 = {name: form for name, form in FORMS.items() if name != "half"}


def _data(seed: int, count: int = 12) -> list[dict[str, NDArray[Any]]]:
    """Sequences whose features rise and fall together."""
    mix = np.random.default_rng(0).standard_normal((2, FEATURES))
    random = np.random.default_rng([1, seed])
    return [{"x": (random.standard_normal((30, 2)) @ mix).astype(np.float32)} for _ in range(count)]


def _layer(cell: str = "gru", **options: Any) -> nn.RNNBase:
    torch.manual_seed(1)
    return {"gru": nn.GRU, "lstm": nn.LSTM}[cell](FEATURES, HIDDEN, **options)


def _wide() -> nn.RNNBase:
    """So wide for its input that the input weights are in int8, too."""
    torch.manual_seed(1)
    return nn.LSTM(FEATURES, 64, bidirectional=True)


def _mean_error(path: Path, layer: nn.RNNBase, count: int = 20) -> float:
    errors = []
    for arrays in _data(9, count):
        x = arrays["x"][:, None]
        with torch.inference_mode():
            exact = layer(torch.from_numpy(x))[0].numpy()
        errors.append(np.abs(Session(path, threads=1).run(x).output - exact).mean())
    return float(np.mean(errors))


@pytest.mark.parametrize("form", IN_INT8)
def test_error_is_less_on_other_sequences(form: str, tmp_path: Path) -> None:
    layer, path = _wide(), tmp_path / "m.onnx"
    export(layer, path, **IN_INT8[form])
    before = _mean_error(path, layer)
    result = export(layer, path, calibrate=_data(0), **IN_INT8[form])
    assert _mean_error(path, layer) < 0.95 * before
    (report,) = result.quantization
    assert "weight_ih_l0" in report.calibrated
    assert "weight_ih_l0_reverse" in report.calibrated
    assert "; rounded by the data, which leaves of the mean square error 0." in report.reason
    assert result.contract.calibrated == report.calibrated
    assert validate(path, against=layer, isolated=False, quick=True)


@pytest.mark.parametrize("lengths", [False, True], ids=["full", "lengths"])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("form", IN_INT8)
def test_right_file_passes(form: str, cell: str, lengths: bool, tmp_path: Path) -> None:
    layer = _layer(cell, num_layers=2, bidirectional=True, batch_first=True)
    how = {"lengths": lengths, **IN_INT8[form]}
    result = export(layer, tmp_path / "m.onnx", calibrate=_data(0), **how)
    assert result.contract.calibrated
    report = validate(tmp_path / "m.onnx", against=layer, isolated=False, quick=True)
    assert report, report
    assert report.rounding
    assert report.rounding.missing == ()


@pytest.mark.parametrize("mistake", ["swap_gates", "move_scales", "one_scale", "no_bias"])
@pytest.mark.parametrize("form", IN_INT8)
def test_broken_file_fails(form: str, mistake: str, tmp_path: Path) -> None:
    layer, path = _layer("lstm"), tmp_path / "m.onnx"
    assert export(layer, path, calibrate=_data(0), **IN_INT8[form]).contract.calibrated
    change(path, getattr(rounded_files, mistake))
    assert not validate(path, against=layer, isolated=False, quick=True)


def test_other_weights_fail(tmp_path: Path) -> None:
    export(_wide(), tmp_path / "m.onnx", quantize="int8", calibrate=_data(0))
    other = nn.LSTM(FEATURES, 64, bidirectional=True)
    assert not validate(tmp_path / "m.onnx", against=other, isolated=False, quick=True)


def test_layer_of_a_checkpoint_is_found(tmp_path: Path) -> None:
    layer, other = _wide(), nn.LSTM(FEATURES, 64, bidirectional=True)
    result = export(layer, tmp_path / "m.onnx", quantize="int8", calibrate=_data(0))
    assert len(result.contract.calibrated) == 4  # so that none is rounded to the nearest
    states = {"one": other.state_dict(), "two": layer.state_dict()}
    layers = find_layers({f"{n}.{key}": w for n, s in states.items() for key, w in s.items()})
    assert layer_in_file(str(tmp_path / "m.onnx"), layers) == "two."


def test_without_the_word_of_the_contract_it_is_no_rounding(tmp_path: Path) -> None:
    layer, path = _wide(), tmp_path / "m.onnx"
    calibrated = export(layer, path, quantize="int8", calibrate=_data(0)).contract.calibrated
    model = onnx.load(path)
    (entry,) = [p for p in model.metadata_props if p.key == METADATA_KEY]
    entry.value = json.dumps(json.loads(entry.value) | {"calibrated": []})
    onnx.save(model, path)
    stored = read_stored(path)
    assert set(hold(layer, stored).missing) == set(calibrated)
    assert hold(layer, stored, calibrated).missing == ()
    assert not validate(path, against=layer, isolated=False, quick=True)


def test_scale_on_the_wrong_axis_is_no_rounding_where_all_are_nearly_alike() -> None:
    torch.manual_seed(0)
    linear = nn.Linear(256, 256, bias=False)
    weight = linear.weight.detach().numpy()
    steps = np.abs(weight).max(1, keepdims=True) / 127
    assert steps.max() < 1.03 * steps.min()
    up = np.random.default_rng(0).random(weight.shape) < 0.15
    numbers = np.where(up, np.ceil(weight / steps), np.rint(weight / steps))

    def stored(scale: NDArray[np.float32]) -> StoredWeight:
        half = np.broadcast_to(scale / 2, weight.shape)
        return StoredWeight(numbers * scale, half, np.zeros(weight.shape, bool), "int8")

    assert hold(linear, [stored(steps)], ["weight"]).missing == ()
    assert hold(linear, [stored(steps)]).missing == ("weight",)
    assert hold(linear, [stored(steps.T)], ["weight"]).missing == ("weight",)


class Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.rnn, self.head = nn.GRU(FEATURES, 24), nn.Linear(24, 12)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0])


def test_module(tmp_path: Path) -> None:
    tagger, how = Tagger(), {"example_inputs": (torch.zeros(5, 1, FEATURES),), "quantize": "int8"}
    result = export(tagger, tmp_path / "a.onnx", calibrate=_data(0), **how)
    assert {"rnn.weight_ih_l0", "head.weight"} <= set(result.contract.calibrated)
    assert result.quantization[1].calibrated == ("head.weight",)
    assert validate(tmp_path / "a.onnx", against=tagger, isolated=False, quick=True)
    face = result.contract.interface
    moments = collect_moments(tagger, face, read_sequences(_data(0), face))
    kept = export(tagger, tmp_path / "b.onnx", calibrate=moments, keep_float32=["rnn"], **how)
    assert kept.contract.calibrated == ("head.weight",)


def test_same_data_give_the_same_bytes(tmp_path: Path) -> None:
    files = [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    for path in files:
        assert export(_wide(), path, quantize="int8", calibrate=iter(_data(0))).contract.calibrated
    assert files[0].read_bytes() == files[1].read_bytes()


def test_where_nothing_is_better_the_file_is_as_without(tmp_path: Path) -> None:
    layer = nn.GRU(FEATURES, 64, bias=False)
    data = {"input": np.zeros((9, 2, FEATURES), np.float32)}  # so that its states are zeros, too
    plain = export(layer, tmp_path / "a.onnx", quantize="int8")
    result = export(layer, tmp_path / "b.onnx", quantize="int8", calibrate=data)
    assert result.contract.calibrated == ()
    assert result.path.read_bytes() == plain.path.read_bytes()


def test_command(rnn: Any) -> None:
    np.savez("data.npz", input=np.stack([arrays["x"] for arrays in _data(0)], 1))
    gru = ("--cell", "gru", "--input-size", str(FEATURES), "--hidden-size", "32")
    done: Done = rnn(
        "export", *gru, "--quantize", "int8", "-o", "m.onnx", "--calibrate", "data.npz", "--json"
    )
    assert done.code == 0
    assert "weight_ih_l0" in done.json["quantization"][0]["calibrated"]
    assert done.json["contract"]["calibrated"] == done.json["quantization"][0]["calibrated"]
    assert done.json["report"]["calibration"][0]["sequences"] == 12
