"""`export`: from a PyTorch module to an `.onnx` file with its contract."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from rnnedge_exporters.bare_layer import build_bare_layer
from rnnedge_exporters.c_source.program_folder import check_program_folder
from rnnedge_exporters.c_source.target import CProgram, check_program_options, write_program
from rnnedge_exporters.calibration.moments import collect_moments
from rnnedge_exporters.calibration.sequences import Data, data_files, read_sequences
from rnnedge_exporters.call_advice import TORCH_EXPORT, by_name, check_export_call
from rnnedge_exporters.errors import ExportError
from rnnedge_exporters.exported_graph import ExportedGraph, ExportOptions, States, Trial
from rnnedge_exporters.layers.weights import is_bare_layer
from rnnedge_exporters.lowerings import INT8_LOWERINGS as INT8_LOWERINGS
from rnnedge_exporters.lowerings import LOWERINGS as LOWERINGS
from rnnedge_exporters.modules.wrappers import unwrapped
from rnnedge_exporters.onnx_model.serialize import serialize, user_entry
from rnnedge_exporters.option_values import (
    DType,
    Quantize,
    check_options,
    check_target_option,
    storage_of,
)
from rnnedge_exporters.option_values import Target as Target
from rnnedge_exporters.quantization.checks import check_weights
from rnnedge_exporters.quantization.report import LayerQuantization
from rnnedge_exporters.quantization.second_moments import Moments
from rnnedge_exporters.threads import largest_weight, threads_for
from rnnedge_exporters.versions import HIGHEST_OPSET as HIGHEST_OPSET
from rnnedge_exporters.versions import LOWEST_OPSET as LOWEST_OPSET
from rnnedge_runtime.atomic_file import write_file
from rnnedge_runtime.contract import Contract
from rnnedge_runtime.notebook import html_table
from rnnedge_runtime.write_target import ONNX, check_target


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What an export wrote.

    Attributes:
        path: The file.
        contract: What the file promises.
        bytes: Size of the file.
        sha256: Digest of the file, 64 hexadecimal digits.
        notes: What the caller should know: eval mode, states that could not be lifted.
        quantization: What was done to the weights of each layer; empty in float32.
        report: What was compared with the module before the file was written.
        program: With `target="c"`, the C program; `bytes` and `sha256` are then those of the model
            that it was made from, which is not written.
    """

    path: Path
    contract: Contract
    bytes: int
    sha256: str
    notes: tuple[str, ...] = ()
    quantization: tuple[LayerQuantization, ...] = ()
    report: Trial = field(default_factory=Trial)
    program: CProgram | None = None

    def __str__(self) -> str:
        """Return one line with the file, its size, and the first 12 digits of both digests."""
        if self.program is not None:
            return str(self.program)
        weights = self.contract.weights_digest.removeprefix("sha256:")
        return (
            f"{self.path} ({self.bytes:,} bytes, opset {self.contract.opset}, sha256 "
            f"{self.sha256[:12]}, weights digest {weights[:12]})"
        )

    def __repr__(self) -> str:
        """Return the line of `str`."""
        return f"ExportResult({self})"

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the file, what was done to weights, and the notes."""
        rows = [
            (
                layer.name or layer.kind,
                layer.done,
                f"{layer.bytes_before:,}",
                f"{layer.bytes_after:,}",
            )
            for layer in self.quantization
        ]
        rows += [("note", note, "", "") for note in self.notes]
        return html_table(str(self), ("layer", "what was done", "bytes before", "after"), rows)


@by_name(2, "rnnedge.export(model, 'model.onnx', example_inputs=(x,))", TORCH_EXPORT)
def export(  # noqa: PLR0913 - each is an option given by name
    model: nn.Module,
    path: str | os.PathLike[str],
    *,
    example_inputs: Any = None,
    dynamic_axes: Mapping[str, Mapping[int, str]] | None = None,
    lengths: bool = False,
    states: States = None,
    target: Target = "cpu",
    lowering: str | None = None,
    quantize: Quantize | None = None,
    dtype: DType = "float32",
    keep_float32: Collection[str] = (),
    calibrate: Data | Moments | None = None,
    opset: int | None = None,
    metadata: Mapping[str, Any] | None = None,
    batch: int = 1,
    max_steps: int | None = None,
    validate: bool = True,
    force: bool = False,
    verbose: bool = False,
) -> ExportResult:
    """Export a recurrent layer, or a module with such layers inside, to ONNX.

    Batch and time stay dynamic. The file is written whole or not at all. The same weights and
    options give the same bytes. The module is read, never changed: modules run as a private copy,
    in float32, on the CPU, in eval mode.

    Args:
        model: An `nn.RNN`, `nn.LSTM` or `nn.GRU`, or any module that contains such layers.
        path: The `.onnx` file to write; an existing one is replaced, a file that holds something
            else is not.
        example_inputs: For a module, the arguments of its forward: a tuple, or a dict by name, of
            tensors or NumPy arrays.
        dynamic_axes: For a module, input name to axis to the name of the axis, such as
            `{"x": {0: "batch", 1: "time"}}`; None makes dynamic what the recurrent layers see as
            batch and time.
        lengths: For a layer, whether the model takes `lengths`, int64 [batch]: each row ends at its
            length as in a `PackedSequence`. A module takes the lengths that its forward takes.
        states: For a layer, whether `h_0` (and `c_0`) are inputs; None is True. For a module, True
            lifts the states of the layers inside that start from zeros to inputs and outputs named
            by path (`encoder.rnn.h_0`), or says what makes streaming inexact; None lifts where
            streaming is exact; False leaves the module as written; a mapping says which output
            feeds which input on the next call, and chunks are tried where something looks across
            time.
        target: `cpu`, `cuda` or `portable`: what the ONNX form of each layer is chosen for. `c`
            writes a folder of C99 to `path`, or with a path that ends in `.onnx` the model that
            such a program is made from.
        lowering: The form that every recurrent layer takes, a key of `LOWERINGS`, or with
            `quantize` of `INT8_LOWERINGS`; None takes the one that `target` asks for, and
            `contract.layers` says which and why.
        quantize: `int8` writes every weight in int8, with a scale for each output channel, and
            computes recurrent layers in it where that is faster at their sizes; elsewhere the
            weights become float32 when the model is opened. The input
            weights of layers that are too narrow for 8 bits are written in float16. `int8:all`
            computes all recurrent layers in it. `result.quantization` says for each layer what was
            done, why, and the error.
        dtype: `float16` writes the weights in half; they become float32 when the model is opened,
            or with `target="cuda"` the recurrent layers compute in half. Inputs and outputs stay
            float32.
        keep_float32: Layers whose weights stay as they are, by their names in
            `result.quantization`.
        calibrate: The caller's own sequences, as `calibration.sequences.read_sequences` takes them,
            or what they show of the module: the weights of recurrent layers, recurrent cells and
            `nn.Linear` that are written in int8 are rounded up or down so that their sums are off
            by less on such sequences. Each keeps the rounding to the nearest where that is as good
            on those that nothing was chosen with; `result.quantization` says what was taken.
        opset: Version of the ONNX operator set, from `LOWEST_OPSET` (for a module 18) to
            `HIGHEST_OPSET`; None takes the lowest, which the most runtimes load.
        metadata: What you want to keep in the file, by name, such as `{"labels": ["yes", "no"],
            "sample_rate": 16000}`: text, numbers, lists, dicts. `Session.metadata` gives it back.
        batch: With `target="c"`, the rows of each call.
        max_steps: With `target="c"`, the steps of the whole sequences that the program runs, for a
            model that cannot run step by step; None writes a step function.
        validate: Whether the graph, with float32 weights, is compared with the module before it is
            written, at lengths and batches that it was not exported with; `result.report` says
            which. States are lifted only after chunks were run, whatever this says.
        force: Whether a file that holds something else may be replaced.
        verbose: Whether torch's own remarks on the way are shown.

    Returns:
        The file, its contract, and what was done and run on the way.

    Raises:
        ExportError: When the module or an option cannot be used, or the file would answer
            something else than the module.
        WriteError: When the file must not or cannot be written.
        WeightsError: When a weight cannot be written in the type that was asked for.
        InputError: When the sequences are not what the model takes.
        OptionError: When `metadata` holds what a file cannot keep.

    Warns:
        WeightsWarning: When a weight holds NaN or infinity.

    Example:
        >>> layer = torch.nn.GRU(8, 16)
        >>> rnnedge.export(layer, "model.onnx")
        ExportResult(model.onnx (...))
        >>> kept = {"labels": ["yes", "no"], "sample_rate": 16000}
        >>> rnnedge.export(layer, "small.onnx", quantize="int8", metadata=kept).path.name
        'small.onnx'
    """
    check_export_call(model, path)
    user_entry(metadata)  # refused before any work is done
    protected = data_files(calibrate)
    _check_choices(opset, target, lowering)
    as_program = check_program_options(
        target, path, batch=batch, max_steps=max_steps, metadata=metadata
    )
    if as_program:
        check_program_folder(path, force=force)
    else:
        check_target(path, ONNX, protected=protected, force=force)
    model = unwrapped(model)
    check_options(quantize, dtype, target, lowering)
    if calibrate is not None and quantize is None:
        raise ExportError("calibrate: requires quantize='int8', whose rounding the data determines")
    check_weights(model, storage_of(quantize, dtype, target))

    options = ExportOptions(
        lengths=lengths,
        states=states,
        target=target,
        lowering=lowering,
        quantize=quantize,
        dtype=dtype,
        keep_float32=keep_float32,
        opset=opset,
        verbose=verbose,
        validate=validate,
    )

    def build(options: ExportOptions) -> ExportedGraph:
        if is_bare_layer(model):
            return build_bare_layer(model, options)
        if lengths:
            raise ExportError(
                f"lengths=True: requires a bare layer; {type(model).__name__} takes the lengths "
                "that its forward takes"
            )
        from rnnedge_exporters.modules.exporting import build_module_graph

        return build_module_graph(model, example_inputs, dynamic_axes, options)

    with threads_for(largest_weight(model)):
        if calibrate is not None:
            if not isinstance(calibrate, Moments):
                interface = build(replace(options, validate=False)).contract.interface
                calibrate = collect_moments(model, interface, read_sequences(calibrate, interface))
            options = replace(options, moments=calibrate)
        made = build(options)
    content = serialize(made.graph, made.contract, metadata)
    program = None
    if as_program:
        program = write_program(content, path, batch=batch, max_steps=max_steps, force=force)
    else:
        write_file(path, content, ONNX, protected=protected, force=force)
    return ExportResult(
        path=Path(path),
        contract=made.contract,
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        notes=made.notes,
        quantization=made.quantization,
        report=made.trial,
        program=program,
    )


def _check_choices(opset: int | None, target: str, lowering: str | None) -> None:
    if opset is not None and (
        not isinstance(opset, int) or not LOWEST_OPSET <= opset <= HIGHEST_OPSET
    ):
        raise ExportError(f"opset: expected {LOWEST_OPSET} to {HIGHEST_OPSET}, got {opset!r}")
    check_target_option(target)
    if lowering is not None and lowering not in LOWERINGS | INT8_LOWERINGS:
        names = ", ".join(map(repr, LOWERINGS | INT8_LOWERINGS))
        raise ExportError(f"lowering: expected one of {names}, got {lowering!r}")
