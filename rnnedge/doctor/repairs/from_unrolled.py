"""A PyTorch layer out of a recurrence that an exporter wrote out step by step.

By the names of its weights where they survived, and otherwise along the chain of its products. What
is read is a guess until the layer has reproduced the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray

from rnnedge.doctor.findings import listing
from rnnedge.doctor.model_facts import Subject
from rnnedge.doctor.reading.recurrence import (
    Chain,
    follow_back,
    joined,
    matrix,
    product_weight,
)
from rnnedge.doctor.repairs.recovered import Recovered, Weights, recovered
from rnnedge.errors import NotMendedError
from rnnedge_exporters.onnx_model.file import OnnxFile
from rnnedge_exporters.onnx_model.movement import MOVEMENT
from rnnedge_runtime.errors import RnnEdgeError


def layer_from_names(subject: Subject) -> Recovered:
    """Read the layer whose weights kept PyTorch's names and layout.

    Raises:
        NotMendedError: When there are no such names, or they fit no layer.
    """
    from rnnedge.sources.weight_names import find_layer  # with PyTorch behind it

    named = {
        name: value.astype(np.float32)
        for name, _ in subject.file.constants()
        if (value := subject.file.constant(name)) is not None and value.dtype.kind == "f"
    }
    try:
        layer = find_layer(named)
    except RnnEdgeError as error:
        raise NotMendedError(str(error)) from error
    weights: Weights = dict(layer.weights)
    if not {"weight_ih_l0", "weight_hh_l0"} <= set(weights):
        raise NotMendedError("the weights have lost their names")
    return recovered(
        subject, weights, f"the names {listing(list(layer.weights))}", _squash(subject)
    )


def layer_from_chains(subject: Subject) -> Recovered:
    """Read the layer along the chains of products.

    Raises:
        NotMendedError: When a chain does not have the form of a layer.
    """
    file, chains = subject.file, subject.chains
    found = [(_depth(file, chain, chains), _is_reversed(file, chain), chain) for chain in chains]
    weights: Weights = {}
    for depth, backwards, chain in found:
        suffix = f"l{depth}{'_reverse' if backwards else ''}"
        if f"weight_hh_{suffix}" in weights:
            raise NotMendedError(f"two recurrences look like {suffix}")
        product = chain.products[-1]
        bias, other = joined(file, product)
        if other is None:
            raise NotMendedError(
                f"nothing of the input is added to the product with {chain.weight}"
            )
        projection, input_bias = _projection(file, other)
        weights[f"weight_ih_{suffix}"] = matrix(file, projection)
        weights[f"weight_hh_{suffix}"] = matrix(file, product)
        if bias or input_bias:
            rows = len(weights[f"weight_hh_{suffix}"])
            weights[f"bias_ih_{suffix}"] = _vector(file, input_bias, rows)
            weights[f"bias_hh_{suffix}"] = _vector(file, bias, rows)
    return recovered(
        subject,
        weights,
        f"the products with {listing([chain.weight for chain in chains])}",
        _squash(subject),
    )


def _squash(subject: Subject) -> Literal["tanh", "relu"]:
    operators = {node.op_type for node in subject.file.proto.graph.node}
    return "relu" if "Relu" in operators and "Tanh" not in operators else "tanh"


def _projection(file: OnnxFile, name: str) -> tuple[onnx.NodeProto, str | None]:
    """Walk back from what is added at a step to the product with the input, and its bias."""
    bias: str | None = None
    while True:
        *_, (_, node) = follow_back(file, name)
        if node is None or node.op_type not in ("Add", "MatMul", "Gemm"):
            raise NotMendedError("the product with the input was not found")
        if node.op_type != "Add" and product_weight(file, node):
            if node.op_type == "Gemm" and len(node.input) > 2:
                bias = bias or node.input[2]
            return node, bias
        constants = [n for n in node.input if file.is_constant(n)]
        if node.op_type != "Add" or len(constants) != 1:
            raise NotMendedError("the product with the input was not found")
        bias = constants[0]
        name = next(n for n in node.input if n not in constants)


def _vector(file: OnnxFile, name: str | None, rows: int) -> NDArray[np.float32]:
    value = file.constant(name) if name else None
    if value is None:
        return np.zeros(rows, np.float32)
    if value.size != rows:
        raise NotMendedError(f"{name} is not a bias of {rows} values")
    return value.reshape(rows).astype(np.float32)


def _depth(file: OnnxFile, chain: Chain, chains: tuple[Chain, ...]) -> int:
    """Return how many other chains the input of `chain` goes through, one after the other."""
    before = file.ancestors(chain.source)
    below = [
        other
        for other in chains
        if other is not chain and any(product.output[0] in before for product in other.products)
    ]
    return max((_depth(file, other, chains) + 1 for other in below), default=0)


def _is_reversed(file: OnnxFile, chain: Chain) -> bool:
    """Whether the steps of a chain walk backwards over the sequence."""
    if any(_flips(file, node) for node in _movers(file, chain.source)):
        return True
    places = []
    for product in chain.products[-2:]:
        _, name = joined(file, product)
        place = _place(file, chain, name) if name else None
        if place is None:
            return False
        places.append(place)
    return places[0] > places[1]


def _movers(file: OnnxFile, name: str) -> Iterator[onnx.NodeProto]:
    for _, node in follow_back(file, name):
        if node is not None:
            yield node


def _flips(file: OnnxFile, node: onnx.NodeProto) -> bool:
    if node.op_type == "ReverseSequence":
        return True
    if node.op_type != "Slice" or len(node.input) < 5:
        return False
    steps = file.constant(node.input[4])
    return steps is not None and bool((steps < 0).any())


def _place(file: OnnxFile, chain: Chain, name: str) -> int | None:
    """Return which step of `chain.source` a tensor was cut from."""
    waiting = [name]
    while waiting:
        name = waiting.pop()
        node = file.producer.get(name)
        if node is None:
            continue
        source = node.input[0] if node.input else ""
        if node.op_type == "SequenceAt" and source in file.producer:
            source = file.producer[source].input[0]
        if source == chain.source:
            if node.op_type == "Split":
                return list(node.output).index(name)
            if node.op_type in ("Slice", "Gather", "SequenceAt"):
                value = file.constant(node.input[1])
                return None if value is None else int(value.reshape(-1)[0])
        if node.op_type in (*MOVEMENT, "MatMul", "Gemm", "Add"):
            waiting += [n for n in node.input if n and not file.is_constant(n)]
    return None
