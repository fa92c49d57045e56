"""`validate`: what is right passes, and each way to be wrong is found and named."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from rnnedge import (
    ModelError,
    Report,
    RNNSpec,
    SourceError,
    Tolerance,
    WeightsWarning,
    export,
    validate,
)

LAYERS = {
    "rnn": lambda: nn.RNN(3, 4, num_layers=2),
    "relu": lambda: nn.RNN(3, 4, nonlinearity="relu", batch_first=True),
    "lstm": lambda: nn.LSTM(3, 4, bidirectional=True),
    "gru": lambda: nn.GRU(3, 4, num_layers=2, bidirectional=True, bias=False),
    "proj": lambda: nn.LSTM(3, 4, proj_size=2),
}


def _seeded(make: Callable[[], nn.RNNBase]) -> nn.RNNBase:
    torch.manual_seed(1)
    return make()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tmp_path / "model.onnx"


def _lstm() -> nn.LSTM:
    return _seeded(lambda: nn.LSTM(3, 4, bidirectional=True))


def _changed(**weights: Tensor) -> nn.LSTM:
    layer = _lstm()
    with torch.no_grad():
        for name, weight in weights.items():
            getattr(layer, name).copy_(weight)
    return layer


def _failing(report: Report) -> list[str]:
    return [output.name for output in report.outputs if not output]


@pytest.mark.parametrize("options", [{}, {"lengths": True}, {"states": False}], ids=str)
@pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
def test_right_model_passes(make: Callable, options: dict, model: Path) -> None:
    layer = _seeded(make)
    export(layer, model, **options)
    report = validate(model, against=layer)
    assert report, report


def test_swapped_gates(model: Path) -> None:
    i, f, g, o = _lstm().weight_hh_l0.split(4)
    export(_changed(weight_hh_l0=torch.cat([f, i, g, o])), model)
    report = validate(model, against=_lstm())
    assert not report
    assert _failing(report) == ["output", "h_n", "c_n"]


def test_dropped_half_of_the_bias(model: Path) -> None:
    export(_changed(bias_hh_l0=torch.zeros(16)), model)
    assert not validate(model, against=_lstm())


def test_swapped_directions(model: Path) -> None:
    layer = _lstm()
    pairs = [(name, f"{name}_reverse") for name in ("weight_ih_l0", "weight_hh_l0")]
    swapped = {a: getattr(layer, b) for a, b in pairs} | {b: getattr(layer, a) for a, b in pairs}
    export(_changed(**swapped), model)
    assert not validate(model, against=_lstm())


def test_one_wrong_weight(model: Path) -> None:
    weight = _lstm().weight_ih_l0.detach().clone()
    weight[5, 1] += 1e-3
    export(_changed(weight_ih_l0=weight), model)
    assert not validate(model, against=_lstm())


def test_other_weights_altogether(model: Path) -> None:
    export(nn.LSTM(3, 4, bidirectional=True), model)
    report = validate(model, against=_lstm())
    assert not report
    assert all(output.failed == output.cases for output in report.outputs)


def test_other_nonlinearity(model: Path) -> None:
    tanh = _seeded(lambda: nn.RNN(3, 4))
    relu = nn.RNN(3, 4, nonlinearity="relu")
    relu.load_state_dict(tanh.state_dict())
    export(relu, model)
    assert not validate(model, against=tanh)


def _rewire(model: Path, name: str, op_type: str, *more: str, **attributes: object) -> None:
    """Put a node between the graph and its output `name`."""
    proto = onnx.load(model)
    for node in proto.graph.node:
        node.output[:] = [f"{name}_right" if output == name else output for output in node.output]
    proto.graph.node.append(
        onnx.helper.make_node(op_type, [f"{name}_right", *more], [name], **attributes)
    )
    onnx.save(proto, model)


@pytest.mark.parametrize("name", ["output", "h_n", "c_n"])
def test_one_wrong_output_is_named(name: str, model: Path) -> None:
    export(_lstm(), model)
    _rewire(model, name, "Neg")
    report = validate(model, against=_lstm())
    assert _failing(report) == [name]
    assert f": {name} off by " in report.verdict


def test_relative_error_is_of_the_largest_magnitude(model: Path) -> None:
    export(_lstm(), model)
    _rewire(model, "h_n", "Neg")
    report = validate(model, against=_lstm())
    (h_n,) = [output for output in report.outputs if output.name == "h_n"]
    assert h_n.max_rel == pytest.approx(2, abs=1e-4)


def test_wrong_shape_is_reported_as_a_shape(model: Path) -> None:
    export(_lstm(), model)
    _rewire(model, "output", "Transpose", perm=[1, 0, 2])
    report = validate(model, against=_lstm())
    assert _failing(report) == ["output"]
    assert report.outputs[0].problem is not None
    assert report.outputs[0].problem.startswith("shape [")


def test_right_numbers_in_a_wrong_shape_fail(model: Path) -> None:
    """What a comparison of flattened arrays would pass."""
    export(_seeded(lambda: nn.GRU(3, 4)), model)
    proto = onnx.load(model)
    proto.graph.initializer.append(
        onnx.numpy_helper.from_array(np.array([1, -1, 4], np.int64), "flat")
    )
    onnx.save(proto, model)
    _rewire(model, "output", "Reshape", "flat")
    assert not validate(model, against=_seeded(lambda: nn.GRU(3, 4)))


def test_model_that_refuses_a_length_is_reported(model: Path) -> None:
    export(_seeded(lambda: nn.GRU(3, 4)), model)
    proto = onnx.load(model)
    proto.graph.initializer.append(
        onnx.numpy_helper.from_array(np.array([5, 2, 4], np.int64), "fixed")
    )
    onnx.save(proto, model)
    _rewire(model, "output", "Reshape", "fixed")
    report = validate(model, against=_seeded(lambda: nn.GRU(3, 4)))
    assert not report
    assert all((output.problem or "").startswith("raised: ") for output in report.outputs)


def _rnn(*, nan: bool) -> nn.RNN:
    """A tanh RNN: ONNX Runtime's other kernels answer numbers where a weight is NaN."""
    layer = _seeded(lambda: nn.RNN(3, 4, bidirectional=True))
    if nan:
        with torch.no_grad():
            layer.bias_ih_l0_reverse[2] = float("nan")
    return layer


@pytest.mark.filterwarnings("ignore::rnnedge.WeightsWarning")
def test_nan_on_both_sides_is_agreement(model: Path) -> None:
    export(_rnn(nan=True), model)
    report = validate(model, against=_rnn(nan=True))
    assert report, report


@pytest.mark.filterwarnings("ignore::rnnedge.WeightsWarning")
@pytest.mark.parametrize("side", ["model", "torch"])
def test_nan_on_one_side_fails(side: str, model: Path) -> None:
    export(_rnn(nan=side == "model"), model)
    report = validate(model, against=_rnn(nan=side == "torch"))
    assert _failing(report) == ["output", "h_n"]
    assert all(output.max_abs == float("inf") for output in report.outputs)


def test_nan_in_the_source_warns(model: Path) -> None:
    export(_rnn(nan=False), model)
    with pytest.warns(WeightsWarning, match=r"^bias_ih_l0_reverse: 1 of 4 values are NaN"):
        validate(model, against=_rnn(nan=True))


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
def test_source_stays_as_it_was(training: bool, model: Path) -> None:
    layer = _seeded(lambda: nn.LSTM(3, 4, num_layers=2, dropout=0.5)).train(training)
    before = copy.deepcopy(layer.state_dict())
    export(layer, model)
    validate(model, against=layer)
    assert layer.training is training
    for name, parameter in layer.named_parameters():
        assert parameter.dtype == torch.float32
        assert parameter.requires_grad
        assert parameter.grad is None
        assert torch.equal(parameter, before[name])


def test_layer_in_training_is_compared_without_dropout(model: Path) -> None:
    layer = _seeded(lambda: nn.LSTM(3, 4, num_layers=2, dropout=0.9)).train()
    export(layer, model)
    assert validate(model, against=layer)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64], ids=str)
def test_source_of_another_dtype(dtype: torch.dtype, model: Path) -> None:
    layer = _lstm().to(dtype)
    export(layer, model)
    assert validate(model, against=layer)
    assert layer.weight_ih_l0.dtype == dtype


def test_random_state_of_torch_stays(model: Path) -> None:
    export(_lstm(), model)
    before = torch.get_rng_state()
    validate(model, against=_lstm())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "source",
    [
        nn.LSTM(3, 4),
        nn.LSTM(3, 5, bidirectional=True),
        nn.LSTM(2, 4, bidirectional=True),
        nn.LSTM(3, 4, bidirectional=True, num_layers=2),
        nn.GRU(3, 4, bidirectional=True),
        nn.LSTM(3, 4, bidirectional=True, proj_size=2),
    ],
    ids=["directions", "hidden_size", "input_size", "num_layers", "cell", "proj_size"],
)
def test_source_that_does_not_fit(source: nn.Module, model: Path) -> None:
    export(_lstm(), model)
    with pytest.raises(SourceError, match=r"model\.onnx does not fit .*: its (in|out)puts are "):
        validate(model, against=source)


def test_source_without_a_recurrent_layer(model: Path) -> None:
    export(_lstm(), model)
    with pytest.raises(SourceError, match=r"^Linear answers no h_n, c_n, which the model does"):
        validate(model, against=nn.Linear(3, 8))


def test_source_that_refuses_every_case(model: Path) -> None:
    export(_lstm(), model)
    with pytest.raises(SourceError, match=r"^Linear refuses all \d+ cases; at time 1, batch 1: "):
        validate(model, against=nn.Linear(5, 8))


def test_missing_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no\.onnx: expected an ONNX file, found no such file$"):
        validate(tmp_path / "no.onnx", against=_lstm())


def test_source_as_the_command_line_takes_it(model: Path, tmp_path: Path) -> None:
    torch.save(_lstm().state_dict(), tmp_path / "w.pt")
    export(_lstm(), model)
    report = validate(model, against=tmp_path / "w.pt")
    assert report, report
    assert report.source == f"{tmp_path / 'w.pt'} {RNNSpec.from_layer(_lstm())}"


def test_tolerance_is_kept_to(model: Path) -> None:
    weight = _lstm().weight_ih_l0.detach().clone()
    weight[5, 1] += 1e-3
    export(_changed(weight_ih_l0=weight), model)
    assert validate(model, against=_lstm(), tolerance=Tolerance(absolute=0.1))


def test_progress_counts_to_the_end(model: Path) -> None:
    export(_lstm(), model)
    calls: list[tuple[int, int]] = []
    report = validate(model, against=_lstm(), progress=lambda *call: calls.append(call))
    cases = report.outputs[0].cases
    assert calls == [(done, cases) for done in range(1, cases + 1)]


def test_report_that_passes_says_so(model: Path) -> None:
    export(_lstm(), model)
    report = validate(model, against=_lstm())
    last = str(report).splitlines()[-1]
    assert last.startswith(f"PASS: model.onnx computes what {RNNSpec.from_layer(_lstm())} computes")


def test_report_that_fails_says_where(model: Path) -> None:
    export(nn.LSTM(3, 4, bidirectional=True), model)
    report = validate(model, against=_lstm())
    last = str(report).splitlines()[-1]
    assert last == report.verdict
    assert last.startswith(f"FAIL: model.onnx is not {RNNSpec.from_layer(_lstm())}: output off by ")
    assert "(time " in last


def test_report_names_every_output(model: Path) -> None:
    export(_lstm(), model)
    text = str(validate(model, against=_lstm()))
    for name in ("output", "h_n", "c_n"):
        assert name in text


def test_report_as_json(model: Path) -> None:
    export(_lstm(), model)
    report = validate(model, against=_lstm())
    values = json.loads(json.dumps(report.to_dict()))
    assert values["passed"] is True
    assert values["verdict"] == report.verdict
    assert [output["name"] for output in values["outputs"]] == ["output", "h_n", "c_n"]
    assert values["device"] == "cpu"
