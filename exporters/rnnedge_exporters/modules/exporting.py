"""`build_module_graph`: the steps of this package, in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import onnx_ir as ir
import torch
from torch import Tensor, nn

from rnnedge_exporters.copying import private_copy
from rnnedge_exporters.errors import ExportError, LoopError
from rnnedge_exporters.exported_graph import ExportedGraph, ExportOptions, States, Trial
from rnnedge_exporters.layers.computed_weights import compute_weights
from rnnedge_exporters.layers.weights import RecurrentLayer, digest
from rnnedge_exporters.lowerings import INT8_LOWERINGS, choose
from rnnedge_exporters.modules.arguments import Arguments, bind, name_results
from rnnedge_exporters.modules.assembly import Assembled, assemble, with_own_names
from rnnedge_exporters.modules.attributes import (
    Kept,
    held,
    kept_in_attributes,
    nothing,
    put,
    unchanged,
)
from rnnedge_exporters.modules.call_structure import describe, fixed_values
from rnnedge_exporters.modules.example import DynamicAxes
from rnnedge_exporters.modules.forwards import refuse_exchanged
from rnnedge_exporters.modules.lifting import Lifting, decide
from rnnedge_exporters.modules.loops.rolling import roll
from rnnedge_exporters.modules.quiet import quiet
from rnnedge_exporters.modules.repeatable import kept_state, seeded
from rnnedge_exporters.modules.source_check import check_source
from rnnedge_exporters.modules.squeezes import check_squeezes
from rnnedge_exporters.modules.tracing import Traced, trace
from rnnedge_exporters.modules.translation import MODULE_OPSET, translate
from rnnedge_exporters.option_values import Storage
from rnnedge_exporters.quantization.layer_plan import Written, write_layer
from rnnedge_exporters.quantization.other_weights import store_constants
from rnnedge_exporters.quantization.report import describe_layer
from rnnedge_exporters.sandbox.shared import shared_sandbox
from rnnedge_exporters.versions import versions
from rnnedge_runtime.contract import Contract
from rnnedge_runtime.errors import pass_on_interruption

_EVAL = (nn.modules.dropout._DropoutNd, nn.modules.batchnorm._NormBase)
"""Layers that do something else while training."""


def build_module_graph(
    module: nn.Module,
    example_inputs: Any,
    dynamic_axes: DynamicAxes | None,
    options: ExportOptions,
) -> ExportedGraph:
    """Build the graph of a whole module.

    Args:
        module: The user's module; it is copied, never changed.
        example_inputs: The arguments of its forward.
        dynamic_axes: Names of the dynamic axes, or None for what the recurrent layers see.
        options: As in `export`.

    Raises:
        ExportError: When the module cannot be exported right, with the line that hinders it.
    """
    states, target, storage = options.states, options.target, options.storage
    if options.opset is not None and options.opset < MODULE_OPSET:
        raise ExportError(
            f"opset: expected {MODULE_OPSET} or more for a module, got {options.opset}"
        )

    def stored(name: str) -> Storage:
        kept = any(name == kept or name.startswith(f"{kept}/") for kept in options.keep_float32)
        return "float32" if kept else storage

    def chosen(layer: RecurrentLayer, *, lengths: bool) -> Written:
        wanted = None if layer.name in options.keep_float32 else options.quantize
        form = choose(
            layer,
            lengths=lengths,
            target=target,
            forced=options.lowering,
            quantize=wanted,
            storage=stored(layer.name),
        )
        return write_layer(layer, *form, options.moments)

    def plain(layer: RecurrentLayer, *, lengths: bool) -> Written:
        form = None if options.lowering in INT8_LOWERINGS else options.lowering
        return write_layer(layer, *choose(layer, lengths=lengths, target=target, forced=form), None)

    refuse_exchanged(module)
    copied = private_copy(module)
    weights_digest = digest(t.numpy() for t in copied.state_dict().values())
    compute_weights(copied)
    arguments = bind(copied, example_inputs)
    shared_sandbox().start()  # it gets ready while torch exports
    notes = _training_notes(module)
    notes += [f"{value} is fixed in the file" for value in fixed_values(copied, arguments)]
    with quiet(verbose=options.verbose):
        kept = _state_attributes(copied, arguments)
        rolling = _roll(copied, arguments, dynamic_axes, kept)
        with rolling.telling():
            notes += check_source(
                copied,
                arguments,
                kept,
                dynamic_axes=dynamic_axes,
                rolled=rolling.module is not None,
                refused=rolling.why,
            )
    with unchanged(copied), quiet(verbose=options.verbose):
        start = held(kept)
        put(kept, nothing(kept))  # starts from nothing, as a layer without a state does
        try:
            with rolling.telling():
                traced = _trace(copied, rolling.module, arguments, dynamic_axes)
        except ExportError as error:
            if not kept:
                raise
            traced = _traced_from(start, copied, arguments, dynamic_axes, kept, error)
        notes += check_squeezes(traced.program, traced.names)
        if storage != "float32":
            _refuse_computed_weights(traced.capture.weights, copied)
        build = partial(assemble, traced, translate(traced.program))
        float32 = partial(build, chosen=plain)
        lifting = decide(copied, arguments, traced, states, float32, validate=options.validate)
        made = lifting.made
        if not options.is_float32:
            made = build(chosen=chosen, storage=stored, **lifting.options)
        made = with_own_names(made, lifting.trial.misnamed)
    notes += lifting.notes
    notes += _refused_notes(lifting.trial)
    notes += _notes_on_axes(traced, dynamic_axes)
    read = kept if kept and not lifting.lift and _is_read(copied, arguments) else {}
    notes += _notes_on_states(read, lifting, states)
    graph = _converted(made, options.opset)
    report = [
        describe_layer(written, info)
        for written, info in zip(made.recurrent, made.layers, strict=True)
        if written is not None and storage != "float32"
    ]
    integers = target != "cuda" and (target != "c" or options.quantize == "int8:all")
    report += store_constants(graph, stored, copied, options.moments, integers=integers)
    contract = Contract(
        interface=replace(made.interface, arguments=describe(copied, arguments)),
        layers=made.layers,
        dtype=options.dtype,
        quantization=options.quantize,
        target=target,
        opset=graph.opset_imports[""],
        weights_digest=weights_digest,
        versions=versions(),
        hindrances=tuple(dict.fromkeys(hindrance.what for hindrance in lifting.found)),
        calibrated=tuple(dict.fromkeys(name for one in report for name in one.calibrated)),
    )
    return ExportedGraph(graph, contract, tuple(notes), tuple(report), lifting.trial)


def _notes_on_axes(traced: Traced, dynamic_axes: DynamicAxes | None) -> list[str]:
    notes = []
    if any(size == 1 for size in traced.capture.batch if isinstance(size, int)):
        why = "the only one that the module runs at"
        if dynamic_axes is not None:
            why = "since dynamic_axes (--input) does not name its axis"
        notes.append(f"the batch is fixed to 1, {why}")
    return notes + [
        f"axis {axis} of {name} is fixed to {size}, and need not be: dynamic_axes="
        f"{{{name!r}: {{{axis}: 'a_name'}}, ...}} opens it"
        for name, axis, size in traced.fixed
    ]


def _notes_on_states(read: Kept, lifting: Lifting, states: States) -> list[str]:
    """Return what the caller should know; `read` are attributes whose state is not lifted."""
    notes = []
    if read:
        notes.append(f"state kept in {', '.join(_shown(read))} starts anew at each call")
    if states is None and lifting.found:
        notes.append(f"states were not lifted, since {'; '.join(map(str, lifting.found))}")
    return notes


def _refused_notes(trial: Trial) -> list[str]:
    return [f"the file takes less than the module: {why}" for why in trial.refused]


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
    except Exception as error:  # tracing says what is wrong with it
        pass_on_interruption(error)
        return {}
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
    put(kept, start)
    try:
        return trace(copied, arguments, dynamic_axes)
    except ExportError:
        if not _is_read(copied, arguments):
            raise error from None
        raise ExportError(
            f"{type(copied).__name__} keeps its state in {', '.join(_shown(kept))}: take it as an "
            f"argument of forward and return it ({error})"
        ) from error


def _is_read(copied: nn.Module, arguments: Arguments) -> bool:
    """Whether a second call answers otherwise, since the first one left something."""

    def run() -> Any:
        with torch.inference_mode():
            return copied(**arguments.values)

    return kept_state(copied, run, lambda: None) is not None


@dataclass(frozen=True, slots=True)
class _Rolling:
    """What became of the Python loops over time.

    Attributes:
        module: The module with a layer for each; None where there are none, or one cannot be
            written so.
        why: Why it cannot.
    """

    module: nn.Module | None
    why: LoopError | None = None

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Say why a loop cannot be rolled where it would be unrolled otherwise."""
        try:
            yield
        except LoopError as error:
            raise self.why or error from error


def _roll(
    copied: nn.Module, arguments: Arguments, dynamic_axes: DynamicAxes | None, kept: Kept
) -> _Rolling:
    with unchanged(copied):
        put(kept, nothing(kept))
        try:
            return _Rolling(roll(copied, arguments, dynamic_axes))
        except LoopError as error:
            return _Rolling(None, error)


def _trace(
    copied: nn.Module,
    rolled: nn.Module | None,
    arguments: Arguments,
    dynamic_axes: DynamicAxes | None,
) -> Traced:
    """Trace a module, or what was made of it; its results are called as the module calls them."""
    if rolled is None:
        return trace(copied, arguments, dynamic_axes)
    flat = arguments.flat()
    traced = trace(rolled, Arguments(dict(flat)), dynamic_axes)
    with unchanged(copied), seeded(0), torch.inference_mode():
        outputs = name_results(copied, copied(**arguments.values), list(flat))
    return replace(traced, outputs=outputs)


def _shown(kept: Kept) -> list[str]:
    return [f"self.{path}" for path in kept]


def _converted(made: Assembled, opset: int | None) -> ir.Graph:
    if opset is None or opset == MODULE_OPSET:
        return made.graph
    from onnxscript import version_converter

    model = ir.Model(made.graph, ir_version=10)
    version_converter.convert_version(model, target_version=opset)
    return model.graph
