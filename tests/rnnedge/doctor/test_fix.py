"""Repairs of models of other exporters: what is mended, how it is proven, and what is refused."""

from __future__ import annotations

from pathlib import Path

import handmade
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper

from rnnedge import WriteError
from rnnedge.doctor import Treatment, fix
from rnnedge.errors import RepairError
from rnnedge_runtime import Session


def _fix(model: onnx.ModelProto, folder: Path) -> Treatment:
    return fix(handmade.save(model, folder), folder / "out.onnx", time_limit=20)


def _x(time: int, batch: int, *, batch_first: bool = False) -> NDArray[np.float32]:
    shape = (batch, time, 3) if batch_first else (time, batch, 3)
    return np.random.default_rng([time, batch]).standard_normal(shape).astype(np.float32)


def _answers(path: Path, x: NDArray[np.float32]) -> NDArray[np.float32]:
    return Session(path).run(x).output


# --- exported again ------------------------------------------------------------------------------

BARE = {
    "keras_lstm": (handmade.keras("LSTM"), "lstm(3->4, batch_first)"),
    "keras_gru": (handmade.keras("GRU"), "gru(3->4, batch_first)"),
    "relu": (handmade.plain("RNN", activations=["Relu"]), "rnn(3->4, nonlinearity=relu)"),
    "old": (handmade.plain("GRU", opset=14, linear_before_reset=1), "gru(3->4)"),
}


@pytest.mark.parametrize(("model", "spec"), BARE.values(), ids=BARE)
def test_bare_layer(model: onnx.ModelProto, spec: str, tmp_path: Path) -> None:
    treatment = _fix(model, tmp_path)
    (repair,) = treatment.repairs
    assert repair.name == "exported again"
    assert repair.changes[0].startswith(f"one {spec}, from W, R and B of ")
    first, second = repair.proofs
    assert first.startswith("reproduces the file at time ")
    assert f"is what {spec} computes in PyTorch float64, in chunks as whole" in second
    x = _x(5, 2, batch_first="batch_first" in spec)
    before = _answers(tmp_path / "model.onnx", x)
    np.testing.assert_allclose(_answers(tmp_path / "out.onnx", x), before, atol=1e-6)


def test_last_step_only(tmp_path: Path) -> None:
    (repair,) = _fix(handmade.keras("LSTM", whole=False), tmp_path).repairs
    assert "output Identity:0 is now h_n" in repair.changes


def test_layer_of_both_ways_in_two_operators(tmp_path: Path) -> None:
    model = handmade.two_ways()
    lengths = onnx.numpy_helper.from_array(np.array([5, 5], np.int32), "lengths")
    model.graph.initializer.append(lengths)
    for node in model.graph.node[:2]:
        node.input.append("lengths")
    (repair,) = _fix(model, tmp_path).repairs
    assert repair.changes[0].startswith("one lstm(3->4, bidirectional), from W, R and B of f, b")
    x = _x(5, 2)
    before = _answers(tmp_path / "model.onnx", x)
    np.testing.assert_allclose(_answers(tmp_path / "out.onnx", x), before, atol=1e-6)


def test_weights_that_the_graph_computes(tmp_path: Path) -> None:
    """As PyTorch's exporter leaves them with `optimize=False`: put together in the graph."""
    model = handmade.plain("GRU", linear_before_reset=1)
    (weight,) = [t for t in model.graph.initializer if t.name == "W"]
    rows = onnx.numpy_helper.to_array(weight)[0]
    weight.CopyFrom(onnx.numpy_helper.from_array(rows, "rows"))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([0]), "first"))
    nodes = [*model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend([helper.make_node("Unsqueeze", ["rows", "first"], ["W"]), *nodes])
    assert _fix(model, tmp_path).repairs[0].name == "exported again"


def test_layer_that_was_unrolled_with_its_names(tmp_path: Path) -> None:
    """Weights in PyTorch's layout and by PyTorch's names, as a loop over a cell is traced."""
    nodes: list[onnx.NodeProto] = []
    weights = {f"cell.weight_{h}": handmade.random(4, n) for h, n in (("ih", 3), ("hh", 4))}
    weights |= {"zeros": np.zeros((2, 4), np.float32), "no": np.array([0])}
    state, outputs = "zeros", []
    for t in range(5):
        weights[f"t{t}"] = np.array(t)
        nodes += [
            helper.make_node("Gather", ["x", f"t{t}"], [f"x{t}"]),
            helper.make_node("Gemm", [f"x{t}", "cell.weight_ih"], [f"i{t}"], transB=1),
            helper.make_node("Gemm", [state, "cell.weight_hh"], [f"r{t}"], transB=1),
            helper.make_node("Add", [f"i{t}", f"r{t}"], [f"p{t}"]),
            helper.make_node("Relu", [f"p{t}"], [f"h{t}"]),
            helper.make_node("Unsqueeze", [f"h{t}", "no"], [f"u{t}"]),
        ]
        state = f"h{t}"
        outputs.append(f"u{t}")
    nodes.append(helper.make_node("Concat", outputs, ["y"], axis=0))
    model = handmade.build(
        nodes, [handmade.value("x", [5, 2, 3])], [handmade.value("y", [5, 2, 4])], weights
    )
    (repair,) = _fix(model, tmp_path).repairs
    assert repair.changes[0] == (
        "one rnn(3->4, nonlinearity=relu, bias=False), from the names weight_ih_l0, weight_hh_l0"
    )


def test_layer_without_its_source_is_told_from_a_bare_one(tmp_path: Path) -> None:
    treatment = _fix(handmade.with_head(), tmp_path)
    assert treatment.reasons[0].startswith("export again: head (MatMul) is more than a recurrent")


def test_wrong_guess_is_refused(tmp_path: Path) -> None:
    """A graph that looks like a layer and gives its output backwards is not taken for one."""
    model = handmade.plain("LSTM")
    model.graph.node[-1].output[0] = "forward"
    cut = {"from": -1, "to": -(2**31), "axis": 0, "step": -1}
    for name, number in cut.items():
        tensor = onnx.numpy_helper.from_array(np.array([number], np.int64), name)
        model.graph.initializer.append(tensor)
    model.graph.node.append(helper.make_node("Slice", ["forward", *cut], ["y"]))
    with pytest.raises(RepairError, match=r"its output y .* is not one of those of the layer"):
        _fix(model, tmp_path)
    assert not (tmp_path / "out.onnx").exists()


# --- in place ------------------------------------------------------------------------------------


@pytest.mark.parametrize("layers", [1, 2])
def test_exposed_states_stream(layers: int, tmp_path: Path) -> None:
    treatment = _fix(handmade.with_head(op="LSTM", layers=layers), tmp_path)
    (repair,) = treatment.repairs
    assert repair.name == "states exposed"
    assert "same to the bit" in repair.proofs[0]
    assert repair.proofs[1].startswith("chunks of 3, 1 and 3 steps give what the whole gives")
    session = Session(tmp_path / "out.onnx")
    assert len(session.interface.states) == 2 * layers
    x = _x(9, 2)
    whole = _answers(tmp_path / "model.onnx", x)
    stream = session.stream(batch=2)
    pieces = [stream.step(x[t : t + 1]) for t in range(9)]
    np.testing.assert_allclose(np.concatenate(pieces), whole, atol=1e-6)


def test_final_state_that_is_there_keeps_its_name(tmp_path: Path) -> None:
    _fix(handmade.plain("GRU"), tmp_path)
    names = [info.name for info in onnx.load(tmp_path / "out.onnx").graph.output]
    assert names == ["y", "h_n"]


def test_model_that_looks_across_time_is_not_streamed(tmp_path: Path) -> None:
    mean = helper.make_node("ReduceMean", ["a"], ["m"], axes=[0], keepdims=1)
    model = handmade.with_head([mean, helper.make_node("Sub", ["a", "m"], ["b"])])
    with pytest.raises(RepairError, match="expose states: something else looks across time"):
        _fix(model, tmp_path)


def test_declared_sizes_are_opened(tmp_path: Path) -> None:
    model = handmade.plain("LSTM", axes=(5, 2, 3), direction="bidirectional")
    (repair,) = _fix(model, tmp_path).repairs
    assert repair.changes == (
        "x: [5, 2, 3] is now [time, batch, 3]",
        "y: [5, 2, 8] is now [time, batch, 8]",
        "h_n: [2, 2, 4] is now [2, batch, 4]",
        "c_n: [2, 2, 4] is now [2, batch, 4]",
    )
    assert "its rows are independent" in repair.proofs[0]
    assert _answers(tmp_path / "out.onnx", _x(9, 4)).shape == (9, 4, 8)


def test_outputs_are_declared_as_they_come_and_keep_their_names(tmp_path: Path) -> None:
    """As PyTorch's exporter writes a batch-first layer: right, and declared wrongly."""
    model = handmade.plain("GRU", direction="bidirectional", linear_before_reset=1)
    model.graph.output[0].CopyFrom(handmade.value("y", [5, "batch", 8]))
    (repair,) = _fix(model, tmp_path).repairs
    assert repair.changes == ("y: [5, batch, 8] is now [time, batch, 8]",)
    after = onnx.load(tmp_path / "out.onnx").graph
    assert [o.name for o in after.output] == [o.name for o in model.graph.output]
    assert after.node == model.graph.node


def test_stored_zero_state_is_taken_out(tmp_path: Path) -> None:
    model = handmade.with_head(op="LSTM")
    model.graph.node[0].input.extend(["", "zeros", "zeros"])
    zeros = onnx.numpy_helper.from_array(np.zeros((1, 2, 4), np.float32), "zeros")
    model.graph.initializer.append(zeros)
    treatment = _fix(model, tmp_path)
    first = treatment.repairs[0]
    assert first.name == "sizes taken out"
    assert first.changes == ("stack/l0/LSTM: the initial state of zeros is left out",)
    assert _answers(tmp_path / "out.onnx", _x(9, 4)).shape == (9, 4, 2)


def test_size_that_cannot_be_proven_is_left(tmp_path: Path) -> None:
    """A bidirectional module of one length: what it means at others is unknown."""
    model = handmade.plain("GRU", direction="bidirectional", axes=(5, 2, 3))
    model.graph.node[-1].output[0] = "z"
    model.graph.node.append(helper.make_node("Reshape", ["z", "shape"], ["f"]))
    model.graph.node.append(helper.make_node("MatMul", ["f", "head"], ["y"]))
    for name, array in {"shape": np.array([5, 2, 8]), "head": handmade.random(8, 8)}.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    with pytest.raises(RepairError, match="it reads the future, so what is right"):
        _fix(model, tmp_path)


def test_dropout_is_turned_off(tmp_path: Path) -> None:
    node = helper.make_node("Dropout", ["a", "half", "yes"], ["b"])
    weights = {"half": np.array(0.5, np.float32), "yes": np.array(True)}
    treatment = _fix(handmade.with_head([node], weights), tmp_path)
    assert treatment.repairs[-1].changes == ("training mode of 1 Dropout(s) is off",)
    assert treatment.repairs[-1].proofs[0].startswith("two runs now give the same at ")
    assert treatment
    plain = handmade.save(handmade.with_head(), tmp_path, "plain.onnx")
    x = _x(7, 3)
    np.testing.assert_array_equal(_answers(tmp_path / "out.onnx", x), _answers(plain, x))


def test_paths_versions_and_copies_are_cleaned(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["a", "u"], ["p"]),
        helper.make_node("MatMul", ["a", "v"], ["q"]),
        helper.make_node("Add", ["p", "q"], ["b"]),
    ]
    model = handmade.with_head(nodes, {"u": handmade.random(4, 4), "v": handmade.random(4, 4)})
    model.ir_version = 10
    entry = model.graph.node[0].metadata_props.add()
    entry.key, entry.value = "trace", 'File "/home/ann/train.py", line 3'
    own = model.metadata_props.add()
    own.key, own.value = "vocabulary", "a b c"
    cleaned = _fix(model, tmp_path).repairs[-1]
    assert cleaned.changes == (
        "1 text(s) with paths, or of the exporter, are gone",
        "1 weight(s) were stored again: 64 bytes less",
        "IR version 10 is now 8",
    )
    after = onnx.load(tmp_path / "out.onnx")
    assert [(e.key, e.value) for e in after.metadata_props] == [("vocabulary", "a b c")]
    assert b"/home/ann" not in (tmp_path / "out.onnx").read_bytes()


def test_same_repair_gives_the_same_bytes(tmp_path: Path) -> None:
    path = handmade.save(handmade.with_head(layers=2), tmp_path)
    for name in ("one.onnx", "two.onnx"):
        fix(path, tmp_path / name)
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "two.onnx").read_bytes()


def test_repaired_file_is_a_valid_one(tmp_path: Path) -> None:
    _fix(handmade.with_head(layers=2), tmp_path)
    onnx.checker.check_model(str(tmp_path / "out.onnx"), full_check=True)


# --- nothing written -----------------------------------------------------------------------------


def test_nothing_to_repair(tmp_path: Path) -> None:
    with pytest.raises(RepairError, match=r"nothing found, so there is nothing to repair$"):
        _fix(handmade.plain("RNN", states=True), tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.onnx"]


def test_nothing_that_can_be_repaired(tmp_path: Path) -> None:
    model = handmade.plain("GRU", states=True, linear_before_reset=1)
    with pytest.raises(RepairError, match=r"has to be exported again from its source$"):
        _fix(model, tmp_path)


def test_file_that_does_not_run(tmp_path: Path) -> None:
    with pytest.raises(RepairError, match="it does not run, so nothing can be proven"):
        _fix(handmade.plain("LSTM", layout=1), tmp_path)


def test_folder_that_is_not_there(tmp_path: Path) -> None:
    path = handmade.save(handmade.plain("LSTM"), tmp_path)
    with pytest.raises(WriteError, match="expected an existing folder, found no folder"):
        fix(path, tmp_path / "no" / "out.onnx")


def test_output_over_the_model_itself(tmp_path: Path) -> None:
    path = handmade.save(handmade.with_head(), tmp_path)
    before = path.read_bytes()
    with pytest.raises(WriteError, match=r"is the same file as .*model\.onnx, which is read"):
        fix(path, path, force=True)
    assert path.read_bytes() == before
