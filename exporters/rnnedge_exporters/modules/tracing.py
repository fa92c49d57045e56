"""`torch.export` with axes that stay dynamic, or an error that names the line which fixed one."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from rnnedge_exporters.errors import ExportError
from rnnedge_exporters.modules.arguments import (
    Arguments,
    flatten_result,
    map_tensors,
    name_results,
)
from rnnedge_exporters.modules.attributes import unchanged
from rnnedge_exporters.modules.call_structure import forward_of_tensors
from rnnedge_exporters.modules.capture import LONGEST, Capture, captured, observed
from rnnedge_exporters.modules.guards import environment, guard_line, noting_guards, told_line
from rnnedge_exporters.modules.repeatable import seeded
from rnnedge_exporters.modules.traced_forward import traced_forward
from rnnedge_runtime.contract import BATCH, TIME, Axis

DynamicAxes = Mapping[str, Mapping[int, str]]

_OTHER_SIZES = (3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41)
"""What an axis of size 1 is enlarged to, the first that no other axis has.

torch takes 1 for a constant.
"""
_MOST_TRIES = 256


@dataclass(frozen=True, slots=True)
class Traced:
    """A module as `torch.export` saw it.

    Attributes:
        program: The exported program, with opaque nodes for the recurrent layers.
        capture: The layers and their calls.
        input_axes: Axes of each input by name, named where they are dynamic.
        outputs: Names of the outputs, in order.
        names: Symbol of torch to the name of the axis.
        fixed: Input, axis and size of each axis that could be dynamic and that nobody asked for.
    """

    program: ExportedProgram
    capture: Capture
    input_axes: dict[str, tuple[Axis, ...]]
    outputs: list[str]
    names: dict[str, str]
    fixed: list[tuple[str, int, int]]


def trace(module: nn.Module, arguments: Arguments, dynamic_axes: DynamicAxes | None) -> Traced:
    """Export `module`, a private copy, with dynamic axes.

    Args:
        module: The copy.
        arguments: Example arguments.
        dynamic_axes: Input name to axis to the axis's name; None makes dynamic what the recurrent
            layers see as batch and time.

    Raises:
        ExportError: When the module does not run, an axis would be fixed, or torch refuses it.
    """
    seen, result = _run(module, arguments)
    outputs = name_results(module, result, list(arguments.flat()))
    if dynamic_axes is None:
        for sizes in ("batch", "time"):
            if 1 in getattr(seen, sizes):
                arguments = _enlarged(module, arguments, sizes)
                seen, _ = _run(module, arguments)
        wanted = {name: set(range(t.dim())) for name, t in arguments.flat().items()}
    else:
        _check_axes(arguments, dynamic_axes)
        arguments = _resized(arguments, dynamic_axes)
        seen, _ = _run(module, arguments)
        wanted = {name: set(axes) for name, axes in dynamic_axes.items()}

    program, capture = _export(module, arguments, wanted)
    fixed: list[tuple[str, int, int]] = []
    if dynamic_axes is None:
        names = _names_by_layers(capture)
        used = _dynamic(program, arguments)
        _refuse_loops_over_cells(seen, capture, program, arguments)
        _adopt(names, used, arguments)
        kept = {
            name: {axis for axis, symbol in axes.items() if symbol in names}
            for name, axes in used.items()
        }
        _refuse_fixed_sizes(seen, capture, program, arguments)
        fixed = [
            (name, axis, arguments.flat()[name].shape[axis])
            for name, axes in used.items()
            for axis in axes
            if axis not in kept[name]
        ]
        if fixed:
            # Some axis could be dynamic that no recurrent layer sees: it stays as the example's.
            program, capture = _export(module, arguments, kept)
            names = _names_by_layers(capture)
            _adopt(names, _dynamic(program, arguments), arguments)
    else:
        used = _dynamic(program, arguments)
        names = {}
        for name, axes in dynamic_axes.items():
            for axis, told in axes.items():
                if axis not in used[name]:
                    raise _fixed(program, capture, arguments, name, axis, told)
                names.setdefault(used[name][axis], told)
    capture.weights.update(seen.weights)
    _refuse_limits(program, capture, names)
    names.update(_longest(program))
    used = _dynamic(program, arguments)
    input_axes = {
        name: tuple(
            names[used[name][axis]] if axis in used[name] else size
            for axis, size in enumerate(tensor.shape)
        )
        for name, tensor in arguments.flat().items()
    }
    return Traced(program, capture, input_axes, outputs, names, fixed)


def _run(module: nn.Module, arguments: Arguments) -> tuple[Capture, Any]:
    try:
        with seeded(0), unchanged(module), observed(module) as capture, torch.inference_mode():
            result = module(**arguments.values)
    except ExportError:
        raise
    except Exception as error:
        raise ExportError(
            f"{type(module).__name__} does not run on the example inputs {_shapes(arguments)}: "
            f"{told_line(error)}"
        ) from error
    if not flatten_result(result):
        raise ExportError(f"{type(module).__name__}: expected tensors as its result, got none")
    return capture, result


def _enlarged(module: nn.Module, arguments: Arguments, sizes: str) -> Arguments:
    """Repeat the axes of size 1 so that no layer sees a `sizes` of 1.

    Of the choices that run, the one with the most axes is taken: where fewer would do, the others
    were broadcast, and are the same axis all the same (a batch of 3 beside a state of 1).
    """
    flat = arguments.flat()
    ones = [(name, axis) for name, t in flat.items() for axis, n in enumerate(t.shape) if n == 1]
    taken = {size for tensor in flat.values() for size in tensor.shape}
    size = next(size for size in _OTHER_SIZES if size not in taken)
    tries = itertools.chain.from_iterable(
        itertools.combinations(ones, count) for count in range(len(ones), 0, -1)
    )
    for chosen in itertools.islice(tries, _MOST_TRIES):
        larger = dict(flat)
        for name, axis in chosen:
            larger[name] = larger[name].repeat_interleave(size, dim=axis)
        attempt = arguments.with_tensors(larger)
        try:
            seen, _ = _run(module, attempt)
        except ExportError:
            continue
        if 1 not in getattr(seen, sizes):
            return attempt
    return arguments  # a layer inside runs at 1 always, as a policy that sees one step does


def _resized(arguments: Arguments, dynamic_axes: DynamicAxes) -> Arguments:
    """Enlarge the named axes of size 1, every axis of one name alike."""
    flat = arguments.flat()
    small = {
        told
        for name, axes in dynamic_axes.items()
        for axis, told in axes.items()
        if flat[name].shape[axis] == 1
    }
    larger = dict(flat)
    for name, axes in dynamic_axes.items():
        for axis, told in axes.items():
            if told in small:
                larger[name] = larger[name].repeat_interleave(_OTHER_SIZES[0], dim=axis)
    return arguments.with_tensors(larger)


def _check_axes(arguments: Arguments, dynamic_axes: DynamicAxes) -> None:
    flat = arguments.flat()
    for name, axes in dynamic_axes.items():
        if name not in flat:
            raise ExportError(f"dynamic_axes: no input {name!r}; there are {', '.join(flat)}")
        for axis, told in axes.items():
            if not isinstance(axis, int) or not 0 <= axis < flat[name].dim():
                raise ExportError(
                    f"dynamic_axes: {name} has the axes 0 to {flat[name].dim() - 1}, got {axis!r}"
                )
            if not isinstance(told, str) or not told.isidentifier():
                raise ExportError(f"dynamic_axes: expected a name for {name}[{axis}], got {told!r}")


def _export(
    module: nn.Module, arguments: Arguments, wanted: Mapping[str, Iterable[int]]
) -> tuple[ExportedProgram, Capture]:
    hints = {
        name: dict.fromkeys(wanted.get(name, ()), Dim.AUTO) if t.dim() else {}
        for name, t in arguments.flat().items()
    }
    try:
        with (
            unchanged(module),
            captured(module) as capture,
            noting_guards(capture),
            torch.no_grad(),
        ):
            called, forward = forward_of_tensors(module, arguments)
            module.forward = traced_forward(module, forward)
            shapes = map_tensors(arguments, hints)
            program = torch.export.export(
                module,
                (),
                {name: arguments.values[own] for name, own in called.items()},
                dynamic_shapes={name: shapes[own] for name, own in called.items()},
                strict=False,
            )
    except ExportError:
        raise
    except Exception as error:
        raise ExportError(
            f"{type(module).__name__} cannot be traced: {told_line(error)}"
        ) from error
    return program, capture


def _dynamic(program: ExportedProgram, arguments: Arguments) -> dict[str, dict[int, str]]:
    """Return the symbols of the dynamic axes, by input and axis."""
    values = zip(arguments.flat(), _input_values(program), strict=True)
    return {
        name: {axis: _free(size)[0] for axis, size in enumerate(value.shape) if _free(size)}
        for name, value in values
    }


def _input_values(program: ExportedProgram) -> list[Tensor]:
    names = set(program.graph_signature.user_inputs)
    return [
        node.meta["val"]
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in names and "val" in node.meta
        and isinstance(node.meta["val"], Tensor)
    ]  # fmt: skip


def _free(size: int | torch.SymInt) -> list[str]:
    """Return the symbols that a size depends on; one that torch fixed may still be a SymInt."""
    return sorted(map(str, size.node.expr.free_symbols)) if isinstance(size, torch.SymInt) else []


def _symbols(sizes: Iterable[int | torch.SymInt]) -> list[str]:
    """Return the symbols in `sizes`, those that stand alone first."""
    found: dict[str, int] = {}
    for free in map(_free, sizes):
        for symbol in free:
            found[symbol] = min(found.get(symbol, len(free)), len(free))
    return sorted(found, key=lambda symbol: found[symbol])


def _names_by_layers(capture: Capture) -> dict[str, str]:
    """Name the symbols that the recurrent layers see as batch and time."""
    names: dict[str, str] = {}
    for kind, sizes in ((BATCH, capture.batch), (TIME, capture.time)):
        fresh = [symbol for symbol in _symbols(sizes) if symbol not in names]
        for number, symbol in enumerate(fresh):
            names[symbol] = kind if number == 0 else f"{kind}_{number}"
    return names


def _longest(program: ExportedProgram) -> dict[str, str]:
    """Name the symbols that stand for the longest row of a packed sequence."""
    symbols = [str(s) for s in program.range_constraints if str(s).startswith("u")]
    return {
        s: LONGEST if number == 0 else f"{LONGEST}_{number}" for number, s in enumerate(symbols)
    }


def _adopt(names: dict[str, str], used: dict[str, dict[int, str]], arguments: Arguments) -> None:
    """Name the axes that are as long as a named one, and that torch could not tie to it.

    Sorting rows for a packed sequence cuts such a tie: rows are picked by a computed index.
    """
    flat = arguments.flat()
    sizes = {
        flat[name].shape[axis]: names[symbol]
        for name, axes in used.items()
        for axis, symbol in axes.items()
        if symbol in names
    }
    for name, axes in used.items():
        for axis, symbol in axes.items():
            if symbol not in names and flat[name].shape[axis] in sizes:
                names[symbol] = sizes[flat[name].shape[axis]]


def _refuse_fixed_sizes(
    seen: Capture, capture: Capture, program: ExportedProgram, arguments: Arguments
) -> None:
    """Refuse a batch or time that is an axis of an input and was fixed to the example's."""
    used = _dynamic(program, arguments)
    if capture.time or capture.batch:
        fixed = [(BATCH, size) for size in capture.batch] + [(TIME, size) for size in capture.time]
    else:  # cells only: what they were called with in PyTorch is a batch
        fixed = [(BATCH, size) for size in seen.batch]
    for kind, size in fixed:
        if _free(size) or size == 1:
            continue
        for name, tensor in arguments.flat().items():
            for axis, length in enumerate(tensor.shape):
                if (
                    length == size
                    and axis not in used[name]
                    and guard_line(program, capture, name, axis)
                ):
                    raise _fixed(program, capture, arguments, name, axis, kind)


def _fixed(
    program: ExportedProgram,
    capture: Capture,
    arguments: Arguments,
    name: str,
    axis: int,
    told: str,
) -> ExportError:
    size = arguments.flat()[name].shape[axis]
    line = guard_line(program, capture, name, axis)
    return ExportError(
        f"axis {axis} of {name} ({told}) would be fixed to {size}"
        + (f" by {line}" if line else " by the module")
        + ": a Python loop or branch over a size runs at export only; use an operation over the "
        "whole axis (a recurrent layer, rnnedge.Recurrent for an own cell), or leave the axis out "
        f"of dynamic_axes to fix it, dynamic_axes={{{name!r}: {{...}}}}"
    )


def _refuse_limits(program: ExportedProgram, capture: Capture, names: Mapping[str, str]) -> None:
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


def _refuse_loops_over_cells(
    seen: Capture, capture: Capture, program: ExportedProgram, arguments: Arguments
) -> None:
    """Refuse what would be unrolled: a cell that runs once for each entry of an input's axis."""
    used = _dynamic(program, arguments)
    for path, count in seen.cells.items():
        for name, tensor in arguments.flat().items():
            for axis, size in enumerate(tensor.shape):
                if count == size > 1 and axis not in used[name]:
                    line = guard_line(program, capture, name, axis)
                    raise ExportError(
                        f"{path} runs {count} times in a Python loop"
                        + (f" ({line})" if line else "")
                        + f", once for each entry of axis {axis} of {name}: the loop would be "
                        "unrolled at that length; use the layer (nn.LSTM for nn.LSTMCell), or "
                        "rnnedge.Recurrent(cell) around an own cell"
                    )


def _shapes(arguments: Arguments) -> str:
    return ", ".join(f"{name} {list(t.shape)}" for name, t in arguments.flat().items())
