"""The weights of ONNX files of other exporters, in fewer bits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from onnx_files import (
    dynamo,
    far,
    floats,
    node_file,
    product_file,
    run,
    scan_file,
    tagger,
    torchscript,
)
from torch import nn

from rnnedge_exporters import export
from rnnedge_exporters.quantization.onnx_file.quantize import QuantizeResult, quantize
from rnnedge_runtime import Session, WriteError

LAYERS: dict[str, tuple[Callable[[], nn.RNNBase], str, str]] = {
    "lstm_256": (lambda: nn.LSTM(8, 256), "int8", "DynamicQuantizeLSTM"),
    "gru_384": (lambda: nn.GRU(8, 384), "int8", "MatMulInteger"),
    "rnn_512": (lambda: nn.RNN(8, 512, nonlinearity="relu"), "int8", "MatMulInteger"),
    "lstm": (lambda: nn.LSTM(5, 16, 2, bidirectional=True), "int8:all", "DynamicQuantizeLSTM"),
    "gru": (lambda: nn.GRU(5, 16, 2, bidirectional=True, bias=False), "int8:all", "MatMulInteger"),
    "rnn": (lambda: nn.RNN(5, 16, bidirectional=True), "int8:all", "MatMulInteger"),
}


def operators(path: Path) -> set[str]:
    """Return the operators of a file, including those of inner graphs."""

    def inside(graph: onnx.GraphProto) -> set[str]:
        graphs = [a.g for node in graph.node for a in node.attribute if a.HasField("g")]
        return {node.op_type for node in graph.node}.union(*map(inside, graphs))

    return inside(onnx.load(path).graph)


@pytest.mark.parametrize(("make", "how", "operator"), LAYERS.values(), ids=LAYERS)
def test_computes_what_an_export_of_the_same_layer_does(
    make: Callable[[], nn.RNNBase], how: Any, operator: str, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    layer = make()
    axes = {"x": {0: "time", 1: "batch"}}
    theirs = torchscript(tmp_path / "theirs.onnx", layer, torch.zeros(7, 2, layer.input_size), axes)
    result = quantize(theirs, tmp_path / "small.onnx", quantize=how)
    assert {layer.done for layer in result.quantization} == {"computes in int8"}
    assert operator in operators(result.path)
    export(layer, tmp_path / "ours.onnx", quantize=how, states=False)
    for time, batch in ((1, 1), (9, 3)):
        x = floats(time, batch, layer.input_size)
        given = list(run(result.path, {"x": x}).values())
        ours = list(run(tmp_path / "ours.onnx", {"input": x}).values())
        for one, other in zip(given, ours, strict=True):
            assert np.array_equal(one, other)


def test_a_module_of_the_newer_exporter(tmp_path: Path) -> None:
    layer = nn.LSTM(16, 256, batch_first=True)
    axes = {0: "batch", 1: "time"}
    theirs = dynamo(tmp_path / "theirs.onnx", layer, torch.zeros(2, 7, 16), axes)
    result = quantize(theirs, tmp_path / "small.onnx")
    assert [(one.kind, one.done) for one in result.quantization] == [("lstm", "computes in int8")]
    assert result.bytes < 0.3 * result.bytes_before
    x = {"input": floats(3, 7, 16)}
    assert 0 < far(run(theirs, x), run(result.path, x)) < 0.01


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, QuantizeResult]:
    """A file of torch's older exporter, and what became of it."""
    folder = tmp_path_factory.mktemp("tagger")
    theirs = tagger(folder / "theirs.onnx", "LSTM", 32, num_layers=2, bidirectional=True)
    return theirs, quantize(theirs, folder / "small.onnx")


def test_narrow_layers_are_stored(small: tuple[Path, QuantizeResult]) -> None:
    theirs, result = small
    done = [(one.kind, one.done) for one in result.quantization]
    assert done == [
        ("lstm", "stored in int8"),
        ("lstm", "stored in int8, input weights in float16"),
        ("Gather", "stored in int8"),
        ("MatMul", "stored in int8"),
    ]
    assert result.quantization[0].reason == "below width 256, int8 makes the cell no faster"
    assert result.bytes == result.path.stat().st_size < 0.5 * theirs.stat().st_size
    tokens = {"x": np.random.default_rng(0).integers(0, 50, (3, 9))}
    assert 0 < far(run(theirs, tokens), run(result.path, tokens)) < 0.01
    assert "LSTM" in operators(result.path)


def test_inputs_outputs_and_opset_stay(small: tuple[Path, QuantizeResult]) -> None:
    before, after = onnx.load(small[0]), onnx.load(small[1].path)
    assert list(after.graph.input) == list(before.graph.input)
    assert list(after.graph.output) == list(before.graph.output)
    assert [o.version for o in after.opset_import] == [o.version for o in before.opset_import]
    assert (after.producer_name, after.ir_version) == (before.producer_name, before.ir_version)
    onnx.checker.check_model(after, full_check=True)


def test_a_file_of_others_has_no_contract(small: tuple[Path, QuantizeResult]) -> None:
    assert small[1].contract is None
    assert Session(small[1].path).contract is None


def test_the_same_bytes_again(small: tuple[Path, QuantizeResult], tmp_path: Path) -> None:
    again = quantize(small[0], tmp_path / "again.onnx")
    assert again.path.read_bytes() == small[1].path.read_bytes()


def test_half(small: tuple[Path, QuantizeResult], tmp_path: Path) -> None:
    result = quantize(small[0], tmp_path / "half.onnx", quantize=None, dtype="float16")
    assert {one.done for one in result.quantization} == {"stored in float16"}
    assert result.bytes < 0.6 * result.bytes_before
    tokens = {"x": np.random.default_rng(0).integers(0, 50, (3, 9))}
    assert 0 < far(run(small[0], tokens), run(result.path, tokens)) < 1e-3


def test_layers_are_kept(small: tuple[Path, QuantizeResult], tmp_path: Path) -> None:
    names = [one.name for one in small[1].quantization]
    result = quantize(small[0], tmp_path / "kept.onnx", keep_float32=names[1:3])
    done = {one.name: one.done for one in result.quantization}
    assert [name for name in names if done[name] == "kept in float32"] == names[1:3]
    assert result.bytes > small[1].bytes


def test_a_file_in_its_own_place(tmp_path: Path) -> None:
    path = node_file(tmp_path / "model.onnx", "GRU", linear_before_reset=1)
    before = path.read_bytes()
    with pytest.raises(WriteError, match=r"model\.onnx: is the same file as .*, which is read"):
        quantize(path, path, force=True)
    assert path.read_bytes() == before


@pytest.mark.parametrize("opset", [7, 11, 14, 16, 17, 22, 24])
@pytest.mark.parametrize("op", ["RNN", "LSTM", "GRU"])
def test_opsets(op: str, opset: int, tmp_path: Path) -> None:
    more = {"linear_before_reset": 1} if op == "GRU" else {}
    path = node_file(tmp_path / "model.onnx", op, opset=opset, direction="bidirectional", **more)
    how = "int8:all" if opset >= 17 else "int8"
    result = quantize(path, tmp_path / "small.onnx", quantize=how)
    (one,) = result.quantization
    if opset < 17:
        assert one.done == "stored in int8"
        words = f"the file has opset {opset}, and what computes in int8 needs 17 (opset=17 conv"
        assert one.reason.startswith(words)
    else:
        assert one.done == "computes in int8"
    assert onnx.load(result.path).opset_import[0].version == result.opset == opset
    x = {"x": floats(6, 3, 5)}
    assert 0 < far(run(path, x), run(result.path, x)) < 0.05


@pytest.mark.parametrize("opset", [7, 14])
@pytest.mark.parametrize("op", ["RNN", "LSTM", "GRU"])
def test_an_older_opset_converted(op: str, opset: int, tmp_path: Path) -> None:
    more = {"linear_before_reset": 1} if op == "GRU" else {}
    path = node_file(tmp_path / "model.onnx", op, opset=opset, **more)
    model = onnx.load(path)
    helper.set_model_props(model, {"owner": "acme"})
    onnx.save(model, path)
    result = quantize(path, tmp_path / "small.onnx", quantize="int8:all", opset=17)
    assert [one.done for one in result.quantization] == ["computes in int8"]
    after = onnx.load(result.path)
    assert (after.opset_import[0].version, result.opset, after.ir_version) == (17, 17, 8)
    assert [(prop.key, prop.value) for prop in after.metadata_props] == [("owner", "acme")]
    x = {"x": floats(6, 3, 5)}
    assert 0 < far(run(path, x), run(result.path, x)) < 0.05


HINDRANCES = {
    "clip": ("LSTM", {"clip": 0.5}, "it clips at 0.5"),
    "peepholes": ("LSTM", {"peepholes": True}, "it has peepholes"),
    "couples": ("LSTM", {"input_forget": 1}, "it couples its gates (input_forget=1)"),
    "activations": (
        "RNN",
        {"activations": ["Softsign"]},
        "its activations are Softsign",
    ),
    "reset": (
        "GRU",
        {"linear_before_reset": 0},
        "it resets before the recurrent product (linear_before_reset=0)",
    ),
}


@pytest.mark.parametrize(("op", "options", "reason"), HINDRANCES.values(), ids=HINDRANCES)
def test_what_no_lowering_has_is_stored(
    op: str, options: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    path = node_file(tmp_path / "model.onnx", op, hidden=32, **options)
    (one,) = quantize(path, tmp_path / "small.onnx").quantization
    assert (one.name, one.done, one.reason) == ("rnn", "stored in int8", reason)
    assert one.bytes_after < 0.4 * one.bytes_before
    x = {"x": floats(6, 3, 5)}
    assert 0 < far(run(path, x), run(tmp_path / "small.onnx", x)) < 0.05


def test_layout_is_stored(tmp_path: Path) -> None:
    path = node_file(tmp_path / "model.onnx", "LSTM", layout=1)  # which ONNX Runtime does not run
    (one,) = quantize(path, tmp_path / "small.onnx").quantization
    assert (one.done, one.reason) == ("stored in int8", "its batch is the first axis (layout=1)")


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("op", ["RNN", "LSTM", "GRU"])
def test_lengths_and_states(op: str, direction: str, tmp_path: Path) -> None:
    more = {"linear_before_reset": 1} if op == "GRU" else {}
    path = node_file(
        tmp_path / "model.onnx", op, lengths=True, states=True, direction=direction, **more
    )
    result = quantize(path, tmp_path / "small.onnx", quantize="int8:all")
    ways = 1 + (direction == "bidirectional")
    inputs = {"x": floats(6, 4, 5), "lengths": np.array([6, 0, 3, 1], np.int32)}
    inputs |= {name: floats(ways, 4, 16) for name in ("h", "c")[: 1 + (op == "LSTM")]}
    before, after = run(path, inputs), run(result.path, inputs)
    assert 0 < far(before, after) < 0.05
    assert not after["Y_h"][:, 1].any()  # as the operator answers a row of length zero


def test_an_initial_state_is_no_weight(tmp_path: Path) -> None:
    path = node_file(
        tmp_path / "model.onnx", "RNN", hidden=64, states=True, direction="bidirectional"
    )
    model = onnx.load(path)
    (state,) = [one for one in model.graph.input if one.name == "h"]
    model.graph.input.remove(state)
    model.graph.initializer.append(numpy_helper.from_array(floats(2, 3, 64), "h"))
    onnx.save(model, path)
    result = quantize(path, tmp_path / "small.onnx", quantize="int8:all")
    assert [one.name for one in result.quantization] == ["rnn"]
    tensors = {one.name: one for one in onnx.load(result.path).graph.initializer}
    assert np.array_equal(numpy_helper.to_array(tensors["h"]), floats(2, 3, 64))


def test_a_last_state_alone(tmp_path: Path) -> None:
    path = tagger(tmp_path / "model.onnx", "GRU", 16, last=True)
    result = quantize(path, tmp_path / "small.onnx", quantize="int8:all")
    tokens = {"x": np.random.default_rng(0).integers(0, 50, (3, 9))}
    assert 0 < far(run(path, tokens), run(result.path, tokens)) < 0.02


def test_an_export_of_rnnedge_keeps_its_contract(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layer = nn.LSTM(5, 256)
    before = export(layer, tmp_path / "model.onnx").contract
    result = quantize(tmp_path / "model.onnx", tmp_path / "small.onnx")
    contract = Session(result.path).contract
    assert contract is not None
    assert contract == result.contract
    assert (contract.quantization, contract.interface) == ("int8", before.interface)
    assert contract.weights_digest == before.weights_digest
    assert [one.lowering for one in contract.layers] == ["operator_int8"]
    assert contract.layers[0].reason.startswith("from width 256 on, int8 is ")


@pytest.mark.parametrize(
    ("layer", "error"),
    # An export computes the projection with integers too, which is too small to gain by it.
    [(nn.RNN(8, 512), 1e-6), (nn.LSTM(8, 512, proj_size=200), 0.02)],
    ids=["rnn", "projection"],
)
def test_a_scan_of_rnnedge_computes_in_int8(
    layer: nn.RNNBase, error: float, tmp_path: Path
) -> None:
    export(layer, tmp_path / "model.onnx")
    export(layer, tmp_path / "ours.onnx", quantize="int8")
    result = quantize(tmp_path / "model.onnx", tmp_path / "small.onnx")
    assert result.contract is not None
    assert [one.lowering for one in result.contract.layers] == ["scan_int8"]
    done = {one.name: one.done for one in result.quantization}
    assert done["l0/step/R"] == "computes in int8"
    assert done["l0/forward/W"] == "stored in int8"
    inputs = {"input": floats(1, 2, 8), "h_0": floats(1, 2, layer.proj_size or 512)}
    if isinstance(layer, nn.LSTM):
        inputs["c_0"] = floats(1, 2, 512)
    assert far(run(result.path, inputs), run(tmp_path / "ours.onnx", inputs)) < error


def test_a_scan_with_weights_around_it(tmp_path: Path) -> None:
    path = scan_file(tmp_path / "model.onnx")
    (one,) = quantize(path, tmp_path / "small.onnx").quantization
    assert (one.name, one.done) == ("R", "computes in int8")
    inputs = {"x": floats(6, 3, 512), "h_0": floats(3, 512)}
    assert 0 < far(run(path, inputs), run(tmp_path / "small.onnx", inputs)) < 0.1


@pytest.mark.parametrize("shape", [(520, 520), (2, 520, 520)], ids=str)
def test_a_large_product(shape: tuple[int, ...], tmp_path: Path) -> None:
    path = product_file(tmp_path / "model.onnx", "MatMul", *shape)
    (one,) = quantize(path, tmp_path / "small.onnx").quantization
    assert one.done == ("computes" if len(shape) == 2 else "stored") + " in int8"
    x = {"x": floats(*shape[:-2], 3, 520)}
    assert 0 < far(run(path, x), run(tmp_path / "small.onnx", x)) < 2


def test_what_is_around_stays(tmp_path: Path) -> None:
    path = node_file(tmp_path / "model.onnx", "LSTM", outputs=1)
    model = onnx.load(path)
    model.opset_import.append(helper.make_opsetid("com.acme", 3))
    model.graph.node.append(helper.make_node("Fancy", ["Y"], ["z"], domain="com.acme", level=2))
    model.graph.output.append(helper.make_tensor_value_info("z", 1, None))
    helper.set_model_props(model, {"labels": "a,b", "owner": "acme"})
    onnx.save(model, path)
    after = onnx.load(quantize(path, tmp_path / "small.onnx").path)
    assert {prop.key: prop.value for prop in after.metadata_props} == {
        "labels": "a,b",
        "owner": "acme",
    }
    assert [n for n in after.graph.node if n.domain == "com.acme"] == [model.graph.node[-1]]
    assert {o.domain: o.version for o in after.opset_import} == {"": 17, "com.acme": 3}


def test_inside_an_if_and_shared(tmp_path: Path) -> None:
    path = node_file(tmp_path / "model.onnx", "LSTM", outputs=1)
    model = onnx.load(path)
    graph = model.graph
    (node,) = graph.node
    turned = onnx.NodeProto()
    turned.CopyFrom(node)
    turned.name, turned.output[0] = "other", "Z"
    turned.attribute.append(helper.make_attribute("clip", 0.1))
    outputs = [helper.make_tensor_value_info(name, 1, None) for name in ("Y", "Z")]
    branches = [
        helper.make_graph([one], "branch", [], [out])
        for one, out in zip((node, turned), outputs, strict=True)
    ]
    choice = helper.make_node(
        "If", ["which"], ["out"], then_branch=branches[0], else_branch=branches[1]
    )
    del graph.node[:], graph.output[:]
    graph.node.append(choice)
    graph.input.append(helper.make_tensor_value_info("which", onnx.TensorProto.BOOL, []))
    graph.output.append(helper.make_tensor_value_info("out", 1, None))
    onnx.save(model, path)
    result = quantize(path, tmp_path / "small.onnx")
    assert {one.name for one in result.quantization} == {"rnn", "other"}
    assert {one.reason for one in result.quantization} == {"it is inside a control-flow node"}
    for which in (True, False):
        inputs = {"x": floats(6, 3, 5), "which": np.array(which)}
        assert 0 < far(run(path, inputs), run(result.path, inputs)) < 0.05
    sizes = [len(tensor.raw_data) for tensor in onnx.load(result.path).graph.initializer]
    assert sum(sizes) < 0.5 * path.stat().st_size


def test_weights_through_movement(tmp_path: Path) -> None:
    """As the exporters write them: cut up, put together, cast, with an axis more."""
    path = node_file(tmp_path / "model.onnx", "GRU", linear_before_reset=1)
    x = {"x": floats(6, 3, 5)}
    before = run(path, x)
    model = onnx.load(path)
    graph = model.graph
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    del graph.initializer[:]
    graph.initializer.append(numpy_helper.from_array(tensors["W"][0].T.astype(np.float64), "w"))
    graph.initializer.append(numpy_helper.from_array(tensors["R"][0, :20], "r0"))
    graph.initializer.append(numpy_helper.from_array(tensors["R"][0, 20:], "r1"))
    graph.initializer.append(numpy_helper.from_array(np.array([0]), "first"))
    made = [
        helper.make_node("Constant", [], ["B"], value=numpy_helper.from_array(tensors["B"])),
        helper.make_node("Cast", ["w"], ["wide"], to=1),
        helper.make_node("Transpose", ["wide"], ["turned"], perm=[1, 0]),
        helper.make_node("Unsqueeze", ["turned", "first"], ["whole"]),
        helper.make_node("Identity", ["whole"], ["W"]),
        helper.make_node("Concat", ["r0", "r1"], ["joined"], axis=0),
        helper.make_node("Unsqueeze", ["joined", "first"], ["R"]),
    ]
    nodes = [*made, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.save(model, path)
    direct = node_file(tmp_path / "direct.onnx", "GRU", linear_before_reset=1)
    answers = []
    for source in (path, direct):
        result = quantize(source, tmp_path / "small.onnx", quantize="int8:all")
        assert [one.done for one in result.quantization] == ["computes in int8"]
        answers.append(run(result.path, x))
    assert far(*answers) == 0
    assert 0 < far(before, answers[0]) < 0.02


@pytest.mark.parametrize("through", ["Identity", "Cast"])
def test_weights_of_two_products(through: str, tmp_path: Path) -> None:
    """One matrix stays one; a cast of doubles makes another."""
    path = product_file(tmp_path / "model.onnx", "MatMul", 64, 64)
    model = onnx.load(path)
    graph = model.graph
    if through == "Cast":
        wide = numpy_helper.to_array(graph.initializer[0]).astype(np.float64)
        graph.initializer.append(numpy_helper.from_array(wide, "D"))
        moved = helper.make_node("Cast", ["D"], ["E"], to=1)
    else:
        moved = helper.make_node("Identity", ["B"], ["E"])
    graph.node.extend([moved, helper.make_node("MatMul", ["y", "E"], ["z"])])
    graph.output.append(helper.make_tensor_value_info("z", 1, None))
    onnx.save(model, path)
    result = quantize(path, tmp_path / "small.onnx")
    assert len(result.quantization) == (1 if through == "Identity" else 2)
    assert {one.done for one in result.quantization} == {"stored in int8"}
    x = {"x": floats(3, 64)}
    assert 0 < far(run(path, x), run(result.path, x)) < 3


def test_external_data(tmp_path: Path) -> None:
    path = node_file(tmp_path / "model.onnx", "LSTM", hidden=64)
    x = {"x": floats(6, 3, 5)}
    before = run(path, x)
    onnx.save(
        onnx.load(path), path, save_as_external_data=True, location="weights", size_threshold=0
    )
    assert path.stat().st_size < 2_000
    result = quantize(path, tmp_path / "small.onnx")
    (tmp_path / "weights").unlink()
    assert 0 < far(before, run(result.path, x)) < 0.02
