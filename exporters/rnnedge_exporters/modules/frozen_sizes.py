"""Sizes of the example that torch would keep: refused, with the line that makes it do so."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from rnnedge_exporters.errors import ExportError, LoopError
from rnnedge_exporters.modules.arguments import (
    Arguments,
)
from rnnedge_exporters.modules.axis_probe import Effect, groups, probe
from rnnedge_exporters.modules.capture import LENGTHS_GIVEN, Capture
from rnnedge_exporters.modules.example import (
    seen_by_layers,
)
from rnnedge_exporters.modules.lengths import CONSTANT
from rnnedge_exporters.modules.packing import DOMAIN, POSITIONS
from rnnedge_exporters.modules.source_lines import environment, guard_line
from rnnedge_exporters.modules.streaming import line_of
from rnnedge_exporters.modules.symbols import by_symbol, free_symbols, input_symbols, symbols_of
from rnnedge_runtime.contract import BATCH, TIME, Axis


def refuse_fixed_sizes(
    module: nn.Module,
    arguments: Arguments,
    seen: Capture,
    program: ExportedProgram,
    capture: Capture,
) -> list[tuple[str, int, int]]:
    """Refuse a program that fixes an axis which the recurrent layers see as batch or time.

    Returns:
        The axes that were fixed although the module runs at other sizes of them.
    """
    flat, used = arguments.flat(), input_symbols(program, arguments)
    fixed = {name: set(range(t.dim())) - used[name].keys() for name, t in flat.items()}
    tied = by_symbol(used).values()
    free: list[tuple[str, int, int]] = []
    for effect in probe(module, arguments, seen, groups(arguments, fixed, tied), seen_by_layers):
        inside = sorted((n, a) for n, a in effect.axes if a in fixed[n])
        steps = _unrolled(effect, capture)
        name, axis = inside[0]
        if steps:
            raise _unrolls(effect, seen, steps[0], name, axis)
        kind = _frozen(effect, seen, capture)
        if kind:
            raise fixed_axis(program, capture, arguments, name, axis, kind)
        free += [(n, a, flat[n].shape[a]) for n, a in inside]
    _refuse_sizes_of_weights(arguments, seen, program, capture, fixed)
    return free


def _refuse_sizes_of_weights(
    arguments: Arguments,
    seen: Capture,
    program: ExportedProgram,
    capture: Capture,
    fixed: Mapping[str, Iterable[int]],
) -> None:
    """Refuse a batch or time that a weight fixes, unless the caller names the dynamic axes."""
    sizes = [(BATCH, size) for size in capture.batch] + [(TIME, size) for size in capture.time]
    if not capture.calls:  # cells only: what they were called with in PyTorch is a batch
        sizes = [(BATCH, size) for size in seen.batch]
    constant = {
        int(size): kind for kind, size in reversed(sizes) if not free_symbols(size) and size != 1
    }
    for name, axes in fixed.items():
        shape = arguments.flat()[name].shape
        for axis in axes:
            floats = arguments.flat()[name].is_floating_point()
            features = floats and len(shape) > 1 and axis == len(shape) - 1
            kind = None if features else constant.get(shape[axis])
            if kind and guard_line(program, capture.guards, name, axis):
                raise fixed_axis(program, capture, arguments, name, axis, kind)


def refuse_hidden_counts(
    module: nn.Module,
    arguments: Arguments,
    seen: Capture,
    program: ExportedProgram,
    capture: Capture,
) -> None:
    """Refuse a number of the example that torch worked out of an axis which it calls dynamic.

    Such are a loop over a size that is computed (`x.reshape(-1, batch, 6)`), which would be
    unrolled, and a size that Python rounds (`int(math.ceil(time / 4))`), which would be fixed.
    """
    visible = set(symbols_of([*capture.time, *capture.batch]))
    for symbol, axes in by_symbol(input_symbols(program, arguments)).items():
        for effect in probe(module, arguments, seen, [axes], seen_by_layers):
            name, axis = min(axes)
            steps = _unrolled(effect, capture)
            if steps:
                raise _unrolls(effect, seen, steps[0], name, axis)
            kind = None if symbol in visible else _frozen(effect, seen, capture)
            if kind:
                raise fixed_axis(program, capture, arguments, name, axis, kind)


def refuse_limits(program: ExportedProgram, capture: Capture, names: Mapping[str, str]) -> None:
    """Refuse an axis with an upper limit: a branch of Python on a size has one."""
    for symbol, limits in program.range_constraints.items():
        if str(symbol) in names and limits.upper < torch.iinfo(torch.int32).max:
            guards = environment(program).guards
            notes = [
                capture.guards.get(str(g.expr)) for g in guards if symbol in g.expr.free_symbols
            ]
            lines = [note for note in notes if note]
            raise ExportError(
                f"axis {names[str(symbol)]} would be limited to {limits.upper} by "
                f"{lines[0] if lines else 'the module'}: {_limit(program, int(limits.upper))}"
            )


def refuse_constant_lengths(program: ExportedProgram) -> None:
    """Refuse lengths of packed sequences that depend on no input, where rows or steps are open."""
    inputs = set(program.graph_signature.user_inputs)
    for node in program.graph.nodes:
        if node.kwargs.get("domain") != DOMAIN:
            continue
        keys, numbers = node.kwargs["attr_keys"], node.kwargs["attr_ints"]
        given = dict(zip(keys, numbers, strict=True)).get(LENGTHS_GIVEN, node.args[1] == POSITIONS)
        if not given:
            continue
        padded, lengths = node.args[0][max(0, int(given) - 2)], node.args[0][int(given)]
        waiting, seen = [lengths], {lengths}
        while waiting:
            fresh = set(waiting.pop().all_input_nodes) - seen
            seen |= fresh
            waiting += fresh
        open_axes = any(free_symbols(size) for size in padded.meta["val"].shape[:2])
        if open_axes and not any(one.name in inputs for one in seen):
            raise ExportError(f"{line_of(node) or 'pack_padded_sequence'}: {CONSTANT}")


def refuse_enlarged(given: Mapping[str, Tensor], axes: Mapping[str, tuple[Axis, ...]]) -> None:
    """Refuse to fix an axis of size 1 to the size that it was given to be traced.

    torch takes 1 for a constant, so the axis was made longer, and must be dynamic then.
    """
    for name, tensor in given.items():
        for axis, (size, written) in enumerate(zip(tensor.shape, axes[name], strict=True)):
            if size == 1 and written != 1 and not isinstance(written, str):
                raise ExportError(
                    f"axis {axis} of {name} has 1 entry in the example and cannot be "
                    "distinguished from an axis of fixed size: give an example with 2 or more"
                )


def _unrolled(effect: Effect, capture: Capture) -> list[str]:
    """Return the cells, and the layers that see a fixed time, that an axis is walked with.

    A layer that a loop calls for each of a fixed number of channels has its whole time each time.
    """
    whole = {
        path
        for path, time in zip(capture.calls, capture.time, strict=True)
        if free_symbols(time) and not isinstance(time, int)
    }
    return [path for path in effect.looped if path not in whole]


def _frozen(effect: Effect, seen: Capture, capture: Capture) -> str | None:
    """Return `time` or `batch` where a layer is given more of it, and always as much in the trace.

    An axis that only adds to a dynamic one is fixed to the example's, and that is a note.
    """
    if effect.looped:
        return None
    for kind, before, after, traced in (
        (TIME, seen.time, effect.time, capture.time),
        (BATCH, seen.batch, effect.batch, capture.batch),
    ):
        changes = zip(before, after, traced, strict=False)
        if any(old != new and not free_symbols(size) for old, new, size in changes):
            return kind
    return None


def _unrolls(effect: Effect, seen: Capture, path: str, name: str, axis: int) -> ExportError:
    line = effect.lines.get(path)
    times = seen.calls.count(path) + seen.cells.get(path, 0)
    return LoopError(
        f"{path or 'the layer'} runs {times} times in a Python loop"
        + (f" ({line})" if line else "")
        + f" over axis {axis} of {name}, and would always run {times} times: call the layer once "
        "with the whole sequence (nn.LSTM for nn.LSTMCell), or wrap an own cell in "
        "rnnedge.Recurrent(cell); dynamic_axes without that axis exports this one length"
    )


def fixed_axis(
    program: ExportedProgram,
    capture: Capture,
    arguments: Arguments,
    name: str,
    axis: int,
    told: str,
) -> ExportError:
    """Return the error for an axis that torch fixed, with the line that made it do so."""
    size = arguments.flat()[name].shape[axis]
    line = guard_line(program, capture.guards, name, axis)
    others = _open_axes(program, capture, arguments)
    return ExportError(
        f"axis {axis} of {name} ({told}) would be fixed to {size}"
        + (f" by {line}" if line else " by the module")
        + ": a Python loop or branch over a size, or a size that the module holds, is that of the "
        "example; use an operation over the whole axis (a recurrent layer, rnnedge.Recurrent for "
        "an own cell) and sizes of the input (x.shape), or fix this axis with "
        f"dynamic_axes={others}"
    )


def _open_axes(
    program: ExportedProgram, capture: Capture, arguments: Arguments
) -> dict[str, dict[int, str]]:
    """Return the axes that the layers see as batch or time and that stay open, named."""
    kinds = dict.fromkeys(symbols_of(capture.time), TIME)
    kinds |= dict.fromkeys(symbols_of(capture.batch), BATCH)
    names: dict[str, str] = {}
    for symbol in by_symbol(input_symbols(program, arguments)):
        if symbol in kinds:
            same = sum(name.startswith(kinds[symbol]) for name in names.values())
            names[symbol] = f"{kinds[symbol]}_{same}" if same else kinds[symbol]
    found = {
        name: {axis: names[symbol] for axis, symbol in axes.items() if symbol in names}
        for name, axes in input_symbols(program, arguments).items()
    }
    return {name: axes for name, axes in found.items() if axes}


def _limit(program: ExportedProgram, size: int) -> str:
    """Say what may limit an axis to a size, and what to do about it."""
    signature = program.graph_signature
    held = {**signature.inputs_to_buffers, **signature.inputs_to_parameters}
    held |= signature.inputs_to_lifted_tensor_constants
    tensors = {**program.state_dict, **program.constants}
    for node in program.graph.nodes:
        tensor = tensors.get(held.get(node.name, "")) if node.users else None
        if isinstance(tensor, Tensor) and size in tensor.shape:
            name = f"self.{held[node.name]} has {size} entries along an axis"
            if tensor.any():
                return f"{name}; compute what is needed of it from the size, as torch.arange does"
            return f"{name}; make zeros of the size that is needed instead, x.new_zeros(...)"
    return (
        "a Python branch on a size is taken at export only; compute both sides, or use torch.where"
    )
