"""Reads an ONNX file, and infers its shapes, where a file that onnx cannot take is not an error."""

from __future__ import annotations

import os

import onnx

from rnnedge_runtime.errors import ModelError, one_line, pass_on_interruption


def load_if_readable(path: str | os.PathLike[str]) -> onnx.ModelProto | None:
    """Return what a file holds, its external data too; None where onnx cannot read it.

    ONNX Runtime may read it all the same, or says what is wrong with it.
    """
    try:
        return onnx.load(path)
    except Exception as error:  # protobuf and file errors of many kinds
        pass_on_interruption(error)
        return None


def infer_shapes(model: onnx.ModelProto) -> onnx.GraphProto:
    """Return the graph with the shapes that onnx infers; as it is where it infers none."""
    try:
        return onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except Exception as error:  # a graph that breaks inference, or is too large for it
        pass_on_interruption(error)
        return model.graph


def load(path: str | os.PathLike[str], *, external_data: bool = True) -> onnx.ModelProto:
    """Read a file.

    Args:
        path: The file.
        external_data: Whether the weights that lie in other files are read.

    Raises:
        ModelError: If onnx cannot read it, or its external data.
    """
    try:
        return onnx.load(path, load_external_data=external_data)
    except Exception as error:  # protobuf and file errors of many kinds
        pass_on_interruption(error)
        raise ModelError(f"{path}: cannot be read: {one_line(error)[:200]}") from error
