"""What can be set on ONNX Runtime, and what a model is opened from."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Device: TypeAlias = Literal["cpu", "cuda", "auto"]
Model: TypeAlias = "str | os.PathLike[str] | bytes"

CPU = "CPUExecutionProvider"
"""The provider of ONNX Runtime that is there on every device."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What can be set on ONNX Runtime, with what suits recurrent models as the default.

    The figures are of ONNX Runtime 1.32 on two cores of an x86 server, those of CUDA of 1.31 on an
    H100.

    Attributes:
        threads: Threads inside one operator; None is ONNX Runtime's default, the number of physical
            cores. A second thread took 0.54 to 0.66 of the time for hidden 512 and for batches of
            32, and up to 2.6 times as long for an RNN of hidden 128: a step of a narrow layer is
            over sooner than a thread is woken. Streams are best with 1; `rnnedge tune` measures.
        spinning: Whether waiting threads look for work instead of sleeping. Without, two threads
            lose up to half of what they gain on sequences of batch 1; with, a call every 10 ms kept
            47 % of a core busy, and 7 % without. No difference with one thread.
        arena: Whether memory that ONNX Runtime has used is kept for the next call. Without, an LSTM
            took 1.2 times as long at lengths that vary, and the process was no smaller.
        memory_pattern: Whether the allocations of each shape that was seen are planned. For models
            of dynamic length this remembers every length, for no gain in time: off.
        tf32: Whether CUDA may multiply in TF32, which keeps 10 bits of each factor and is ONNX
            Runtime's own default. Layers of hidden 32 were off by up to 9e-4, and by 4e-7 without;
            it took 0.78 to 1 of the time for batches of 32 and more, and as long for one row.
        entries: Any other entry of ONNX Runtime's session configuration, by its name, such as
            `{"session.disable_prepacking": "1"}`. `session.set_denormal_as_zero` works for the
            first session of a process only, and changes the arithmetic of the caller's numpy too;
            `Stream` has its own way.
    """

    threads: int | None = None
    spinning: bool = True
    arena: bool = True
    memory_pattern: bool = False
    tf32: bool = False
    entries: Mapping[str, str] = field(default_factory=dict)

    @property
    def changed(self) -> tuple[str, ...]:
        """What is not the default, in words; threads are told apart wherever this is shown."""
        words = ["no spinning"] * (not self.spinning) + ["no arena"] * (not self.arena)
        words += ["memory pattern"] * self.memory_pattern + ["TF32"] * self.tf32
        return (*words, *(f"{name}={value}" for name, value in self.entries.items()))
