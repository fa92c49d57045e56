"""`Recurrent`: a user's own cell, run over time like `nn.LSTM` runs its own."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from rnnedge_exporters.errors import ExportError
from rnnedge_runtime.errors import StateError

State: TypeAlias = "Tensor | tuple[Tensor, ...]"


class Recurrent(nn.Module):
    """Run a cell over time; trains in PyTorch, and exports as a `Scan` whose body is the cell.

    Args:
        cell: A module whose forward is `(x_t, *state) -> (y_t, *state)`, with `x_t` of
            [batch, features] and each state of [batch, size].
        reverse_cell: A second cell that runs from the end of each row; None for one direction.
        batch_first: Whether input and output are [batch, time, features].
        state_sizes: Size of each state; None takes `cell.state_sizes`, or `cell.hidden_size` for
            every state that the cell's forward takes.

    Raises:
        ExportError: When the sizes of the states do not follow from the cell.
    """

    def __init__(
        self,
        cell: nn.Module,
        *,
        reverse_cell: nn.Module | None = None,
        batch_first: bool = False,
        state_sizes: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.cell = cell
        self.reverse_cell = reverse_cell
        self.batch_first = batch_first
        self.state_sizes = tuple(_sizes_of(cell) if state_sizes is None else state_sizes)

    @property
    def bidirectional(self) -> bool:
        """Whether there is a cell for the other direction."""
        return self.reverse_cell is not None

    @property
    def cells(self) -> list[nn.Module]:
        """The cell of each direction, forward first."""
        return [self.cell] if self.reverse_cell is None else [self.cell, self.reverse_cell]

    def forward(
        self, input: Tensor, state: State | None = None, lengths: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Run the cell over the time axis.

        Args:
            input: [time, batch, features], or [batch, time, features] with `batch_first`.
            state: Initial states, each [directions, batch, size], one tensor or a tuple; None is
                zeros.
            lengths: int64 [batch], where each row ends; None when all are full.

        Returns:
            The output, with its axes as those of `input`, zero past a row's end; and the states at
            each row's own end, as `state` takes them.

        Raises:
            StateError: If `state` has another number of tensors than the cell has states.
        """
        x = input.transpose(0, 1) if self.batch_first else input  # [time, batch, features]
        states = self.split(state, x)
        outputs, finals = [], []
        for direction, cell in enumerate(self.cells):
            steps = range(x.shape[0])
            current = [one[direction] for one in states]
            made: list[Tensor] = []
            for t in reversed(steps) if direction else steps:
                y, *after = cell(x[t], *current)
                if lengths is not None:
                    inside = (t < lengths).unsqueeze(1)  # [batch, 1]
                    y = torch.where(inside, y, torch.zeros_like(y))
                    pairs = zip(after, current, strict=True)
                    after = [torch.where(inside, new, old) for new, old in pairs]
                made.append(y)
                current = list(after)
            outputs.append(torch.stack(made[::-1] if direction else made))
            finals.append(current)
        output = torch.cat(outputs, 2)
        output = output.transpose(0, 1) if self.batch_first else output
        state = join([torch.stack(parts) for parts in zip(*finals, strict=True)])
        return output, state

    def split(self, state: State | None, x: Tensor) -> list[Tensor]:
        """Return the initial states as a list.

        Args:
            state: A tensor or a tuple of them, each [directions, batch, size]; None is zeros.
            x: The input, [time, batch, features], whose batch and dtype zeros take.

        Returns:
            One tensor [directions, batch, size] for each state of the cell.

        Raises:
            StateError: If `state` has another number of tensors than the cell has states.
        """
        if state is None:
            shape = (len(self.cells), x.shape[1])
            return [x.new_zeros(*shape, size) for size in self.state_sizes]
        states = [state] if isinstance(state, Tensor) else list(state)
        if len(states) != len(self.state_sizes):
            raise StateError(
                f"state: expected {len(self.state_sizes)} tensor(s), got {len(states)}: pass a "
                "tensor, or a tuple with one for each state of the cell"
            )
        return states


def join(states: list[Tensor]) -> Any:
    """Return the only state, or a tuple of several."""
    return states[0] if len(states) == 1 else tuple(states)


def _sizes_of(cell: nn.Module) -> list[int]:
    told = getattr(cell, "state_sizes", None)
    if told is not None:
        return list(told)
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = [p for p in inspect.signature(cell.forward).parameters.values() if p.kind in kinds]
    hidden = getattr(cell, "hidden_size", None)
    if not isinstance(hidden, int) or len(parameters) < 2:
        raise ExportError(
            f"Recurrent({type(cell).__name__}): expected a cell with hidden_size or state_sizes, "
            "and a forward (x_t, *state); give state_sizes=(size, ...)"
        )
    return [hidden] * (len(parameters) - 1)
