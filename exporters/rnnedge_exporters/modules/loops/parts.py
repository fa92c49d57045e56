"""A loop while it is written, and what its body asks of the program around it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import fx, nn

from rnnedge_exporters.modules.loops.programs import Item
from rnnedge_exporters.modules.loops.sizes import SizeWriter
from rnnedge_exporters.modules.loops.turns import Described

Shape = tuple[Described, ...]


@dataclass
class LoopParts:
    """A loop while it is written.

    Attributes:
        item: The step of the program that it is.
        wanted: Position and turn of what is used of it; no turn where each is.
        node: The call of it.
        finals: Number of the result that is the last turn's value, by position.
        collected: Number of the result with the values of all turns, by position.
        padding: Turns that are added behind the last, and change nothing.
    """

    item: Item
    wanted: set[tuple[int, Any]]
    node: Any = None
    finals: dict[int, int] = field(default_factory=dict)
    collected: dict[int, int] = field(default_factory=dict)
    padding: int = 0

    def __post_init__(self) -> None:
        """Read the parts of the description."""
        parts: dict[str, Any] = dict(self.item.args)
        self.turns: Described = parts["turns"]
        self.operations = {position: rest for position, *rest in parts["body"]}
        self.carries = parts["carries"]
        self.scans = parts["scans"]
        self.writes = {write[0]: write for write in parts["writes"]}
        self.shapes: dict[int, Shape] = {p: op[3][2] for p, op in self.operations.items()}
        self.dtypes = {p: op[4] for p, op in self.operations.items()}
        self.starts = {n: c[2][0] for n, c in enumerate(self.carries) if c is not None}
        self.given_shapes: dict[int, Shape] = {}


class Outer(Protocol):
    """What a body asks of the writer of the program around its loop."""

    sizes: SizeWriter
    holder: nn.Module

    def call(self, target: Any, *args: Any, **kwargs: Any) -> fx.Node:
        """Add a call of an operator."""
        ...

    def value(self, described: Described) -> Any:
        """Return the node, or the plain value, of a description."""
        ...

    def shape_of(self, described: Described) -> tuple[Described, ...]:
        """Return the described sizes of a description."""
        ...

    def dtype_of(self, described: Described) -> Any:
        """Return the dtype of a description."""
        ...

    def item(self, number: int) -> Item:
        """Return a step of the program."""
        ...

    def scanned(self, source: Described, turns: Described) -> tuple[fx.Node, int]:
        """Return what a loop scans, [turns, …] from its lowest step on, and the direction."""
        ...
