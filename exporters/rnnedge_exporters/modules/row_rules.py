"""Where the rows of a batch are in what an operator gives, by where they are in what it takes.

A rule raises `MixingError` where the operator works along the rows; `row_operators` says which rule
holds for which operator.
"""

from __future__ import annotations

from math import prod
from typing import Any

import sympy
import torch
from torch import fx

from rnnedge_exporters.errors import MixingError
from rnnedge_exporters.modules.row_places import (
    Place,
    RowOperation,
    Rows,
)

_LAST = {"triu": 2, "tril": 2}
"""How many axes, the last ones, an operator works on."""


def pointwise(op: RowOperation) -> Place:
    """Broadcast: the rows of all tensors must come to lie on one axis."""
    rank = len(op.shapes[0])
    places = [(tensor, op.place(tensor)) for tensor in op.tensors()]
    return _agreed({p.at(p.axis + rank - op.rank(tensor)) for tensor, p in places if p})


def _agreed(found: set[Rows]) -> Place:
    if len(found) > 1:
        raise MixingError
    return next(iter(found), None)


def reshaped(op: RowOperation) -> Place:
    """Join or split axes without moving an entry."""
    place = op.place(op.first)
    if place is None:
        return None
    before, after = op.shape(op.first), op.shapes[0]
    left = prod(before[: place.axis], start=place.outer)
    right = prod(before[place.axis + 1 :], start=place.inner)
    for axis, size in enumerate(after):
        outer = _whole(left, prod(after[:axis], start=sympy.Integer(1)))
        inner = _whole(right, prod(after[axis + 1 :], start=sympy.Integer(1)))
        if outer is None and inner is not None:
            outer = _whole(size, place.size * inner)
        elif inner is None and outer is not None:
            inner = _whole(size, place.size * outer)
        if outer is not None and inner is not None and _equal(outer * place.size * inner, size):
            return Rows(axis, place.size, outer, inner)
    raise MixingError


def _whole(number: sympy.Expr, by: sympy.Expr) -> sympy.Expr | None:
    """Return number / by where it is whole for all sizes."""
    quotient = sympy.cancel(sympy.sympify(number) / by)
    return quotient if sympy.fraction(quotient)[1] == 1 else None


def _equal(one: sympy.Expr, other: sympy.Expr) -> bool:
    return bool(sympy.expand(one - other) == 0)


def along(op: RowOperation) -> Place:
    """Work along axes that are named, and drop them or not."""
    first, *others = op.tensors()
    place, dims = op.place(first), op.dims()
    if any(op.place(other) not in (None, place) for other in others):
        raise MixingError
    if place is None:
        return None
    if place.axis in dims:
        raise MixingError
    if len(op.shapes[0]) == op.rank(op.first):
        return place
    return place.at(place.axis - sum(dim < place.axis for dim in set(dims)))


def elsewhere(op: RowOperation) -> Place:
    """Move the axes that are named among themselves."""
    place = op.place(op.first)
    if place is None:
        return None
    return place.at(_order(op).index(place.axis))


def _order(op: RowOperation) -> list[int]:
    """Return the axis of the input at each axis of the output."""
    rank = op.rank(op.first)
    order = list(range(rank))
    if op.name == "permute":
        return [axis % rank for axis in op.values["dims"]]
    if op.name in ("movedim", "moveaxis"):
        pairs = [op.values["source"], op.values["destination"]]
        sources, ends = ([p] if isinstance(p, int) else list(p) for p in pairs)
        rest = [axis for axis in order if axis not in [s % rank for s in sources]]
        for end, source in sorted(zip(ends, sources, strict=True), key=lambda p: p[0] % rank):
            rest.insert(end % rank, source % rank)
        return rest
    if op.name in ("t", "mT", "numpy_T", "adjoint"):
        first, second = (0, 1) if op.name == "t" else (rank - 2, rank - 1)
        if rank < 2:
            return order
        if op.name == "numpy_T":
            return order[::-1]
    else:
        first, second = (op.values[k] % rank for k in _PAIRS[op.name])
    order[first], order[second] = order[second], order[first]
    return order


_PAIRS = {
    "transpose": ("dim0", "dim1"),
    "swapaxes": ("axis0", "axis1"),
    "swapdims": ("dim0", "dim1"),
}


def widened(op: RowOperation) -> Place:
    """Add axes in front, and repeat entries along others."""
    place = op.place(op.first)
    if place is None:
        return None
    axis = place.axis + len(op.shapes[0]) - op.rank(op.first)
    if not _equal(op.shapes[0][axis], op.shape(op.first)[place.axis]):
        raise MixingError
    return place.at(axis)


def cut(op: RowOperation) -> Place:
    """Take a part along one axis; all of it is not a part."""
    place = op.place(op.first)
    if place is None or op.dims()[0] != place.axis:
        return along(op)
    whole = op.name == "slice" and op.values["step"] == 1
    if whole and op.shapes[0] == op.shape(op.first):
        return place
    raise MixingError


def joined(op: RowOperation) -> Place:
    """Join tensors along an axis, or along a new one."""
    tensors = op.values["tensors"]
    axis = op.values["dim"] % len(op.shapes[0])
    places = [op.place(tensor) for tensor in tensors]
    if op.name == "stack":
        places = [p if p is None else p.at(p.axis + (axis <= p.axis)) for p in places]
    place = _agreed({p for p in places if p is not None})
    if place is not None and place.axis == axis:
        raise MixingError
    return place


def last_axes(op: RowOperation) -> Place:
    """Work along the last axes of the first tensor, with others that know nothing of rows."""
    place = _alone(op)
    count = len(op.values.get("normalized_shape") or ()) or _LAST.get(op.name, 1)
    if place is not None and place.axis >= op.rank(op.first) - count:
        raise MixingError
    return place


def _alone(op: RowOperation) -> Place:
    first, *others = op.tensors()
    if any(op.place(other) is not None for other in others):
        raise MixingError
    return op.place(first)


def rows_in_front(op: RowOperation) -> Place:
    """Work along all axes but the first."""
    place = _alone(op)
    if place is not None and place.axis != 0:
        raise MixingError
    return place


def not_channels(op: RowOperation) -> Place:
    """Batch norm in eval mode: work along axis 1."""
    place = _alone(op)
    if place is not None and (place.axis == 1 or op.values.get("training")):
        raise MixingError
    return place


def padded(op: RowOperation) -> Place:
    """Pad the last axes."""
    place = op.place(op.first)
    if place is None:
        return None
    pads = list(op.values.get("pad") or op.values.get("padding") or ())
    back = op.rank(op.first) - 1 - place.axis
    if any(amount != 0 for amount in pads[2 * back : 2 * back + 2]):
        raise MixingError
    return place


def looked_up(op: RowOperation) -> Place:
    """Embedding: one more axis behind those of the indices."""
    if op.place(op.values["weight"]) is not None:
        raise MixingError
    return op.place(op.values["indices"])


def product(op: RowOperation) -> Place:
    """Multiply matrices; rows in leading axes, or the rows of the first by one matrix."""
    one, other = _factors(op)
    left, right = op.place(one), op.place(other)
    rank = len(op.shapes[0])
    if left is None and right is None:
        return None
    found = set()
    for tensor, place, summed in ((one, left, -1), (other, right, -2)):
        if place is None:
            continue
        back = place.axis - op.rank(tensor)  # -1 is the last axis
        if back == (summed if op.rank(tensor) > 1 else -1):
            raise MixingError
        shift = op.rank(other if tensor is one else one) < 2
        if op.rank(tensor) > 1 and shift:  # an axis of this one is summed away, none comes
            back += 1 if back < summed else 0
        elif back >= -2 and (right if tensor is one else left) is not None:
            raise MixingError
        found.add(place.at(rank + back))
    return _agreed(found)


def _factors(op: RowOperation) -> tuple[fx.Node, fx.Node]:
    *added, one, other = op.tensors()
    if any(op.place(tensor) is not None for tensor in added):
        raise MixingError
    return one, other


def attention(op: RowOperation) -> Place:
    """Scaled dot products of [..., steps, features]."""
    found = set()
    rank = len(op.shapes[0])
    for name in ("query", "key", "value", "attn_mask"):
        tensor: Any = op.values.get(name)
        place = op.place(tensor)
        if place is not None:
            if place.axis >= op.rank(tensor) - 2:
                raise MixingError
            found.add(place.at(place.axis + rank - op.rank(tensor)))
    return _agreed(found)


def einsum(op: RowOperation) -> Place:
    """Sum products over the axes whose letter is not in the result."""
    equation = op.values["equation"].replace(" ", "")
    terms, _, result = equation.partition("->")
    if "." in equation or not result:
        raise MixingError
    found = {
        (term[place.axis], place.at(0))
        for term, tensor in zip(terms.split(","), op.values["tensors"], strict=True)
        if (place := op.place(tensor)) is not None
    }
    if not found:
        return None
    (letter, place), *more = found
    if more or result.count(letter) != 1:
        raise MixingError
    return place.at(result.index(letter))


def picked(op: RowOperation) -> Place:
    """Pick entries along one axis by an index that is the same for all rows."""
    first, index = op.tensors()
    (axis,), rows = op.dims(), op.place(index)
    if op.place(first) is None and rows is not None:
        return rows.at(axis)
    if rows is not None:
        raise MixingError
    return along(op)


def indexed(op: RowOperation) -> Place:
    """Pick entries by several indices: none of them of rows, or all rows in their order."""
    place = op.place(op.first)
    given = {axis: index for axis, index in enumerate(op.values["indices"]) if index is not None}
    if any(index.meta["val"].dtype is torch.bool for index in given.values()):
        raise MixingError
    ranks = {op.rank(index) for index in given.values()}
    side_by_side = max(given) - min(given) == len(given) - 1
    start = min(given) if side_by_side else 0
    if place is not None and place.axis in given:
        others = [op.place(index) for axis, index in given.items() if axis != place.axis]
        whole = (
            op.counts(given[place.axis]) and ranks == {1} and place == Rows(place.axis, place.size)
        )
        if not whole or any(other not in (None, Rows(0, place.size)) for other in others):
            raise MixingError
        return Rows(start, place.size)
    rows = {p for index in given.values() if (p := op.place(index)) is not None}
    if place is None:
        if len(given) > 1 and rows:
            raise MixingError
        return next((p.at(start + p.axis) for p in rows), None)
    if rows:
        raise MixingError
    before = sum(axis < place.axis for axis in given)
    if side_by_side and not before:
        return place
    return place.at(place.axis - before + max(ranks))


def put(op: RowOperation) -> Place:
    """Write numbers that are the same for all rows where a mask says so."""
    first, *masks, written = op.tensors()
    indices = op.values["indices"]
    if len(indices) != 1 or masks[0].meta["val"].dtype is not torch.bool:
        raise MixingError
    if op.place(written) is not None:
        raise MixingError
    return _agreed({p for p in (op.place(first), op.place(masks[0])) if p is not None})


def first_alone(op: RowOperation) -> Place:
    """Convert the first tensor."""
    return op.place(op.first)


def cells(op: RowOperation) -> Place:
    """Run a recurrent cell: [batch, features] and its states."""
    place = _agreed({p for tensor in op.tensors() if (p := op.place(tensor)) is not None})
    if place is not None and place.axis != 0:
        raise MixingError
    return place
