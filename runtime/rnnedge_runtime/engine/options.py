"""`EngineOptions`: how a model is opened."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from rnnedge_runtime.argument import whole_number
from rnnedge_runtime.errors import ModelError, OptionError

Device: TypeAlias = Literal["cpu", "cuda", "auto"]
EngineName: TypeAlias = Literal["auto", "native", "onnxruntime"]
Model: TypeAlias = "str | os.PathLike[str] | bytes"

_MOST_THREADS = 1024
"""ONNX Runtime starts as many threads as it is asked for, and the system may not have them."""

CPU = "CPUExecutionProvider"
"""The execution provider of ONNX Runtime that every device has."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """The options of ONNX Runtime, with defaults that suit recurrent models.

    The figures were measured with ONNX Runtime 1.32 on two cores of an x86 server, those of CUDA
    with 1.31 on an H100.

    Attributes:
        threads: Threads inside one operator; None is ONNX Runtime's default, the number of physical
            cores. With a second thread, hidden 512 and batches of 32 took 0.54 to 0.66 of the time,
            and an RNN of hidden 128 up to 2.6 times as long: a step of a narrow layer ends before
            the thread wakes up. Streams are best with 1; `rnnedge tune` measures it.
        spinning: Whether waiting threads spin instead of sleeping. Two sleeping threads lose up to
            half of the gain on sequences of batch 1; two spinning threads kept 47 % of a core busy
            instead of 7 % with a call every 10 ms. No difference with one thread.
        arena: Whether ONNX Runtime keeps memory for the next call. Without it, an LSTM took 1.2
            times as long at varying lengths, and the process was no smaller.
        memory_pattern: Whether the allocations of each shape are planned. For models of dynamic
            length this remembers every length, and no call became faster: off.
        tf32: Whether CUDA may multiply in TF32, which keeps 10 bits of each factor; ONNX Runtime's
            default is on. With it, layers of hidden 32 were off by up to 9e-4 instead of 4e-7;
            batches of 32 and more took 0.78 to 1 of the time, and one row took as long.
        entries: Any other entry of ONNX Runtime's session configuration, by its name, such as
            `{"session.disable_prepacking": "1"}`. `session.set_denormal_as_zero` works only for the
            first session of a process, and changes the arithmetic of the caller's numpy too;
            `Stream` removes denormal numbers by itself.
    """

    threads: int | None = None
    spinning: bool = True
    arena: bool = True
    memory_pattern: bool = False
    tf32: bool = False
    entries: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the number of threads, and the entries as far as any engine can.

        Raises:
            OptionError: If `threads` is not an integer from 1 to 1024, or an entry is not text.
        """
        if self.threads is not None:
            threads = whole_number(
                "threads", self.threads, OptionError, most=_MOST_THREADS, otherwise="None or "
            )
            object.__setattr__(self, "threads", threads)
        if not isinstance(self.entries, Mapping):
            raise OptionError(
                f"options: expected a mapping of names to text, got {type(self.entries).__name__}"
            )
        for name, value in self.entries.items():
            if not isinstance(name, str) or not isinstance(value, str):
                raise OptionError(f"options: expected text for {name!r}, got {value!r}")

    @property
    def changed(self) -> tuple[str, ...]:
        """The options that are not at their default, in words; without the threads."""
        words = ["no spinning"] * (not self.spinning) + ["no arena"] * (not self.arena)
        words += ["memory pattern"] * self.memory_pattern + ["TF32"] * self.tf32
        return (*words, *(f"{name}={value}" for name, value in self.entries.items()))


def as_model(model: object) -> Model:
    """Return a model as a path, or as bytes that the caller cannot change any more.

    Args:
        model: A path, or bytes of any kind: `bytes`, `bytearray` or `memoryview`.

    Raises:
        ModelError: If it is anything else, or a path with a null character.
    """
    if isinstance(model, bytes):
        return model
    if isinstance(model, bytearray | memoryview):
        return bytes(model)
    if not isinstance(model, str | os.PathLike):
        from rnnedge_runtime.not_a_model import not_a_model  # errors alone need it

        raise not_a_model(model) or ModelError("expected the path of an .onnx file or its bytes")
    path = os.fsdecode(model)
    if "\0" in path:
        raise ModelError(f"{path!r}: expected a path, got a null character in it")
    return path if isinstance(model, str) else model
