"""Whether each row of the batch stays the same row inside a module.

A lifted state belongs to a row of the batch. It is the state of that row's sequence only where the
recurrent layer sees the rows of the module's inputs in their order, whatever the numbers in them
are: rows that a module sorts by their lengths are others at the next call. The exported program is
followed node by node; an operator that is not known to keep rows apart and in their places counts
as moving them.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import sympy
import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

from rnnedge_exporters.errors import MixingError, UnknownError
from rnnedge_exporters.modules.capture import LAYER, LENGTHS_GIVEN, Capture
from rnnedge_exporters.modules.loops.rolled import LoopShape, RolledLoop
from rnnedge_exporters.modules.packing import DOMAIN, PACK, POSITIONS, UNPACK
from rnnedge_exporters.modules.row_operators import place_of
from rnnedge_exporters.modules.row_places import (
    Place,
    RowOperation,
    Rows,
    Shape,
)
from rnnedge_exporters.modules.streaming import Hindrance, line_of, tensor_nodes
from rnnedge_runtime.contract import BATCH


def row_hindrances(
    program: ExportedProgram,
    capture: Capture,
    names: Mapping[str, str],
    outputs: Sequence[str],
) -> list[Hindrance]:
    """Name what moves or mixes the rows of the batch.

    Args:
        program: The exported program.
        capture: Its recurrent layers and calls.
        names: Symbol of torch to the name of the axis.
        outputs: Names of the outputs, in order.

    Returns:
        What keeps a layer, or an output, from having the rows of the inputs in their order.
    """
    followed = _Rows(program, capture, names, outputs)
    return list(dict.fromkeys(followed.hindrances))


@dataclass(frozen=True, slots=True)
class _Moved:
    """What happened to rows that are not in their places any more."""

    what: str
    where: str


class _Rows:
    """Where the rows are in each value of a program."""

    def __init__(
        self,
        program: ExportedProgram,
        capture: Capture,
        names: Mapping[str, str],
        outputs: Sequence[str],
    ) -> None:
        self.hindrances: list[Hindrance] = []
        self._capture = capture
        self._reported: set[_Moved] = set()
        self._batch = sympy.Symbol(BATCH, integer=True, positive=True)
        seen = (str(symbol) for size in capture.batch for symbol in _only(size))
        called = {BATCH} | {names[symbol] for symbol in seen if symbol in names}
        self._rows = {symbol for symbol, name in names.items() if name in called}
        self._found: dict[fx.Node, Any] = {}  # a Place, a _Moved, or a tuple of them
        given = set(program.graph_signature.user_inputs)
        for node in program.graph.nodes:
            if node.op == "placeholder":
                self._found[node] = self._of_input(node) if node.name in given else None
            elif node.op == "call_function":
                self._follow(node)
            elif node.op == "output":
                self._look_at_outputs(node, outputs)

    def _of_input(self, node: fx.Node) -> Any:
        if not _is_tensor(node):
            return None
        axes = [
            axis for axis, size in enumerate(self._shape(node.meta["val"])) if size == self._batch
        ]
        if len(axes) > 1:
            return _Moved(f"{node.name} has two axes of {BATCH}", "")
        return Rows(axes[0], self._batch) if axes else None

    def _shape(self, tensor: Tensor) -> Shape:
        """Return a shape in which all that is called batch is one symbol."""
        sizes = []
        for size in cast("tuple[Any, ...]", tensor.shape):
            expression = size.node.expr if isinstance(size, torch.SymInt) else sympy.Integer(size)
            same = {s: self._batch for s in expression.free_symbols if str(s) in self._rows}
            sizes.append(expression.xreplace(same))
        return tuple(sizes)

    def _follow(self, node: fx.Node) -> None:
        if node.target is operator.getitem and not _is_number(node):
            return  # seen through where it is used
        if not isinstance(node.target, torch._ops.OpOverload) or _is_number(node):
            self._found[node] = None
            return
        if node.kwargs.get("domain") == DOMAIN:
            self._found[node] = self._opaque(node)
            return
        if _is_view(node):
            return  # what is written into its source later shows in it
        self._found[node] = found = self._result(node)
        if node.target._schema.is_mutable:
            self._write(node.args[0], found)

    def _at(self, node: fx.Node) -> Any:
        """Return the place of the rows, or how they were moved."""
        if node in self._found:
            return self._found[node]
        if node.target is operator.getitem:
            source, index = cast("tuple[fx.Node, int]", node.args)
            found = self._at(source)
            return found[index] if isinstance(found, tuple) else found
        return self._result(node) if _is_view(node) else None

    def _place(self, node: fx.Node) -> Place:
        found: Place | _Moved = self._at(node)
        if isinstance(found, _Moved):
            raise _PassedError(found)
        return found

    def _result(self, node: fx.Node) -> Any:
        target: Any = node.target
        op = RowOperation(node, self._place, self._shape, self._batch)
        if not op.shapes:
            return None
        pointwise = torch.Tag.pointwise in target.tags
        try:
            if op.name == "arange" and op.shapes[0][0].has(self._batch):
                return self._counted(op)
            if any(map(self._tells_of_others, _numbers(op, pointwise=pointwise))):
                raise MixingError
            place = place_of(op, broadcasts=pointwise)
        except _PassedError as passed:
            return passed.moved
        except UnknownError:
            if all(self._knows_no_rows(given) for given in node.all_input_nodes):
                return None
            return _Moved(f"cannot be followed through {op.name}", line_of(node))
        except MixingError:
            return _Moved(f"are moved or mixed by {op.name}", line_of(node))
        return place

    def _counted(self, op: RowOperation) -> Place:
        """Return the place of the numbers of all rows, as `arange(batch)` gives them."""
        if op.shapes[0][0] != self._batch or op.values.get("start") or "step" in op.values:
            raise MixingError
        return Rows(0, self._batch, counted=True)

    def _tells_of_others(self, number: Any) -> bool:
        """Whether a number depends on how many rows there are, or on what is in them."""
        value = number.meta.get("val") if isinstance(number, fx.Node) else None
        if not isinstance(value, torch.SymInt | torch.SymFloat | torch.SymBool):
            return False
        symbols = map(str, value.node.expr.free_symbols)
        return any(symbol in self._rows or symbol.startswith("u") for symbol in symbols)

    def _knows_no_rows(self, given: fx.Node) -> bool:
        return self._at(given) is None and not self._tells_of_others(given)

    def _write(self, target: Any, found: Any) -> None:
        """Note that a value was changed in place, and so what it is a part of."""
        root = target
        while root not in self._found and not isinstance(self._found.get(root.args[0]), tuple):
            root = root.args[0]
        before = self._at(root)
        if isinstance(before, _Moved) or found is None:
            return
        if before is None and isinstance(found, Rows):
            shape = self._shape(root.meta["val"])
            axes = [axis for axis, size in enumerate(shape) if size == self._batch]
            self._found[root] = Rows(axes[0], self._batch) if len(axes) == 1 else None
        if isinstance(found, _Moved):
            self._found[root] = found
        elif self._at(target) != found:
            self._found[root] = _Moved("are moved or mixed by a change in place", line_of(target))

    def _opaque(self, node: fx.Node) -> Any:
        inputs: Any = node.args[0]
        try:
            if LAYER in node.kwargs["attr_keys"]:  # type: ignore[operator]
                return self._layer(node)
            if node.args[1] == PACK:
                return self._data(node, self._place(inputs[0]), Rows(1, self._batch), 0)
            if node.args[1] == UNPACK:
                size = self._shape(inputs[0].meta["val"])[0]
                return self._data(node, self._place(inputs[0]), Rows(0, size), 1)
            if node.args[1] == POSITIONS:
                self._place(inputs[1])
        except _PassedError as passed:
            return passed.moved
        return None

    def _data(self, node: fx.Node, place: Place, wanted: Rows, axis: int) -> Any:
        """Return the place of the rows, or steps, of a packed sequence."""
        if place not in (None, wanted):
            return _Moved("are moved or mixed in a packed sequence", line_of(node))
        return Rows(axis, self._shape(node.meta["val"])[axis])

    def _layer(self, node: fx.Node) -> Any:
        keys, numbers = node.kwargs["attr_keys"], node.kwargs["attr_ints"]
        told: dict[str, int] = dict(zip(keys, numbers, strict=True))  # type: ignore[arg-type]
        path = list(self._capture.layers)[told[LAYER]]
        loop = self._capture.layers[path]
        if isinstance(loop, RolledLoop):
            return self._loop(node, path, loop.shape)
        axis = 0 if told["batch_first"] else 1
        lengths = 1 if told[LENGTHS_GIVEN] else 0
        axes = [axis] + [0] * lengths
        found = set()
        moved: _Moved | None = None
        for number, made in enumerate(node.args[0]):  # type: ignore[arg-type]
            try:
                place = self._place(made)
            except _PassedError as passed:
                moved = moved or passed.moved
                continue
            if place is not None and place.counted:
                place = None
                moved = moved or _Moved("are counted", line_of(node))
            if place is not None:
                right = place.axis == (axes[number] if number < len(axes) else 1)
                found.add(place.at(axis) if right else None)
        if None in found or len(found) > 1:
            moved = moved or _Moved("lie on another axis than its batch", line_of(node))
        if moved:
            label = path or "it"
            what = f"{label} sees rows that {moved.what}"
            if lengths and "sort" in moved.what:
                what += ": let pack_padded_sequence sort them, with enforce_sorted=False"
            self.hindrances.append(Hindrance(what, moved.where))
            self._reported.add(moved)
            return moved
        (place,) = found or {None}
        finals = len(node.meta["val"]) - 1
        return (place, *[None if place is None else place.at(1)] * finals)

    def _loop(self, node: fx.Node, path: str, shape: LoopShape) -> Any:
        """Return where the rows are in what a loop gives; its body is tried with other rows."""
        inputs: Any = node.args[0]
        first, last = shape.states, shape.states + len(shape.directions)
        for number, (made, axis) in enumerate(zip(inputs, shape.batch, strict=True)):
            try:
                place = self._place(made)
            except _PassedError as passed:
                moved = passed.moved
            else:
                scanned = first <= number < last
                right = axis is not None and place == Rows(axis + scanned, self._batch)
                if place is None or right:
                    continue
                moved = _Moved("lie on another axis than its batch", line_of(node))
            self.hindrances.append(Hindrance(f"{path} sees rows that {moved.what}", moved.where))
            self._reported.add(moved)
            return moved
        return tuple(
            None if axis is None else Rows(axis + (number >= first), self._batch)
            for number, axis in enumerate(shape.results)
        )

    def _look_at_outputs(self, node: fx.Node, names: Sequence[str]) -> None:
        tensors = [made for made in tensor_nodes(node.args) if _is_tensor(made)]
        for made, name in zip(tensors, names, strict=False):
            found = self._at(made) if self._batch in self._shape(made.meta["val"]) else None
            if isinstance(found, _Moved) and found not in self._reported:
                self.hindrances.append(Hindrance(f"{name} has rows that {found.what}", found.where))


def _numbers(op: RowOperation, *, pointwise: bool) -> list[Any]:
    """Return the arguments that are numbers to compute with, and those that pick a step."""
    if pointwise:
        return list(op.values.values())
    return [op.values.get(name) for name in ("fill_value", "index", "step")]


class _PassedError(Exception):
    """A value is asked for whose rows were moved."""

    def __init__(self, moved: _Moved) -> None:
        super().__init__(moved.what)
        self.moved = moved


def _only(size: int | torch.SymInt) -> set[sympy.Symbol]:
    """Return the symbol that a size depends on, when there is one only."""
    symbols = size.node.expr.free_symbols if isinstance(size, torch.SymInt) else set()
    return symbols if len(symbols) == 1 else set()


def _is_tensor(node: fx.Node) -> bool:
    return isinstance(node.meta.get("val"), Tensor)


def _is_number(node: fx.Node) -> bool:
    return isinstance(
        node.meta.get("val"), int | float | torch.SymInt | torch.SymFloat | torch.SymBool
    )


def _is_view(node: fx.Node) -> bool:
    """Whether a node gives a part of its first argument, or another shape of it."""
    if node.target is operator.getitem:
        return _is_view(node.args[0])  # type: ignore[arg-type]
    returns = getattr(node.target, "_schema", None)
    aliases = [made.alias_info for made in returns.returns] if returns else []
    return bool(aliases) and all(alias is not None and not alias.is_write for alias in aliases)
