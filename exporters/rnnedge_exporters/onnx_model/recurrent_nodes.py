"""`RNN`, `LSTM` and `GRU` nodes: their inputs, their gates, and what PyTorch's layers do not have.

Operators: https://onnx.ai/onnx/operators/onnx__LSTM.html (and `__RNN`, `__GRU`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnedge_exporters.onnx_model.nodes import Node, attributes, input_names, is_standard
from rnnedge_runtime.contract import Cell

OPERATORS = ("RNN", "LSTM", "GRU")
X, W, R, B, LENGTHS, H_0, C_0, PEEPHOLES = range(8)
"""Places of the inputs."""
CELLS: dict[str, Cell] = {"RNN": "rnn", "LSTM": "lstm", "GRU": "gru"}
_ONNX_GATES: dict[Cell, tuple[int, ...]] = {"rnn": (0,), "lstm": (0, 2, 3, 1), "gru": (1, 0, 2)}
"""For each gate of PyTorch, in PyTorch's order, the block of rows that holds it in ONNX:
i, f, g, o out of i, o, f, c; r, z, n out of z, r, h."""
_ACTIVATIONS = {
    "RNN": ("Tanh",),
    "LSTM": ("Sigmoid", "Tanh", "Tanh"),
    "GRU": ("Sigmoid", "Tanh"),
}
"""What each direction has where a node names none."""


def count_gates(cell: Cell) -> int:
    """Return how many gates a cell has: the blocks of rows of its weights."""
    return len(_ONNX_GATES[cell])


def gates_to_pytorch(cell: Cell, array: NDArray[Any]) -> NDArray[Any]:
    """Return rows [gates*hidden, …] in PyTorch's order of gates, from ONNX's."""
    blocks = np.split(array, count_gates(cell))
    return np.concatenate([blocks[gate] for gate in _ONNX_GATES[cell]])


def gates_to_onnx(cell: Cell, array: NDArray[Any]) -> NDArray[Any]:
    """Return rows [gates*hidden, …] in ONNX's order of gates, from PyTorch's."""
    blocks = np.split(array, count_gates(cell))
    return np.concatenate([blocks[gate] for gate in np.argsort(_ONNX_GATES[cell])])


def is_recurrent(node: Node) -> bool:
    """Whether a node is ONNX's own `RNN`, `LSTM` or `GRU`."""
    return node.op_type in OPERATORS and is_standard(node)


def directions_of(node: Node) -> int:
    """Return how many directions a node runs: 1 or 2."""
    return 2 if attributes(node).get("direction") == "bidirectional" else 1


def activations_of(node: Node) -> list[str]:
    """Return the activations of each direction, the operator's defaults where none are named."""
    named = attributes(node).get("activations")
    return list(named or _ACTIVATIONS[node.op_type] * directions_of(node))


def is_relu(node: Node) -> bool:
    """Whether a node is an `RNN` with relu in each direction."""
    return node.op_type == "RNN" and {name.lower() for name in activations_of(node)} == {"relu"}


@dataclass(frozen=True, slots=True)
class Peculiarity:
    """What a node computes that the PyTorch layer of its name does not.

    Attributes:
        attribute: The attribute, or input, that makes the difference.
        text: What it does, as a sentence that begins with "it" or "its".
    """

    attribute: str
    text: str


def peculiarities(node: Node) -> Iterator[Peculiarity]:
    """Yield how a recurrent node differs from `nn.RNN`, `nn.LSTM` or `nn.GRU`.

    `layout`, which only changes where the batch is, is left out.

    Args:
        node: An `RNN`, `LSTM` or `GRU` node.
    """
    given = attributes(node)
    activations = activations_of(node)
    usual = [name.lower() for name in _ACTIVATIONS[node.op_type] * directions_of(node)]
    if [name.lower() for name in activations] != usual and not is_relu(node):
        yield Peculiarity("activations", f"its activations are {', '.join(activations)}")
    if given.get("clip"):
        yield Peculiarity("clip", f"it clips at {given['clip']:g}")
    places = input_names(node)[PEEPHOLES:]
    if node.op_type == "LSTM" and any(places):
        yield Peculiarity("P", "it has peepholes")
    if given.get("input_forget"):
        yield Peculiarity("input_forget", "it couples its gates (input_forget=1)")
    if node.op_type == "GRU" and not given.get("linear_before_reset"):
        text = "it resets before the recurrent product (linear_before_reset=0)"
        yield Peculiarity("linear_before_reset", text)
