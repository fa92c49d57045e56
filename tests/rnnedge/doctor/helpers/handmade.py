"""Models as other exporters write them, and models with one thing wrong, node by node."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Axes = Sequence[int | str | None]
FLOAT = TensorProto.FLOAT
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def random(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    """Return float32 numbers like those of a trained layer."""
    return (np.random.default_rng(seed).standard_normal(shape) * 0.5).astype(np.float32)


def value(name: str, axes: Axes, kind: int = FLOAT) -> onnx.ValueInfoProto:
    """Declare an input or output."""
    return helper.make_tensor_value_info(name, kind, axes)


def build(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    weights: dict[str, NDArray[Any]],
    *,
    opset: int = 17,
    domains: Sequence[str] = (),
) -> onnx.ModelProto:
    """Make a model."""
    tensors = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "handmade", inputs, outputs, tensors)
    imports = [helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8, producer_name="handmade")


def save(model: onnx.ModelProto, folder: Path, name: str = "model.onnx") -> Path:
    """Write a model."""
    path = folder / name
    path.write_bytes(model.SerializeToString())
    return path


def recurrent_weights(
    op: str,
    *,
    features: int = 3,
    hidden: int = 4,
    directions: int = 1,
    prefix: str = "",
    seed: int = 0,
) -> dict[str, NDArray[np.float32]]:
    """Make W, R and B of an operator, by those names behind `prefix`."""
    rows = GATES[op] * hidden
    return {
        f"{prefix}W": random(directions, rows, features, seed=seed),
        f"{prefix}R": random(directions, rows, hidden, seed=seed + 1),
        f"{prefix}B": random(directions, 2 * rows, seed=seed + 2),
    }


def plain(
    op: str,
    *,
    states: bool = False,
    axes: Axes = ("time", "batch", 3),
    opset: int = 17,
    **options: Any,
) -> onnx.ModelProto:
    """Make one operator over [time, batch, features] with PyTorch's output and final states."""
    number = 2 if op == "LSTM" else 1
    names = ["h", "c"][:number]
    directions = 2 if options.get("direction") == "bidirectional" else 1
    initial = [f"{n}_0" for n in names] if states else []
    inputs = ["x", "W", "R", "B", "", *initial] if states else ["x", "W", "R", "B"]
    finals = [f"{n}_n" for n in names]
    node = helper.make_node(
        op, inputs, ["Y", *finals], name=f"{op.lower()}_1", hidden_size=4, **options
    )
    movement = [helper.make_node("Squeeze", ["Y", "one"], ["y"])]
    if directions == 2:
        movement = [
            helper.make_node("Transpose", ["Y"], ["t"], perm=[0, 2, 1, 3]),
            helper.make_node("Reshape", ["t", "flat"], ["y"]),
        ]
    constants = {"one": np.array([1], np.int64), "flat": np.array([0, 0, -1], np.int64)}
    state = [value(name, [directions, axes[1], 4]) for name in (*initial, *finals)]
    return build(
        [node, *movement],
        [value("x", axes), *state[: len(initial)]],
        [value("y", [axes[0], axes[1], 4 * directions]), *state[len(initial) :]],
        {**recurrent_weights(op, directions=directions), **constants},
        opset=opset,
    )


def keras(op: str, *, reset_after: bool = True, whole: bool = True) -> onnx.ModelProto:
    """Make what tf2onnx makes of a Keras layer: batch first, `Transpose` on both sides.

    Args:
        op: The operator.
        reset_after: Of a GRU.
        whole: Whether all steps are returned (`return_sequences`), or the last one.
    """
    options: dict[str, Any] = {"hidden_size": 4}
    if op == "GRU":
        options["linear_before_reset"] = int(reset_after)
    scope = f"model/{op.lower()}"
    weights = recurrent_weights(op, prefix=f"{scope}/")
    weights = {f"{name}__{i}": w for i, (name, w) in enumerate(weights.items())}
    finals = [f"{scope}/Y_h", f"{scope}/Y_c"][: 2 if op == "LSTM" else 1]
    nodes = [
        helper.make_node("Transpose", ["x:0"], [f"{scope}/x"], perm=[1, 0, 2]),
        helper.make_node(
            op, [f"{scope}/x", *weights], [f"{scope}/Y", *finals], name=f"{scope}/{op}", **options
        ),
    ]
    if whole:
        nodes += [
            helper.make_node("Squeeze", [f"{scope}/Y", "axes"], [f"{scope}/squeezed"]),
            helper.make_node("Transpose", [f"{scope}/squeezed"], ["Identity:0"], perm=[1, 0, 2]),
        ]
        axes: Axes = ["unk__6", "unk__7", 4]
    else:
        nodes.append(helper.make_node("Squeeze", [f"{scope}/Y_h", "axes"], ["Identity:0"]))
        axes = ["unk__6", 4]
    weights["axes"] = np.array([1 if whole else 0], np.int64)
    return build(
        nodes, [value("x:0", ["unk__6", "unk__7", 3])], [value("Identity:0", axes)], weights
    )


def two_ways() -> onnx.ModelProto:
    """Make a bidirectional LSTM as two operators, one reversed, whose outputs are joined."""
    weights = recurrent_weights("LSTM", prefix="f/") | recurrent_weights(
        "LSTM", prefix="b/", seed=9
    )
    nodes = [
        helper.make_node(
            "LSTM",
            ["x", f"{p}/W", f"{p}/R", f"{p}/B"],
            [f"{p}/Y"],
            name=p,
            hidden_size=4,
            direction=d,
        )
        for p, d in (("f", "forward"), ("b", "reverse"))
    ]
    nodes += [helper.make_node("Squeeze", [f"{p}/Y", "one"], [f"{p}/y"]) for p in "fb"]
    nodes.append(helper.make_node("Concat", ["f/y", "b/y"], ["y"], axis=2))
    return build(
        nodes,
        [value("x", ["time", "batch", 3])],
        [value("y", ["time", "batch", 8])],
        {**weights, "one": np.array([1], np.int64)},
    )


def with_head(
    between: Sequence[onnx.NodeProto] = (),
    weights: dict[str, NDArray[Any]] | None = None,
    *,
    op: str = "RNN",
    layers: int = 1,
    domains: Sequence[str] = (),
    opset: int = 17,
) -> onnx.ModelProto:
    """Make layers of `op` and a linear head; `between` makes `b` of `a`, in front of the head."""
    nodes, made = [], dict(weights or {})
    x = "x"
    for i in range(layers):
        own = recurrent_weights(op, features=4 if i else 3, prefix=f"l{i}/", seed=i)
        nodes += [
            helper.make_node(op, [x, *own], [f"l{i}/Y"], name=f"stack/l{i}/{op}", hidden_size=4),
            helper.make_node("Squeeze", [f"l{i}/Y", "one"], [f"l{i}/y"]),
        ]
        made |= own
        x = f"l{i}/y"
    nodes.append(helper.make_node("Identity", [x], ["a"]))
    nodes += between
    nodes.append(helper.make_node("MatMul", ["b" if between else "a", "head"], ["y"], name="head"))
    return build(
        nodes,
        [value("x", ["time", "batch", 3])],
        [value("y", ["time", "batch", 2])],
        {**made, "one": np.array([1], np.int64), "head": random(4, 2)},
        domains=domains,
        opset=opset,
    )
