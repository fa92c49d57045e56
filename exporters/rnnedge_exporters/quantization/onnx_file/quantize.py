"""`quantize`: from an `.onnx` file of any exporter to one with its weights in fewer bits."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx_ir as ir
from onnx_ir.passes import common as passes

from rnnedge_exporters.errors import ExportError
from rnnedge_exporters.lowerings import choose_int8
from rnnedge_exporters.lowerings.precision_rule import storage_in_int8
from rnnedge_exporters.onnx_model.nodes import label
from rnnedge_exporters.onnx_model.recurrent_nodes import LENGTHS
from rnnedge_exporters.onnx_model.serialize import serialize_model, user_entry
from rnnedge_exporters.option_values import (
    DType,
    Quantize,
    Storage,
    Target,
    check_options,
    check_target_option,
)
from rnnedge_exporters.quantization.checks import check_array
from rnnedge_exporters.quantization.layer_plan import write_layer
from rnnedge_exporters.quantization.onnx_file.folding import fold_weights, recurrent_nodes
from rnnedge_exporters.quantization.onnx_file.reading import (
    contract_of,
    convert,
    read_model,
)
from rnnedge_exporters.quantization.onnx_file.recurrent import (
    QuantizableNode,
    given,
    read_node,
)
from rnnedge_exporters.quantization.onnx_file.rewriting import compute_in_integers, store_weights
from rnnedge_exporters.quantization.other_weights import (
    FEWEST,
    is_large_product,
    store_in,
    weights_in,
)
from rnnedge_exporters.quantization.report import (
    HEADINGS,
    LayerQuantization,
    describe_layer,
    kept_in_float32,
)
from rnnedge_exporters.versions import versions
from rnnedge_runtime.atomic_file import write_file
from rnnedge_runtime.contract import METADATA_KEY, Contract
from rnnedge_runtime.notebook import html_table
from rnnedge_runtime.write_target import ONNX, check_target

_PROJECTION = re.compile(r"(^|/)l\d+/(forward|backward)/W$")
"""What the `scan` lowering calls the weights that a layer's input is multiplied by."""
_INTEGERS_OPSET = 11
"""What `DynamicQuantizeLinear` came with."""


@dataclass(frozen=True, slots=True)
class QuantizeResult:
    """What `quantize` wrote.

    Attributes:
        path: The file.
        bytes: Size of the file.
        sha256: Digest of the file, 64 hexadecimal digits.
        bytes_before: Size of the file that it was made from, its external data too.
        opset: Version of the ONNX operator set.
        quantization: What was done to each recurrent node, and to each other weight matrix.
        contract: What the file promises, where rnnedge made the one it was made from; else None.
    """

    path: Path
    bytes: int
    sha256: str
    bytes_before: int
    opset: int
    quantization: tuple[LayerQuantization, ...]
    contract: Contract | None

    def __str__(self) -> str:
        """Return one line with the file, its sizes, and the first 12 digits of its digest."""
        return (
            f"{self.path} ({self.bytes:,} bytes, of {self.bytes_before:,}, opset {self.opset}, "
            f"sha256 {self.sha256[:12]})"
        )

    def __repr__(self) -> str:
        """Return the line of `str`."""
        return f"QuantizeResult({self})"

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the file, and what was done to weights."""
        return html_table(str(self), HEADINGS, [layer.cells() for layer in self.quantization])


def quantize(  # noqa: PLR0913 - each is an option given by name
    model: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    quantize: Quantize | None = "int8",
    dtype: DType = "float32",
    target: Target = "cpu",
    keep_float32: Collection[str] = (),
    opset: int | None = None,
    metadata: Mapping[str, Any] | None = None,
    force: bool = False,
) -> QuantizeResult:
    """Write the weights of an ONNX file of any exporter in fewer bits.

    Inputs, outputs, their axes, and the metadata stay as they are. The file is written whole or not
    at all; the same file and options give the same bytes.

    Args:
        model: The `.onnx` file, with float32 weights.
        path: The `.onnx` file to write; an existing one is replaced, but not `model` itself.
        quantize: As in `export`: `int8` computes an `RNN`, `LSTM` or `GRU` node in int8 where that
            is faster at its size, and so a large linear layer; elsewhere weights become float32
            when the file is opened. `int8:all` computes all recurrent nodes in it.
        dtype: `float16`, with `quantize=None`, writes weights in half, which become float32 when
            the file is opened.
        target: As in `export`.
        keep_float32: Nodes and weights that stay as they are, by their names in
            `result.quantization`.
        opset: A later version of the operator set to convert the file to first; what computes in
            int8 needs `LOWEST_OPSET`. None keeps that of the file.
        metadata: As in `export`: replaces what the file keeps; None leaves that as it is.
        force: Whether a file that holds something else than a model may be replaced.

    Returns:
        What was written, and what was done to each node and weight.

    Raises:
        ExportError: When the file cannot be read, is quantized already, has nothing to quantize, or
            has a recurrent node whose weights are not constant or, with `int8:all`, that cannot
            compute in int8.
        WeightsError: When a weight cannot be written in the type that was asked for.
        WriteError: When the file must not or cannot be written.
        OptionError: When `metadata` holds what a file cannot keep.

    Example:
        >>> rnnedge.quantize("model.onnx", "small.onnx")
        QuantizeResult(small.onnx (...))
    """
    source = Path(model)
    check_target(path, ONNX, protected=[source], force=force)
    check_options(quantize, dtype, target, None)
    check_target_option(target)
    kept = user_entry(metadata)
    if quantize is None and dtype == "float32":
        raise ExportError(
            f"{source}: is an ONNX file already: say what to do with it, quantize='int8' or "
            "dtype='float16'"
        )
    read = read_model(source)
    before = len(serialize_model(read))
    if opset is not None:
        read = convert(source, read, opset)
    opset = read.graph.opset_imports.get("", 0)
    storage: Storage = "int8" if quantize else "float16"
    fold_weights(read)
    nodes = [
        read_node(node, opset, inner=graph is not read.graph)  # all, since they may share weights
        for graph in read.graphs()
        for node in recurrent_nodes(graph)
    ]
    _check(source, read, nodes, storage, keep_float32)

    # Whether one cannot compute in int8 is known before another is changed.
    forms = [(f, _form(f, quantize, storage, target)) for f in nodes if f.name not in keep_float32]
    if quantize == "int8:all":
        _refuse_loops(read)
    contract = contract_of(source, read)

    def stored(name: str) -> Storage:
        return "float32" if name in keep_float32 else storage

    def computed(name: str) -> bool:
        # The input of a Scan is projected in float32, as in the `scan_int8` lowering.
        projects = contract is not None and _PROJECTION.search(name) is not None
        return opset >= _INTEGERS_OPSET and target not in ("cuda", "c") and not projects

    # First, since a lowering may gather from a constant that is not a weight, as an initial state.
    around = [
        one for graph in list(read.graphs()) for one in store_in(graph, stored, integers=computed)
    ]
    report = [
        kept_in_float32(f.name, f.cell, f.weights.nbytes + f.recurrence.nbytes, "it was asked for")
        for f in nodes
        if f.name in keep_float32
    ]
    report += [_written(read, found, *form) for found, form in forms]
    report += around
    if not any(layer.bytes_after < layer.bytes_before for layer in report):
        raise ExportError(
            f"{source}: found nothing to quantize: no RNN, LSTM, GRU, MatMul, Gemm, Conv or Gather "
            f"with constant float32 weights of {FEWEST} numbers or more"
        )
    _clean(read)
    if contract is not None:
        contract = _updated(contract, forms, report, quantize, dtype, opset)
        read.metadata_props[METADATA_KEY] = contract.to_json()
    read.metadata_props.update(kept)
    content = serialize_model(read)
    write_file(path, content, ONNX, protected=[source], force=force)
    sha256 = hashlib.sha256(content).hexdigest()
    return QuantizeResult(Path(path), len(content), sha256, before, opset, tuple(report), contract)


def _check(
    source: Path,
    model: ir.Model,
    nodes: Sequence[QuantizableNode],
    storage: Storage,
    keep: Collection[str],
) -> None:
    """Refuse names that nothing has, and weights that int8 or half cannot hold."""
    weights = {
        constant.name or "": (constant.const_value, f"{node.op_type} {label(node)}")
        for graph in model.graphs()
        for constant, node, _ in weights_in(graph)
    }
    known = sorted({found.name for found in nodes} | set(weights))
    for name in keep:
        if name not in known:
            raise ExportError(f"keep_float32: {source} has no {name!r}; it has {', '.join(known)}")
    for found in nodes:
        if found.name not in keep:
            title = f"{found.node.op_type} {found.name}"
            check_array(found.weights, f"{title}, weights W", storage)
            check_array(found.recurrence, f"{title}, weights R", storage)
    for name, (tensor, title) in weights.items():
        if name not in keep and tensor is not None:
            check_array(tensor.numpy(), f"{title}, weights {name}", storage)


def _refuse_loops(model: ir.Model) -> None:
    """Refuse to compute all in int8 where a loop multiplies, as a recurrence written out does."""
    loops = {
        attribute.as_graph(): node
        for node in model.graph.all_nodes()
        for attribute in node.attributes.values()
        if node.op_type in ("Scan", "Loop") and attribute.type == ir.AttributeType.GRAPH
    }
    for graph in model.graphs():
        for constant, node, summed in weights_in(graph):
            loop = next((n for body, n in loops.items() if body is node.graph), None)
            product = node.op_type in ("MatMul", "Gemm")
            if loop is not None and product and not is_large_product(constant, summed):
                raise ExportError(
                    f"quantize='int8:all': {loop.op_type} {label(loop)} cannot compute in int8, "
                    "since it is not an RNN, LSTM or GRU: quantize='int8' stores its weights"
                )


def _form(
    found: QuantizableNode, quantize: Quantize | None, storage: Storage, target: Target
) -> tuple[str | None, str, Storage]:
    """Return the lowering that computes a node in int8, and why; None where it stays a node.

    The third is how its weights are written.
    """
    if quantize is None:
        return None, "computed in float32: smaller file, same speed", storage
    lowering, reason = None, found.hindrance
    if found.layer is not None:
        lengths = given(found.node, LENGTHS) is not None
        lowering, reason = choose_int8(
            found.layer, lengths=lengths, target=target, quantize=quantize
        )
    if lowering is None and quantize == "int8:all":
        raise ExportError(
            f"quantize='int8:all': {found.node.op_type} {found.name} cannot compute in int8, since "
            f"{reason}: quantize='int8' stores its weights"
        )
    if found.layer is not None and quantize == "int8":
        storage, why = storage_in_int8(found.layer, lowering or "operator")
        reason = f"{reason}; {why}" if why else reason
    return lowering, reason, storage


def _written(
    model: ir.Model, found: QuantizableNode, lowering: str | None, reason: str, storage: Storage
) -> LayerQuantization:
    """Write one recurrent node, and say what was done."""
    if found.layer is not None and lowering is not None:
        compute_in_integers(model, found, found.layer, lowering, storage)
        written = write_layer(found.layer, lowering, reason, storage, None)
        return describe_layer(written, found.layer.info(lowering, reason))
    return store_weights(found, storage, reason)


def _clean(model: ir.Model) -> None:
    """Drop what nothing needs any more."""
    for clean in (passes.RemoveUnusedNodesPass(), passes.TopologicalSortPass()):
        clean(model)
    for graph in model.graphs():  # the pass leaves the weights of inner graphs
        for name, constant in list(graph.initializers.items()):
            if not constant.uses() and not constant.is_graph_output():
                graph.initializers.pop(name)


def _updated(
    contract: Contract,
    forms: Sequence[tuple[QuantizableNode, tuple[str | None, str, Storage]]],
    report: Sequence[LayerQuantization],
    quantize: Quantize | None,
    dtype: DType,
    opset: int,
) -> Contract:
    """Return the contract of a file of rnnedge's own, as it is with its weights rounded."""
    layers = []
    for layer in contract.layers:
        start = f"{layer.name}/l" if layer.name else "l"
        own = {form for found, form in forms if found.name.startswith(start)}
        lowering, reason, _ = own.pop() if len(own) == 1 else (None, "", "int8")
        if lowering is not None:
            layer = replace(layer, lowering=lowering, reason=reason)
        computed = [one for one in report if one.done == "computes in int8" and "/step" in one.name]
        for one in computed:
            if one.name.startswith(start):
                layer = replace(layer, lowering="scan_int8", reason=one.reason)
        layers.append(layer)
    return replace(
        contract,
        layers=tuple(layers),
        quantization=quantize,
        dtype=dtype,
        opset=opset,
        versions=versions(),
    )
