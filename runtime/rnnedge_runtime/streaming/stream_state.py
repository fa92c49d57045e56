"""The state of a stream, in memory that the model reads and writes without a copy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rnnedge_runtime.binding import Array
from rnnedge_runtime.streaming.silence_and_nan import FLUSHED_EVERY, flush_tiny

if TYPE_CHECKING:
    from rnnedge_runtime.engine.protocol import Engine


class StreamState:
    """Two halves: a step reads one of them and writes the other, and then they change places.

    Attributes:
        halves: Both halves, each in the order of `Interface.states`.
        half: Which half holds the state, 0 or 1.
        steps: How many steps were made. Every few steps, tiny numbers become zero.
    """

    __slots__ = ("half", "halves", "steps")

    def __init__(self, zeros: Sequence[Array], engine: Engine) -> None:
        """Start at zeros, in memory of the engine."""
        self.halves = [
            [engine.tensor(array.copy(), on_device=True) for array in zeros] for _ in range(2)
        ]
        self.half = 0
        self.steps = 0

    def read(self) -> tuple[Array, ...]:
        """Return a copy of the state."""
        return tuple(tensor.read() for tensor in self.halves[self.half])

    def write(self, state: Sequence[Array]) -> None:
        """Set the state."""
        for tensor, array in zip(self.halves[self.half], state, strict=True):
            tensor.write(array)

    def swap(self) -> None:
        """Make the half that was written the state."""
        self.half = 1 - self.half
        self.steps += 1
        if not self.steps % FLUSHED_EVERY:
            self._flush()

    def advance(self, state: Sequence[Array]) -> None:
        """Set the state that a step through other buffers returned."""
        self.write(state)
        self.steps += 1
        if not self.steps % FLUSHED_EVERY:
            self._flush()

    def _flush(self) -> None:
        for tensor in self.halves[self.half]:
            if tensor.array is not None:
                flush_tiny(tensor.array)
