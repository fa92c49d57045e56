"""Which axes of a model without a contract are `batch` and `time`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeAlias

from rnnedge_runtime.contract import BATCH, TIME, Axis, Interface, TensorSpec
from rnnedge_runtime.foreign.axis_roles import Roles

Order: TypeAlias = tuple[str, str]
"""`(BATCH, TIME)` or `(TIME, BATCH)`: which of the two comes first in an input."""
_BATCH = re.compile(r"batch|rows|^(b|n|bs)$")
_TIME = re.compile(r"time|seq|steps?$|frames?$|length|^(t|l)$")
_MOST_AXES = 3
"""Axes of an input whose places say something: images have others."""


def name_axes(
    interface: Interface,
    roles: Roles | None = None,
    *,
    order: Order | None = None,
    tied: bool = False,
) -> Interface:
    """Give the names `batch` and `time` to the dynamic axes that have these roles.

    The best evidence comes first: what the graph does with an axis; that the only dynamic axis of a
    state, or that of the lengths, is `batch`; then what an axis is called; then that the other axis
    of [batch, time, features] is known; then, if an order is given, the place of an axis. No input
    gets one name twice.

    Args:
        interface: The inputs, outputs, states and lengths as the model declares them.
        roles: What `find_axis_roles` found in the graph.
        order: Which comes first in inputs that say nothing else; None leaves those as they are.
        tied: Whether axes that are declared with different names, or without one, may get the same
            name, which says that they have the same size: true of most models, and not of an
            encoder and a decoder.
    """
    names = _Names(interface, tied=tied)
    names.give_seen(roles or {})
    for spec in interface.state_inputs:
        axes = names.dynamic(spec)
        if len(axes) == 1:
            names.give(axes[0], BATCH, always=True)
    for spec in interface.inputs:
        for axis in names.dynamic(spec):
            names.give(axis, BATCH if spec.name == interface.lengths else names.declared(axis))
    for spec in interface.data_inputs:
        axes = names.dynamic(spec)
        unknown = [axis for axis in axes if not names.role(axis)]
        if len(spec.axes) == _MOST_AXES and len(axes) == 2 and len(unknown) == 1:
            names.give(unknown[0], TIME if BATCH in map(names.role, axes) else BATCH)
    for spec in interface.data_inputs:
        for axis, role in _by_place(spec, names, order) if order else ():
            names.give(axis, role)
    return names.renamed()


def _by_place(spec: TensorSpec, names: _Names, order: Order) -> Iterator[tuple[str, str]]:
    axes = names.dynamic(spec)
    unknown = [axis for axis in axes if not names.role(axis)]
    if len(spec.axes) > _MOST_AXES or not unknown:
        return
    if len(axes) > 1:
        left = [role for role in order if role not in map(names.role, axes)]
        yield from zip(unknown, left, strict=False)
    elif len(spec.axes) == 1:
        yield unknown[0], TIME
    else:
        yield unknown[0], order[min(spec.axes.index(unknown[0]), 1)]


class _Names:
    """The names that dynamic axes are given."""

    def __init__(self, interface: Interface, *, tied: bool) -> None:
        self._interface, self._tied = interface, tied
        self._given: dict[str, str] = {}
        self._unnamed = {
            f"{spec.name}.{position}"
            for spec in (*interface.inputs, *interface.outputs)
            for position in range(len(spec.axes))
        }

    def dynamic(self, spec: TensorSpec) -> list[str]:
        """Return the dynamic axes of an input, each once."""
        return list(dict.fromkeys(axis for axis in spec.axes if isinstance(axis, str)))

    def declared(self, axis: str) -> str:
        """Return what an axis is by the name that it is declared with; empty if that says nothing.

        An axis that is declared without a name has one with that of its tensor in it.
        """
        called = "" if axis in self._unnamed else axis.lower()
        if _BATCH.search(called):
            return BATCH
        return TIME if _TIME.search(called) else ""

    def role(self, axis: Axis) -> str:
        """Return the name that an axis has been given, or nothing."""
        return self._given.get(axis, "") if isinstance(axis, str) else ""

    def give(self, axis: Axis, role: str, *, always: bool = False) -> None:
        """Give an axis a name, unless it has one or may not have this."""
        if not isinstance(axis, str) or not role or axis in self._given:
            return
        beside = {
            self.role(other)
            for spec in self._interface.inputs
            if axis in spec.axes
            for other in spec.axes
            if other != axis
        }
        taken = role in self._given.values() and not (self._tied or always)
        if role not in beside and not taken:
            self._given[axis] = role

    def give_seen(self, roles: Roles) -> None:
        """Give axes the names that operators know them by, each to axes of one size."""
        seen_by: dict[str, frozenset[int]] = {}
        for spec in self._interface.inputs:
            for position, axis in enumerate(spec.axes):
                role = roles.get((spec.name, position))
                if role is None or not isinstance(axis, str):
                    continue
                known = seen_by.get(role.name, role.seen_by)
                self.give(axis, role.name, always=role.name == BATCH or bool(known & role.seen_by))
                if self.role(axis) == role.name:
                    seen_by[role.name] = known | role.seen_by

    def renamed(self) -> Interface:
        """Return the interface with these names."""
        face = self._interface
        return replace(face, inputs=self._of(face.inputs), outputs=self._of(face.outputs))

    def _of(self, specs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
        return tuple(
            replace(spec, axes=tuple(self.role(axis) or axis for axis in spec.axes))
            for spec in specs
        )
