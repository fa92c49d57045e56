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
from rnnedge_exporters.modules.axis_probe import Axes, Effect, groups, probe
from rnnedge_exporters.modules.call_structure import forward_of_tensors
from rnnedge_exporters.modules.capture import LENGTHS_GIVEN, Capture, captured, observed
from rnnedge_exporters.modules.lengths import CONSTANT
from rnnedge_exporters.modules.packing import DOMAIN, LONGEST, PACKED, POSITIONS
from rnnedge_exporters.modules.repeatable import seeded
from rnnedge_exporters.modules.source_lines import environment, guard_line, noting_guards, told_line
from rnnedge_exporters.modules.streaming import line_of
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

    def value_at(self, expression: Any, sizes: Mapping[str, int]) -> Any:
        """Return what an expression of torch's symbols is at some sizes of the named axes.

        Args:
            expression: A sympy expression, such as a guard or the size of an axis.
            sizes: Axis name to size.

        Returns:
            A number or a truth, or None where it depends on something else.
        """
        symbols = {s: self.names.get(str(s)) for s in expression.free_symbols}
        if not all(name in sizes for name in symbols.values()):
            return None
        try:
            value = expression.subs({s: sizes[str(name)] for s, name in symbols.items()})
            return bool(value) if value.is_Boolean else int(value)
        except Exception:  # a function of torch's own that sympy cannot work out
            return None

    def steps_at(self, sizes: Mapping[str, int]) -> list[int | None]:
        """Return the steps that each call of a recurrent layer sees at some sizes."""
        return [
            time if isinstance(time, int) else self.value_at(time.node.expr, sizes)
            for time in self.capture.time
        ]


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
    given = arguments.flat()
    seen, result = _run(module, arguments)
    outputs = name_results(module, result, list(arguments.flat()))
    if dynamic_axes is None:
        for sizes in ("batch", "time", "calls"):
            arguments = _enlarged(module, arguments, seen, sizes)
            seen, _ = _run(module, arguments)
        wanted = {name: set(range(t.dim())) for name, t in arguments.flat().items()}
    else:
        _check_axes(arguments, dynamic_axes)
        arguments = _resized(arguments, dynamic_axes)
        seen, _ = _run(module, arguments)
        wanted = {name: set(axes) for name, axes in dynamic_axes.items()}

    program, capture = _export(module, arguments, wanted)
    _refuse_hidden_counts(module, arguments, seen, program, capture)
    if dynamic_axes is None:
        program, capture, names, fixed = _open_what_layers_see(
            module, arguments, seen, program, capture
        )
    else:
        names, fixed = _names_as_told(program, capture, arguments, dynamic_axes), []
    capture.weights.update(seen.weights)
    _refuse_limits(program, capture, names)
    _refuse_constant_lengths(program)
    names.update(_longest(program, capture))
    used = _dynamic(program, arguments)
    input_axes = {
        name: tuple(
            names[used[name][axis]] if axis in used[name] else size
            for axis, size in enumerate(tensor.shape)
        )
        for name, tensor in arguments.flat().items()
    }
    _refuse_enlarged(given, input_axes)
    return Traced(program, capture, input_axes, outputs, names, fixed)


def _refuse_enlarged(given: Mapping[str, Tensor], axes: Mapping[str, tuple[Axis, ...]]) -> None:
    """Refuse to fix an axis of size 1 to the size that it was given to be traced.

    torch takes 1 for a constant, so the axis was made longer, and must be dynamic then.
    """
    for name, tensor in given.items():
        for axis, (size, written) in enumerate(zip(tensor.shape, axes[name], strict=True)):
            if size == 1 and written != 1 and not isinstance(written, str):
                raise ExportError(
                    f"axis {axis} of {name} has 1 entry in the example and cannot be told from an "
                    "axis of fixed size: give an example with 2 or more"
                )


def _names_as_told(
    program: ExportedProgram, capture: Capture, arguments: Arguments, dynamic_axes: DynamicAxes
) -> dict[str, str]:
    """Name the symbols as the caller does, who must not name an axis that torch fixed."""
    used = _dynamic(program, arguments)
    names: dict[str, str] = {}
    for name, axes in dynamic_axes.items():
        for axis, told in axes.items():
            if axis not in used[name]:
                raise _fixed(program, capture, arguments, name, axis, told)
            names.setdefault(used[name][axis], told)
    return names


def _open_what_layers_see(
    module: nn.Module,
    arguments: Arguments,
    seen: Capture,
    program: ExportedProgram,
    capture: Capture,
) -> tuple[ExportedProgram, Capture, dict[str, str], list[tuple[str, int, int]]]:
    """Keep dynamic what the recurrent layers see as batch and time, and fix the other axes.

    Returns:
        The program, what its layers saw, the names of its symbols, and the axes that were fixed
        although torch could have kept them dynamic, or the module runs at other sizes of them.
    """
    names = _names_by_layers(program, capture)
    used = _dynamic(program, arguments)
    free = _refuse_fixed_sizes(module, arguments, seen, program, capture)
    _adopt(module, arguments, seen, names, used)
    kept = {
        name: {axis for axis, symbol in axes.items() if symbol in names}
        for name, axes in used.items()
    }
    flat = arguments.flat()
    unseen = [
        (name, axis, flat[name].shape[axis])
        for name, axes in used.items()
        for axis in axes
        if axis not in kept[name]
    ]
    if unseen:  # axes that could be dynamic and that no recurrent layer sees: as in the example
        program, capture = _export(module, arguments, kept)
        names = _names_by_layers(program, capture)
        _adopt(module, arguments, seen, names, _dynamic(program, arguments))
    return program, capture, names, list(dict.fromkeys([*unseen, *free]))


def _refuse_fixed_sizes(
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
    flat, used = arguments.flat(), _dynamic(program, arguments)
    fixed = {name: set(range(t.dim())) - used[name].keys() for name, t in flat.items()}
    tied = _by_symbol(used).values()
    free: list[tuple[str, int, int]] = []
    for effect in probe(module, arguments, seen, groups(arguments, fixed, tied), _seen):
        inside = sorted((n, a) for n, a in effect.axes if a in fixed[n])
        steps = _unrolled(effect, capture)
        name, axis = inside[0]
        if steps:
            raise _unrolls(effect, seen, steps[0], name, axis)
        kind = _frozen(effect, seen, capture)
        if kind:
            raise _fixed(program, capture, arguments, name, axis, kind)
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
    constant = {int(size): kind for kind, size in reversed(sizes) if not _free(size) and size != 1}
    for name, axes in fixed.items():
        shape = arguments.flat()[name].shape
        for axis in axes:
            floats = arguments.flat()[name].is_floating_point()
            features = floats and len(shape) > 1 and axis == len(shape) - 1
            kind = None if features else constant.get(shape[axis])
            if kind and guard_line(program, capture.guards, name, axis):
                raise _fixed(program, capture, arguments, name, axis, kind)


def _refuse_hidden_counts(
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
    visible = set(_symbols([*capture.time, *capture.batch]))
    for symbol, axes in _by_symbol(_dynamic(program, arguments)).items():
        for effect in probe(module, arguments, seen, [axes], _seen):
            name, axis = min(axes)
            steps = _unrolled(effect, capture)
            if steps:
                raise _unrolls(effect, seen, steps[0], name, axis)
            kind = None if symbol in visible else _frozen(effect, seen, capture)
            if kind:
                raise _fixed(program, capture, arguments, name, axis, kind)


def _by_symbol(used: Mapping[str, Mapping[int, str]]) -> dict[str, Axes]:
    found: dict[str, set[tuple[str, int]]] = {}
    for name, axes in used.items():
        for axis, symbol in axes.items():
            found.setdefault(symbol, set()).add((name, axis))
    return {symbol: frozenset(axes) for symbol, axes in found.items()}


def _unrolled(effect: Effect, capture: Capture) -> list[str]:
    """Return the cells, and the layers that see a fixed time, that an axis is walked with.

    A layer that a loop calls for each of a fixed number of channels has its whole time each time.
    """
    whole = {
        path
        for path, time in zip(capture.calls, capture.time, strict=True)
        if _free(time) and not isinstance(time, int)
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
        if any(old != new and not _free(size) for old, new, size in changes):
            return kind
    return None


def _unrolls(effect: Effect, seen: Capture, path: str, name: str, axis: int) -> ExportError:
    line = effect.lines.get(path)
    times = seen.calls.count(path) + seen.cells.get(path, 0)
    return ExportError(
        f"{path or 'the layer'} runs {times} times in a Python loop"
        + (f" ({line})" if line else "")
        + f" over axis {axis} of {name}, and would always run {times} times: call the layer once "
        "with the whole sequence (nn.LSTM for nn.LSTMCell), or wrap an own cell in "
        "rnnedge.Recurrent(cell); dynamic_axes without that axis exports this one length"
    )


def _seen(module: nn.Module, arguments: Arguments) -> Capture:
    return _run(module, arguments)[0]


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


def _enlarged(module: nn.Module, arguments: Arguments, seen: Capture, sizes: str) -> Arguments:
    """Repeat the axes of size 1 so that no layer sees a `sizes` of 1.

    Of the choices that run, the one with the most axes is taken: where fewer would do, the others
    were broadcast, and are the same axis all the same (a batch of 3 beside a state of 1). For
    `calls` it is any choice that changes what the layers see: six rows made of a batch of 1.
    """
    flat = arguments.flat()
    ones = [(name, axis) for name, t in flat.items() for axis, n in enumerate(t.shape) if n == 1]
    if not ones or (sizes != "calls" and 1 not in getattr(seen, sizes)):
        return arguments
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
            after, _ = _run(module, attempt)
        except ExportError:
            continue
        if sizes != "calls":
            served = 1 not in getattr(after, sizes)
        else:
            served = (seen.batch, seen.time, seen.cells) != (after.batch, after.time, after.cells)
        if served:
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
            noting_guards(capture.guards),
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


def _names_by_layers(program: ExportedProgram, capture: Capture) -> dict[str, str]:
    """Name the symbols that the recurrent layers see as batch and time."""
    names: dict[str, str] = {}
    whole = _before_cuts(program)
    for kind, sizes in ((BATCH, capture.batch), (TIME, capture.time)):
        seen = (whole.get(symbol, symbol) for symbol in _symbols(sizes))
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
            if len(_free(whole)) == 1:
                found.update({s: _free(whole)[0] for s in _free(left) if s.startswith("u")})
    return found


def _longest(program: ExportedProgram, capture: Capture) -> dict[str, str]:
    """Name the symbols that stand for the longest row of a packed sequence, or all its steps."""
    packed = set(_symbols(capture.packed.packed_sizes()))
    names: dict[str, str] = {}
    for symbol in (str(s) for s in program.range_constraints if str(s).startswith("u")):
        kind = PACKED if symbol in packed else LONGEST
        number = sum(name.startswith(kind) for name in names.values())
        names[symbol] = f"{kind}_{number}" if number else kind
    return names


def _adopt(
    module: nn.Module,
    arguments: Arguments,
    seen: Capture,
    names: dict[str, str],
    used: dict[str, dict[int, str]],
) -> None:
    """Name the axes that go with a named one, and that torch could not tie to it.

    Sorting rows for a packed sequence cuts such a tie: rows are picked by a computed index. Two
    axes go together where the module runs with both longer, but not with one of them.
    """

    def runs(axes: Axes) -> bool:
        return bool(probe(module, arguments, seen, [axes], _seen))

    flat = arguments.flat()
    groups = _by_symbol(used)
    sizes = {symbol: {flat[n].shape[a] for n, a in axes} for symbol, axes in groups.items()}
    named = [symbol for symbol in groups if symbol in names]
    for symbol, axes in groups.items():
        for other in named if symbol not in names else ():
            tied = groups[other]
            alike = sizes[symbol] == sizes[other]
            if alike and runs(axes | tied) and not (runs(axes) and runs(tied)):
                names[symbol] = names[other]
                break


def _fixed(
    program: ExportedProgram,
    capture: Capture,
    arguments: Arguments,
    name: str,
    axis: int,
    told: str,
) -> ExportError:
    size = arguments.flat()[name].shape[axis]
    line = guard_line(program, capture.guards, name, axis)
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


def _refuse_constant_lengths(program: ExportedProgram) -> None:
    """Refuse lengths of packed sequences that depend on no input, where rows or steps are open."""
    inputs = set(program.graph_signature.user_inputs)
    for node in program.graph.nodes:
        if node.kwargs.get("domain") != DOMAIN:
            continue
        keys, numbers = node.kwargs["attr_keys"], node.kwargs["attr_ints"]
        given = dict(zip(keys, numbers, strict=True)).get(LENGTHS_GIVEN, node.args[1] == POSITIONS)
        if not given:
            continue
        padded, lengths = node.args[0][:2]
        waiting, seen = [lengths], {lengths}
        while waiting:
            fresh = set(waiting.pop().all_input_nodes) - seen
            seen |= fresh
            waiting += fresh
        open_axes = any(_free(size) for size in padded.meta["val"].shape[:2])
        if open_axes and not any(one.name in inputs for one in seen):
            raise ExportError(f"{line_of(node) or 'pack_padded_sequence'}: {CONSTANT}")


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


def _shapes(arguments: Arguments) -> str:
    return ", ".join(f"{name} {list(t.shape)}" for name, t in arguments.flat().items())
