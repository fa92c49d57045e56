"""Files with rounded weights, and the same files broken as exporters break them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

Change = Callable[[str, NDArray], NDArray | None]
"""Takes the name and the numbers of a constant; returns others, or None to leave them."""
FORMS = {
    "stored": {"quantize": "int8"},
    "computed": {"quantize": "int8:all", "target": "portable"},
    "computed_by_operator": {"quantize": "int8:all"},
    "computed_in_blocks": {"quantize": "int8:all", "lowering": "scan_nbits"},
    "half": {"dtype": "float16"},
}
HIDDEN = 8


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from graphs(attribute.g)


def change(path: Path, what: Change) -> None:
    """Change constants of a file, including those of inner graphs; one or more."""
    model, changed = onnx.load(path), 0
    for graph in graphs(model.graph):
        for tensor in graph.initializer:
            array = what(tensor.name, numpy_helper.to_array(tensor))
            if array is not None:
                tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), tensor.name))
                changed += 1
    assert changed, f"{what.__name__} changed nothing"
    onnx.save(model, path)


def swap_gates(name: str, array: NDArray) -> NDArray | None:
    """Put the first two gates in each other's place, in weights, scales and biases."""
    if array.dtype not in (np.int8, np.uint8, np.float32, np.float16):
        return None
    for axis, size in enumerate(array.shape):
        if size in (3 * HIDDEN, 4 * HIDDEN):
            first, second, *others = np.split(array, size // HIDDEN, axis)
            return np.concatenate([second, first, *others], axis)
    return None


def swap_directions(name: str, array: NDArray) -> NDArray | None:
    """Give each direction the weights of the other."""
    first = name.rsplit("/", 1)[-1].startswith(("W", "R", "B"))
    return array[::-1] if first and array.ndim > 1 and len(array) == 2 else None


def move_scales(name: str, array: NDArray) -> NDArray | None:
    """Give each channel the scale of another."""
    return np.roll(array, 1).reshape(array.shape) if "scale" in name and array.size > 1 else None


def one_scale(name: str, array: NDArray) -> NDArray | None:
    """Give all channels the scale of the first."""
    return np.full_like(array, array.flat[0]) if "scale" in name and array.size > 1 else None


def weights_of_the_rounding(name: str, array: NDArray) -> NDArray | None:
    """Give the rounding of the input weights that are twice too large."""
    return array * 2 if name.endswith("/small") else None


def larger_rounding(name: str, array: NDArray) -> NDArray | None:
    """Make the rounding of the input twice too large."""
    third = np.arange(len(array)) >= 2 * len(array) // 3 if array.ndim else None
    return np.where(third, 2 * array, array) if name.endswith("/parts") else None


def no_bias(name: str, array: NDArray) -> NDArray | None:
    return np.zeros_like(array) if name.rsplit("/", 1)[-1] == "B" else None


def ignore_lengths(path: Path) -> None:
    """Read all rows as full ones."""
    model = onnx.load(path)
    graph = model.graph
    time = onnx.helper.make_node("Shape", ["input"], ["x/time"], start=0, end=1)
    batch = onnx.helper.make_node("Shape", ["lengths"], ["x/batch"])
    full = onnx.helper.make_node("Expand", ["x/time", "x/batch"], ["x/full"])
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name == "lengths":
                node.input[place] = "x/full"
    nodes = [time, batch, full, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    onnx.save(model, path)
