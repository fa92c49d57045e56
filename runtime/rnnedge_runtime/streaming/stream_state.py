"""The state of a stream, in memory that the model reads and writes without a copy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from rnnedge_runtime.binding import Array
from rnnedge_runtime.streaming.silence_and_nan import FLUSHED_EVERY, flush_tiny

if TYPE_CHECKING:
    from rnnedge_runtime.engine.protocol import Engine, Stepper


class Position:
    """Where a stream stands: which half holds the state, and how many steps were made."""

    __slots__ = ("half", "steps")

    def __init__(self) -> None:
        """Start in the first half."""
        self.half: Literal[0, 1] = 0
        self.steps = 0


class StreamState:
    """Two halves: a step reads one of them and writes the other, and then they change places.

    Attributes:
        halves: Both halves, each in the order of `Interface.states`.
        position: Which half holds the state, and how many steps were made. Every few steps, tiny
            numbers become zero. An engine's `Stepper` may stand here: it moves it by itself.
    """

    __slots__ = ("halves", "position")

    position: Position | Stepper

    def __init__(self, zeros: Sequence[Array], engine: Engine) -> None:
        """Start at zeros, in memory of the engine."""
        self.halves = [
            [engine.tensor(array.copy(), on_device=True) for array in zeros] for _ in range(2)
        ]
        self.position = Position()

    @property
    def half(self) -> Literal[0, 1]:
        """Which half holds the state."""
        return self.position.half

    def read(self) -> tuple[Array, ...]:
        """Return a copy of the state."""
        return tuple(tensor.read() for tensor in self.halves[self.half])

    def write(self, state: Sequence[Array]) -> None:
        """Set the state; all of it or, if a signal handler raises meanwhile, nothing."""
        other: Literal[0, 1] = 0 if self.half else 1
        for tensor, array in zip(self.halves[other], state, strict=True):
            tensor.write(array)
        self.position.half = other

    def swap(self) -> None:
        """Make the half that was written the state."""
        self.position.half = 0 if self.position.half else 1
        self._count()

    def advance(self, state: Sequence[Array]) -> None:
        """Set the state that a step through other buffers returned."""
        self.write(state)
        self._count()

    def _count(self) -> None:
        self.position.steps += 1
        if self.position.steps % FLUSHED_EVERY:
            return
        for tensor in self.halves[self.half]:
            if tensor.array is not None:
                flush_tiny(tensor.array)
