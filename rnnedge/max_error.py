"""`export_within`: weights in int8, but for the layers that make more error than is allowed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from rnnedge.errors import ExportError
from rnnedge.parity.cases import Case, largest_index, make_inputs
from rnnedge.parity.model_runner import ModelRunner
from rnnedge.parity.model_under_test import OpenedModel
from rnnedge.parity.rounding.calibrated import Calibration
from rnnedge_exporters.calibration.moments import collect_moments
from rnnedge_exporters.calibration.sequences import Data, NamedSequence, read_sequences
from rnnedge_exporters.call_advice import by_name
from rnnedge_exporters.exporter import ExportResult, export
from rnnedge_exporters.modules.wrappers import unwrapped
from rnnedge_exporters.quantization.report import LayerQuantization
from rnnedge_runtime.contract import Interface

_RANDOM = tuple(Case(time, 1) for time in (50, 51, 52, 53))
"""Standard normal input, where there is no other; each length has its own numbers."""


@dataclass(frozen=True, slots=True)
class _LayerError:
    name: str
    error: float
    saved: int

    @property
    def badness(self) -> float:
        """Error for each byte saved."""
        return self.error / max(self.saved, 1)


@by_name(2, "rnnedge.export_within(model, 'model.onnx', quantize='int8', max_error=0.01)")
def export_within(
    model: nn.Module,
    path: str | os.PathLike[str],
    *,
    max_error: float,
    calibrate: Data | None = None,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> ExportResult:
    """Export with rounded weights, and keep in float32 the layers that break a limit.

    Each layer is rounded alone first, and its error measured against PyTorch in float64. While all
    of them together are off by more than `max_error`, the layer with the largest error for each
    byte that it saves is kept in float32.

    Args:
        model: As in `export`.
        path: The `.onnx` file to write.
        max_error: Largest absolute error of any output, above 0.
        calibrate: The caller's own sequences, as in `export`: they decide how weights in int8 are
            rounded, too. None takes standard normal input with a fixed seed, and a note says so.
        progress: Called with the number of layers measured and in all.
        **options: What `export` takes; `quantize`, or `dtype="float16"`, is among them.

    Returns:
        As `export`; the reason of a layer that was kept has its error.

    Raises:
        ExportError: When nothing is to be rounded, or float32 itself exceeds the limit.
        InputError: When the sequences are not what the file takes.
    """
    if not max_error > 0:
        raise ExportError(f"max_error: expected above 0, got {max_error}")
    if options.get("quantize") is None and options.get("dtype", "float32") == "float32":
        raise ExportError("max_error: requires quantize='int8' or dtype='float16'")
    model = unwrapped(model)
    with tempfile.TemporaryDirectory() as folder:
        trial = Path(folder) / "trial.onnx"
        once = options | {"validate": False}  # the last export proves the graph, which is the same
        whole = export(model, trial, **once)
        interface = whole.contract.interface
        if calibrate is None:
            sequences = _random_sequences(model, interface)
        else:
            sequences = read_sequences(calibrate, interface)
            if options.get("quantize") is not None:
                options["calibrate"] = collect_moments(model, interface, sequences)
                once["calibrate"] = options["calibrate"]
                whole = export(model, trial, **once)
        calibration = Calibration(model, interface, sequences)

        def error(kept: Iterable[str]) -> float:
            export(model, trial, keep_float32=tuple(kept), **once)
            return _error(trial, calibration)

        names = [layer.name for layer in whole.quantization]
        kept: list[_LayerError] = []
        reached = _error(trial, calibration)
        if reached > max_error:
            for worst in _by_badness(whole.quantization, error, progress):
                kept.append(worst)
                reached = error(layer.name for layer in kept)
                if reached <= max_error:
                    break
        if reached > max_error:
            raise ExportError(
                f"max_error={max_error:g}: float32 itself is off by {reached:.1e} here, with all "
                f"{len(names)} layers kept in it"
            )
    result = export(model, path, keep_float32=tuple(layer.name for layer in kept), **options)
    on = "random input with a fixed seed" if calibrate is None else "the calibration data"
    note = f"off by {reached:.1e} on {on}, at most {max_error:g} allowed"
    reasons = {
        layer.name: f"alone it makes an error of {layer.error:.1e} and saves {layer.saved:,} bytes"
        for layer in kept
    }
    report = tuple(
        replace(layer, reason=reasons.get(layer.name, layer.reason))
        for layer in result.quantization
    )
    return replace(result, notes=(*result.notes, note), quantization=report)


def _by_badness(
    layers: Iterable[LayerQuantization],
    error: Callable[[Iterable[str]], float],
    progress: Callable[[int, int], None] | None,
) -> list[_LayerError]:
    """Round each layer alone, and return them with the worst first."""
    layers = list(layers)
    measured = []
    for done, layer in enumerate(layers, 1):
        alone = error(other.name for other in layers if other.name != layer.name)
        measured.append(_LayerError(layer.name, alone, layer.bytes_before - layer.bytes_after))
        if progress:
            progress(done, len(layers))
    return sorted(measured, key=lambda layer: -layer.badness)


def _random_sequences(model: nn.Module, interface: Interface) -> list[NamedSequence]:
    sequences = []
    for number, case in enumerate(_RANDOM):
        inputs = make_inputs(interface, case, largest_index(model))
        own = {spec.name: inputs[spec.name] for spec in interface.data_inputs}
        sequences.append(NamedSequence(f"random sequence {number}", own, case.time))
    return sequences


def _error(path: Path, calibration: Calibration) -> float:
    opened = OpenedModel(path, device="cpu", worker=None)
    costs = calibration.costs(ModelRunner(opened.interface, opened.session))
    return max((cost.max_abs for cost in costs), default=0.0)
