"""Which inputs, outputs and axes of a foreign file are which."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch
from torch import Tensor, nn

from rnnedge import Report, SourceError, export, validate
from rnnedge.parity.interface_matching import fit_layer, fit_module, frozen_axes
from rnnedge_exporters.layers.weights import read_layer
from rnnedge_runtime.contract import BATCH, TIME, Axis, Interface, StatePair, TensorSpec


def _floats(name: str, *axes: Axis) -> TensorSpec:
    return TensorSpec(name, "float32", axes)


X, Y = _floats("x", "T", "B", 3), _floats("y", None, None, 4)  # type: ignore[arg-type]
H0, C0 = _floats("start", 1, "B", 4), _floats("start_c", 1, "B", 4)
HN, CN = _floats("end", 1, "B", 4), _floats("end_c", 1, "B", 4)
LENS = TensorSpec("lens", "int32", ("B",))
LSTM, GRU = nn.LSTM(3, 4), nn.GRU(3, 4)


def _fit(
    layer: nn.RNNBase, inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]
) -> Interface:
    return fit_layer("model.onnx", Interface(inputs, outputs), "the layer", read_layer(layer))


# --- bare layers ----------------------------------------------------------------------------------


def test_names_are_the_files_and_axes_the_layers() -> None:
    face = _fit(LSTM, (X, H0, C0), (Y, HN, CN))
    assert [spec.name for spec in face.inputs] == ["x", "start", "start_c"]
    assert [spec.axes for spec in face.inputs] == [(TIME, BATCH, 3), *[(1, BATCH, 4)] * 2]
    assert [spec.axes for spec in face.outputs] == [(TIME, BATCH, 4), *[(1, BATCH, 4)] * 2]


def test_batch_first_is_the_layers() -> None:
    face = _fit(nn.GRU(3, 4, batch_first=True), (X,), (Y,))
    assert face.inputs[0].axes == (*face.outputs[0].axes[:2], 3) == (BATCH, TIME, 3)


def test_states_are_paired_in_their_order() -> None:
    face = _fit(LSTM, (X, H0, C0), (Y, HN, CN))
    assert face.states == (StatePair("start", "end"), StatePair("start_c", "end_c"))


@pytest.mark.parametrize(
    "inputs",
    [(X, LENS, H0), (LENS, X, H0), (X, H0, LENS)],
    ids=["second", "first", "last"],
)
def test_lengths_may_be_anywhere(inputs: tuple[TensorSpec, ...]) -> None:
    face = _fit(GRU, inputs, (Y, HN))
    assert face.lengths == "lens"
    assert [spec.name for spec in face.inputs] == [spec.name for spec in inputs]
    assert face.states == (StatePair("start", "end"),)
    assert face.inputs[inputs.index(LENS)] == TensorSpec("lens", "int32", (BATCH,))


@pytest.mark.parametrize("outputs", [(Y,), (Y, HN)], ids=["none", "one of two"])
def test_states_whose_end_is_not_given_are_inputs(outputs: tuple[TensorSpec, ...]) -> None:
    face = _fit(LSTM, (X, H0, C0), outputs)
    assert face.states == ()
    assert [spec.name for spec in face.data_inputs] == ["x", "start", "start_c"]


@pytest.mark.parametrize(
    ("inputs", "outputs", "kind"),
    [
        ((), (Y,), "inputs"),
        ((X, H0), (Y, HN, CN), "inputs"),
        ((X, H0, C0, LENS, H0), (Y,), "inputs"),
        ((_floats("x", "T", "B", 5),), (Y,), "inputs"),
        ((_floats("x", "B", 3),), (Y,), "inputs"),
        ((replace(X, dtype="float64"),), (Y,), "inputs"),
        ((X, replace(H0, axes=(2, "B", 4)), C0), (Y, HN, CN), "inputs"),
        ((X,), (), "outputs"),
        ((X,), (Y, HN, CN, CN), "outputs"),
        ((X,), (replace(Y, axes=("T", "B", 8)),), "outputs"),
        ((X,), (HN, Y, CN, CN), "outputs"),
        ((X,), (replace(Y, dtype="float16"),), "outputs"),
    ],
    ids=[
        *("no input", "one state", "a state too many", "features", "rank", "dtype", "rows"),
        *("no output", "an output too many", "width", "order", "dtype of the output"),
    ],
)
def test_file_that_does_not_fit_shows_both_lists(
    inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...], kind: str
) -> None:
    with pytest.raises(SourceError) as raised:
        _fit(LSTM, inputs, outputs)
    given = inputs if kind == "inputs" else outputs
    given = tuple(spec for spec in given if spec is not LENS)
    message = str(raised.value)
    theirs, source = message.removeprefix(
        f"model.onnx does not fit the layer: its {kind} are "
    ).split("; the source's are ")
    assert theirs == (", ".join(map(str, given)) or "none")
    name = "input" if kind == "inputs" else "output"
    assert source.startswith(f"{name} float32[time, batch, {3 if kind == 'inputs' else 4}]")


def test_fixed_axes_are_told() -> None:
    given = Interface((_floats("x", 5, "B", 3), _floats("h", 1, 2, 4)), (Y, HN))
    fitted = fit_layer("model.onnx", given, "the layer", read_layer(GRU))
    assert frozen_axes(given, fitted) == ["x fixes time at 5", "h fixes batch at 2"]


# --- whole files ----------------------------------------------------------------------------------


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tmp_path / "model.onnx"


def _validate(model: Path, layer: nn.Module) -> Report:
    return validate(model, against=layer, isolated=False)


def _foreign(layer: nn.RNNBase, model: Path, change: Callable[[onnx.ModelProto], None]) -> Report:
    """Validate an exported file without its contract, after a change."""
    export(layer, model)
    proto = onnx.load(model)
    del proto.metadata_props[:]
    change(proto)
    onnx.save(proto, model)
    return _validate(model, layer)


def _drop_outputs(count: int) -> Callable[[onnx.ModelProto], None]:
    def change(proto: onnx.ModelProto) -> None:
        del proto.graph.output[-count:]

    return change


@pytest.mark.parametrize("count", [1, 2])
def test_final_states_may_be_left_out(count: int, model: Path) -> None:
    """What is left cannot be run in chunks: c_n, or both, would not be handed on."""
    report = _foreign(LSTM, model, _drop_outputs(count))
    assert report, report
    assert len(report.outputs) == 3 - count
    assert {result.case.chunk for result in report.results} == {0}


def test_file_without_final_states_is_not_let_off_its_initial_ones(model: Path) -> None:
    def change(proto: onnx.ModelProto) -> None:
        del proto.graph.output[1:]
        state = proto.graph.input[1].name
        for node in proto.graph.node:
            node.input[:] = ["" if name == state else name for name in node.input]

    report = _foreign(GRU, model, change)
    assert report.diagnosis is not None
    assert report.diagnosis.cause == "initial state ignored"


def test_fixed_axes_are_noted(model: Path) -> None:
    def change(proto: onnx.ModelProto) -> None:
        proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 5

    report = _foreign(GRU, model, change)
    assert report.notes == ("input fixes time at 5",)
    assert report.diagnosis is not None
    assert (report.diagnosis.cause, report.diagnosis.place) == ("frozen length", "time")
    assert report.diagnosis.evidence.startswith("right at time 5, else ")


def test_order_of_the_states_is_checked_by_their_numbers(model: Path) -> None:
    """Of one shape, they cannot be told apart before the model is run."""

    def change(proto: onnx.ModelProto) -> None:
        _, h, c = proto.graph.input
        h.name, c.name = c.name, h.name

    report = _foreign(LSTM, model, change)
    assert report.diagnosis is not None
    assert report.diagnosis.cause == "states of the wrong layer"
    assert "h_0 and c_0 are exchanged" in report.diagnosis.evidence


# --- modules --------------------------------------------------------------------------------------


class Tagger(nn.Module):
    """A module whose time axis is behind a convolution of stride 2."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(3, 4, 3, stride=2, padding=1)
        self.rnn = nn.GRU(4, 5, batch_first=True)

    def forward(self, x: Tensor, scale: Tensor) -> Tensor:
        return self.rnn(self.conv(x).transpose(1, 2))[0] * scale


def _module_interface(*axes: Axis) -> Interface:
    inputs = (_floats("x", *axes), _floats("scale", 1))
    return Interface(inputs, (_floats("y", "a", "b", 5),))


@pytest.mark.parametrize(
    "axes",
    [("N", 3, "L"), ("batch", 3, "time"), (2, 3, 8), ("x.0", 3, "x.2")],
    ids=["named", "by their names", "fixed", "unnamed"],
)
def test_axes_of_a_module_are_found_by_running_it(axes: tuple[Axis, ...]) -> None:
    torch.manual_seed(0)
    fitted = fit_module(_module_interface(*axes), Tagger())
    assert fitted.inputs[0].axes == (BATCH, 3, TIME)
    assert fitted.inputs[1].axes == (1,)


def test_fixed_axes_of_a_module_are_told() -> None:
    given = _module_interface(2, 3, 8)
    notes = frozen_axes(given, fit_module(given, Tagger()))
    assert notes == ["x fixes batch at 2", "x fixes time at 8"]


def test_module_that_refuses_what_the_file_declares_is_left_alone() -> None:
    given = _module_interface("N", 7, "L")
    assert fit_module(given, Tagger()) is given


def test_module_is_not_changed_by_trying_it() -> None:
    module = Tagger().train()
    forwards = {path: inner.forward for path, inner in module.named_modules()}
    fit_module(_module_interface("N", 3, "L"), module)
    assert module.training
    assert {path: inner.forward for path, inner in module.named_modules()} == forwards
