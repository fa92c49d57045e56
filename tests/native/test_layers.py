"""Every layer that can be exported, by the native engine against PyTorch in float64."""

import numpy as np
import pytest

import rnnedge
from rnnedge_runtime import Session

native = pytest.importorskip(
    "rnnedge_native",
    reason="rnnedge-native is not built, which takes a C compiler",
    exc_type=ImportError,
)

CELLS = {
    "rnn": {"cell": "rnn"},
    "relu": {"cell": "rnn", "nonlinearity": "relu"},
    "lstm": {"cell": "lstm"},
    "proj": {"cell": "lstm", "proj_size": 3},
    "gru": {"cell": "gru"},
}
SHAPES = ((1, 1), (6, 3), (4, 7), (40, 2))
"""(time, batch): a step, odd blocks of rows, and more steps than are projected at once."""
TOLERANCE = 2e-6


def feeds_for(layer, time, batch, *, lengths, states, seed=0):
    """Return the inputs of a layer by name; the first row is full and the last may be empty."""
    random = np.random.default_rng(seed)
    x = random.standard_normal((time, batch, layer.input_size)).astype(np.float32)
    feeds = {"input": np.ascontiguousarray(x.swapaxes(0, 1)) if layer.batch_first else x}
    if lengths:
        feeds["lengths"] = random.integers(0, time + 1, batch)
        feeds["lengths"][0] = time
    if states:
        count = layer.num_layers * (2 if layer.bidirectional else 1)
        sizes = {"h_0": layer.proj_size or layer.hidden_size}
        if layer.mode == "LSTM":
            sizes["c_0"] = layer.hidden_size
        for name, size in sizes.items():
            feeds[name] = random.standard_normal((count, batch, size)).astype(np.float32)
    return feeds


def check(plan, layer, in_float64, *, lengths=False, states=True):
    for time, batch in SHAPES:
        feeds = feeds_for(layer, time, batch, lengths=lengths, states=states)
        state = tuple(feeds[name] for name in ("h_0", "c_0") if name in feeds) or None
        expected = in_float64(layer, feeds["input"], state, feeds.get("lengths"))
        found = plan.run(feeds)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            assert found[name].shape == value.shape, (name, time, batch)
            assert np.abs(found[name] - value).max() < TOLERANCE, (name, time, batch)


@pytest.mark.parametrize("lengths", [False, True], ids=["full", "lengths"])
@pytest.mark.parametrize("batch_first", [False, True], ids=["time_first", "batch_first"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "both"])
@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_answers_what_torch_answers(
    exported, in_float64, cell, num_layers, bidirectional, batch_first, lengths
):
    layer, model = exported(
        hidden_size=7,
        num_layers=num_layers,
        bidirectional=bidirectional,
        batch_first=batch_first,
        lengths=lengths,
        **CELLS[cell],
    )
    check(native.Plan(model), layer, in_float64, lengths=lengths)


@pytest.mark.parametrize("lengths", [False, True], ids=["full", "lengths"])
@pytest.mark.parametrize("bias", [False, True], ids=["no_bias", "bias"])
@pytest.mark.parametrize("cell", CELLS)
def test_without_states(exported, in_float64, cell, bias, lengths):
    layer, model = exported(
        hidden_size=7, bias=bias, states=False, lengths=lengths, bidirectional=True, **CELLS[cell]
    )
    check(native.Plan(model), layer, in_float64, lengths=lengths, states=False)


@pytest.mark.parametrize("hidden_size", [1, 4, 16, 17, 33, 100])
@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell != "proj"])
def test_every_set_of_instructions_at_widths_that_fill_no_vector(
    exported, in_float64, cell, hidden_size
):
    layer, model = exported(hidden_size=hidden_size, **CELLS[cell])
    for name in native.instructions():
        check(native.Plan(model, instructions=name), layer, in_float64)


@pytest.mark.parametrize("lowering", ["operator", "scan", "switch"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["forward", "both"])
def test_every_form_of_an_rnn_is_calls_of_the_recurrent_kernel(
    tmp_path, in_float64, lowering, bidirectional
):
    spec = rnnedge.RNNSpec(
        cell="rnn", input_size=5, hidden_size=7, num_layers=2, bidirectional=bidirectional
    )
    layer = rnnedge.build(spec, seed=0).eval()
    rnnedge.export(layer, tmp_path / "model.onnx", lowering=lowering)
    plan = native.Plan(tmp_path / "model.onnx")
    check(plan, layer, in_float64)
    count = 2 * (2 if bidirectional else 1)
    layout = plan.layout([(40, 3, 5), (count, 3, 7)])
    kernels = [call.operation for call in layout.recipe.calls]
    assert kernels.count(0) == count, kernels
    assert len(kernels) <= 2 * count + 1, kernels


@pytest.mark.parametrize(
    ("cell", "lowering"), [("lstm", "scan"), ("gru", "scan"), ("proj", "scan")]
)
def test_the_scan_of_a_gated_cell(tmp_path, in_float64, cell, lowering):
    spec = rnnedge.RNNSpec(input_size=5, hidden_size=7, bidirectional=True, **CELLS[cell])
    layer = rnnedge.build(spec, seed=0).eval()
    rnnedge.export(layer, tmp_path / "model.onnx", lowering=lowering, lengths=True)
    plan = native.Plan(tmp_path / "model.onnx")
    check(plan, layer, in_float64, lengths=True)


@pytest.mark.parametrize("dtype", ["float16"])
@pytest.mark.parametrize("cell", CELLS)
def test_half_weights_are_computed_in_float32(tmp_path, in_float64, cell, dtype):
    layer = rnnedge.build(rnnedge.RNNSpec(input_size=5, hidden_size=7, **CELLS[cell]), seed=0)
    rounded = layer.half().float().eval()
    rnnedge.export(rounded, tmp_path / "model.onnx", dtype=dtype)
    check(native.Plan(tmp_path / "model.onnx"), rounded, in_float64)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_weights_stored_as_int8_are_those_of_onnx_runtime(tmp_path, cell):
    spec = rnnedge.RNNSpec(cell=cell, input_size=64, hidden_size=64)
    rnnedge.export(rnnedge.build(spec, seed=0), tmp_path / "model.onnx", quantize="int8")
    session = Session(tmp_path / "model.onnx", engine="onnxruntime")
    x = np.random.default_rng(0).standard_normal((5, 3, 64)).astype(np.float32)
    found = Session(tmp_path / "model.onnx", engine="native").run(x)
    for name, value in session.run(x).outputs.items():
        assert np.abs(found.outputs[name] - value).max() < 2e-6, name
