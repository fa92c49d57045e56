"""`torch.export` with axes that stay dynamic, or an error that names the line which fixed one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from rnnedge_exporters.errors import ExportError
from rnnedge_exporters.modules.arguments import (
    Arguments,
    map_tensors,
    name_results,
)
from rnnedge_exporters.modules.attributes import unchanged
from rnnedge_exporters.modules.axis_names import (
    adopt_names,
    names_by_caller,
    names_by_layers,
    names_of_longest,
)
from rnnedge_exporters.modules.call_structure import forward_of_tensors
from rnnedge_exporters.modules.capture import Capture
from rnnedge_exporters.modules.example import (
    DynamicAxes,
    check_dynamic_axes,
    enlarged,
    resized_by_name,
    run_observed,
)
from rnnedge_exporters.modules.frozen_sizes import (
    refuse_constant_lengths,
    refuse_enlarged,
    refuse_fixed_sizes,
    refuse_hidden_counts,
    refuse_limits,
)
from rnnedge_exporters.modules.opaque_nodes import captured
from rnnedge_exporters.modules.source_lines import noting_guards, told_line
from rnnedge_exporters.modules.symbols import input_symbols
from rnnedge_exporters.modules.traced_forward import traced_forward
from rnnedge_exporters.modules.traced_source import opened_source
from rnnedge_runtime.contract import BATCH, TIME, Axis
from rnnedge_runtime.errors import pass_on_interruption


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
        roles: Symbol of torch to what the layers see it as, `time`, `batch`, `time_1`, …, whatever
            the caller calls it; the name of the axis where no layer sees it.
    """

    program: ExportedProgram
    capture: Capture
    input_axes: dict[str, tuple[Axis, ...]]
    outputs: list[str]
    names: dict[str, str]
    fixed: list[tuple[str, int, int]]
    roles: dict[str, str]

    @property
    def times(self) -> frozenset[str]:
        """The names of the axes of time."""
        return frozenset(n for s, n in self.names.items() if self.roles[s].startswith(TIME))

    def is_time(self, axis: Axis) -> bool:
        """Whether an axis is one of time, or worked out of one."""
        return isinstance(axis, str) and not self.times.isdisjoint(re.findall(r"\w+", axis))

    def is_rows(self, axis: Axis) -> bool:
        """Whether an axis is that of the rows of a batch."""
        return axis in {n for s, n in self.names.items() if self.roles[s] == BATCH}

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
        except Exception as error:  # a function of torch's own that sympy cannot work out
            pass_on_interruption(error)
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
    seen, result = run_observed(module, arguments)
    outputs = name_results(module, result, list(arguments.flat()))
    if dynamic_axes is None:
        for sizes in ("batch", "time", "calls"):
            arguments = enlarged(module, arguments, seen, sizes)
            seen, _ = run_observed(module, arguments)
        wanted = {name: set(range(t.dim())) for name, t in arguments.flat().items()}
    else:
        check_dynamic_axes(arguments, dynamic_axes)
        arguments = resized_by_name(arguments, dynamic_axes)
        seen, _ = run_observed(module, arguments)
        wanted = {name: set(axes) for name, axes in dynamic_axes.items()}

    program, capture = export_program(module, arguments, wanted)
    refuse_hidden_counts(module, arguments, seen, program, capture)
    if dynamic_axes is None:
        program, capture, names, fixed = _open_what_layers_see(
            module, arguments, seen, program, capture
        )
    else:
        names, fixed = names_by_caller(program, capture, arguments, dynamic_axes), []
    capture.weights.update(seen.weights)
    refuse_limits(program, capture, names)
    refuse_constant_lengths(program)
    names.update(names_of_longest(program, capture))
    used = input_symbols(program, arguments)
    input_axes = {
        name: tuple(
            names[used[name][axis]] if axis in used[name] else size
            for axis, size in enumerate(tensor.shape)
        )
        for name, tensor in arguments.flat().items()
    }
    refuse_enlarged(given, input_axes)
    roles = names | names_by_layers(program, capture)
    return Traced(program, capture, input_axes, outputs, names, fixed, roles)


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
    names = names_by_layers(program, capture)
    used = input_symbols(program, arguments)
    free = refuse_fixed_sizes(module, arguments, seen, program, capture)
    adopt_names(module, arguments, seen, names, used)
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
        program, capture = export_program(module, arguments, kept)
        names = names_by_layers(program, capture)
        adopt_names(module, arguments, seen, names, input_symbols(program, arguments))
    return program, capture, names, list(dict.fromkeys([*unseen, *free]))


def export_program(
    module: nn.Module,
    arguments: Arguments,
    wanted: Mapping[str, Iterable[int]],
    opaque: Callable[[], bool] = lambda: True,
) -> tuple[ExportedProgram, Capture]:
    """Export a private copy.

    Args:
        module: The copy.
        arguments: Its arguments.
        wanted: Axes that may be dynamic, by input.
        opaque: Whether a recurrent layer that is being called becomes one node.

    Returns:
        The program, and what its recurrent layers saw.

    Raises:
        ExportError: When torch cannot trace it.
    """
    hints = {
        name: dict.fromkeys(wanted.get(name, ()), Dim.AUTO) if t.dim() else {}
        for name, t in arguments.flat().items()
    }
    try:
        with (
            unchanged(module),
            captured(module, opaque) as capture,
            noting_guards(capture.guards),
            opened_source(module),
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
    except Exception as error:  # whatever the user's forward raises while it is traced, or torch
        pass_on_interruption(error)
        raise ExportError(
            f"{type(module).__name__} cannot be traced: {told_line(error)}"
        ) from error
    return program, capture
