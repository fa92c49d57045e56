"""The original with rounded weights, cut where the rounded file multiplies integers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common as passes

from rnnedge.errors import ModelError
from rnnedge.parity.onnx_reference.numpy_operators import (
    Array,
    Product,
    Recurrence,
    weights_in_parts,
)
from rnnedge.parity.onnx_reference.subgraph_products import round_input, takes_given_state
from rnnedge.parity.onnx_reference.weights import moved, round_weights, shaken
from rnnedge_exporters.onnx_model.int8_grid import (
    COMPUTED_LIMIT,
    STORED_LIMIT,
    quantize_channels,
    rounded,
)
from rnnedge_exporters.onnx_model.nodes import attribute, is_standard, label
from rnnedge_exporters.onnx_model.recurrent_nodes import OPERATORS
from rnnedge_exporters.onnx_model.serialize import serialize_model
from rnnedge_exporters.quantization.onnx_file.folding import fold_weights
from rnnedge_exporters.quantization.onnx_file.reading import (
    contract_of,
    quantized_part,
    read_model,
)
from rnnedge_runtime.contract import Contract
from rnnedge_runtime.errors import pass_on_interruption

_MOVED = 2
"""How often weights are moved by their last bits."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A node of the original that the rounded file computes with integers.

    Attributes:
        name: What it is called.
        outputs: Names of its outputs, empty where one is not used.
        x: Name of its input.
        lengths: Name of its lengths, or None.
        added: Names of its initial states, or of what a product adds.
        fixed: Values of those of them that are constants.
        cell: What it computes, with the weights of the file.
    """

    name: str
    outputs: tuple[str, ...]
    x: str
    lengths: str | None
    added: tuple[str, ...]
    fixed: dict[str, Array]
    cell: Product | Recurrence


@dataclass(frozen=True, slots=True)
class Reference:
    """What a file is compared with.

    Attributes:
        content: The original, with rounded weights and with inputs for its cut nodes where the file
            is a rounding of it, as a model; None when nothing of it is left.
        moved: The same with every weight off by up to two units in the last place.
        outputs: Names of the outputs of the original.
        terms: Terms of the widest sum.
        largest_index: The largest index that all embeddings have.
        shaken: Where integers are multiplied inside a `Scan`, `Loop` or `If`: the same with what
            they multiply rounded up or down at random; empty elsewhere.
        first_step: Whether the first step of what is rounded there is the same in every program.
        cuts: The cut nodes, in order.
        tapped: The rounded file, with what its products of integers take and give as outputs; None
            where it has none.
        rounded: How many weights the file holds in fewer bits.
        dtypes: What it holds them in; empty for a file in float32.
        inner: Nodes of inner graphs that the file computes with integers.
        contract: What rnnedge promised of the file; None where others made it.
    """

    content: bytes | None
    moved: tuple[bytes, ...]
    outputs: tuple[str, ...]
    terms: int
    largest_index: int
    shaken: tuple[bytes, ...] = ()
    first_step: bool = True
    cuts: tuple[Cut, ...] = ()
    tapped: bytes | None = None
    rounded: int = 0
    dtypes: tuple[str, ...] = ()
    inner: tuple[str, ...] = ()
    contract: Contract | None = None

    @property
    def integers(self) -> tuple[str, ...]:
        """The layers that the file computes with integers."""
        return (*(cut.name for cut in self.cuts), *self.inner)


def make_reference(original: Path, small: Path) -> Reference:
    """Read both files.

    Raises:
        ModelError: When one cannot be read, or the second holds its weights in fewer bits, and they
            are not a rounding of the first.
        ExportError: When the first holds its weights in fewer bits itself.
    """
    model = read_model(original)
    file = _File(small)
    outputs = tuple(value.name or "" for value in model.graph.outputs)
    if not file.is_quantized:
        return Reference(
            content=serialize_model(model),
            moved=tuple(moved(model, seed) for seed in range(_MOVED)),
            outputs=outputs,
            terms=round_weights(model, {}, []).terms,
            largest_index=_largest_index(model),
            contract=file.contract,
        )
    fold_weights(model)
    nodes = {node: cut for node in model.graph if (cut := _cut(node, file)) is not None}
    cuts = tuple(nodes.values())
    inner: list[ir.Node] = []
    stored = round_weights(model, file.constants, inner)
    if not stored.count and not cuts:
        raise ModelError(
            f"{small}: expected weights of {original} in int8 or float16, found none: it was made "
            "from another file, or not by rnnedge"
        )
    largest_index = _largest_index(model)
    for node in nodes:
        _cut_out(model, node)
    taken = _taken(cuts, model.graph)
    known = {value.name for value in model.graph.outputs}
    made = {v.name: v for node in model.graph for v in node.outputs if v.name}
    for name in taken:
        if name in made and name not in known:
            model.graph.outputs.append(made[name])
    passes.RemoveUnusedNodesPass()(model)
    first_step = all(takes_given_state(model, node) for node in inner)
    for node in inner:
        round_input(model, node)
    some = bool(model.graph.outputs)  # a bare layer may be cut out whole
    return Reference(
        content=serialize_model(model) if some else None,
        moved=tuple(moved(model, seed) for seed in range(_MOVED)) if some else (),
        shaken=tuple(shaken(model, seed) for seed in range(4)) if inner else (),
        first_step=first_step,
        outputs=outputs,
        cuts=cuts,
        tapped=file.tapped([*taken, *(n for cut in cuts for n in cut.outputs)]) if cuts else None,
        terms=max([stored.terms, *(cut.cell.terms for cut in cuts)]),
        largest_index=largest_index,
        rounded=stored.count + len(cuts),
        dtypes=tuple(sorted(stored.dtypes | {"int8"} if cuts else stored.dtypes)),
        inner=tuple(map(label, inner)),
        contract=file.contract,
    )


def _largest_index(model: ir.Model) -> int:
    rows = [
        len(constant.const_value.numpy())
        for node in model.graph.all_nodes()
        if node.op_type == "Gather" and (constant := node.inputs[0]) is not None
        if _is_float(constant) and constant.shape and constant.const_value is not None
    ]
    return min(rows, default=2) - 1


class _File:
    """The rounded file."""

    def __init__(self, path: Path) -> None:
        try:
            self._model = ir.load(path)
        except Exception as error:  # protobuf's and onnx-ir's
            pass_on_interruption(error)
            raise ModelError(f"{path}: expected an ONNX model, cannot be read") from error
        self.contract = contract_of(path, self._model)
        self.is_quantized = quantized_part(path, self._model) is not None
        graphs = self._model.graphs()
        self.constants = {
            name: value.const_value
            for graph in graphs
            for name, value in graph.initializers.items()
        }
        self._made = {v.name: v for node in self._model.graph for v in node.outputs if v.name}

    def maker(self, name: str) -> ir.Node | None:
        """Return the node that makes a value of the outermost graph."""
        value = self._made.get(name)
        return None if value is None else value.producer()

    def has(self, op: str, name: str, stops: set[str]) -> bool:
        """Whether an operator is between values and what `name` is made of them."""
        waiting, seen = [self._made[name]], set()
        while waiting:
            node = waiting.pop().producer()
            if node is None or node in seen:
                continue
            if node.op_type == op:
                return True
            seen.add(node)
            waiting += [v for v in node.inputs if v is not None and v.name not in stops]
        return False

    def tapped(self, names: list[str]) -> bytes:
        """Return the file with more outputs."""
        outputs = {value.name for value in self._model.graph.outputs}
        for name in dict.fromkeys(names):
            if name in self._made and name not in outputs:
                self._model.graph.outputs.append(self._made[name])
        return serialize_model(self._model)


def _cut(node: ir.Node, file: _File) -> Cut | None:
    """Return a node that the file does not compute as the original does; None for all others."""
    if not is_standard(node) or node.op_type not in (*OPERATORS, "MatMul", "Gemm"):
        return None
    used = [value for value in node.outputs if value.uses() or value.is_graph_output()]
    outputs = tuple((value.name or "") if value in used else "" for value in node.outputs)
    names = [name for name in outputs if name]
    maker = file.maker(names[0]) if names else None
    if maker is None or (maker.op_type == node.op_type and maker.domain == node.domain):
        return None
    inputs = [v for v in node.inputs if v is not None and not _is_float(v)]
    x = node.inputs[0]
    assert x is not None
    recurrent = node.op_type in OPERATORS
    lengths = _name(node, 4) if recurrent else None
    places = (5, 6) if recurrent else (2,)
    added = tuple(name for place in places if (name := _name(node, place)))
    wanted = {x.name, lengths, *added}
    fixed = {
        v.name or "": v.const_value.numpy()
        for v in node.inputs
        if v is not None and v.name in wanted and v.const_value is not None
    }
    stops = {v.name or "" for v in inputs}
    integers = file.has("DynamicQuantizeLSTM", names[0], stops)
    parts = integers and file.has("DynamicQuantizeLinear", names[0], stops)
    cell: Product | Recurrence
    cell = _recurrence(node, integers=integers, in_parts=parts) if recurrent else _product(node)
    return Cut(label(node), outputs, x.name or "", lengths, added, fixed, cell)


def _recurrence(node: ir.Node, *, integers: bool, in_parts: bool) -> Recurrence:
    weights, recurrence = _values(node, 1), _values(node, 2)
    limit = COMPUTED_LIMIT if integers and not in_parts else STORED_LIMIT
    parts = weights_in_parts(*quantize_channels(weights, 2, limit)) if in_parts else None
    directions, rows, _ = recurrence.shape
    bias = _values(node, 3) if _name(node, 3) else np.zeros((directions, 2 * rows), np.float32)
    return Recurrence(
        op=node.op_type,
        weights=rounded(weights, 2, limit).astype(np.float64),
        rounds_input=integers,
        recurrence=rounded(recurrence, 2, COMPUTED_LIMIT).astype(np.float64),
        bias=bias.astype(np.float64),
        reverse=attribute(node, "direction", "forward") == "reverse",
        relu="relu" in [name.lower() for name in attribute(node, "activations", [])],
        parts=parts,
    )


def _product(node: ir.Node) -> Product:
    value = node.inputs[1]
    made = value.producer() if value is not None else None
    turned = made is not None or bool(attribute(node, "transB", 0))
    source = made.inputs[0] if made is not None else value
    tensor = None if source is None else source.const_value
    assert tensor is not None
    array = tensor.numpy().T if turned else tensor.numpy()
    return Product(rounded(array, 0, COMPUTED_LIMIT).astype(np.float64))


def _cut_out(model: ir.Model, node: ir.Node) -> None:
    """Make inputs of what a node gives."""
    for value in node.outputs:
        if not value.uses() and not value.is_graph_output():
            continue
        given = ir.Value(name=value.name, type=ir.TensorType(ir.DataType.FLOAT))
        while value.is_graph_output():
            model.graph.outputs.remove(value)
        ir.convenience.replace_all_uses_with(value, given)
        value.name = f"{value.name}/cut"
        model.graph.inputs.append(given)
    model.graph.remove(node, safe=True)


def _taken(cuts: tuple[Cut, ...], graph: ir.Graph) -> list[str]:
    """Return what cut nodes take that is neither given to the model nor constant."""
    names = [name for cut in cuts for name in (cut.x, cut.lengths, *cut.added) if name]
    given = {value.name for value in graph.inputs} | set(graph.initializers)
    return [name for name in dict.fromkeys(names) if name not in given]


def _is_float(value: ir.Value) -> bool:
    return value.is_initializer() and value.dtype == ir.DataType.FLOAT


def _name(node: ir.Node, place: int) -> str | None:
    value = node.inputs[place] if place < len(node.inputs) else None
    return value.name if value is not None else None


def _values(node: ir.Node, place: int) -> Array:
    value = node.inputs[place]
    tensor = None if value is None else value.const_value
    assert tensor is not None
    array: Array = tensor.numpy()
    return array
