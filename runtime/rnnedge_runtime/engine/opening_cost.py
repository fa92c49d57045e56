"""What ONNX Runtime would compute from constants when it opens a file: too much is refused.

Opening a file computes every node whose inputs are constants, before anybody has asked for an
output: in this process, without a limit. `check_opening` refuses what a look at the file shows to
end the process, or to take its memory or minutes:

- `Div` of the smallest integer by -1, which ends the process by SIGFPE;
- `GRU`, `LSTM` or `RNN` of an empty sequence or batch, or next to an input that is always empty,
  which abort it;
- constants that become more than 1 GiB, such as by `ConstantOfShape`, `Expand`, `Tile`, `Range`,
  `Pad`, `Resize`, `Concat` of one value again and again, or operators that broadcast;
- sparse constants of that size, which are stored in full;
- products of matrices of more than 2**37 multiplications;
- functions that call themselves, or others so often that they become more than 100,000 nodes.

It follows small tensors of numbers through the operators that exporters compute shapes with. What a
file computes in other ways it does not see, such as from tensors of more than 64 elements.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

from rnnedge_runtime.engine.constant_sizes import size_of
from rnnedge_runtime.engine.constant_values import value_of
from rnnedge_runtime.engine.function_calls import count_nodes
from rnnedge_runtime.engine.known_constant import FEW, Inputs, KnownConstant, Shape
from rnnedge_runtime.engine.options import Model
from rnnedge_runtime.errors import ModelError
from rnnedge_runtime.onnx_file import Graph, GraphFile, Node, read_file

_MOST_BYTES = 1 << 30
_MOST_PRODUCTS = 1 << 37
_WIDTH = 8
"""Bytes of an element, at most."""
_MOST_VALUES = 1 << 40
"""Of a constant as it is stated; ONNX Runtime prints more on the application's stderr."""
_RECURRENT = ("GRU", "LSTM", "RNN")


_Scope: TypeAlias = "Mapping[str, KnownConstant]"
_UNKNOWN = KnownConstant()


def check_opening(model: Model, name: str) -> None:
    """Check what opening a model would compute.

    Args:
        model: The path of an existing file, or its bytes. What cannot be read as a model passes:
            ONNX Runtime says what is wrong with it.
        name: What to call it in the message.

    Raises:
        ModelError: If it would end the process, or take more memory or time than any model does.
    """
    try:
        found = read_file(model)
    except (OSError, ValueError):
        return
    scan = _Scan()
    try:
        count_nodes(found)
        _check_inputs(found)
        for graph in (found.graph, *found.functions.values()):
            scan.walk(graph, {})
    except ModelError as error:
        raise ModelError(f"{name}: {error}") from None


def _check_inputs(file: GraphFile) -> None:
    """Check that no input has an axis of size 0 where a recurrent operator may run on it."""
    if not any(node.op_type in _RECURRENT for node in file.nodes()):
        return
    for info in file.graph.inputs:
        if 0 in info.axes and info.name not in file.graph.initializers:
            raise ModelError(
                f"{info.name}: has the sizes {_sizes(info.axes)}, and a recurrent operator ends "
                "the process on an empty input"
            )


def check_functions(model: Model, name: str) -> None:
    """Check what the functions of a model become when each call of one is put in its place.

    Args:
        model: As `check_opening` takes it.
        name: As `check_opening` takes it.

    Raises:
        ModelError: If a function calls itself, or they become too many nodes.
    """
    try:
        found = read_file(model)
    except (OSError, ValueError):
        return
    try:
        count_nodes(found)
    except ModelError as error:
        raise ModelError(f"{name}: {error}") from None


class _Scan:
    """Follows constants through a file, and adds up what they cost."""

    def __init__(self) -> None:
        self._bytes = self._products = 0

    def walk(self, graph: Graph, outside: _Scope) -> None:
        """Look at the nodes of a graph."""
        known = dict(outside)
        for name, tensor in graph.initializers.items():
            if min(tensor.shape, default=0) < 0 or math.prod(tensor.shape) > _MOST_VALUES:
                raise ModelError(f"{name}: a constant cannot have the sizes {_sizes(tensor.shape)}")
            known[name] = KnownConstant.of_tensor(tensor)
        for name in graph.input_names:
            if name not in graph.initializers:
                known.pop(name, None)
        for shape in graph.sparse:
            self._add("a sparse constant", shape)
        for node in graph.nodes:
            self._look(node, known)
            for inner in node.graphs:
                self.walk(inner, known)

    def _look(self, node: Node, known: dict[str, KnownConstant]) -> None:
        if node.domain:
            return
        if node.op_type in _RECURRENT:
            _check_recurrent(node, known)
        given = [known.get(name) for name in node.inputs if name]
        if any(one is None for one in given) or any(node.graphs):
            return
        inputs = [known.get(name, _UNKNOWN) if name else None for name in node.inputs]
        _check_division(node, inputs)
        made = _computed(node, inputs)
        for name in node.outputs:
            known[name] = made if name == node.outputs[0] else _UNKNOWN
        # A constant that is written in the file already exists; so is what passes one on.
        new = node.op_type not in ("Constant", "Identity") or "sparse_value" in node.attributes
        if made.shape is not None and new:
            self._add(node.label, made.shape)
        if node.op_type in ("MatMul", "Gemm"):
            self._multiply(node, inputs, made.shape)

    def _add(self, label: str, shape: tuple[int, ...]) -> None:
        self._bytes += math.prod(shape) * _WIDTH
        if self._bytes > _MOST_BYTES:
            raise _refusal(
                f"{label} makes a constant {_sizes(shape)}, and with it constants take more than "
                "1 GiB when the model is opened"
            )

    def _multiply(self, node: Node, inputs: Inputs, made: Shape) -> None:
        first = inputs[0]
        if made is None or first is None or not first.shape:
            return
        self._products += math.prod(made) * first.shape[-1]
        if self._products > _MOST_PRODUCTS:
            raise _refusal(
                f"{node.label} multiplies constants {self._products:,} times when the model is "
                "opened"
            )


def _refusal(words: str) -> ModelError:
    return ModelError(
        f"{words}: if the file is yours, compute it once with onnx.reference, and store the result"
    )


def _sizes(shape: Sequence[object]) -> str:
    return f"[{', '.join(map(str, shape[:8]))}{', …' if len(shape) > 8 else ''}]"


def _check_recurrent(node: Node, known: _Scope) -> None:
    shape = known.get(node.input(0), _UNKNOWN).shape
    if shape is not None and 0 in shape:
        raise _refusal(f"{node.label} runs on a constant {_sizes(shape)}, which ends the process")


def _check_division(node: Node, inputs: Inputs) -> None:
    if node.op_type not in ("Div", "Mod") or len(inputs) != 2:
        return
    values = [one.values for one in inputs if one is not None and one.values is not None]
    if len(values) != 2 or any(one.dtype.kind != "i" for one in values):
        return
    least = np.iinfo(values[0].dtype).min
    if (values[0] == least).any() and (values[1] == -1).any():
        raise _refusal(f"{node.label} divides {least} by -1, which ends the process")


def _computed(node: Node, inputs: Inputs) -> KnownConstant:
    """Return what is known of the first output of a node whose inputs are constants."""
    try:
        shape = size_of(node, inputs)
        values = None if shape is not None and math.prod(shape) > FEW else value_of(node, inputs)
    except (ValueError, TypeError, IndexError, OverflowError, ArithmeticError, AttributeError):
        return _UNKNOWN  # a node that ONNX Runtime will refuse, or of another form
    if shape is None and values is not None:
        shape = values.shape
    return KnownConstant(shape, values)
