"""ONNX files that rnnedge did not make: of torch's exporters, and made by hand."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

Arrays = dict[str, NDArray[Any]]
GATES = {"RNN": 1, "LSTM": 4, "GRU": 3}


class Tagger(nn.Module):
    """Scores each token of a sequence, or with `last` a whole sequence."""

    def __init__(self, cell: str, hidden: int, *, last: bool = False, **options: Any) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 16)
        self.rnn = getattr(nn, cell)(16, hidden, batch_first=True, **options)
        self.head = nn.Linear(hidden * (1 + self.rnn.bidirectional), 30)
        self.last = last

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output, state = self.rnn(self.embed(x))
        if self.last:
            return self.head(state[0][0] if isinstance(state, tuple) else state[0])
        return self.head(output)


def tagger(path: Path, cell: str, hidden: int, **options: Any) -> Path:
    """Export a `Tagger` with torch's older exporter."""
    torch.manual_seed(0)
    example = torch.zeros(2, 7, dtype=torch.long)
    model = Tagger(cell, hidden, **options)
    return torchscript(path, model, example, {"x": {0: "batch", 1: "time"}})


def torchscript(path: Path, module: nn.Module, example: torch.Tensor, axes: Any) -> Path:
    """Export with torch's older exporter."""
    with _quiet():
        torch.onnx.export(
            module.eval(), (example,), path, dynamo=False, opset_version=17, dynamic_axes=axes,
            input_names=["x"], output_names=["y"],
        )  # fmt: skip
    return path


def dynamo(path: Path, module: nn.Module, example: torch.Tensor, axes: Any) -> Path:
    """Export with torch's newer exporter, as it translates it."""
    with _quiet():
        torch.onnx.export(
            module.eval(), (example,), path, dynamo=True, optimize=False, verbose=False,
            external_data=False, dynamic_shapes=(axes,),
        )  # fmt: skip
    return path


@contextlib.contextmanager
def _quiet() -> Any:
    level = logging.root.manager.disable
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable()
        try:
            yield
        finally:
            logging.disable(level)


def node_file(
    path: Path,
    op: str,
    *,
    hidden: int = 16,
    features: int = 5,
    opset: int = 17,
    bias: bool = True,
    lengths: bool = False,
    states: bool = False,
    peepholes: bool = False,
    outputs: int = 3,
    dtype: Any = np.float32,
    **attributes: Any,
) -> Path:
    """Write a file of one recurrent node `rnn`: x (lengths, h, c) to Y, Y_h (and Y_c).

    Args:
        path: The file.
        op: `RNN`, `LSTM` or `GRU`.
        hidden: Features of the state.
        features: Features of the input.
        opset: Version of the operator set.
        bias: Whether it has biases.
        lengths: Whether it has lengths.
        states: Whether it has initial states.
        peepholes: Whether an LSTM has peepholes.
        outputs: How many outputs it gives.
        dtype: Of the weights, and of what is computed.
        attributes: Attributes of the node.
    """
    random = np.random.default_rng(0)
    ways = 2 if attributes.get("direction") == "bidirectional" else 1
    rows = GATES[op] * hidden
    shapes = {"W": (ways, rows, features), "R": (ways, rows, hidden)}
    shapes |= {"B": (ways, 2 * rows)} if bias else {}
    shapes |= {"P": (ways, 3 * hidden)} if peepholes else {}
    scale = hidden**-0.5
    weights = {
        name: (random.uniform(-1, 1, shape) * scale).astype(dtype) for name, shape in shapes.items()
    }
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    batch_first = attributes.get("layout") == 1
    axes = ["batch", "time"] if batch_first else ["time", "batch"]
    inputs = [helper.make_tensor_value_info("x", kind, [*axes, features])]
    if lengths:
        inputs.append(helper.make_tensor_value_info("lengths", TensorProto.INT32, ["batch"]))
    names = ["h", "c"][: 1 + (op == "LSTM")] if states else []
    state = ["batch", ways, hidden] if batch_first else [ways, "batch", hidden]
    inputs += [helper.make_tensor_value_info(name, kind, state) for name in names]
    slots = ["x", "W", "R", "B" * bias, "lengths" * lengths, *names]
    slots += ["", ""][len(names) :] if peepholes else []
    slots += ["P"] * peepholes
    given = ["Y", "Y_h", "Y_c"][: min(outputs, 2 + (op == "LSTM"))]
    node = helper.make_node(op, slots, given, name="rnn", hidden_size=hidden, **attributes)
    made = [helper.make_tensor_value_info(name, kind, None) for name in given]
    constants = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    old = opset < 9  # then an initializer had to be an input
    inputs += [
        helper.make_tensor_value_info(name, kind, array.shape)
        for name, array in weights.items()
        if old
    ]
    graph = helper.make_graph([node], "g", inputs, made, constants)
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=opsets, producer_name="hand")
    model.ir_version = 3 if old else 8
    onnx.save(model, path)
    return path


def scan_file(path: Path, size: int = 512) -> Path:
    """Write a plain recurrence as a `Scan`, whose body takes the weights from around it."""
    random = np.random.default_rng(0)
    weights = (random.standard_normal((size, size)) * size**-0.5).astype(np.float32)
    axes = ["batch", size]
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [
            helper.make_node("MatMul", ["h", "R"], ["product"]),
            helper.make_node("Add", ["product", "x_t"], ["sum"]),
            helper.make_node("Tanh", ["sum"], ["h_new"]),
            helper.make_node("Identity", ["h_new"], ["y_t"]),
        ],
        "step",
        [value("h", TensorProto.FLOAT, axes), value("x_t", TensorProto.FLOAT, axes)],
        [value("h_new", TensorProto.FLOAT, axes), value("y_t", TensorProto.FLOAT, axes)],
    )
    graph = helper.make_graph(
        [helper.make_node("Scan", ["h_0", "x"], ["h_n", "y"], body=body, num_scan_inputs=1)],
        "g",
        [value("x", TensorProto.FLOAT, ["time", *axes]), value("h_0", TensorProto.FLOAT, axes)],
        [value("y", TensorProto.FLOAT, ["time", *axes]), value("h_n", TensorProto.FLOAT, axes)],
        [numpy_helper.from_array(weights, "R")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, path)
    return path


def product_file(path: Path, op: str, *shape: int, addend: str = "") -> Path:
    """Write a file of one `MatMul` or `Gemm`; `addend` is nothing, `constant` or `input`."""
    random = np.random.default_rng(0)
    weights = random.standard_normal(shape).astype(np.float32)
    value = helper.make_tensor_value_info
    axes = [*shape[:-2], "batch", shape[-2]]
    inputs = [value("x", TensorProto.FLOAT, axes)]
    constants = [numpy_helper.from_array(weights, "B")]
    if addend == "input":
        inputs.append(value("C", TensorProto.FLOAT, ["batch", shape[-1]]))
    elif addend:
        constants.append(numpy_helper.from_array(weights[0], "C"))
    node = helper.make_node(op, ["x", "B"] + ["C"] * bool(addend), ["y"], name="score")
    out = [value("y", TensorProto.FLOAT, [*axes[:-1], shape[-1]])]
    graph = helper.make_graph([node], "g", inputs, out, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, path)
    return path


def run(path: Path, inputs: Arrays) -> Arrays:
    """Run a file in ONNX Runtime, with one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    names = [made.name for made in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def far(one: Arrays, other: Arrays) -> float:
    """Return the largest difference of any output."""
    assert {n: a.shape for n, a in one.items()} == {n: a.shape for n, a in other.items()}
    return max(float(np.abs(one[name] - other[name]).max()) for name in one)


def floats(*shape: int) -> NDArray[np.float32]:
    """Return standard normal numbers with a fixed seed."""
    return np.random.default_rng(shape).standard_normal(shape).astype(np.float32)
