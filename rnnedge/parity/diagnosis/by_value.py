"""Which weights of a source are in a file, found by value alone, whatever they are called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from rnnedge.parity.diagnosis.mistake import GATES
from rnnedge.parity.rounding.quantized_weights import stored_weights
from rnnedge_exporters.layers.weights import RecurrentLayer
from rnnedge_exporters.onnx_model.nodes import all_graphs, all_nodes, used

Array = NDArray[Any]
_FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE)


@dataclass(frozen=True, slots=True)
class Missing:
    """A weight of the source that is not in the file.

    Attributes:
        name: PyTorch's name, such as `weight_hh_l1_reverse`.
        gates: The gates whose rows are missing; all of them for a whole matrix.
        nearest: Largest difference to the block of the file that is nearest, of the same shape.
    """

    name: str
    gates: str
    nearest: float

    @property
    def place(self) -> str:
        """`layer 1, backward`, read from the name."""
        layer, _, reverse = self.name.rpartition("_l")[2].partition("_")
        return f"layer {layer}{', backward' if reverse else ''}"


def file_arrays(model: onnx.ModelProto) -> Iterator[Array]:
    """Yield every float constant of a file, inner graphs' and those held in fewer bits too."""
    yield from _arrays(model.graph)
    for weight in stored_weights(model.graph):
        yield weight.values


def _arrays(graph: onnx.GraphProto) -> Iterator[Array]:
    for inner in all_graphs(graph):
        needed = {name for node in inner.node for name in used(node)}
        for tensor in inner.initializer:
            # What no node takes computes nothing.
            if tensor.name in needed and tensor.data_type in _FLOATS:
                yield onnx.numpy_helper.to_array(tensor).astype(np.float32, copy=False)
    for node in all_nodes(graph):
        for attribute in node.attribute:
            if attribute.HasField("t"):
                array = onnx.numpy_helper.to_array(attribute.t)
                if array.dtype.kind == "f":
                    yield array.astype(np.float32, copy=False)


def blocks_of(arrays: Iterator[Array], hidden: int) -> dict[tuple[int, int], dict[bytes, Array]]:
    """Cut matrices into blocks of `hidden` rows, as they are and transposed.

    Returns:
        For each shape of block, the blocks by their bytes.
    """
    found: dict[tuple[int, int], dict[bytes, Array]] = {}
    for array in arrays:
        matrices = [array] if array.ndim == 2 else list(array) if array.ndim == 3 else []
        for matrix in matrices:
            for turned in (matrix, matrix.T):
                for start in range(0, len(turned) - hidden + 1, hidden):
                    block = np.ascontiguousarray(turned[start : start + hidden])
                    found.setdefault(block.shape, {})[block.tobytes()] = block
    return found


def missing_weights(model: onnx.ModelProto, layer: RecurrentLayer) -> tuple[list[Missing], int]:
    """Return which weight matrices of a layer are not in a file, and how many blocks are.

    Args:
        model: The file.
        layer: The layer; biases are left out, since exporters add them up.
    """
    blocks = blocks_of(file_arrays(model), layer.hidden_size)
    gates = GATES[layer.cell]
    missing, present = [], 0
    for index, directions in enumerate(layer.layers):
        for direction, weights in enumerate(directions):
            if weights.weight_hr is not None:
                found = blocks_of(file_arrays(model), len(weights.weight_hr))
                same_shape = found.get(weights.weight_hr.shape, {})
                if weights.weight_hr.tobytes() in same_shape:
                    present += 1
                else:
                    nearest = _nearest(weights.weight_hr, same_shape)
                    missing.append(
                        Missing(f"weight_hr_l{index}{'_reverse' * direction}", "", nearest)
                    )
            for kind in ("weight_ih", "weight_hh"):
                absent = {}
                for gate, block in zip(
                    gates, np.split(getattr(weights, kind), len(gates)), strict=True
                ):
                    same_shape = blocks.get(block.shape, {})
                    if np.ascontiguousarray(block).tobytes() in same_shape:
                        present += 1
                    else:
                        absent[gate] = _nearest(block, same_shape)
                if absent:
                    name = f"{kind}_l{index}{'_reverse' * direction}"
                    missing.append(Missing(name, "".join(absent), max(absent.values())))
    return missing, present


def count_present(model: onnx.ModelProto, weights: Mapping[str, Array], hidden: int) -> int:
    """Return how many blocks of `hidden` rows of some weight matrices are in a file."""
    blocks = blocks_of(file_arrays(model), hidden)
    return sum(
        np.ascontiguousarray(matrix[start : start + hidden]).tobytes()
        in blocks.get((hidden, matrix.shape[1]), {})
        for matrix in weights.values()
        if matrix.ndim == 2
        for start in range(0, len(matrix) - hidden + 1, hidden)
    )


def _nearest(block: Array, others: Mapping[bytes, Array]) -> float:
    return min((float(np.abs(block - other).max()) for other in others.values()), default=np.inf)
