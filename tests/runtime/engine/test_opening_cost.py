"""What a file would compute when it is opened is refused before the engine sees it."""

import struct
from itertools import pairwise

import numpy as np
import pytest
import tiny_onnx
from tiny_models import Tiny

from rnnedge_runtime import ModelError, Session
from rnnedge_runtime.engine.opening_cost import check_opening

LEAST = -(2**63)
GIB = "with it constants take more than 1 GiB when the model is opened"
HUGE = 1 << 28
"""Elements: 2 GiB of int64."""


def whole(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


def model(nodes, constants=None, **parts) -> bytes:
    """Return a model without inputs, whose last node makes its output."""
    return tiny_onnx.model(
        [
            node if isinstance(node, bytes) else tiny_onnx.node(*node[:3], **node[3])
            for node in nodes
        ],
        [],
        [tiny_onnx.value("y", "int64", [None])],
        constants or {},
        **parts,
    )


def node(operator, inputs, outputs=("y",), **attributes):
    return operator, list(inputs), list(outputs), attributes


def doubled(times: int) -> list:
    names = ["a", *(f"t{n}" for n in range(times - 1)), "y"]
    return [node("Concat", [a, a], [b], axis=0) for a, b in pairwise(names)]


def calls(depth: int) -> bytes:
    """Return a model whose functions each call the next twice."""
    functions = [tiny_onnx.function("f", "f0", ["x"], ["y"], [tiny_onnx.node("Neg", ["x"], ["y"])])]
    for n in range(1, depth):
        body = [
            tiny_onnx.node(f"f{n - 1}", ["x"], ["t"], domain="f"),
            tiny_onnx.node(f"f{n - 1}", ["t"], ["y"], domain="f"),
        ]
        functions.append(tiny_onnx.function("f", f"f{n}", ["x"], ["y"], body))
    last = node(f"f{depth - 1}", ["a"], domain="f")
    return model([last], {"a": whole(1)}, functions=functions, domains=["f"])


def cycle() -> bytes:
    """Return a model with two functions that call each other, one of them in a branch."""
    call = tiny_onnx.node("f0", ["x"], ["z"], domain="f")
    inner = tiny_onnx.graph([call], [], [tiny_onnx.value("z", "int64", [None])], {})
    branch = tiny_onnx.node("If", ["x"], ["y"], then_branch=inner, else_branch=inner)
    functions = [
        tiny_onnx.function("f", "f0", ["x"], ["y"], [tiny_onnx.node("f1", "x", "y", domain="f")]),
        tiny_onnx.function("f", "f1", ["x"], ["y"], [branch]),
    ]
    return model([node("f0", ["a"], domain="f")], {"a": whole(1)}, functions=functions)


def called_often(times: int) -> bytes:
    """Return a model whose graph calls one function many times."""
    body = [tiny_onnx.node("Neg", ["x"], [f"y{n}"]) for n in range(1000)]
    functions = [tiny_onnx.function("f", "f0", ["x"], ["y0"], body)]
    nodes = [node("f0", ["a"], [f"o{n}"], domain="f") for n in range(times)]
    return model(nodes, {"a": whole(1)}, functions=functions, domains=["f"])


def sparse(size: int) -> bytes:
    """Return a node whose constant is a sparse tensor."""
    numbers = tiny_onnx.tensor(np.ones(1, np.float32)), tiny_onnx.tensor(np.zeros(1, np.int64))
    dims = tiny_onnx._field(3, size)
    tensor = tiny_onnx._field(1, numbers[0]) + tiny_onnx._field(2, numbers[1]) + dims
    attribute = tiny_onnx._field(1, "sparse_value") + tiny_onnx._field(22, tensor)
    attribute += tiny_onnx._field(20, 11)
    return tiny_onnx.node("Constant", [], ["y"]) + tiny_onnx._field(5, attribute)


def stated(*sizes: int) -> bytes:
    """Return a model with a constant of sizes that it does not hold."""
    right = tiny_onnx.tensor(whole(1), "w")
    dims = b"".join(tiny_onnx._field(1, size) for size in sizes)
    wrong = dims + right[2:]
    graph = tiny_onnx.graph(
        [tiny_onnx.node("Identity", ["w"], ["y"])], [], [tiny_onnx.value("y", "int64", [None])], {}
    )
    graph += tiny_onnx._field(5, wrong)
    return (
        tiny_onnx._field(1, 8)
        + tiny_onnx._field(7, graph)
        + tiny_onnx._field(8, tiny_onnx._field(1, "") + tiny_onnx._field(2, 17))
    )


DIVISION = {"a": whole(LEAST), "b": whole(-1)}
LARGE = {"a": whole(1), "s": whole(HUGE)}
WEIGHTS = {"w": np.zeros((1, 3, 1), np.float32), "r": np.zeros((1, 3, 1), np.float32)}
INNER = tiny_onnx.graph(
    [tiny_onnx.node("Div", ["a", "b"], ["z"])], [], [tiny_onnx.value("z", "int64", [None])], {}
)
OTHER = tiny_onnx.graph(
    [tiny_onnx.node("Identity", ["a"], ["z"])], [], [tiny_onnx.value("z", "int64", [None])], {}
)

REFUSED = {
    "division": (model([node("Div", "ab")], DIVISION), f"divides {LEAST} by -1, which ends the p"),
    "division-32": (
        model([node("Div", "ab")], {"a": np.array([-(2**31)], np.int32), "b": np.int32([-1])}),
        f"divides {-(2**31)} by -1, which ends the process",
    ),
    "division-of-constant-nodes": (
        model(
            [
                node("Constant", "", ["a"], value=whole(LEAST)),
                node("Constant", "", ["b"], value_ints=[-1]),
                node("Div", "ab"),
            ]
        ),
        "by -1, which ends the process",
    ),
    "division-computed": (
        model(
            [node("Sub", "zo", ["b"]), node("Div", "ab")],
            {**DIVISION, "z": whole(0), "o": whole(1)},
        ),
        "by -1, which ends the process",
    ),
    "division-passed-on": (
        model([node("Identity", "b", ["c"]), node("Div", "ac")], DIVISION),
        "by -1, which ends the process",
    ),
    "division-in-a-branch": (
        model(
            [node("If", "c", then_branch=INNER, else_branch=OTHER)],
            {**DIVISION, "c": np.array([True])},
        ),
        "by -1, which ends the process",
    ),
    "constant-of-shape": (model([node("ConstantOfShape", "s")], LARGE), GIB),
    "expand": (model([node("Expand", "as")], LARGE), GIB),
    "tile": (model([node("Tile", "as")], LARGE), GIB),
    "range": (
        model([node("Range", "asd")], {k: np.int64(v) for k, v in zip("asd", (0, HUGE, 1))}),  # noqa: B905
        GIB,
    ),
    "one-hot": (
        model([node("OneHot", "isv")], {"i": whole(0), "s": whole(HUGE), "v": whole(0, 1)}),
        GIB,
    ),
    "random": (model([node("RandomNormal", "", shape=[HUGE])]), GIB),
    "pad": (model([node("Pad", "ap")], {"a": whole(1), "p": whole(0, HUGE)}), GIB),
    "resize": (
        model(
            [node("Resize", ["a", "", "", "s"])],
            {"a": np.ones((1, 1, 1, 1), np.float32), "s": whole(1, 1, 1 << 14, 1 << 14)},
        ),
        GIB,
    ),
    "concat": (model(doubled(28), {"a": whole(1)}), GIB),
    "broadcast": (
        model(
            [
                node("ConstantOfShape", "s", ["c"]),
                node("ConstantOfShape", "t", ["d"]),
                node("Mul", "cd"),
            ],
            {"s": whole(1 << 14, 1), "t": whole(1, 1 << 14)},
        ),
        GIB,
    ),
    "gather": (
        model(
            [node("ConstantOfShape", "s", ["i"]), node("Gather", "wi")],
            {"s": whole(1 << 14), "w": np.zeros((1, 1 << 14), np.int64)},
        ),
        GIB,
    ),
    "sum": (  # none of them alone
        model([node("ConstantOfShape", "s", [f"t{n}"]) for n in range(9)], {"s": whole(1 << 24)}),
        GIB,
    ),
    "sparse": (model([sparse(HUGE)]), GIB),
    "product": (
        model(
            [node("ConstantOfShape", "s", ["c"]), node("MatMul", "cc")], {"s": whole(6000, 6000)}
        ),
        "multiplies constants 216,000,000,000 times when the model is opened",
    ),
    "functions": (calls(18), "'f16' becomes 196,606 nodes when those that it calls are put in"),
    "functions-in-a-circle": (cycle(), "the function 'f[01]' calls itself"),
    "functions-of-the-graph": (called_often(100), "the graph becomes 100,100 nodes when those"),
    "gru": (
        model(
            [node("GRU", "xwr", hidden_size=1)], {**WEIGHTS, "x": np.zeros((0, 1, 1), np.float32)}
        ),
        r"runs on a constant \[0, 1, 1\], which ends the process",
    ),
    "gru-behind-an-empty-input": (
        tiny_onnx.model(
            [tiny_onnx.node("GRU", ["x", "w", "r"], ["y"], hidden_size=1)],
            [tiny_onnx.value("x", "float32", [0, "batch", 1])],
            [tiny_onnx.value("y", "float32", [None] * 4)],
            WEIGHTS,
        ),
        r"x: has the sizes \[0, batch, 1\], and a recurrent operator ends the process",
    ),
    "sizes": (stated(2**63 - 1), r"w: a constant cannot have the sizes \[9223372036854775807\]"),
    "product-of-sizes": (stated(2**62, 4), "w: a constant cannot have the sizes"),
    "negative-size": (stated(-1), r"w: a constant cannot have the sizes \[-1\]"),
}


@pytest.mark.parametrize(("content", "words"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("kind", ["bytes", "path"])
def test_what_opening_must_not_compute_is_refused(content, words, kind, tmp_path, capfd):
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    given = content if kind == "bytes" else path
    with pytest.raises(ModelError, match=words) as refused:
        Session(given, engine="onnxruntime", threads=1)
    assert str(refused.value).startswith("the model: " if kind == "bytes" else f"{path}: ")
    assert "\n" not in str(refused.value)
    assert capfd.readouterr() == ("", "")


TAKEN = {
    "division": model([node("Div", "ab")], {"a": whole(7), "b": whole(-1)}),
    "division-of-least": model([node("Div", "ab")], {"a": whole(LEAST), "b": whole(2)}),
    "small": model([node("ConstantOfShape", "s", value=whole(0))], {"s": whole(1 << 10)}),
    "doubled": model(doubled(10), {"a": whole(1)}),
    "written": model([node("Identity", "w")], {"w": np.zeros(1 << 12, np.int64)}),
}


@pytest.mark.parametrize("content", TAKEN.values(), ids=TAKEN)
def test_what_models_do_compute_is_taken(content):
    session = Session(content, engine="onnxruntime", threads=1)
    assert session.engine.session.run(None, {})[0].dtype == np.int64


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_recurrent_models_are_taken(cell):
    check_opening(Tiny(cell).content, "the model")


def test_functions_that_call_others_are_taken():
    check_opening(calls(10), "the model")


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff" * 100, struct.pack("<Q", 5)])
def test_what_is_no_model_is_left_to_the_engine(content):
    check_opening(content, "the model")
    with pytest.raises(ModelError, match="cannot be opened by ONNX Runtime"):
        Session(content, engine="onnxruntime")


def test_a_large_file_is_mapped(tmp_path, monkeypatch):
    monkeypatch.setattr("rnnedge_runtime.onnx_file._MAPPED", 0)
    (tmp_path / "m.onnx").write_bytes(REFUSED["tile"][0])
    with pytest.raises(ModelError, match="Tile"):
        Session(tmp_path / "m.onnx", engine="onnxruntime")
    (tmp_path / "m.onnx").unlink()
