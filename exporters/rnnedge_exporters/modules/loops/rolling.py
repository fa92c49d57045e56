"""`roll`: the steps of this package, in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import fx, nn

from rnnedge_exporters.errors import ExportError, LoopError, MismatchError
from rnnedge_exporters.modules.arguments import Arguments
from rnnedge_exporters.modules.example import DynamicAxes
from rnnedge_exporters.modules.loops.axes import OpenAxes, at_sizes, look, open_axes
from rnnedge_exporters.modules.loops.checking import check_rolled
from rnnedge_exporters.modules.loops.emitting import emit
from rnnedge_exporters.modules.loops.marks import Key, has_loops, varying
from rnnedge_exporters.modules.loops.operations import Pool
from rnnedge_exporters.modules.loops.programs import Builder, merge
from rnnedge_exporters.modules.loops.sites import refusal
from rnnedge_exporters.modules.loops.traces import Trace, trace_turns
from rnnedge_exporters.modules.loops.turns import PEELS, Loops, rolled_keys

_LENGTHS = (4, 6, 9, 14, 22)
"""Shortest lengths to trace at; the first at which each loop has enough turns is taken."""
_FEWEST_TURNS = 4
_MORE = (0, 1, 3)
"""What is added to it in the traces."""
_ROWS = (3, 2)


def roll(
    module: nn.Module, arguments: Arguments, dynamic_axes: DynamicAxes | None
) -> fx.GraphModule | None:
    """Write the Python loops over an axis of the inputs as layers that run a body over time.

    Args:
        module: A private copy.
        arguments: The example.
        dynamic_axes: Names of the dynamic axes, or None for what loops and layers see.

    Returns:
        A module that computes the same, or None where no loop carries a value from one turn to
        the next over such an axis.

    Raises:
        LoopError: When a loop does, and cannot be written so; it names the line.
    """
    if not has_loops(module):
        return None
    axes = open_axes(module, arguments, dynamic_axes)
    if axes is None:
        return None
    site = axes.sites[0] if axes.sites else None
    try:
        return _rolled(module, arguments, axes)
    except MismatchError as error:
        raise refusal(error.site or site, str(error), error.line) from error
    except LoopError:
        raise
    except ExportError as error:  # what torch says at a short length
        raise refusal(site, str(error)) from error


def _rolled(module: nn.Module, arguments: Arguments, axes: OpenAxes) -> fx.GraphModule | None:
    while True:
        pool = Pool()
        points, keys = _points(module, arguments, axes)
        traces = [
            trace_turns(module, at_sizes(arguments, axes.groups, sizes), sizes, pool, keys)
            for sizes in points
        ]
        loops = _matched(traces)
        if not loops[0].bodies:
            return None
        idle = _idle(axes, traces, loops[0])
        if not idle:
            break
        if len(idle) == len(axes.walked):
            return None
        for name in idle:  # a loop over channels, say: as many as in the example
            del axes.groups[name]
            axes.walked.remove(name)
    programs = [Builder(each).build() for each in loops]
    rolled = emit(module, merge(programs, points, pool), pool, traces[0].capture.layers)
    check_rolled(module, rolled, arguments, axes.groups, axes.walked)
    return rolled


def _points(
    module: nn.Module, arguments: Arguments, axes: OpenAxes
) -> tuple[list[dict[str, int]], set[Key]]:
    """Return the sizes to trace at: a few short lengths, and another size of each other axis.

    Returns:
        The sizes, and the loops whose turns differ between them.

    Raises:
        MismatchError: When the module runs at no short length.
    """
    flat = arguments.flat()
    others = [name for name in axes.groups if name not in axes.walked]
    base: dict[str, int] = {}
    for number, name in enumerate(others):
        tensor, axis = min(axes.groups[name])
        base[name] = flat[tensor].shape[axis] if number else _ROWS[0]
    for shortest in _LENGTHS:
        sizes = {name: shortest for name in axes.walked} | base
        tries = [sizes | {n: shortest + more for n in axes.walked} for more in _MORE]
        looks = [look(module, at_sizes(arguments, axes.groups, one)) for one in tries]
        counts = [seen.counts for seen in looks if seen is not None]
        if len(counts) == len(tries) and _enough(counts):
            break
    else:
        raise MismatchError("the module does not run at the short lengths that it is traced at")
    start = sizes | {name: shortest + 1 + n for n, name in enumerate(axes.walked) if n}
    points = [start]
    points += [start | {n: start[n] + more} for n in axes.walked for more in _MORE[1:]]
    for number, name in enumerate(others):
        other = base[name] + 1 if number else _ROWS[1]
        points.append(start | {name: other, axes.walked[0]: start[axes.walked[0]] + 1})
    return points, set(varying(counts))


def _enough(counts: Sequence[Mapping[Key, int]]) -> bool:
    """Whether each loop whose turns vary has enough of them."""
    return all(each[key] >= _FEWEST_TURNS for key in varying(counts) for each in counts)


def _matched(traces: Sequence[Trace]) -> list[Loops]:
    """Match the turns of each loop, with as few first and last turns apart as will do.

    Raises:
        MismatchError: When the turns of one are not alike, with its place.
    """
    keys = rolled_keys(traces)
    every = [Loops(each, keys) for each in traces]
    for key in keys:
        first: MismatchError | None = None
        for peeled in PEELS:
            try:
                for loops in every:
                    loops.match(key, peeled)
                break
            except MismatchError as error:
                first = first or error
                for loops in every:
                    loops.bodies.pop(key, None)
        else:
            assert first is not None
            first.site = traces[0].turns.sites[key]
            raise first
    return every


def _idle(axes: OpenAxes, traces: Sequence[Trace], loops: Loops) -> list[str]:
    """Return the axes that only loops walk which carry nothing, and that no layer sees."""
    carrying = [key for key, body in loops.bodies.items() if body.carries]
    start, found = traces[0], []
    for name in axes.walked:
        if name in axes.needed:
            continue
        longer = [
            each.turns.counts
            for each in traces
            if {n for n, size in start.sizes.items() if each.sizes[n] != size} == {name}
        ]
        if all(counts[key] == start.turns.counts[key] for counts in longer for key in carrying):
            found.append(name)
    return found
