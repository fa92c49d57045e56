"""A loop while it is written, and what its body asks of the program around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import fx, nn

from rnnedge_exporters.errors import MismatchError
from rnnedge_exporters.modules.loops.fits import value_of
from rnnedge_exporters.modules.loops.operations import TO_DTYPE, aten
from rnnedge_exporters.modules.loops.programs import Item
from rnnedge_exporters.modules.loops.sizes import (
    SizeWriter,
    drop_axis,
    merged_shape,
    same_size,
)
from rnnedge_exporters.modules.loops.turns import Described

Shape = tuple[Described, ...]


@dataclass
class LoopParts:
    """A loop while it is written.

    Attributes:
        item: The step of the program that it is.
        wanted: Position and turn of what is used of it; no turn where each is.
        finals: The last turn's value, by position: its node, or the number of the result while
            a body is written.
        collected: The values of all turns [turns, …], likewise.
        padding: Turns that are added behind the last, and change nothing.
    """

    item: Item
    wanted: set[tuple[int, Any]]
    finals: dict[int, Any] = field(default_factory=dict)
    collected: dict[int, Any] = field(default_factory=dict)
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

    @property
    def has_states(self) -> bool:
        """Whether it carries more than tensors that it fills."""
        written = {write[4] for write in self.writes.values()}
        carried = (n for n, carry in enumerate(self.carries) if carry is not None)
        return any(number not in written for number in carried)

    def missing_turns(self, points: Sequence[Mapping[str, int]]) -> int:
        """Return how many turns must be added so that there is one at the shortest sequence.

        Args:
            points: Sizes of the axes in each trace.
        """
        if self.turns[0] == "axis":
            return max(0, -int(self.turns[3]))
        shortest = {name: 1 for point in points for name in point}
        return max(0, 1 - value_of(self.turns[1], shortest))


class Outer(Protocol):
    """What a body asks of the writer of the program around its loop."""

    graph: fx.Graph
    sizes: SizeWriter
    holder: nn.Module

    def add_module(self, name: str, made: nn.Module) -> str:
        """Add a module under a name that is free, and return the name."""
        ...

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


def step_shape(outer: Outer, source: Described) -> Shape:
    """Return the described sizes of a step of what a loop scans, without the axis of time."""
    if source[0] == "val":
        return outer.shape_of(source)
    return drop_axis(outer.shape_of(source[1]), source[3])


def given_shape(outer: Outer, parts: LoopParts, given: Described) -> Shape:
    """Return the described sizes of an argument of a loop's body.

    Raises:
        MismatchError: When it is not a tensor.
    """
    if given[0] == "local":
        return parts.shapes[given[1]]
    if given[0] == "carry":
        return parts.shapes[parts.carries[given[1]][1]]
    if given[0] == "scan":
        source = parts.scans[given[1]]
        shape = step_shape(outer, source)
        if source[0] == "pick" and source[2] is aten.slice.Tensor:
            return merged_shape((*shape[: source[3]], None, *shape[source[3] :]), source[3])
        return shape
    if given[0] == "outer":
        return outer.shape_of(given[1])
    raise MismatchError("what is written is not a tensor")


def given_dtype(outer: Outer, parts: LoopParts, given: Described) -> Any:
    """Return the dtype of an argument of a loop's body."""
    if given[0] == "local":
        return parts.dtypes[given[1]]
    if given[0] == "carry":
        return parts.dtypes[parts.carries[given[1]][1]]
    source = parts.scans[given[1]] if given[0] == "scan" else given[1]
    return outer.dtype_of(source)


def start_of(outer: Outer, parts: LoopParts, start: Described, source: int) -> fx.Node:
    """Return what a state starts from, in the shape and dtype that it has later.

    Args:
        outer: Writes it.
        parts: The loop.
        start: What it starts from, described.
        source: The position that gives the state in each turn.

    Raises:
        MismatchError: When it starts from no tensor or number.
    """
    shape, dtype = parts.shapes[source], parts.dtypes[source]
    wanted = [outer.sizes.write(size) for size in shape]
    if start[0] in ("size", "lit", "int"):
        number = outer.value(start)
        if not isinstance(number, int | float | fx.Node):
            raise MismatchError("what it carries starts from no tensor")
        return outer.call(aten.full.default, wanted, number, dtype=dtype)
    node: fx.Node = outer.value(start)
    before = outer.shape_of(start)
    if len(before) != len(shape) or not all(map(same_size, before, shape)):
        node = outer.call(aten.expand.default, node, wanted)
    if outer.dtype_of(start) != dtype:
        node = outer.call(TO_DTYPE, node, dtype=dtype)
    return node


def is_last(outer: Outer, parts: LoopParts, turn: Any) -> bool:
    """Whether a turn, described, is the last one; None stands for all turns."""
    return turn is not None and same_size(outer.sizes.more(turn, 1), parts.turns)
