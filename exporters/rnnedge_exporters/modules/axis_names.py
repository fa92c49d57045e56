"""What the dynamic axes are called."""

from __future__ import annotations

import torch
from torch import nn
from torch.export import ExportedProgram

from rnnedge_exporters.modules.arguments import (
    Arguments,
)
from rnnedge_exporters.modules.axis_probe import Axes, probe
from rnnedge_exporters.modules.capture import Capture
from rnnedge_exporters.modules.example import (
    DynamicAxes,
    seen_by_layers,
)
from rnnedge_exporters.modules.frozen_sizes import (
    fixed_axis,
)
from rnnedge_exporters.modules.packing import LONGEST, PACKED
from rnnedge_exporters.modules.symbols import by_symbol, free_symbols, input_symbols, symbols_of
from rnnedge_runtime.contract import BATCH, TIME


def names_by_layers(program: ExportedProgram, capture: Capture) -> dict[str, str]:
    """Name the symbols that the recurrent layers see as batch and time."""
    names: dict[str, str] = {}
    whole = _before_cuts(program)
    for kind, sizes in ((BATCH, capture.batch), (TIME, capture.time)):
        seen = (whole.get(symbol, symbol) for symbol in symbols_of(sizes))
        fresh = [symbol for symbol in dict.fromkeys(seen) if symbol not in names]
        for number, symbol in enumerate(fresh):
            names[symbol] = kind if number == 0 else f"{kind}_{number}"
    return names


def _before_cuts(program: ExportedProgram) -> dict[str, str]:
    """Return the symbol of the axis that was cut, by that of what is left: `x[:, :n.max()]`."""
    found = {}
    for node in program.graph.nodes:
        if node.target not in (torch.ops.aten.slice.Tensor, torch.ops.aten.narrow.default):
            continue
        before, after = node.args[0].meta["val"].shape, node.meta["val"].shape
        for whole, left in zip(before, after, strict=True):
            if len(free_symbols(whole)) == 1:
                found.update(
                    {s: free_symbols(whole)[0] for s in free_symbols(left) if s.startswith("u")}
                )
    return found


def names_by_caller(
    program: ExportedProgram, capture: Capture, arguments: Arguments, dynamic_axes: DynamicAxes
) -> dict[str, str]:
    """Name the symbols as the caller does, who must not name an axis that torch fixed."""
    used = input_symbols(program, arguments)
    names: dict[str, str] = {}
    for name, axes in dynamic_axes.items():
        for axis, told in axes.items():
            if axis not in used[name]:
                raise fixed_axis(program, capture, arguments, name, axis, told)
            names.setdefault(used[name][axis], told)
    return names


def names_of_longest(program: ExportedProgram, capture: Capture) -> dict[str, str]:
    """Name the symbols that stand for the longest row of a packed sequence, or all its steps."""
    packed = set(symbols_of(capture.packed.packed_sizes()))
    names: dict[str, str] = {}
    for symbol in (str(s) for s in program.range_constraints if str(s).startswith("u")):
        kind = PACKED if symbol in packed else LONGEST
        number = sum(name.startswith(kind) for name in names.values())
        names[symbol] = f"{kind}_{number}" if number else kind
    return names


def adopt_names(
    module: nn.Module,
    arguments: Arguments,
    seen: Capture,
    names: dict[str, str],
    used: dict[str, dict[int, str]],
) -> None:
    """Name the axes that belong to a named one, and that torch could not tie to it.

    Sorting rows for a packed sequence cuts such a tie: rows are picked by a computed index. Two
    axes go together where the module runs with both longer, but not with one of them.
    """

    def runs(axes: Axes) -> bool:
        return bool(probe(module, arguments, seen, [axes], seen_by_layers))

    flat = arguments.flat()
    groups = by_symbol(used)
    sizes = {symbol: {flat[n].shape[a] for n, a in axes} for symbol, axes in groups.items()}
    named = [symbol for symbol in groups if symbol in names]
    for symbol, axes in groups.items():
        for other in named if symbol not in names else ():
            tied = groups[other]
            alike = sizes[symbol] == sizes[other]
            if alike and runs(axes | tied) and not (runs(axes) and runs(tied)):
                names[symbol] = names[other]
                break
