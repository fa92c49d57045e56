"""Looking inside a graph: which tensor holds the output of each layer, and where it goes wrong."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from rnnedge_runtime.contract import METADATA_KEY

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Inside:
    """The tensor of a graph that comes nearest to the output of a layer.

    Attributes:
        layer: What to call the layer.
        tensor: Name in the graph.
        values: float64 [time, batch, directions, features].
        errors: Absolute errors against PyTorch in float64, of the same shape.
    """

    layer: str
    tensor: str
    values: Array
    errors: Array


def with_every_output(model: onnx.ModelProto) -> bytes:
    """Return the model with every tensor of its main graph as an output, and without a contract."""
    opened = onnx.ModelProto()
    opened.CopyFrom(model)
    known = {output.name for output in opened.graph.output}
    for node in opened.graph.node:
        for name in node.output:
            if name and name not in known:
                opened.graph.output.append(onnx.ValueInfoProto(name=name))
                known.add(name)
    kept = [prop for prop in opened.metadata_props if prop.key != METADATA_KEY]
    del opened.metadata_props[:]
    opened.metadata_props.extend(kept)
    content: bytes = opened.SerializeToString()
    return content


def look_inside(
    tensors: Mapping[str, Array], layers: Sequence[tuple[str, Array]]
) -> Iterator[Inside]:
    """Find the output of each layer among the tensors of a graph, by its values.

    Args:
        tensors: Every tensor by name, in the order of the graph.
        layers: Names, and PyTorch's output in float64, [time, batch, directions, features].

    Yields:
        For each layer whose shape some tensor has, the nearest tensor.
    """
    for name, reference in layers:
        best: tuple[float, str, Array] | None = None
        for tensor, array in tensors.items():
            for view in _views(array, reference.shape):
                with np.errstate(invalid="ignore"):
                    error = float(np.median(np.abs(view - reference)))
                if error == error and (best is None or error < best[0]):
                    best = error, tensor, view
        if best is not None:
            yield Inside(name, best[1], best[2], np.abs(best[2] - reference))


def _views(array: Array, shape: tuple[int, ...]) -> Iterator[Array]:
    """Yield an array as [time, batch, directions, features], in the ways its shape allows."""
    if array.dtype.kind != "f" or array.size != np.prod(shape):
        return
    time, batch, directions, features = shape
    if array.ndim == 3:
        for axes in ((0, 1, 2), (1, 0, 2)):
            turned = array.transpose(axes)
            if turned.shape == (time, batch, directions * features):
                yield turned.reshape(shape)
    elif array.ndim == 4:
        for axes4 in itertools.permutations(range(4)):
            if array.transpose(axes4).shape == shape:
                yield array.transpose(axes4)
