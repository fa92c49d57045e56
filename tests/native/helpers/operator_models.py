"""Tiny models of every operator of the native engine, and shapes to run them at."""

import numpy as np
from small_models import model, normal, one

W = {"w": normal(4, 6, seed=1), "b": normal(6, seed=2)}
X = {"x": ("batch", "time", 4)}


def ints(*values):
    return np.array(values, np.int64)


def conv(features=4, units=6, kernel=3, groups=1, bias=True, **attributes):
    weights = {"w": normal(units, features // groups, kernel, seed=3), "b": normal(units, seed=4)}
    nodes = [
        ("Transpose", ["x"], ["t"], {"perm": [0, 2, 1]}),
        ("Conv", ["t", "w", *(["b"] if bias else [])], ["c"], {"group": groups, **attributes}),
        ("Transpose", ["c"], ["y"], {"perm": [0, 2, 1]}),
    ]
    return model(nodes, X, weights=weights)


def recurrent(operator, gates, *, directions=1, bias=True, **attributes):
    hidden = 5
    weights = {
        "w": normal(directions, gates * hidden, 4, seed=1) / 2,
        "r": normal(directions, gates * hidden, hidden, seed=2) / 2,
        "b": normal(directions, 2 * gates * hidden, seed=3) / 2,
    }
    nodes = [
        ("Transpose", ["x"], ["t"], {"perm": [1, 0, 2]}),
        (
            operator,
            ["t", "w", "r", *(["b"] if bias else [])],
            ["y", "h"],
            {"hidden_size": hidden, **attributes},
        ),
    ]
    return model(nodes, X, ("y", "h"), weights)


def chain(*nodes, weights=None, outputs=("y",), inputs=X):
    return model(nodes, inputs, outputs, weights)


MODELS = {
    **{
        name: one(name)
        for name in (
            *("Abs", "Elu", "Erf", "Exp", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu"),
            *("LogSoftmax", "Neg", "Reciprocal", "Relu", "Sigmoid", "Softmax", "Softplus", "Tanh"),
        )
    },
    "leaky_relu_slope": one("LeakyRelu", alpha=0.3),
    "softmax_over_time": one("Softmax", axis=1),
    "clip": chain(
        ("Clip", ["x", "low", "high"], ["y"], {}),
        weights={"low": np.float32(-0.5).reshape(()), "high": np.float32(0.3).reshape(())},
    ),
    "clip_above": chain(
        ("Clip", ["x", "", "high"], ["y"], {}), weights={"high": np.float32(0.3).reshape(())}
    ),
    "sqrt_log": chain(
        ("Abs", ["x"], ["a"], {}),
        ("Sqrt", ["a"], ["s"], {}),
        ("Add", ["s", "one"], ["p"], {}),
        ("Log", ["p"], ["y"], {}),
        weights={"one": np.ones(1, np.float32)},
    ),
    "matmul_add": chain(
        ("MatMul", ["x", "w"], ["m"], {}), ("Add", ["b", "m"], ["y"], {}), weights=W
    ),
    "matmul_add_tanh": chain(
        ("MatMul", ["x", "w"], ["m"], {}),
        ("Add", ["m", "b"], ["a"], {}),
        ("Tanh", ["a"], ["y"], {}),
        weights=W,
    ),
    "matmul_used_twice": chain(
        ("MatMul", ["x", "w"], ["m"], {}),
        ("Relu", ["m"], ["r"], {}),
        ("Mul", ["m", "r"], ["y"], {}),
        weights=W,
    ),
    "matmul_of_a_transpose": chain(
        ("Transpose", ["x"], ["t"], {"perm": [1, 0, 2]}),
        ("MatMul", ["t", "w"], ["y"], {}),
        weights=W,
    ),
    "gemm": model(
        [("Gemm", ["x", "w", "b"], ["y"], {"alpha": 0.5, "beta": 2.0, "transB": 1})],
        {"x": ("batch", 4)},
        weights={"w": normal(6, 4), "b": normal(6)},
    ),
    "gemm_scalar_bias": model(
        [("Gemm", ["x", "w", "b"], ["y"], {})],
        {"x": ("batch", 4)},
        weights={"w": normal(4, 6), "b": normal(1)},
    ),
    **{
        f"{name.lower()}_broadcast": chain(
            ("Transpose", ["x"], ["t"], {"perm": [0, 2, 1]}),
            (name, ["t", "v"], ["y"], {}),
            weights={"v": np.abs(normal(4, 1)) + 1},
        )
        for name in ("Add", "Sub", "Mul", "Div", "Min", "Max")
    },
    "two_computed": chain(
        ("Tanh", ["x"], ["a"], {}),
        ("ReduceMean", ["x", "axes"], ["m"], {}),
        ("Sub", ["a", "m"], ["y"], {}),
        weights={"axes": ints(1)},
    ),
    "power": chain(
        ("Pow", ["x", "two"], ["a"], {}),
        ("Pow", ["a", "half"], ["b"], {}),
        ("Pow", ["b", "third"], ["y"], {}),
        weights={
            "two": np.array(2, np.float32),
            "half": np.array(0.5, np.float32),
            "third": np.array([1 / 3], np.float32),
        },
    ),
    "where": chain(
        ("Greater", ["x", "zero"], ["c"], {}),
        ("Neg", ["x"], ["n"], {}),
        ("Where", ["c", "x", "n"], ["y"], {}),
        weights={"zero": np.zeros(1, np.float32)},
    ),
    "slice_backwards": chain(
        ("Slice", ["x", "s", "e", "a", "k"], ["y"], {}),
        weights={"s": ints(-1), "e": ints(-(2**62)), "a": ints(1), "k": ints(-1)},
    ),
    "slice_every_second": chain(
        ("Slice", ["x", "s", "e", "a", "k"], ["y"], {}),
        weights={"s": ints(1, 0), "e": ints(2**62, 3), "a": ints(2, 1), "k": ints(2, 1)},
    ),
    "split_concat": chain(
        ("Split", ["x", "sizes"], ["a", "b"], {"axis": 2}),
        ("Tanh", ["a"], ["t"], {}),
        ("Concat", ["b", "t", "x"], ["y"], {"axis": -1}),
        weights={"sizes": ints(1, 3)},
    ),
    "last_step": chain(
        ("Gather", ["x", "last"], ["y"], {"axis": 1}), weights={"last": ints(-1)[0]}
    ),
    "picked_features": chain(
        ("Gather", ["x", "at"], ["y"], {"axis": 2}), weights={"at": ints(3, 0, 0, 2)}
    ),
    "reshape_by_shape": chain(
        ("Shape", ["x"], ["s"], {"start": 0, "end": 2}),
        ("Concat", ["s", "two"], ["n"], {"axis": 0}),
        ("Reshape", ["x", "n"], ["y"], {}),
        weights={"two": ints(2, 2)},
    ),
    "squeeze_unsqueeze": chain(
        ("Unsqueeze", ["x", "axes"], ["u"], {}),
        ("Expand", ["u", "shape"], ["e"], {}),
        ("Flatten", ["e"], ["y"], {"axis": 2}),
        weights={"axes": ints(1), "shape": ints(1, 3, 1, 1)},
    ),
    "pad": chain(
        ("Pad", ["x", "pads", "value"], ["y"], {}),
        weights={"pads": ints(0, 2, 0, 0, 1, 1), "value": np.array(0.5, np.float32)},
    ),
    **{
        f"{name.lower()}_{'_'.join(map(str, axes))}": chain(
            (name, ["x", "axes"], ["y"], {"keepdims": keep}), weights={"axes": ints(*axes)}
        )
        for name in ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum", "ReduceL2")
        for axes, keep in (((1,), 0), ((2,), 1), ((0, 2), 0))
    },
    "layer_norm": chain(
        ("LayerNormalization", ["x", "s", "b"], ["y"], {"epsilon": 1e-3}),
        weights={"s": normal(4), "b": normal(4, seed=1)},
    ),
    "batch_norm": chain(
        ("Transpose", ["x"], ["t"], {"perm": [0, 2, 1]}),
        ("BatchNormalization", ["t", "s", "b", "m", "v"], ["y"], {}),
        weights={
            "s": normal(4),
            "b": normal(4, seed=1),
            "m": normal(4, seed=2),
            "v": np.abs(normal(4, seed=3)),
        },
    ),
    "global_pool": chain(
        ("Transpose", ["x"], ["t"], {"perm": [0, 2, 1]}), ("GlobalMaxPool", ["t"], ["y"], {})
    ),
    "prelu": chain(("PRelu", ["x", "s"], ["y"], {}), weights={"s": normal(4)}),
    "conv": conv(),
    "conv_no_bias": conv(bias=False),
    "conv_padded": conv(pads=[2, 1]),
    "conv_strided_dilated": conv(strides=[2], dilations=[3], pads=[4, 4]),
    "conv_same": conv(auto_pad="SAME_UPPER", strides=[2]),
    "conv_groups": conv(groups=2, pads=[1, 1]),
    "conv_depthwise": conv(units=4, groups=4, pads=[1, 1], dilations=[2]),
    "conv_multiplied": conv(units=8, groups=4, pads=[1, 1]),
    "conv_of_one": conv(kernel=1),
    "rnn": recurrent("RNN", 1),
    "rnn_reverse": recurrent("RNN", 1, direction="reverse", activations=["Relu"]),
    "lstm_both": recurrent("LSTM", 4, directions=2, direction="bidirectional"),
    "gru_reset_after": recurrent("GRU", 3, linear_before_reset=1),
    "gru_reset_before": recurrent("GRU", 3),
    "gru_reset_before_both": recurrent(
        "GRU", 3, directions=2, direction="bidirectional", bias=False
    ),
    "embedding": model(
        [("Gather", ["w", "i_x"], ["y"], {})],
        {"i_x": ("batch", "time")},
        weights={"w": normal(9, 4)},
    ),
    "cast": model(
        [
            ("Cast", ["i_x"], ["f"], {"to": 1}),
            ("Equal", ["i_x", "three"], ["c"], {}),
            ("Cast", ["c"], ["d"], {"to": 1}),
            ("Add", ["f", "d"], ["y"], {}),
        ],
        {"i_x": ("batch", "time")},
        weights={"three": ints(3)},
    ),
    "if_by_shape": chain(
        ("Shape", ["x"], ["s"], {"start": 1, "end": 2}),
        ("Less", ["s", "four"], ["c"], {}),
        ("Cast", ["c"], ["f"], {"to": 1}),
        ("Mul", ["x", "f"], ["y"], {}),
        weights={"four": ints(4)},
    ),
}
SHAPES = ((2, 9), (1, 12), (3, 10))
