"""What an export did to the weights, as a table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from rnnedge_exporters.quantization.report import LayerQuantization


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


def reasons(layers: Iterable[LayerQuantization]) -> list[str]:
    """Return a line for each reason, with the layers that it is given for."""
    by_reason: dict[str, list[str]] = {}
    for layer in layers:
        by_reason.setdefault(f"{layer.done}: {layer.reason}", []).append(layer.name or layer.kind)
    return [f"{', '.join(names)} {reason}" for reason, names in by_reason.items()]
