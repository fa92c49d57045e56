"""Which values an operator gives for small constants, as exporters compute shapes with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from rnnedge_runtime.engine.known_constant import Inputs, KnownConstant, Values
from rnnedge_runtime.onnx_file import Node

if TYPE_CHECKING:
    from numpy.typing import NDArray


def value_of(node: Node, inputs: Inputs) -> Values:
    """Return the values of the first output of a node; None where they are not followed.

    Args:
        node: The node.
        inputs: What is known of its inputs.

    Raises:
        ValueError: And other errors of numbers, when the node is not as its operator demands.
    """
    if node.op_type == "Constant":
        return _written(node)
    if node.op_type in ("Shape", "Size"):
        shape = None if inputs[0] is None else inputs[0].shape
        if shape is None:
            return None
        found = np.array(shape, np.int64)
        return found if node.op_type == "Shape" else found.prod(keepdims=False)
    arrays = [one.values for one in inputs if one is not None and one.values is not None]
    rule = _VALUES.get(node.op_type)
    if rule is None or len(arrays) < len(inputs):
        return None
    with np.errstate(all="ignore"):
        return np.asarray(rule(node, arrays))


def _written(node: Node) -> Values:
    for name, attribute in node.attributes.items():
        if attribute.tensor is not None:
            return KnownConstant.of_tensor(attribute.tensor).values
        if name in ("value_int", "value_ints", "value_float", "value_floats"):
            return np.array(attribute.value, np.int64 if "int" in name else np.float32)
    return None


def _divided(_: Node, arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    if arrays[0].dtype.kind == "i":
        return np.array(np.fix(arrays[0] / arrays[1]), arrays[0].dtype)
    return np.asarray(arrays[0] / arrays[1])


def _reshaped(_: Node, arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return arrays[0].reshape([int(size) for size in arrays[1].ravel()])


def _unsqueezed(node: Node, arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    axes = node.get("axes") or arrays[1].ravel().tolist()
    return np.expand_dims(arrays[0], tuple(map(int, axes)))


_NUMPY = {1: np.float32, 6: np.int32, 7: np.int64, 9: np.bool_, 10: np.float16, 11: np.float64}


_VALUES: Mapping[str, Callable[[Node, Sequence[NDArray[Any]]], Any]] = {
    "Identity": lambda node, arrays: arrays[0],
    "Add": lambda node, arrays: arrays[0] + arrays[1],
    "Sub": lambda node, arrays: arrays[0] - arrays[1],
    "Mul": lambda node, arrays: arrays[0] * arrays[1],
    "Div": _divided,
    "Neg": lambda node, arrays: -arrays[0],
    "Abs": lambda node, arrays: np.abs(arrays[0]),
    "Pow": lambda node, arrays: arrays[0] ** arrays[1],
    "Max": lambda node, arrays: np.max(np.broadcast_arrays(*arrays), axis=0),
    "Min": lambda node, arrays: np.min(np.broadcast_arrays(*arrays), axis=0),
    "Where": lambda node, arrays: np.where(arrays[0], arrays[1], arrays[2]),
    "BitShift": lambda node, arrays: (
        arrays[0] << arrays[1] if node.get("direction") == "LEFT" else arrays[0] >> arrays[1]
    ),
    "Cast": lambda node, arrays: arrays[0].astype(_NUMPY[node.get("to")]),
    "Concat": lambda node, arrays: np.concatenate(arrays, int(node.get("axis", 0))),
    "Gather": lambda node, arrays: np.take(arrays[0], arrays[1], int(node.get("axis", 0))),
    "Reshape": _reshaped,
    "Squeeze": lambda node, arrays: arrays[0].squeeze(),
    "Unsqueeze": _unsqueezed,
    "Tile": lambda node, arrays: np.tile(arrays[0], arrays[1]),
    "Expand": lambda node, arrays: np.broadcast_arrays(arrays[0], np.empty(arrays[1]))[0],
}
