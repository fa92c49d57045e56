"""`RolledLoop`: a loop whose body is a module; a layer to all that looks for recurrent layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rnnedge_exporters.modules.loops.marks import Site
from rnnedge_exporters.modules.source_lines import shown_line


@dataclass(frozen=True, slots=True)
class LoopShape:
    """What the arguments of a loop are.

    Attributes:
        states: How many values are carried; they come first.
        directions: 1 for each scanned value that is read from its start, -1 from its end; they
            come next, each with time as its first axis.
        batch: Axis of the batch in each argument, and in each result without its time axis; None
            where it has none.
        results: The same for the results: the states, then what is collected.
        may_be_empty: Whether it has no turn at the shortest sequence.
        site: Where it is in the user's source.
        names: What the states are called, where that is known.
        cell: The class of a cell that `Recurrent` runs; empty for a loop in the user's source.
        label: What stands before the names of its states; None for its path.
    """

    states: int
    directions: tuple[int, ...]
    batch: tuple[int | None, ...]
    results: tuple[int | None, ...]
    may_be_empty: bool
    site: Site
    names: tuple[str, ...] = ()
    cell: str = ""
    label: str | None = None

    @property
    def described(self) -> str:
        """What it is, for messages."""
        if self.cell:
            return f"Recurrent({self.cell}): the cell"
        return f"the loop at {shown_line(*self.site)}"


class RolledLoop(nn.Module):
    """Run a body over time.

    Args:
        body: A module of (states, one step of each scanned value, other values) that gives the new
            states, then what is collected.
        shape: What its arguments are.
    """

    def __init__(self, body: nn.Module, shape: LoopShape) -> None:
        super().__init__()
        self.body = body
        self.shape = shape
        self.batch_first = False
        self.bidirectional = False

    def split(self, given: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Split the arguments into states, what is scanned, and the rest."""
        first, last = self.shape.states, self.shape.states + len(self.shape.directions)
        return list(given[:first]), list(given[first:last]), list(given[last:])

    def rows(self, given: Sequence[Tensor]) -> list[int]:
        """Return the rows of the batch, as each argument that has rows has them."""
        for number, (x, axis) in enumerate(zip(given, self.shape.batch, strict=True)):
            if axis is not None:
                return [x.shape[axis + self.is_scanned(number)]]
        return []

    def is_scanned(self, number: int) -> bool:
        """Whether an argument has time as its first axis."""
        return 0 <= number - self.shape.states < len(self.shape.directions)

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """Run the loop.

        Args:
            given: The states to start from, what is scanned [time, …], and other values.

        Returns:
            The final states, and what each turn gave [time, …], in the order of the turns.
        """
        states, scanned, others = self.split(given)
        steps = scanned[0].shape[0]
        collected: list[list[Tensor]] = []
        for turn in range(steps):
            now = [
                x[turn] if direction > 0 else x[steps - 1 - turn]
                for x, direction in zip(scanned, self.shape.directions, strict=True)
            ]
            states, made = self.step(states, now, others)
            collected.append(made)
        return (*states, *(torch.stack(made) for made in zip(*collected, strict=True)))

    def step(
        self, states: Sequence[Tensor], now: Sequence[Tensor], others: Sequence[Tensor]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Run the body once, and return the new states and what is collected."""
        made = list(self.body(*states, *now, *others))
        return made[: self.shape.states], made[self.shape.states :]


class MaskedBody(nn.Module):
    """A body that leaves the states as they are in turns that are not the loop's own.

    Args:
        body: The body.
        states: How many states it takes.
        place: How many arguments come before the bool of no axes that says whether a turn is.
    """

    def __init__(self, body: nn.Module, states: int, place: int) -> None:
        """Keep the body."""
        super().__init__()
        self.body = body
        self._states, self._place = states, place

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """Run the body without that argument."""
        active = given[self._place]
        made = self.body(*given[: self._place], *given[self._place + 1 :])
        kept = zip(made[: self._states], given[: self._states], strict=True)
        return (*(torch.where(active, new, old) for new, old in kept), *made[self._states :])
