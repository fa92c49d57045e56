"""What an export did to the weights, as a table."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from rnnedge.file_kinds import is_onnx

if TYPE_CHECKING:
    from rnnedge_exporters.quantization.report import LayerQuantization

_SIDES = ("before", "after")


def quantization_table(layers: Iterable[LayerQuantization]) -> Table:
    """Return a row for each layer whose weights are written in fewer bits."""
    table = Table(title="weights", title_justify="left")
    for heading in ("layer", "kind", "what was done"):
        table.add_column(heading)
    for heading in ("bytes before", "after", "max weight error", "max output error"):
        table.add_column(heading, justify="right")
    for layer in layers:
        output = "-" if layer.output_error is None else f"{layer.output_error:.1e}"
        table.add_row(
            layer.name or "-",
            layer.kind,
            layer.done,
            f"{layer.bytes_before:,}",
            f"{layer.bytes_after:,}",
            f"{layer.weight_error:.1e}",
            output,
        )
    return table


def costs(
    layers: Sequence[LayerQuantization], model: str, source: str | None, *, program: bool = False
) -> list[str]:
    """Return what fewer bits cost and save, and what to type to measure it.

    Args:
        layers: What was done to each layer.
        model: The file that was written.
        source: What it was exported from; None where that is a layer that options build.
        program: Whether a C program was written, which has its own lines of bytes.
    """
    before, after = (sum(getattr(layer, f"bytes_{n}") for layer in layers) for n in _SIDES)
    lines = [
        f"weights: {after:,} bytes in the file, {after / before:.2f}x of {before:,} in float32"
    ]
    if program:
        return [lines[0].replace("in the file", "of weights that may be rounded")]
    stored = [layer for layer in layers if layer.done.startswith("stored")]
    if stored:
        memory = sum(layer.bytes_before for layer in stored)
        lines.append(
            f"stored, not computed, in fewer bits: {len(stored)} of {len(layers)} layers become "
            f"float32 when the file is opened: {memory:,} bytes of memory, and no speed is gained"
        )
        if any("int8" in layer.done and layer.output_error is not None for layer in stored):
            lines.append("to compute all recurrent layers in int8: --quantize int8:all")
    name, origin = shlex.quote(model), shlex.quote(source or "SOURCE")
    if is_onnx(source):
        lines.append(f"speed and memory: rnnedge bench {name} --beside {origin}")
    else:
        proof = f"rnnedge validate {name} --against {origin} --calibrate DATA"
        lines.append(f"agreement on your data: {proof}")
        lines.append(f"speed and memory: rnnedge bench {name} --beside FLOAT32.onnx")
    return lines


def reasons(layers: Iterable[LayerQuantization]) -> list[str]:
    """Return a line for each reason, with the layers that it is given for."""
    by_reason: dict[str, list[str]] = {}
    for layer in layers:
        by_reason.setdefault(f"{layer.done}: {layer.reason}", []).append(layer.name or layer.kind)
    return [f"{', '.join(names)} {reason}" for reason, names in by_reason.items()]
