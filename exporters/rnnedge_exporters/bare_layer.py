"""A bare `nn.RNN`, `nn.LSTM` or `nn.GRU`: form chosen, graph built and run, contract written."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir
from torch import nn

from rnnedge_exporters.errors import ExportError
from rnnedge_exporters.exported_graph import ExportedGraph, ExportOptions, Trial
from rnnedge_exporters.layers.computed_weights import refuse_hooks
from rnnedge_exporters.layers.weights import digest, read_layer
from rnnedge_exporters.lowerings import INT8_LOWERINGS, choose
from rnnedge_exporters.lowerings.layer_graph import build_layer_graph
from rnnedge_exporters.modules.trial.layers import try_layer
from rnnedge_exporters.quantization.layer_plan import Written, write_layer
from rnnedge_exporters.quantization.report import describe_layer
from rnnedge_exporters.versions import LOWEST_OPSET, versions
from rnnedge_runtime.contract import Contract, Interface


def build_bare_layer(model: nn.RNNBase, options: ExportOptions) -> ExportedGraph:
    """Build the graph of a bare layer with its contract.

    Args:
        model: The layer; it is left as it is.
        options: As in `export`.

    Raises:
        ExportError: When an option cannot be used, or graph and layer answer different things.
    """
    if isinstance(options.states, Mapping):
        raise ExportError("states: expected True or False for a bare layer, got a mapping")
    opset = LOWEST_OPSET if options.opset is None else options.opset
    refuse_hooks(model)
    layer = read_layer(model)
    keep = "" in options.keep_float32

    def built(written: Written) -> tuple[ir.Graph, Interface]:
        return build_layer_graph(
            written.layer,
            written.lowering,
            lengths=options.lengths,
            states=options.states is not False,
            opset=opset,
            storage=written.storage,
        )

    storage, quantize = ("float32", None) if keep else (options.storage, options.quantize)
    target, lowering = options.target, options.lowering
    form = choose(
        layer,
        lengths=options.lengths,
        target=target,
        forced=lowering,
        quantize=quantize,
        storage=storage,
    )
    written = write_layer(layer, *form, options.moments)
    graph, interface = built(written)
    trial = Trial()
    if options.validate:
        plain = graph
        if not options.is_float32:  # what rounding costs is another question
            wanted = None if lowering in INT8_LOWERINGS else lowering
            form = choose(layer, lengths=options.lengths, target=target, forced=wanted)
            plain, _ = built(write_layer(layer, *form, None))
        trial = try_layer(model, plain, interface)
    info = layer.info(written.lowering, written.reason)
    contract = Contract(
        interface=interface,
        layers=(info,),
        dtype="float32" if keep else options.dtype,
        quantization=quantize,
        target=target,
        opset=opset,
        weights_digest=digest(layer.arrays()),
        versions=versions(),
        hindrances=("the layer is bidirectional",) if layer.bidirectional else (),
        calibrated=tuple(written.gains),
    )
    report = () if options.is_float32 else (describe_layer(written, info),)
    return ExportedGraph(graph, contract, (), report, trial)
