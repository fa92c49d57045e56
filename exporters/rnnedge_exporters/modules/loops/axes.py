"""Which axes of the inputs the loops of a module walk: found by running it with longer ones."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from rnnedge_exporters.modules.arguments import Arguments
from rnnedge_exporters.modules.attributes import unchanged
from rnnedge_exporters.modules.axis_probe import Axes, resized
from rnnedge_exporters.modules.capture import observed
from rnnedge_exporters.modules.example import DynamicAxes
from rnnedge_exporters.modules.loops.marks import Site, marked
from rnnedge_exporters.modules.repeatable import seeded
from rnnedge_runtime.contract import BATCH, TIME
from rnnedge_runtime.errors import pass_on_interruption

_MOST_RUNS = 48


@dataclass(frozen=True, slots=True)
class Look:
    """What a run showed.

    Attributes:
        counts: Turns of each loop, by the path to it.
        sites: Where each loop is in the source.
        layers: What the recurrent layers and cells saw: numbers of steps, and of rows.
    """

    counts: dict[tuple[Any, ...], int]
    sites: dict[tuple[Any, ...], Site]
    layers: tuple[Any, ...]


@dataclass(slots=True)
class OpenAxes:
    """The axes of the inputs that may have any size.

    Attributes:
        groups: Axes that have the same size, by name; those that a loop walks come first.
        walked: Names of those that a loop walks.
        needed: Names of those that a recurrent layer sees, or the caller names.
        counts: Turns of each loop in the example.
        sites: Where each loop that walks an axis is in the source.
    """

    groups: dict[str, Axes] = field(default_factory=dict)
    walked: list[str] = field(default_factory=list)
    needed: set[str] = field(default_factory=set)
    counts: dict[tuple[Any, ...], int] = field(default_factory=dict)
    sites: list[Site] = field(default_factory=list)


def look(module: nn.Module, arguments: Arguments) -> Look | None:
    """Run a private copy with its loops marked; None where it does not run."""
    try:
        with (
            seeded(0),
            unchanged(module),
            observed(module) as seen,
            marked(module) as turns,
            torch.inference_mode(),
        ):
            module(**arguments.values)
    except Exception as error:  # whatever a forward raises at a size that it does not take
        pass_on_interruption(error)
        return None
    saw = (frozenset(seen.time), frozenset(seen.batch))
    return Look(turns.counts, turns.sites, saw)


def at_sizes(
    arguments: Arguments, groups: Mapping[str, Axes], sizes: Mapping[str, int]
) -> Arguments:
    """Return arguments of other sizes.

    Args:
        arguments: The example.
        groups: Axes by name.
        sizes: Size by the same names.
    """
    tensors = arguments.flat()
    for name, axes in groups.items():
        for tensor, axis in axes:
            tensors[tensor] = resized(tensors[tensor], axis, sizes[name])
    return arguments.with_tensors(tensors)


def open_axes(
    module: nn.Module, arguments: Arguments, dynamic_axes: DynamicAxes | None
) -> OpenAxes | None:
    """Find the axes of the inputs that a loop walks, and the other open ones.

    Args:
        module: A private copy.
        arguments: The example.
        dynamic_axes: Those that the caller names, or None for what loops and layers see.

    Returns:
        The axes, or None where no loop walks any.
    """
    before = look(module, arguments)
    if before is None or not before.counts:
        return None
    finder = _Finder(module, arguments, before)
    found = finder.named(dynamic_axes) if dynamic_axes is not None else finder.found()
    return found if found.walked else None


class _Finder:
    """Runs a module with longer axes."""

    def __init__(self, module: nn.Module, arguments: Arguments, before: Look) -> None:
        self._module, self._arguments, self._before = module, arguments, before
        self._flat = arguments.flat()
        self._runs = 0
        self._seen: dict[Axes, tuple[bool, bool, bool]] = {}
        self._sites: dict[Site, None] = {}

    def named(self, dynamic_axes: DynamicAxes) -> OpenAxes:
        """Return what the caller names."""
        groups: dict[str, set[tuple[str, int]]] = {}
        for name, axes in dynamic_axes.items():
            for axis, told in axes.items():
                groups.setdefault(told, set()).add((name, axis))
        frozen = {told: frozenset(axes) for told, axes in groups.items()}
        walked = [told for told, axes in frozen.items() if self._run(axes)[1]]
        return self._made(frozen, walked, set(frozen))

    def found(self) -> OpenAxes:
        """Return what loops and layers see, and the batch."""
        tied = self._tied()
        walked = [axes for axes in tied if self._seen[axes][1]]
        if not walked:
            return OpenAxes()
        layered = [axes for axes in tied if self._seen[axes][2]]
        batch = self._batch(tied, walked, layered)
        groups: dict[str, Axes] = {}
        for axes in walked:
            groups[_fresh(TIME, groups)] = axes
        for axes in batch:
            groups[_fresh(BATCH, groups)] = axes
        for axes in layered:
            if axes not in groups.values():
                groups[_fresh(TIME, groups)] = axes
        needed = {name for name, axes in groups.items() if axes in layered or axes in batch}
        return self._made(groups, [n for n, axes in groups.items() if axes in walked], needed)

    def _made(self, groups: dict[str, Axes], walked: list[str], needed: set[str]) -> OpenAxes:
        ordered = {name: groups[name] for name in [*walked, *groups]}
        return OpenAxes(ordered, walked, needed, self._before.counts, list(self._sites))

    def _batch(self, tied: list[Axes], walked: list[Axes], layered: list[Axes]) -> list[Axes]:
        """Return the axes of rows: those that no loop walks, in front of others."""
        inputs = {name for axes in walked for name, _ in axes}
        free = [axes for axes in tied if axes not in walked]
        free = [axes for axes in free if any(name in inputs for name, _ in axes)]
        first = min(free, key=lambda axes: min(axis for _, axis in axes), default=None)
        return [] if first is None or (first in layered and len(layered) == len(free)) else [first]

    def _tied(self) -> list[Axes]:
        """Return the axes that the module takes longer, those together that must be of one size."""
        every = [(name, axis) for name, t in self._flat.items() for axis in range(t.dim())]
        alone = [one for one in every if self._runs_with(frozenset([one]))]
        stuck = [one for one in every if one not in alone]
        found: list[Axes] = []
        for alike in self._by_size(every).values():
            found += self._ties([one for one in alike if one in stuck], alike, found)
        joined = {one for axes in found for one in axes}
        found += [frozenset([one]) for one in alone if one not in joined]
        if not any(self._seen[axes][1] for axes in found):  # a zip ends with the shorter
            found = self._walked_together(found)
        return sorted(found, key=lambda axes: min(every.index(one) for one in axes))

    def _ties(
        self, stuck: list[tuple[str, int]], alike: list[tuple[str, int]], known: list[Axes]
    ) -> list[Axes]:
        """Return the fewest axes that run together, with each of `stuck` in one of them."""
        found: list[Axes] = []
        for one in stuck:
            if any(one in axes for axes in (*known, *found)):
                continue
            others = [other for other in alike if other != one]
            for axes in _subsets(one, others):
                if self._runs_with(axes):
                    found.append(axes)
                    break
        return found

    def _walked_together(self, found: list[Axes]) -> list[Axes]:
        for alike in self._by_size([one for axes in found for one in axes]).values():
            for count in range(2, len(alike) + 1):
                for chosen in itertools.combinations(alike, count):
                    axes = frozenset(chosen)
                    if self._runs_with(axes) and self._seen[axes][1]:
                        return [axes, *(other for other in found if not other & axes)]
        return found

    def _by_size(self, axes: Iterable[tuple[str, int]]) -> dict[int, list[tuple[str, int]]]:
        found: dict[int, list[tuple[str, int]]] = {}
        for name, axis in axes:
            found.setdefault(self._flat[name].shape[axis], []).append((name, axis))
        return found

    def _runs_with(self, axes: Axes) -> bool:
        return self._run(axes)[0]

    def _run(self, axes: Axes) -> tuple[bool, bool, bool]:
        """Whether the module runs with longer axes, its loops turn more often, layers see more."""
        if axes not in self._seen:
            self._seen[axes] = self._tried(axes)
        return self._seen[axes]

    def _tried(self, axes: Axes) -> tuple[bool, bool, bool]:
        size = max(self._flat[name].shape[axis] for name, axis in axes)
        runs = turns = layers = False
        for longer in (size + 1, 2 * size):
            if self._runs >= _MOST_RUNS or turns:
                break
            self._runs += 1
            after = look(self._module, at_sizes(self._arguments, {"": axes}, {"": longer}))
            if after is None:
                continue
            runs = True
            turns = self._turn_more_often(after)
            layers = layers or after.layers != self._before.layers
        return runs, turns, layers

    def _turn_more_often(self, after: Look) -> bool:
        before = self._before.counts
        more = [key for key, count in after.counts.items() if before.get(key, count) != count]
        self._sites.update(dict.fromkeys(after.sites[key] for key in more))
        return bool(more)


def _subsets(one: tuple[str, int], others: list[tuple[str, int]]) -> Iterator[Axes]:
    for count in range(1, len(others) + 1):
        for chosen in itertools.combinations(others, count):
            yield frozenset([one, *chosen])


def _fresh(kind: str, taken: Iterable[str]) -> str:
    number = sum(name.startswith(kind) for name in taken)
    return f"{kind}_{number}" if number else kind
