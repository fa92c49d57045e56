"""`Recurrent`: a user's own cell, run over time like `nn.LSTM` runs its own."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from rnnedge_exporters.errors import ExportError
from rnnedge_runtime.errors import StateError

State: TypeAlias = Any
"""A tensor, or tuples and dicts of tensors."""
Sizes: TypeAlias = "int | tuple[int, ...]"
"""Of one state without its batch axis."""


class Walk(Protocol):
    """Runs one step over time."""

    def __call__(
        self,
        step: CellStep,
        x: Tensor,
        states: list[Tensor],
        lengths: Tensor | None,
        inputs: Mapping[str, Tensor],
        *,
        backwards: bool,
    ) -> tuple[Tensor, list[Tensor]]:
        """Return the outputs [time, batch, …] and the final states, each [batch, …]."""


class Recurrent(nn.Module):
    """Run a cell over time; trains in PyTorch, and exports as a `Scan` whose body is the cell.

    The forward of the cell is `(x_t, *state) -> (y_t, *state)`. Each tensor has the batch as its
    first axis, and axes of any number and size after it: `x_t` [batch, features] and states
    [batch, size] for most cells, [batch, channels, height, width] for a ConvLSTM. A state may be a
    dict, or hold tuples and dicts; a cell whose state is one dict takes and returns it as one
    argument, `(x_t, state) -> (y_t, state)`.

    Args:
        cell: A module with such a forward. With a method `initial_state(x_t, **inputs)`, it starts
            from what that returns; `x_t` is zeros in the shape of a step.
        reverse_cell: A second cell that runs from the end of each row; None for one direction.
        batch_first: Whether input and output are [batch, time, …].
        state_sizes: For each state its size, or a tuple of its sizes without the batch; a dict of
            them for a state that is a dict. None takes `cell.initial_state`, `cell.state_sizes`, or
            `cell.hidden_size` for every state that the cell's forward takes.

    Raises:
        ExportError: When the sizes of the states do not follow from the cell.
    """

    def __init__(
        self,
        cell: nn.Module,
        *,
        reverse_cell: nn.Module | None = None,
        batch_first: bool = False,
        state_sizes: Sequence[Sizes] | Mapping[str, Sizes] | None = None,
    ) -> None:
        super().__init__()
        self.cell = cell
        self.reverse_cell = reverse_cell
        self.batch_first = batch_first
        self.state_sizes = _checked_sizes(cell, state_sizes)

    @property
    def bidirectional(self) -> bool:
        """Whether there is a cell for the other direction."""
        return self.reverse_cell is not None

    @property
    def cells(self) -> list[nn.Module]:
        """The cell of each direction, forward first."""
        return [self.cell] if self.reverse_cell is None else [self.cell, self.reverse_cell]

    def forward(
        self,
        input: Tensor,
        state: State | None = None,
        lengths: Tensor | None = None,
        **inputs: Tensor,
    ) -> tuple[Tensor, State]:
        """Run the cell over the time axis.

        Args:
            input: [time, batch, …], or [batch, time, …] with `batch_first`.
            state: Initial states as the cell takes them, each [directions, batch, …]: one tensor, a
                tuple or a dict; None is what `initial_state` of the cell returns, or zeros.
            lengths: int64 [batch], where each row ends; None when all are full.
            **inputs: What the cell takes by name besides, the same at every step, such as a memory
                that it attends to.

        Returns:
            The output, with time and batch as in `input`, zero past a row's end (two directions lie
            side by side on the axis after them); and the states at each row's own end, as `state`
            takes them.

        Raises:
            StateError: If `state` has another structure than the cell's.
        """
        return self.walked(walk_in_python, input, state, lengths, inputs)

    def walked(
        self,
        walk: Walk,
        input: Tensor,
        state: State | None,
        lengths: Tensor | None,
        inputs: Mapping[str, Tensor],
    ) -> tuple[Tensor, State]:
        """Do what `forward` does; `walk` runs each direction over time."""
        x = input.transpose(0, 1) if self.batch_first else input  # [time, batch, …]
        states, structure = self.split(state, x, inputs)
        outputs, finals = [], []
        for direction, cell in enumerate(self.cells):
            step = CellStep(cell, structure, tuple(inputs), masked=lengths is not None)
            current = [one[direction] for one in states]
            output, last = walk(step, x, current, lengths, inputs, backwards=bool(direction))
            outputs.append(output)
            finals.append(last)
        output = outputs[0] if len(outputs) == 1 else torch.cat(outputs, 2)
        output = output.transpose(0, 1) if self.batch_first else output
        joined = [torch.stack(parts) for parts in zip(*finals, strict=True)]
        return output, rebuild(joined, structure)

    def split(
        self, state: State | None, x: Tensor, inputs: Mapping[str, Tensor] | None = None
    ) -> tuple[list[Tensor], pytree.TreeSpec]:
        """Return the initial states as a list.

        Args:
            state: As `forward` takes it; None is the start of the cells.
            x: The input, [time, batch, …], whose batch and dtype zeros take.
            inputs: What the cell takes by name besides.

        Returns:
            One tensor [directions, batch, …] for each state of the cell; and their structure, of
            which each item of a tuple is an argument of the cell.

        Raises:
            StateError: If `state` has another structure than the cell's.
        """
        starts = [
            flatten(as_arguments(_start(cell, self.state_sizes, x.new_zeros(x.shape[1:]), inputs)))
            for cell in self.cells
        ]
        leaves, structure = starts[0]
        if any(other != structure for _, other in starts):
            raise StateError("reverse_cell: expected states of the structure that cell has")
        if state is None:
            return [torch.stack(parts) for parts in zip(*(s for s, _ in starts), strict=True)], (
                structure
            )
        given, found = flatten(as_arguments(state))
        if len(leaves) != len(given):
            raise StateError(
                f"state: expected {len(leaves)} tensor(s), got {len(given)}: pass a "
                "tensor, or a tuple with one for each state of the cell"
            )
        if found != structure:
            raise StateError(
                f"state: expected the structure {_shown(structure)}, got {_shown(found)}"
            )
        for one, start in zip(given, leaves, strict=True):
            _check_shape(one, [len(self.cells), *start.shape])
        return given, structure

    def is_plain(self, input: Tensor, inputs: Mapping[str, Tensor]) -> bool:
        """Whether all states are [batch, size], and the cell takes nothing but them and x_t."""
        sizes = self.state_sizes
        flat = isinstance(sizes, tuple) and all(isinstance(size, int) for size in sizes)
        return flat and input.dim() == 3 and not inputs


class CellStep(nn.Module):
    """One step of a cell as a function of tensors alone.

    Args:
        cell: The cell.
        structure: Of its state.
        names: Of what it takes besides, in order.
        masked: Whether rows end: it then takes the number of the step, int64 [], and lengths.
    """

    def __init__(
        self, cell: nn.Module, structure: pytree.TreeSpec, names: tuple[str, ...], *, masked: bool
    ) -> None:
        super().__init__()
        self.cell = cell
        self.structure = structure
        self.names = names
        self.masked = masked

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """Run the cell once.

        Args:
            *given: The states, x_t, with lengths also the number of the step and the lengths, then
                what the cell takes besides.

        Returns:
            The states, then y_t.
        """
        count = self.structure.num_leaves
        before, x, rest = list(given[:count]), given[count], list(given[count + 1 :])
        ends = [rest.pop(0), rest.pop(0)] if self.masked else []
        state = pytree.tree_unflatten(before, self.structure)
        y, after = self._checked(
            self.cell(x, *state, **dict(zip(self.names, rest, strict=True))), before
        )
        if ends:
            inside = ends[0] < ends[1]  # [batch]
            y = _where(inside, y, torch.zeros_like(y))
            after = [_where(inside, new, old) for new, old in zip(after, before, strict=True)]
        return (*after, y)

    def _checked(self, made: Any, before: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Split what the cell returns, after a look at its structure and shapes."""
        name = type(self.cell).__name__
        if not isinstance(made, tuple | list) or not made or not isinstance(made[0], Tensor):
            raise ExportError(
                f"Recurrent({name}): expected the cell to return (y_t, *state), got "
                f"{type(made).__name__}"
            )
        after, found = flatten(tuple(made[1:]))
        if found != self.structure:
            raise ExportError(
                f"Recurrent({name}): expected y_t and {self.structure.num_leaves} state(s) from "
                f"the cell, as {_shown(self.structure)}, got {1 + len(after)} tensors, the states "
                f"as {_shown(found)}"
            )
        for old, new in zip(before, after, strict=True):
            if old.dtype != new.dtype or not _same_shape(old.shape, new.shape):
                raise ExportError(
                    f"Recurrent({name}): a state starts as {old.dtype}{list(old.shape)}, and the "
                    f"cell returns {new.dtype}{list(new.shape)}"
                )
        return made[0], after


def walk_in_python(
    step: CellStep,
    x: Tensor,
    states: list[Tensor],
    lengths: Tensor | None,
    inputs: Mapping[str, Tensor],
    *,
    backwards: bool,
) -> tuple[Tensor, list[Tensor]]:
    """Run one step over time in a Python loop; see `Walk`."""
    turns = range(x.shape[0])
    outputs: list[Tensor] = []
    for t in reversed(turns) if backwards else turns:
        ends = [] if lengths is None else [torch.tensor(t, device=lengths.device), lengths]
        *states, y = step(*states, x[t], *ends, *inputs.values())
        outputs.append(y)
    return torch.stack(outputs[::-1] if backwards else outputs), list(states)


def join(states: list[Tensor]) -> Any:
    """Return the only state, a tuple of several, or None where there are none."""
    return states[0] if len(states) == 1 else tuple(states) or None


def _only(state: Any) -> Any:
    """Return the only argument of a cell, or a tuple of several."""
    return state[0] if len(state) == 1 else state


def as_arguments(state: State) -> tuple[Any, ...]:
    """Return a state as the arguments of a cell: the items of a tuple, or the state itself."""
    return tuple(state) if isinstance(state, tuple | list) else (state,)


def flatten(state: State) -> tuple[list[Tensor], pytree.TreeSpec]:
    """Return the tensors of a state, those of a dict in the order of its keys."""
    return pytree.tree_flatten(_ordered(state))


def rebuild(states: Sequence[Tensor], structure: pytree.TreeSpec) -> State:
    """Return a state as `Recurrent` takes it, from its tensors."""
    return _only(pytree.tree_unflatten(states, structure))


def _ordered(state: State) -> Any:
    if isinstance(state, dict):
        return {key: _ordered(state[key]) for key in sorted(state)}
    if isinstance(state, tuple) and hasattr(state, "_fields"):
        return type(state)(*map(_ordered, state))
    return type(state)(map(_ordered, state)) if isinstance(state, tuple | list) else state


def _same_shape(one: Sequence[Any], other: Sequence[Any]) -> bool:
    """Compare the sizes that are numbers; those of open axes are symbols while torch traces."""
    if len(one) != len(other):
        return False
    pairs = zip(one, other, strict=True)
    return all(a == b for a, b in pairs if isinstance(a, int) and isinstance(b, int))


def _check_shape(state: Tensor, expected: Sequence[Any]) -> None:
    if not _same_shape(state.shape, expected):
        raise StateError(f"state: expected {list(expected)}, got {list(state.shape)}")


def _start(cell: nn.Module, sizes: Any, x: Tensor, inputs: Mapping[str, Tensor] | None) -> State:
    """Return what a cell starts from, each [batch, …]; `x` has the shape of a step."""
    if sizes is None:
        return cell.initial_state(x, **(inputs or {}))  # type: ignore[operator]
    return pytree.tree_map(
        lambda size: x.new_zeros(x.shape[0], *([size] if isinstance(size, int) else size)),
        sizes,
        is_leaf=_is_size,
    )


def _where(inside: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Choose by row; `inside` is bool [batch]."""
    return torch.where(inside.reshape(-1, *[1] * (one.dim() - 1)), one, other)


def _is_size(value: Any) -> bool:
    """Whether a value is the sizes of one state; a tuple of several holds numbers or tuples."""
    return isinstance(value, int | _Shape)


class _Shape(tuple[int, ...]):
    """The sizes of one state without its batch."""

    __slots__ = ()


def _shown(structure: pytree.TreeSpec) -> str:
    return str(pytree.tree_unflatten(["·"] * structure.num_leaves, structure)).replace("'·'", "·")


def _checked_sizes(cell: nn.Module, told: Any) -> Any:
    """Return int or `_Shape` for each state, in a tuple or a dict; None where the cell starts."""
    if told is None:
        told = None if hasattr(cell, "initial_state") else _sizes_of(cell)
    if told is None:
        return None
    if isinstance(told, Mapping):
        return {name: _checked_size(cell, size) for name, size in told.items()}
    return tuple(_checked_size(cell, size) for size in told)


def _checked_size(cell: nn.Module, size: Any) -> Any:
    if isinstance(size, int) and not isinstance(size, bool):
        return size
    if isinstance(size, tuple | list) and all(isinstance(axis, int) for axis in size):
        return _Shape(size)
    raise ExportError(
        f"Recurrent({type(cell).__name__}): state_sizes: expected for each state a size, or a "
        f"tuple of sizes, got {size!r}"
    )


def _sizes_of(cell: nn.Module) -> Any:
    told = getattr(cell, "state_sizes", None)
    if told is not None:
        return told
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = [p for p in inspect.signature(cell.forward).parameters.values() if p.kind in kinds]
    hidden = getattr(cell, "hidden_size", None)
    if not isinstance(hidden, int) or len(parameters) < 2:
        raise ExportError(
            f"Recurrent({type(cell).__name__}): expected a cell with hidden_size or state_sizes, "
            "and a forward (x_t, *state); give state_sizes=(size, ...)"
        )
    return [hidden] * (len(parameters) - 1)
