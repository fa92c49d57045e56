"""What a model without a contract shows in its graph: nodes that run backwards over time."""

from __future__ import annotations

from collections.abc import Iterator

from rnnedge_runtime.engine.options import Model
from rnnedge_runtime.onnx_file import Node, read_graph

_DIRECTIONS = ("scan_input_directions", "scan_output_directions", "directions")
_WORDS = {"reverse": "runs backwards", "bidirectional": "is bidirectional"}


def backward_nodes(model: Model) -> tuple[str, ...]:
    """Name the recurrent nodes of a model that read the future, including those of inner graphs.

    Args:
        model: Path of an `.onnx` file, or its bytes.

    Returns:
        One line for each, such as `node 'encoder' (GRU) is bidirectional`; empty if the file no
        longer exists, or has another format.
    """
    nodes = read_graph(model).nodes()
    return tuple(dict.fromkeys(f"{node.label} {words}" for node in nodes for words in _words(node)))


def _words(node: Node) -> Iterator[str]:
    """Yield how a node runs backwards, or nothing."""
    attributes = node.attributes
    if node.op_type == "ReverseSequence":
        yield "reverses time"
    elif "direction" in attributes and attributes["direction"].text in _WORDS:
        yield _WORDS[attributes["direction"].text]
    elif any(any(attributes[name].integers) for name in _DIRECTIONS if name in attributes):
        yield _WORDS["reverse"]
