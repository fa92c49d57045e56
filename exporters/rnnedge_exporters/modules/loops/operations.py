"""A trace as operations: each knows the turn of the loop that it belongs to."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

from rnnedge_exporters.modules.loops.marks import Turn
from rnnedge_exporters.modules.source_lines import shown_line

LOOP = "rnnedge_loop"
INPUT, WEIGHT, CONSTANT = "input", "weight", "constant"
"""What an operation is that computes nothing; its only argument is a name, or a number of `Pool`.

A weight is a parameter or a buffer."""

aten = torch.ops.aten
TO_DTYPE: Any = getattr(aten, "_to_copy").default  # noqa: B009  # torch's name begins so
_SAME = {aten.alias.default, aten.detach.default, aten.clone.default, aten.lift_fresh_copy.default}
_SAME |= {aten.contiguous.default, aten.lift_fresh.default}
_RESHAPES = {aten.view.default, getattr(aten, "_unsafe_view").default}  # noqa: B009
"""What `reshape` becomes, by how the numbers lie in memory at one size."""
_SPLITS = {aten.split.Tensor, aten.split_with_sizes.default, aten.chunk.default}
_END = 2**63 - 1
"""What `x[:, 1:]` has for its end."""
_FILLS: dict[Any, int | None] = {
    **dict.fromkeys((aten.zeros.default, aten.new_zeros.default, aten.zeros_like.default), 0),
    **dict.fromkeys((aten.ones.default, aten.new_ones.default, aten.ones_like.default), 1),
    **dict.fromkeys((aten.empty.memory_format, aten.new_empty.default, aten.empty_like.default), 0),
    **dict.fromkeys((aten.full.default, aten.new_full.default, aten.full_like.default), None),
}
"""What makes a tensor of one number, and the number; None where it is the last argument.

What `empty` makes is written before it is read, or the module is not a function of its inputs."""


@dataclass(eq=False, slots=True)
class Operation:
    """One value of a trace.

    Attributes:
        target: The operator, or one of `INPUT`, `WEIGHT`, `CONSTANT`.
        args: Arguments by position; operations stand for what they give.
        kwargs: Arguments by name.
        value: The fake tensor that it gives, or several.
        path: The loops that it runs in, and their turns.
        number: Its place in the trace.
        where: The stack of the user's code at which it was made.
    """

    target: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    value: Any = None
    path: tuple[Turn, ...] = ()
    number: int = -1
    where: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes; empty where it gives several tensors."""
        return tuple(int(n) for n in self.value.shape) if isinstance(self.value, Tensor) else ()

    @property
    def line(self) -> str:
        """The line of the user's code that made it, or empty."""
        lines = re.findall(r'File "([^"]+)", line (\d+), in (\w+)', self.where)
        mine = [line for line in lines if not re.search(r"/(torch|rnnedge_exporters)/", line[0])]
        return shown_line(mine[-1][0], int(mine[-1][1])) if mine else ""

    @property
    def dtype(self) -> Any:
        """Its dtype, or None."""
        return self.value.dtype if isinstance(self.value, Tensor) else None


@dataclass
class Pool:
    """Constant tensors of all traces, each content once."""

    tensors: list[Tensor] = field(default_factory=list)

    def number(self, tensor: Tensor) -> int:
        """Return the number of a tensor with this content."""
        for number, known in enumerate(self.tensors):
            if known.dtype == tensor.dtype and torch.equal(known, tensor):
                return number
        self.tensors.append(tensor.detach().clone())
        return len(self.tensors) - 1


def inner_operations(args: Any) -> list[Operation]:
    """Return the operations among arguments, nested as they are."""
    leaves = torch.utils._pytree.tree_leaves(args, is_leaf=lambda x: isinstance(x, Operation))
    return [leaf for leaf in leaves if isinstance(leaf, Operation)]


def read_program(
    program: ExportedProgram, names: Iterable[str], pool: Pool
) -> tuple[list[Operation], list[Any]]:
    """Read a functional program, with picks and writes of one step in one form.

    Args:
        program: What `run_decompositions` made, of static shapes.
        names: Flat names of its inputs, in order.
        pool: Gets its constants.

    Returns:
        The operations in order, and those that are the results.
    """
    return _Reader(program, names, pool).read()


class _Reader:
    def __init__(self, program: ExportedProgram, names: Iterable[str], pool: Pool) -> None:
        self._program, self._pool = program, pool
        signature = program.graph_signature
        self._inputs = dict(zip(signature.user_inputs, names, strict=False))
        self._weights = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        self._constants = dict(signature.inputs_to_lifted_tensor_constants)
        self._made: dict[fx.Node, Any] = {}
        self._fills: dict[Any, Operation] = {}
        self._known: dict[int, Operation] = {}
        self.operations: list[Operation] = []

    def read(self) -> tuple[list[Operation], list[Any]]:
        results: list[Any] = []
        for node in self._program.graph.nodes:
            if node.op == "placeholder":
                self._made[node] = self._placeholder(node)
            elif node.op == "call_function":
                args, kwargs = fx.map_arg((node.args, node.kwargs), self._made.__getitem__)
                self._made[node] = self._call(node, args, dict(kwargs))
            elif node.op == "output":
                count = len(self._program.graph_signature.user_outputs)
                leaves = torch.utils._pytree.tree_leaves(node.args)
                results = [self._made[n] for n in leaves[-count:] if isinstance(n, fx.Node)]
        return self.operations, results

    def _placeholder(self, node: fx.Node) -> Any:
        value = node.meta.get("val")
        if node.name in self._weights:
            return self._add(Operation(WEIGHT, (self._weights[node.name],), value=value))
        if node.name in self._constants:
            tensor = self._program.constants[self._constants[node.name]]
            return self._constant(self._pool.number(tensor), value)
        if node.name in self._inputs and isinstance(value, Tensor):
            return self._add(Operation(INPUT, (self._inputs[node.name],), value=value))
        return value

    def _constant(self, number: int, value: Any) -> Operation:
        """Return a constant; what the turns of a loop make alike is one."""
        if number not in self._known:
            self._known[number] = self._add(Operation(CONSTANT, (number,), value=value))
        return self._known[number]

    def _filled(self, value: Tensor, number: Any, path: tuple[Turn, ...]) -> Operation:
        """Return a tensor of one number; what the turns of a loop make alike is made once."""
        sizes, dtype = [int(size) for size in value.shape], value.dtype
        made = Operation(aten.full.default, (sizes, number), {"dtype": dtype}, value)
        if not path:
            return self._add(made)
        key = (path[0][0], *sizes, dtype, type(number), number)
        if key not in self._fills:
            self._fills[key] = self._add(made)
        return self._fills[key]

    def _add(self, made: Operation) -> Operation:
        made.number = len(self.operations)
        self.operations.append(made)
        return made

    def _call(self, node: fx.Node, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Return what a node gives: another operation as it is, or a new one in its usual form."""
        target, value = node.target, node.meta.get("val")
        path = (node.meta.get("custom") or {}).get(LOOP, ())
        where = node.meta.get("stack_trace") or ""
        kwargs = {k: v for k, v in kwargs.items() if k not in ("device", "pin_memory", "layout")}
        if target in _SAME or (target is aten.dropout.default and not args[2]):
            return args[0]
        if target in _FILLS:
            number = args[-1] if _FILLS[target] is None else _FILLS[target]
            return self._filled(cast("Tensor", value), number, path)
        if target is operator.getitem and isinstance(args[0], Operation):
            source, number = args
            if source.target is aten.unbind.int:
                target = aten.select.int
                args = (source.args[0], (*source.args[1:], 0)[0], number)
            elif source.target in _SPLITS and _by_one(source):
                target = aten.slice.Tensor
                args = (source.args[0], (*source.args[2:], 0)[0], number, number + 1)
        if target in _RESHAPES:
            target = aten.reshape.default
        if target in _FORMS:
            found = _FORMS[target](*args)
            if isinstance(found, Operation):
                return found
            target, args = found
        return self._add(Operation(target, args, kwargs, value, path, where=where))


def _by_one(split: Operation) -> bool:
    """Whether a split gives one step at a time."""
    base, axis = split.args[0], (*split.args[2:], 0)[0]
    return len(split.value) == int(base.shape[axis])


def _copied(before: Operation, given: Any, *more: Any) -> Any:
    if isinstance(given, Operation) and given.dtype == before.dtype:
        if given.shape == before.shape:
            return given
        return aten.expand.default, (given, list(before.shape))
    return aten.copy.default, (before, given, *more)


def _selected(base: Operation, axis: int, index: int) -> Any:
    axis, index = axis % len(base.shape), index % base.shape[axis]
    found = _picked(base, axis, index)
    return (aten.select.int, found) if isinstance(found, tuple) else found


def _sliced(*args: Any) -> Any:
    whole = _whole_slice(args)
    if whole is not None:
        return whole
    args = _plain_slice(args)
    if args[3] - args[2] != 1:
        return aten.slice.Tensor, args
    found = _picked(args[0], args[1], args[2])
    if isinstance(found, tuple):
        return aten.slice.Tensor, (*found, found[2] + 1)
    return aten.unsqueeze.default, (found, args[1])


def _put_at(*args: Any) -> Any:
    return aten.select_scatter.default, _plain_write(aten.select_scatter.default, args)


def _put_into(*args: Any) -> Any:
    args = _plain_write(aten.slice_scatter.default, args)
    base, given, axis, start, end, *step = args
    if not step and end - start == base.shape[axis]:
        return given
    return aten.slice_scatter.default, args


_FORMS: dict[Any, Callable[..., Any]] = {
    aten.copy.default: _copied,
    aten.select.int: _selected,
    aten.slice.Tensor: _sliced,
    aten.select_scatter.default: _put_at,
    aten.slice_scatter.default: _put_into,
}
"""Gives another operation, or an operator and its arguments, for the arguments of an operator."""


def _picked(base: Operation, axis: int, index: int) -> Any:
    """Return what entry `index` of `base` is: (base, axis, index), or an operation."""
    while True:
        if base.target is aten.select_scatter.default and base.args[2] == axis:
            if base.args[3] == index:
                return base.args[1]
            base = base.args[0]
        elif (
            base.target is aten.slice_scatter.default
            and base.args[2] == axis
            and len(base.args) == 5  # every step of it
        ):
            start, end = base.args[3], base.args[4]
            if start <= index < end:
                base, index = base.args[1], index - start
            else:
                base = base.args[0]
        elif base.target is aten.slice.Tensor and base.args[1] == axis and len(base.args) == 4:
            index, base = index + base.args[2], base.args[0]
        elif base.target is aten.stack.default and (*base.args[1:], 0)[0] % len(base.shape) == axis:
            return base.args[0][index]
        else:
            return base, axis, index


def _ends(size: int, start: Any, end: Any) -> tuple[int, int]:
    start, end, _ = slice(start, end).indices(size)
    return start, max(start, end)


def _with_defaults(args: tuple[Any, ...], defaults: tuple[Any, ...]) -> tuple[Any, ...]:
    return args + defaults[len(args) :]


def _whole_slice(args: tuple[Any, ...]) -> Any:
    """Return what a slice is of that takes everything, whatever the size of the axis is."""
    base, _, start, end, step = _with_defaults(args, (None, 0, None, None, 1))
    return base if step == 1 and not start and end in (None, _END) else None


def _plain_slice(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return (base, axis, start, end), counted from the front; a step comes after them."""
    base, axis, start, end, step = _with_defaults(args, (None, 0, None, None, 1))
    axis %= len(base.shape)
    ends = _ends(base.shape[axis], start, end)
    return (base, axis, *ends, *([step] if step != 1 else []))


def _plain_write(target: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
    base, given, axis = (*args[:2], (*args[2:], 0)[0] % len(args[0].shape))
    if target is aten.select_scatter.default:
        return base, given, axis, args[3] % base.shape[axis]
    start, end, step = _with_defaults(args[3:], (None, None, 1))
    return (base, given, axis, *_ends(base.shape[axis], start, end), *([step] if step != 1 else []))
