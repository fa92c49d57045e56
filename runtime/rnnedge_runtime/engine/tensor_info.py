"""What ONNX Runtime reports of a graph's input or output, as a `TensorSpec`."""

from __future__ import annotations

from typing import Protocol

from rnnedge_runtime.contract import Axis, TensorSpec

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(bool)": "bool",
}


class TensorInfo(Protocol):
    """One entry of `InferenceSession.get_inputs()` or `get_outputs()`."""

    name: str
    type: str
    shape: list[int | str | None]


def tensor_spec(info: TensorInfo) -> TensorSpec:
    """Return the name, dtype and axes of an input or output.

    An axis without a name gets a unique one, such as `input.0`. A dtype that numpy does not have
    keeps ONNX Runtime's name, such as `tensor(string)`.
    """
    axes: list[Axis] = []
    for position, size in enumerate(info.shape):
        dynamic = size is None or size == "" or size == -1
        axes.append(f"{info.name}.{position}" if dynamic or size is None else size)
    return TensorSpec(info.name, _DTYPES.get(info.type, info.type), tuple(axes))
