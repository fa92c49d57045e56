"""Tiny ONNX models, made node by node."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

_TYPES = {"f": TensorProto.FLOAT, "i": TensorProto.INT64, "b": TensorProto.BOOL}


def model(nodes, inputs, outputs=("y",), weights=None, opset=18):
    """Return the bytes of a model.

    Args:
        nodes: (operator, inputs, outputs, attributes) each.
        inputs: Name to axes; a name that begins with `i_` is int64, with `b_` bool.
        outputs: Names; their dtype likewise.
        weights: Name to array.
        opset: Version of the operator set.
    """

    def info(name, axes):
        return helper.make_tensor_value_info(
            name, _TYPES[name[0] if name[:2] in ("i_", "b_") else "f"], axes
        )

    graph = helper.make_graph(
        [
            helper.make_node(operator, list(given), list(made), name=f"{operator}_{index}", **rest)
            for index, (operator, given, made, rest) in enumerate(nodes)
        ],
        "small",
        [info(name, axes) for name, axes in inputs.items()],
        [info(name, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return made.SerializeToString()


def one(operator, shape=("batch", "time", 4), **attributes):
    """Return a model of one operator of one input."""
    return model([(operator, ["x"], ["y"], attributes)], {"x": shape})


def normal(*shape, seed=0):
    """Return float32 numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def parse(content):
    """Return a ModelProto."""
    return onnx.load_from_string(content)
