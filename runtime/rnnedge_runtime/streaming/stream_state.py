"""The state of a stream, in memory that the model reads and writes without a copy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from rnnedge_runtime.binding import Array
from rnnedge_runtime.streaming.silence_and_nan import FLUSHED_EVERY, flush_tiny

if TYPE_CHECKING:
    import onnxruntime


class Tensor:
    """One tensor where the model runs.

    Attributes:
        value: What ONNX Runtime binds.
        array: The same memory as an array; None where the device is not the CPU.
    """

    __slots__ = ("array", "value")

    def __init__(self, array: Array, device: Literal["cpu", "cuda"] = "cpu") -> None:
        """Take `array` over on the CPU, and copy it to any other device."""
        import onnxruntime

        self.value: onnxruntime.OrtValue
        self.value = onnxruntime.OrtValue.ortvalue_from_numpy(array, device, 0)
        self.array = array if device == "cpu" else None

    def read(self) -> Array:
        """Return a copy."""
        copied: Array = self.value.numpy() if self.array is None else self.array.copy()
        return copied

    def write(self, array: Array) -> None:
        """Put an array of the same shape and dtype in."""
        if self.array is None:
            self.value.update_inplace(np.ascontiguousarray(array))
        else:
            self.array[...] = array


class KeptState:
    """Two halves: a step reads the one and writes the other, and then they change places.

    Attributes:
        halves: Both, each in the order of `Interface.states`.
        half: Which one holds the state, 0 or 1.
        steps: How many there were. Every few of them, tiny numbers become zero.
    """

    __slots__ = ("half", "halves", "steps")

    def __init__(self, zeros: Sequence[Array], device: Literal["cpu", "cuda"]) -> None:
        """Start at zeros."""
        self.halves = [[Tensor(array.copy(), device) for array in zeros] for _ in range(2)]
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
        """Take the half that was written as the state."""
        self.half = 1 - self.half
        self.steps += 1
        if not self.steps % FLUSHED_EVERY:
            self._flush()

    def advance(self, state: Sequence[Array]) -> None:
        """Take what a step through other buffers gave as the state."""
        self.write(state)
        self.steps += 1
        if not self.steps % FLUSHED_EVERY:
            self._flush()

    def _flush(self) -> None:
        for tensor in self.halves[self.half]:
            if tensor.array is not None:
                flush_tiny(tensor.array)
