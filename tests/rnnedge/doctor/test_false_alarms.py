"""Right models that have what a broken one has: masks, windows, strides, axes with one name."""

from __future__ import annotations

from collections.abc import Callable

import handmade
import numpy as np
import onnx
import pytest
from onnx import helper

from rnnedge.doctor import Finding

Found = Callable[..., dict[str, Finding]]
NODE = helper.make_node


def _samples(
    between: list[onnx.NodeProto],
    axes: handmade.Axes,
    weights: dict[str, np.ndarray],
    features: int,
) -> onnx.ModelProto:
    """Make an RNN over frames [time, batch, features], which `between` makes of the input `x`."""
    nodes = [
        *between,
        NODE("RNN", ["frames", "W", "R", "B"], ["", "h"], name="rnn", hidden_size=4),
        NODE("Squeeze", ["h", "zero"], ["y"]),
    ]
    constants = {"zero": np.array([0], np.int64), **weights}
    recurrent = handmade.recurrent_weights("RNN", features=features)
    return handmade.build(
        nodes,
        [handmade.value("x", axes)],
        [handmade.value("y", ["batch", 4])],
        {**recurrent, **constants},
    )


def _window(shape: list[int]) -> onnx.ModelProto:
    between = [
        NODE("Reshape", ["x", "shape"], ["cut"]),
        NODE("Transpose", ["cut"], ["frames"], perm=[1, 0, 2]),
    ]
    weights = {"shape": np.array(shape, np.int64)}
    return _samples(between, ["batch", "samples"], weights, shape[-1])


def _strided(stride: int) -> onnx.ModelProto:
    between = [
        NODE("Conv", ["x", "kernel"], ["wide"], strides=[stride], kernel_shape=[stride]),
        NODE("Transpose", ["wide"], ["frames"], perm=[2, 0, 1]),
    ]
    return _samples(
        between, ["batch", 2, "time"], {"kernel": handmade.random(3, 2, stride)}, features=3
    )


def test_a_mask_of_steps_by_steps_is_fed_with_two_axes(found: Found) -> None:
    nodes = [
        NODE("MatMul", ["mask", "x"], ["mixed"]),
        NODE("Transpose", ["mixed"], ["turned"], perm=[1, 0, 2]),
        NODE("RNN", ["turned", "W", "R", "B"], ["", "h"], hidden_size=4),
        NODE("Squeeze", ["h", "zero"], ["y"]),
    ]
    model = handmade.build(
        nodes,
        [handmade.value("x", ["batch", "time", 3]), handmade.value("mask", ["time", "time"])],
        [handmade.value("y", ["batch", 4])],
        {**handmade.recurrent_weights("RNN"), "zero": np.array([0], np.int64)},
    )
    assert "no-run" not in found(model)
    assert not {"frozen-time", "some-time", "row-coupling"} & set(found(model))


@pytest.mark.parametrize("shape", [[-1, 25, 16], [-1, 20, 32], [-1, 32, 50]], ids=str)
def test_a_window_of_samples_is_found(shape: list[int], found: Found) -> None:
    findings = found(_window(shape))
    assert "no-run" not in findings
    assert not [finding for finding in findings.values() if finding.kind == "row-coupling"]


@pytest.mark.parametrize("hop", [4, 160])
def test_multiples_are_told(hop: int, found: Found) -> None:
    findings = found(_window([0, -1, hop]))
    assert {f.severity for f in findings.values()} <= {"note"}
    assert f"takes multiples of {hop} from {hop} on" in findings["multiples-of-time"].problem


@pytest.mark.parametrize("stride", [2, 3, 4])
def test_a_stride_that_leaves_a_rest_out_is_no_fixed_length(stride: int, found: Found) -> None:
    assert not {"frozen-time", "some-time"} & set(found(_strided(stride)))


INFINITE = {
    "mask": np.triu(np.full((5, 5), -np.inf, np.float32), 1),
    "mask_with_biases": np.triu(np.full((5, 5), -np.inf, np.float32), 1) - np.float32(0.5),
    "limit": np.array(-np.inf, np.float32),
}


@pytest.mark.parametrize("constant", INFINITE.values(), ids=INFINITE)
def test_infinity_that_is_added_or_compared_is_no_divergence(
    constant: np.ndarray, found: Found
) -> None:
    rows = [
        NODE("Max", ["a", "limit"], ["b"])
        if constant.ndim == 0
        else NODE("Unsqueeze", ["a", "one"], ["wide"]),
    ]
    if constant.ndim:
        rows += [
            NODE("ReduceMax", ["limit"], ["top"], keepdims=0),
            NODE("Add", ["wide", "top"], ["sum"]),
            NODE("Squeeze", ["sum", "one"], ["b"]),
        ]
    assert "bad-weights" not in found(handmade.with_head(rows, {"limit": constant}))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["head", "l0/W", "l0/R"])
def test_what_is_multiplied_has_diverged(name: str, bad: float, found: Found) -> None:
    model = handmade.with_head()
    (tensor,) = [t for t in model.graph.initializer if t.name == name]
    values = onnx.numpy_helper.to_array(tensor).copy()
    values.flat[1] = bad
    tensor.CopyFrom(onnx.numpy_helper.from_array(values, name))
    assert found(model)["bad-weights"].where == name


def test_a_fixed_recurrence_behind_a_convolution(found: Found) -> None:
    """The convolution sees one step further than what the recurrence was written out for."""
    nodes = [
        NODE("Conv", ["x", "kernel"], ["wide"], pads=[1, 1], kernel_shape=[3]),
        NODE("Transpose", ["wide"], ["frames"], perm=[2, 0, 1]),
    ]
    state = "h0"
    for step in range(5):
        nodes += [
            NODE("Gather", ["frames", f"at{step}"], [f"x{step}"], axis=0),
            NODE("MatMul", [f"x{step}", "W"], [f"a{step}"]),
            NODE("MatMul", [state, "R"], [f"b{step}"]),
            NODE("Add", [f"a{step}", f"b{step}"], [f"c{step}"]),
            NODE("Tanh", [f"c{step}"], [f"h{step + 1}"]),
        ]
        state = f"h{step + 1}"
    weights = {f"at{step}": np.array(step, np.int64) for step in range(5)}
    model = handmade.build(
        nodes,
        [handmade.value("x", ["batch", 2, "time"])],
        [handmade.value(state, ["batch", 4])],
        weights
        | {"kernel": handmade.random(3, 2, 3), "W": handmade.random(3, 4)}
        | {"R": handmade.random(4, 4, seed=1), "h0": np.zeros((1, 4), np.float32)},
    )
    finding = found(model)["frozen-time"]
    assert finding.severity == "error"
    assert "the answer is that to 6 steps" in finding.problem


def test_only_files_of_ours_answer_as_pytorch(found: Found) -> None:
    remedy = found(handmade.plain("LSTM"))["empty-crash"].remedy
    assert "raises an error" in remedy
    assert "PyTorch" not in remedy


@pytest.mark.parametrize(
    "kind", [onnx.TensorProto.BOOL, onnx.TensorProto.INT64], ids=["bool", "int64"]
)
def test_a_number_without_axes_is_fed_as_an_array(kind: int, found: Found) -> None:
    rows = [NODE("Cast", ["on"], ["factor"], to=1), NODE("Mul", ["a", "factor"], ["b"])]
    model = handmade.with_head(rows)
    model.graph.input.append(handmade.value("on", [], kind))
    assert "no-run" not in found(model)


def test_rounding_by_the_scale_of_the_batch_is_a_note(found: Found) -> None:
    rows = [
        NODE("DynamicQuantizeLinear", ["a"], ["q", "scale", "zero"]),
        NODE("DequantizeLinear", ["q", "scale", "zero"], ["b"]),
    ]
    finding = found(handmade.with_head(rows))["row-coupling"]
    assert finding.severity == "note"
    assert "one scale for the whole batch" in finding.problem


@pytest.mark.parametrize(
    ("batch", "time"), [("batch", "time"), ("p", "q"), (1, 3)], ids=["named", "unnamed", "fixed"]
)
def test_the_scan_of_opset_8_has_rows_first(
    batch: int | str, time: int | str, found: Found
) -> None:
    def value(name: str, *axes: int | str) -> onnx.ValueInfoProto:
        return handmade.value(name, list(axes))

    body = helper.make_graph(
        [NODE("Add", ["s", "x"], ["after"]), NODE("Identity", ["after"], ["y"])],
        "body",
        [value("s", 2), value("x", 2)],
        [value("after", 2), value("y", 2)],
    )
    scan = NODE("Scan", ["", "initial", "frames"], ["final", "sums"], num_scan_inputs=1, body=body)
    inputs = [value("initial", batch, 2), value("frames", batch, time, 2)]
    outputs = [value("final", batch, 2), value("sums", batch, time, 2)]
    assert "row-coupling" not in found(handmade.build([scan], inputs, outputs, {}, opset=8))
