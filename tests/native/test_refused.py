"""What the native engine does not take: named by the node, never answered wrongly."""

import numpy as np
import pytest

native = pytest.importorskip(
    "rnnedge_native",
    reason="rnnedge-native is not built, which takes a C compiler",
    exc_type=ImportError,
)
from small_models import model, normal, one, parse  # noqa: E402

from rnnedge_native import PlanError, _engine  # noqa: E402
from rnnedge_runtime.errors import InputError, ModelError, OptionError  # noqa: E402

X = {"x": ("batch", "time", 4)}


def recurrent(operator="LSTM", gates=4, *, inputs=(), weights=None, **attributes):
    own = {"w": normal(1, gates * 5, 4), "r": normal(1, gates * 5, 5)}
    node = (operator, ["x", "w", "r", *inputs], ["y"], {"hidden_size": 5, **attributes})
    return model([node], X, weights=own | (weights or {}))


REFUSED = {
    "unknown operator": (
        one("CumSum"),
        "node 'CumSum_0' (CumSum): the native engine has no CumSum",
    ),
    "product of two inputs": (
        model([("MatMul", ["x", "x"], ["y"], {})], {"x": (4, 4)}),
        "node 'MatMul_0' (MatMul): multiplies by something other than a matrix of weights",
    ),
    "peepholes": (
        recurrent(inputs=["", "", "", "", "p"], weights={"p": normal(1, 15)}),
        "node 'LSTM_0' (LSTM): peepholes",
    ),
    "clip": (recurrent(clip=1.0), "node 'LSTM_0' (LSTM): clip"),
    "input_forget": (recurrent(input_forget=1), "input_forget"),
    "layout": (recurrent(layout=1), "layout"),
    "activations": (
        recurrent("GRU", 3, activations=["HardSigmoid", "Tanh"]),
        "node 'GRU_0' (GRU): activations hardsigmoid, tanh",
    ),
    "weights that are computed": (
        model(
            [("RNN", ["x", "w", "r"], ["y"], {"hidden_size": 5})],
            X | {"w": (1, 5, 4)},
            weights={"r": normal(1, 5, 5)},
        ),
        "its weights are computed from the data",
    ),
    "branch by the data": (
        model(
            [
                ("ReduceMax", ["x"], ["m"], {"keepdims": 0}),
                ("Cast", ["m"], ["c"], {"to": 9}),
                (
                    "If",
                    ["c"],
                    ["y"],
                    {name: parse(one("Neg")).graph for name in ("then_branch", "else_branch")},
                ),
            ],
            X,
        ),
        "its condition depends on the data",
    ),
    "convolution over two axes": (
        model(
            [("Conv", ["x", "w"], ["y"], {})],
            {"x": ("batch", 1, 8, 8)},
            weights={"w": normal(2, 1, 3, 3)},
        ),
        "node 'Conv_0' (Conv): is not a convolution over time",
    ),
    "dropout in training": (
        model([("Dropout", ["x", "", "t"], ["y"], {})], X, weights={"t": np.array(True)}),
        "node 'Dropout_0' (Dropout): drops numbers at random",
    ),
    "sizes that come with the data": (
        model([("Reshape", ["x", "i_shape"], ["y"], {})], X | {"i_shape": (2,)}),
        "its input 1 is computed from the data",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_names_the_node(name):
    content, message = REFUSED[name]
    with pytest.raises(PlanError) as caught:
        native.Plan(content)
    assert message in str(caught.value)
    assert caught.value.node


@pytest.mark.parametrize(
    ("domain", "message"),
    [("com.microsoft", "has no com.microsoft.Neg"), ("ai.onnx.ml", "Neg of 'ai.onnx.ml'")],
)
def test_operators_of_another_domain(domain, message):
    made = parse(one("Neg"))
    made.graph.node[0].domain = domain
    with pytest.raises(PlanError, match=message):
        native.Plan(made.SerializeToString())


def test_float64():
    made = parse(one("Neg"))
    made.graph.input[0].type.tensor_type.elem_type = 11
    with pytest.raises(PlanError, match="input 'x' is float64"):
        native.Plan(made.SerializeToString())


def test_values_in_another_file():
    made = parse(model([("Add", ["x", "w"], ["y"], {})], X, weights={"w": normal(4)}))
    made.graph.initializer[0].data_location = 1
    with pytest.raises(ModelError, match="expected the values in the file itself"):
        native.Plan(made.SerializeToString())


@pytest.mark.parametrize("content", [b"", b"\x08", b"not a model", bytes(100)])
def test_what_is_no_model(content):
    with pytest.raises(ModelError, match="the model cannot be read as an ONNX model"):
        native.Plan(content)


def test_a_missing_file(tmp_path):
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        native.Plan(tmp_path / "model.onnx")


def test_instructions_that_the_processor_does_not_have():
    with pytest.raises(OptionError, match=r"expected .*baseline, got 'mmx'"):
        native.Plan(one("Neg"), instructions="mmx")


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({}, "expected the inputs x, got "),
        ({"x": normal(2, 3, 4), "z": normal(1)}, "expected the inputs x"),
        ({"x": normal(2, 4)}, r"x: expected float32\[batch, time, 4\], got float32\[2, 4\]"),
        ({"x": normal(2, 3, 5)}, "x: expected an axis 4 of 4"),
        ({"x": normal(2, 3, 4).astype(np.float64)}, "got float64"),
    ],
)
def test_inputs_that_do_not_fit(feeds, message):
    with pytest.raises(InputError, match=message):
        native.Plan(one("Neg")).run(feeds)


@pytest.mark.parametrize("index", [-10, 9, 2**62])
def test_an_index_that_the_table_does_not_have(index):
    content = model(
        [("Gather", ["w", "i_x"], ["y"], {})], {"i_x": ("batch",)}, weights={"w": normal(9, 4)}
    )
    with pytest.raises(InputError, match=rf"an index is {index}, and the table has 9 rows"):
        native.Plan(content).run({"i_x": np.array([0, index])})


@pytest.mark.parametrize("length", [-1, 7])
def test_a_length_that_the_sequence_does_not_have(exported, length):
    _, content = exported(cell="gru", hidden_size=4, lengths=True, states=False)
    x = normal(6, 2, 5)
    with pytest.raises(InputError, match=rf"a length is {length}, expected 0 to 6"):
        native.Plan(content).run({"input": x, "lengths": np.array([6, length])})


def program(**changes):
    """Return a program of one call that negates 4 numbers."""
    call = {"kind": 7, "sizes": (4,), "places": (1, 0, 2, 0)} | changes
    row = (2, call["kind"], call["sizes"], 0, call["places"], (), 0.0, 0.0, None)
    return _engine.Program(0, (), (16,), (16,), (row,), False)


def test_a_program_runs():
    made = np.zeros(4, np.float32)
    program().run(np.arange(4, dtype=np.float32), made)
    assert made.tolist() == [0, -1, -2, -3]


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": 99},
        {"kind": -1},
        {"sizes": (5,)},
        {"sizes": (-1,)},
        {"sizes": (2**62,)},
        {"places": (1, 4, 2, 0)},
        {"places": (1, -4, 2, 0)},
        {"places": (1, 2, 2, 0)},
        {"places": (3, 0, 2, 0)},
        {"places": (-1, 0, 2, 0)},
        {"places": (1, 2**62, 2, 0)},
    ],
    ids=str,
)
def test_a_call_outside_of_its_buffers(changes):
    with pytest.raises(ValueError, match="does not fit its buffers"):
        program(**changes)


def test_arrays_that_share_memory():
    array = np.zeros(8, np.float32)
    with pytest.raises(ValueError, match="shares memory"):
        program().run(array[:4], array[2:6])


def test_an_array_of_another_size():
    with pytest.raises(ValueError, match="expected 16 bytes"):
        program().run(np.zeros(5, np.float32), np.zeros(4, np.float32))


def test_an_array_that_is_not_aligned():
    raw = np.zeros(17, np.uint8)[1:].view(np.float32)
    with pytest.raises(ValueError, match="aligned"):
        program().run(raw, np.zeros(4, np.float32))
