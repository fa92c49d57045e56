"""What the exporter reads of a live layer, and that it leaves it alone."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from rnnedge_exporters import ExportError, WeightsError, WeightsWarning, export
from rnnedge_runtime import Session


def _layer(kind: type[nn.RNNBase] = nn.LSTM, **options: object) -> nn.RNNBase:
    torch.manual_seed(5)
    return kind(3, 4, **options)


def _x(time: int = 5, batch: int = 2) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((time, batch, 3)).astype(np.float32)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_layer_of_any_floating_dtype(
    dtype: torch.dtype, tmp_path: Path, in_torch: Callable
) -> None:
    layer = _layer().to(dtype)
    export(layer, tmp_path / "model.onnx")
    outputs = Session(tmp_path / "model.onnx").run(_x()).outputs
    for name, value in in_torch(layer, _x()).items():
        assert outputs[name].shape == value.shape
        assert np.abs(outputs[name] - value).max() < 1e-5


def test_dropout_is_off_in_the_file(tmp_path: Path, in_torch: Callable) -> None:
    layer = _layer(num_layers=2, dropout=0.9).train()
    export(layer, tmp_path / "model.onnx")
    output = Session(tmp_path / "model.onnx").run(_x()).output
    assert np.abs(output - in_torch(layer, _x())["output"]).max() < 1e-5


def test_weights_computed_by_a_parametrization(tmp_path: Path, in_torch: Callable) -> None:
    layer = _layer(nn.GRU)
    nn.utils.parametrizations.weight_norm(layer, "weight_hh_l0")
    export(layer, tmp_path / "model.onnx")
    with torch.no_grad():
        plain = _layer(nn.GRU)
        plain.weight_hh_l0.copy_(layer.weight_hh_l0)
    output = Session(tmp_path / "model.onnx").run(_x()).output
    assert np.abs(output - in_torch(plain, _x())["output"]).max() < 1e-5


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_warn_and_are_written(bad: float, tmp_path: Path) -> None:
    layer = _layer()
    with torch.no_grad():
        layer.weight_hh_l0[1, 2] = bad
    with pytest.warns(
        WeightsWarning,
        match=r"^weight_hh_l0: 1 of 64 values are NaN or infinite; the exported model may answer",
    ):
        export(layer, tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").is_file()


def test_weights_that_overflow_float32_warn(tmp_path: Path) -> None:
    layer = _layer().double()
    with torch.no_grad():
        layer.bias_ih_l0[0] = 1e300
    with pytest.warns(WeightsWarning, match=r"^bias_ih_l0: 1 of 16 values"):
        export(layer, tmp_path / "model.onnx")


def test_weights_on_the_meta_device(tmp_path: Path) -> None:
    with pytest.raises(
        WeightsError, match=r"^weight_ih_l0: expected numbers, got a tensor on the meta device"
    ):
        export(_layer().to("meta"), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_module_without_a_recurrent_layer(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"Linear"):
        export(nn.Linear(3, 4), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_mode_of_the_layer_stays(training: bool, tmp_path: Path) -> None:
    layer = _layer().train(training)
    export(layer, tmp_path / "model.onnx")
    assert layer.training is training


def test_parameters_of_the_layer_stay(tmp_path: Path) -> None:
    layer = _layer().double()
    before = copy.deepcopy(layer.state_dict())
    objects = {name: id(parameter) for name, parameter in layer.named_parameters()}
    export(layer, tmp_path / "model.onnx")
    assert {name: id(parameter) for name, parameter in layer.named_parameters()} == objects
    for name, value in layer.state_dict().items():
        assert value.dtype == torch.float64
        assert torch.equal(value, before[name])


def test_gradients_of_the_layer_stay(tmp_path: Path) -> None:
    layer = _layer()
    layer(torch.from_numpy(_x()))[0].sum().backward()
    before = {name: parameter.grad.clone() for name, parameter in layer.named_parameters()}
    export(layer, tmp_path / "model.onnx")
    for name, parameter in layer.named_parameters():
        assert parameter.requires_grad
        assert torch.equal(parameter.grad, before[name])


def test_random_state_of_torch_stays(tmp_path: Path) -> None:
    layer = _layer()
    before = torch.get_rng_state()
    export(layer, tmp_path / "model.onnx")
    assert torch.equal(torch.get_rng_state(), before)


def test_digest_changes_with_one_weight(tmp_path: Path) -> None:
    layer = _layer()
    before = export(layer, tmp_path / "model.onnx").contract.weights_digest
    with torch.no_grad():
        layer.bias_hh_l0[-1] += 1e-3
    assert export(layer, tmp_path / "model.onnx").contract.weights_digest != before


@pytest.mark.parametrize(
    "options",
    [{"lengths": True}, {"states": False}, {"target": "cuda"}, {"opset": 21}],
    ids=["lengths", "no_states", "cuda", "opset"],
)
def test_digest_does_not_change_with_options(options: dict, tmp_path: Path) -> None:
    plain = export(_layer(), tmp_path / "plain.onnx").contract
    other = export(_layer(), tmp_path / "other.onnx", **options).contract
    assert other.weights_digest == plain.weights_digest


def test_digest_is_of_sha256(tmp_path: Path) -> None:
    digest = export(_layer(), tmp_path / "model.onnx").contract.weights_digest
    kind, _, value = digest.partition(":")
    assert (kind, len(bytes.fromhex(value))) == ("sha256", 32)
