"""`build_module_graph`: the steps of this package, in order."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import onnx_ir as ir
import torch
from torch import Tensor, nn

from rnnedge_exporters.calibration.moments import Moments
from rnnedge_exporters.computed_weights import compute_weights
from rnnedge_exporters.errors import ExportError
from rnnedge_exporters.exporter import Built, States, versions
from rnnedge_exporters.lowerings import Target, choose
from rnnedge_exporters.modules.arguments import Arguments, bind
from rnnedge_exporters.modules.assembly import MODULE_OPSET, Assembled, assemble
from rnnedge_exporters.modules.attributes import kept_in_attributes, unchanged
from rnnedge_exporters.modules.call_structure import describe, fixed_values
from rnnedge_exporters.modules.causal import find_causal
from rnnedge_exporters.modules.copying import private_copy
from rnnedge_exporters.modules.forwards import refuse_exchanged
from rnnedge_exporters.modules.quiet import quiet
from rnnedge_exporters.modules.repeatable import seeded
from rnnedge_exporters.modules.source_check import check_source
from rnnedge_exporters.modules.squeezes import check_squeezes
from rnnedge_exporters.modules.streaming import Hindrance, hindrances, time_symbols
from rnnedge_exporters.modules.told_states import chunks_equal_the_whole
from rnnedge_exporters.modules.tracing import DynamicAxes, Traced, trace
from rnnedge_exporters.quantization.constants import store_constants
from rnnedge_exporters.quantization.options import DType, Quantize, Storage, storage_of
from rnnedge_exporters.quantization.report import describe_layer
from rnnedge_exporters.quantization.written import Written, write_layer
from rnnedge_exporters.weights import RecurrentLayer, digest
from rnnedge_runtime.contract import Contract

_EVAL = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._NormBase)
"""Layers that do something else while training."""


def build_module_graph(
    module: nn.Module,
    example_inputs: Any,
    dynamic_axes: DynamicAxes | None,
    *,
    states: States,
    target: Target,
    lowering: str | None,
    quantize: Quantize | None,
    dtype: DType,
    keep_float32: Collection[str] = (),
    moments: Moments | None = None,
    opset: int | None,
    verbose: bool = False,
) -> Built:
    """Build the graph of a whole module.

    Args:
        module: The user's module; it is copied, never changed.
        example_inputs: The arguments of its forward.
        dynamic_axes: Names of the dynamic axes, or None for what the recurrent layers see.
        states: As in `export`.
        target: What the lowerings are chosen for.
        lowering: The one that every layer takes, or None to choose.
        quantize: As in `export`.
        dtype: As in `export`.
        keep_float32: As in `export`.
        moments: What the caller's sequences show of the module, or None.
        opset: Version of the operator set, or None for the lowest that serves.
        verbose: Whether torch's own remarks are shown.

    """
    if opset is not None and opset < MODULE_OPSET:
        raise ExportError(f"opset: expected {MODULE_OPSET} or more for a module, got {opset}")
    storage = storage_of(quantize, dtype, target)

    def stored(name: str) -> Storage:
        kept = any(name == kept or name.startswith(f"{kept}/") for kept in keep_float32)
        return "float32" if kept else storage

    def chosen(layer: RecurrentLayer, lengths: bool) -> Written:
        wanted = None if layer.name in keep_float32 else quantize
        form = choose(layer, lengths, target, lowering, wanted, stored(layer.name))
        return write_layer(layer, *form, moments)

    refuse_exchanged(module)
    copied = private_copy(module)
    weights_digest = digest(t.numpy() for t in copied.state_dict().values())
    compute_weights(copied)
    arguments = bind(copied, example_inputs)
    notes = _training_notes(module)
    notes += [f"{value} is fixed in the file" for value in fixed_values(copied, arguments)]
    with quiet(verbose):
        kept = _state_attributes(copied, arguments)
        notes += check_source(copied, arguments, kept)
    if kept and states is False:
        notes.append(f"state kept in {', '.join(_shown(kept))} starts anew at each call")

    with unchanged(copied), quiet(verbose):
        start = [getattr(inner, name) for inner, name in kept.values()]
        _set(kept, [None] * len(kept))  # starts from nothing, as a layer without a state does
        try:
            traced = trace(copied, arguments, dynamic_axes)
        except ExportError as error:
            if not kept:
                raise
            traced = _traced_from(start, copied, arguments, dynamic_axes, kept, error)
        notes += check_squeezes(traced.program, traced.names)
        if storage != "float32":
            _refuse_computed_weights(traced.capture.weights, copied)
        causal = find_causal(traced.program, copied, time_symbols(traced.names))
        found = hindrances(traced.program, traced.capture, traced.names, causal)
        if states is True and found:
            raise _not_streamable(module, found)
        told = states if isinstance(states, Mapping) else None
        lift = states is True or (states is None and not found)
        made = assemble(traced, chosen=chosen, lift=lift, told=told, causal=causal, storage=stored)
        if made.hindrances and told is None:
            found += [Hindrance(what) for what in made.hindrances]
            if states is True:
                raise _not_streamable(module, found)
            if lift:
                lift = False
                made = assemble(traced, chosen=chosen, lift=False, told=None, storage=stored)
        if causal and not lift and not found:  # whole runs need no context, streams would
            found += [Hindrance(f"{conv.path} looks across the seam") for conv in causal]
        if told is not None and found:
            shown = "; ".join(map(str, found))
            if chunks_equal_the_whole(copied, arguments, made.interface):
                notes.append(f"chunks gave what the whole sequence gave when tried, though {shown}")
                found = []
            else:
                notes.append(
                    "a stream is refused, since chunks do not give what the whole sequence gives: "
                    f"{shown}; Session.run takes and gives the states, for chunks cut otherwise"
                )
    if any(size == 1 for size in traced.capture.batch if isinstance(size, int)):
        notes.append("the batch is fixed to 1, the only one that the module runs at")
    if kept and not lift and states is not False:
        notes.append(f"state kept in {', '.join(_shown(kept))} starts anew at each call")
    if states is None and found:
        notes.append(f"states were not lifted, since {'; '.join(map(str, found))}")
    notes += [
        f"axis {axis} of {name} is fixed to {size}, and need not be: dynamic_axes="
        f"{{{name!r}: {{{axis}: 'a_name'}}, ...}} opens it"
        for name, axis, size in traced.fixed
    ]
    graph = _converted(made, opset)
    report = [
        describe_layer(written, info)
        for written, info in zip(made.recurrent, made.layers, strict=True)
        if written is not None and storage != "float32"
    ]
    report += store_constants(graph, stored, copied, moments, integers=target != "cuda")
    contract = Contract(
        interface=replace(made.interface, arguments=describe(copied, arguments)),
        layers=made.layers,
        dtype=dtype,
        quantization=quantize,
        target=target,
        opset=graph.opset_imports[""],
        weights_digest=weights_digest,
        versions=versions(),
        hindrances=tuple(dict.fromkeys(hindrance.what for hindrance in found)),
        calibrated=tuple(dict.fromkeys(name for one in report for name in one.calibrated)),
    )
    return graph, contract, tuple(notes), tuple(report)


def _refuse_computed_weights(
    computed: Mapping[str, Mapping[str, Tensor]], copied: nn.Module
) -> None:
    """Refuse to round weights that a forward computes: they are compared by the parameters."""
    for path, weights in computed.items():
        for name, weight in weights.items():
            if not any(torch.equal(weight, parameter) for parameter in copied.parameters()):
                raise ExportError(
                    f"{path}.{name} is computed when the module runs, and cannot be written in "
                    "fewer bits: export it in float32, or use "
                    "torch.nn.utils.parametrize.register_parametrization"
                )


def _not_streamable(module: nn.Module, found: list[Hindrance]) -> ExportError:
    return ExportError(
        f"states=True: {type(module).__name__} cannot be streamed exactly: "
        f"{'; '.join(map(str, found))}; export with states=False to run whole sequences"
    )


def _training_notes(module: nn.Module) -> list[str]:
    active = [
        path or type(inner).__name__
        for path, inner in module.named_modules()
        if inner.training
        and (
            (isinstance(inner, _EVAL) and getattr(inner, "p", 1))
            or (isinstance(inner, nn.RNNBase) and inner.dropout)
        )
    ]
    if not active:
        return []
    return [f"exported in eval mode: {', '.join(active)} would act otherwise in training mode"]


Kept: TypeAlias = dict[str, tuple[nn.Module, str]]


def _state_attributes(copied: nn.Module, arguments: Arguments) -> Kept:
    """Return the attributes that `copied` keeps its state in, by path.

    Raises:
        ExportError: When one holds numbers other than zero to start with.
    """

    def run() -> None:
        with seeded(0), torch.inference_mode():
            copied(**arguments.values)

    try:
        kept = kept_in_attributes(copied, run)
    except Exception:
        return {}  # tracing says what is wrong with it
    for path, (inner, name) in kept.items():
        before = getattr(inner, name, None)
        for leaf in torch.utils._pytree.tree_leaves(before):
            if isinstance(leaf, torch.Tensor) and leaf.any():
                raise ExportError(
                    f"self.{path} holds a state that is not zero: reset it before the export, or "
                    "take it as an argument of forward and return it"
                )
    return kept


def _traced_from(
    start: list[Any],
    copied: nn.Module,
    arguments: Arguments,
    dynamic_axes: DynamicAxes | None,
    kept: Kept,
    error: ExportError,
) -> Traced:
    """Trace with the zeros that the attributes hold; they fix the batch to their own."""
    _set(kept, start)
    try:
        return trace(copied, arguments, dynamic_axes)
    except ExportError:
        raise ExportError(
            f"{type(copied).__name__} keeps its state in {', '.join(_shown(kept))}: take it as an "
            f"argument of forward and return it ({error})"
        ) from error


def _set(kept: Kept, values: list[Any]) -> None:
    for (inner, name), value in zip(kept.values(), values, strict=True):
        inner._buffers.pop(name, None)  # a state that starts from nothing is no buffer
        setattr(inner, name, value)


def _shown(kept: Kept) -> list[str]:
    return [f"self.{path}" for path in kept]


def _converted(made: Assembled, opset: int | None) -> ir.Graph:
    if opset is None or opset == MODULE_OPSET:
        return made.graph
    from onnxscript import version_converter

    model = ir.Model(made.graph, ir_version=10)
    version_converter.convert_version(model, target_version=opset)
    return model.graph
