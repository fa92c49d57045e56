"""Where the rows of a batch are in a value, and a call of an operator as rules for them read it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import sympy
from torch import Tensor, fx

from rnnedge_exporters.errors import MixingError

Shape: TypeAlias = tuple[sympy.Expr, ...]


@dataclass(frozen=True, slots=True)
class Rows:
    """An axis that holds the rows of the batch in order.

    Attributes:
        axis: The axis.
        size: Rows.
        outer: Entries of the axis in front of the rows, where other axes were joined with theirs.
        inner: Entries of it for each row.
        counted: Whether each entry is the number of its row, as an index of all rows is.
    """

    axis: int
    size: sympy.Expr
    outer: sympy.Expr = sympy.S.One
    inner: sympy.Expr = sympy.S.One
    counted: bool = False

    def at(self, axis: int) -> Rows:
        """Return the same rows at another axis."""
        return replace(self, axis=axis)


Place: TypeAlias = Rows | None
"""None where a value is the same for all rows."""


class RowOperation:
    """A call of an operator of torch.

    Attributes:
        name: The operator, without its overload, and without the mark of work in place.
        values: Its arguments by the names of its schema.
        shapes: The shape of each tensor that it gives.
    """

    def __init__(
        self,
        node: fx.Node,
        place: Callable[[fx.Node], Place],
        shape: Callable[[Tensor], Shape],
        batch: sympy.Symbol,
    ) -> None:
        """Read a node.

        Args:
            node: The call.
            place: Says where the rows of a tensor are.
            shape: Says how large a tensor is.
            batch: The number of rows in such sizes.
        """
        target: Any = node.target
        schema = target._schema
        self.name = str(schema.name).split("::")[-1].removesuffix("_")
        names = [argument.name for argument in schema.arguments]
        given = dict(zip(names, node.args, strict=False)) | node.kwargs
        defaults = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
        known = defaults | given
        self.values: dict[str, Any] = {name: known[name] for name in names if name in known}
        made = node.meta.get("val")
        parts = made if isinstance(made, list | tuple) else [made]
        self.shapes = [shape(part) for part in parts if isinstance(part, Tensor)]
        self._place, self._shape, self.batch = place, shape, batch

    @property
    def first(self) -> fx.Node:
        """The first tensor among the arguments."""
        return self.tensors()[0]

    def tensors(self) -> list[fx.Node]:
        """Return the tensors among the arguments."""
        found: list[fx.Node] = []
        fx.map_arg(list(self.values.values()), found.append)
        return [node for node in found if isinstance(node.meta.get("val"), Tensor)]

    def place(self, tensor: Any) -> Place:
        """Return where the rows of an argument are; None for a number."""
        if not isinstance(tensor, fx.Node):
            return None
        place = self._place(tensor)
        if place is not None and place.counted:
            raise MixingError
        if place is None:  # the same for all rows: an axis of them holds the rows, too
            axes = [axis for axis, size in enumerate(self.shape(tensor)) if size == self.batch]
            return Rows(axes[0], self.batch) if len(axes) == 1 else None
        return place

    def counts(self, tensor: fx.Node) -> bool:
        """Whether an argument is the numbers of the rows."""
        place = self._place(tensor)
        return place is not None and place.counted

    def shape(self, tensor: fx.Node) -> Shape:
        """Return the shape of an argument."""
        return self._shape(tensor.meta["val"])

    def rank(self, tensor: fx.Node) -> int:
        """Return the rank of an argument."""
        return len(self.shape(tensor))

    def dims(self) -> list[int]:
        """Return the axes of the first tensor that the operator works along; all by default."""
        rank = self.rank(self.first)
        given = [self.values.get(name) for name in ("dim", "dims", "dimension")]
        told = next((one for one in given if one is not None and one != []), None)
        if told is None:
            return list(range(rank))
        axes = told if isinstance(told, list | tuple) else [told]
        return [axis % rank if rank else 0 for axis in axes]
