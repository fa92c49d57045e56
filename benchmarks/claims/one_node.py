"""Models of one recurrent operator, written with the onnx package alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from rnnedge_exporters.sandbox.onnx_runtime import Answer
from rnnedge_exporters.sandbox.other_runtimes import RUNNABLE, OtherRuntime
from rnnedge_runtime.engine.library import onnxruntime

Array = NDArray[Any]
GATES = {"RNN": 1, "LSTM": 4, "GRU": 3}
FEATURES, HIDDEN = 3, 4
NAMES = {
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "tract": "tract",
    "onnx.reference": "onnx.reference",
}


def write_node(
    path: Path, operator: str, *, lengths: bool = False, activations: Sequence[str] = ()
) -> None:
    """Write a model with inputs X, [sequence_lens,] initial_h and outputs Y, Y_h."""
    random = np.random.default_rng(0)
    rows = GATES[operator] * HIDDEN
    weights = {
        "W": random.uniform(-1, 1, (1, rows, FEATURES)),
        "R": random.uniform(-1, 1, (1, rows, HIDDEN)),
        "B": random.uniform(-1, 1, (1, 2 * rows)),
    }
    options: dict[str, Any] = {"hidden_size": HIDDEN}
    if operator == "GRU":
        options["linear_before_reset"] = 1
    if activations:
        options["activations"] = list(activations)
    taken = ["X", "W", "R", "B", "sequence_lens" if lengths else "", "initial_h"]
    node = helper.make_node(operator, taken, ["Y", "Y_h"], name=operator, **options)
    real = TensorProto.FLOAT
    inputs = [helper.make_tensor_value_info("X", real, ["time", "batch", FEATURES])]
    if lengths:
        inputs.append(helper.make_tensor_value_info("sequence_lens", TensorProto.INT32, ["batch"]))
    inputs.append(helper.make_tensor_value_info("initial_h", real, [1, "batch", HIDDEN]))
    outputs = [
        helper.make_tensor_value_info("Y", real, ["time", 1, "batch", HIDDEN]),
        helper.make_tensor_value_info("Y_h", real, [1, "batch", HIDDEN]),
    ]
    constants = [
        numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()
    ]
    graph = helper.make_graph([node], operator, inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)


def feeds(time: int, batch: int, lengths: Sequence[int] = ()) -> dict[str, Array]:
    """Return inputs; the initial state is not zero."""
    random = np.random.default_rng(1)
    given: dict[str, Array] = {
        "X": random.standard_normal((time, batch, FEATURES)).astype(np.float32),
        "initial_h": random.uniform(-1, 1, (1, batch, HIDDEN)).astype(np.float32),
    }
    if lengths:
        given["sequence_lens"] = np.array(lengths, np.int32)
    return given


def run(runtime: str, path: Path, given: Mapping[str, Array]) -> Answer:
    """Run a model once; a runtime that is not ONNX Runtime in a child process."""
    if runtime == "onnxruntime":
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return Answer(dict(zip(names, session.run(None, dict(given)), strict=True)))
    with OtherRuntime(runtime, 60) as other:
        return other.run(path, dict(given))


def named(runtime: str) -> str:
    """Return a runtime's name and version."""
    if runtime == "onnxruntime":
        return f"ONNX Runtime {onnxruntime.__version__}"
    return f"{NAMES[runtime]} {RUNNABLE[runtime].version()}"


def installed() -> list[str]:
    """Return the runtimes that are installed here, without ONNX Runtime."""
    return [name for name in NAMES if name in RUNNABLE and RUNNABLE[name].version()]
