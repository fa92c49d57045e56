"""What a measurement found, and the same as values that JSON can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rnnedge.measuring.latency import CallLatency
from rnnedge.measuring.machine import Machine
from rnnedge.measuring.memory import Memory
from rnnedge.measuring.shapes import Shape
from rnnedge.measuring.work import Work
from rnnedge_runtime.engine.options import EngineOptions

OWN = "rnnedge"
"""The side that is the model itself."""
OWN_LABEL = "this model, run by rnnedge_runtime.Session"
FORMAT = 1
"""The format of the JSON, for those who read it later."""


@dataclass(frozen=True, slots=True)
class ShapeResult:
    """What was measured at one shape.

    Attributes:
        shape: Batch and length.
        latency: By side; `OWN` is one of them.
        not_timed: Why a side was not timed here, by side.
        work: What there is to compute, or None when it cannot be counted.
        differences: Largest absolute difference from another file, by its path.
    """

    shape: Shape
    latency: Mapping[str, CallLatency]
    not_timed: Mapping[str, str] = field(default_factory=dict)
    work: Work | None = None
    differences: Mapping[str, float] = field(default_factory=dict)

    @property
    def own(self) -> CallLatency:
        """The latency of the model."""
        return self.latency[OWN]

    @property
    def us_per_step(self) -> float:
        """Microseconds for each step, all rows of the batch together; by the median."""
        return self.own.p50_ms * 1e3 / self.shape.time

    @property
    def gflops(self) -> float | None:
        """Operations in products for each second of the median call, in units of 1e9."""
        return None if self.work is None else self.work.flops / self.own.p50_ms / 1e6

    def real_time_factor(self, rate: float | None) -> float | None:
        """Return computing time as a part of the time that the signal takes.

        Below 1 keeps up, with all rows of the batch at once.

        Args:
            rate: Steps of the signal in a second.
        """
        return None if rate is None else self.own.p50_ms / 1e3 / (self.shape.time / rate)

    def ratio(self, side: str) -> float | None:
        """Return how many times as long a side takes as the model, by the median."""
        return self.latency[side].p50_ms / self.own.p50_ms if side in self.latency else None


@dataclass(frozen=True, slots=True)
class StreamResult:
    """Steps of one through a stream.

    Attributes:
        batch: Rows of the stream.
        latency: Of one step.
        real_time_factor: Computing time as a part of the time between two frames, by the mean;
            None without a rate.
        missed_share: Part of the frames, from 0 to 1, that are not done when the next one comes,
            where a late one delays those behind it; None without a rate.
    """

    batch: int
    latency: CallLatency
    real_time_factor: float | None
    missed_share: float | None


@dataclass(frozen=True, slots=True)
class Benchmark:
    """What was measured of a model.

    Attributes:
        model: The file.
        device: Where it ran, `cpu` or `cuda`.
        threads: Threads inside one operator, of every side.
        machine: The machine.
        sides: What each side is, by its short name.
        shapes: Whole sequences.
        streams: Steps of one; empty where whole sequences were measured.
        options: What was set on ONNX Runtime for the model.
        rate: Steps of the signal in a second, or None.
        peak_gflops: What a large product reaches on this machine with as many threads; None off the
            CPU.
        memory: Memory of the process while the model was opened and ran each shape once, alone.
    """

    model: str
    device: str
    threads: int
    machine: Machine
    sides: Mapping[str, str]
    options: EngineOptions
    shapes: tuple[ShapeResult, ...] = ()
    streams: tuple[StreamResult, ...] = ()
    rate: float | None = None
    peak_gflops: float | None = None
    memory: Memory | None = None

    def __repr__(self) -> str:
        """Return the model and what was measured of it in one line."""
        kind, results = ("streams", self.streams) if self.streams else ("shapes", self.shapes)
        where = f"{self.model}, {self.device}, {self.threads} thread(s)"
        return f"Benchmark({where}, {len(results)} {kind} of {', '.join(self.sides)})"

    def share_of_peak(self, result: ShapeResult) -> float | None:
        """Return the operations of a result as a part of `peak_gflops`."""
        if result.gflops is None or self.peak_gflops is None:
            return None
        return result.gflops / self.peak_gflops

    def to_dict(self) -> dict[str, Any]:
        """Return values that JSON can hold, units in their names."""
        return {
            "format": FORMAT,
            "model": self.model,
            "device": self.device,
            "threads": self.threads,
            "options": asdict(self.options),
            "machine": asdict(self.machine),
            "sides": dict(self.sides),
            "rate": self.rate,
            "peak_gflops": self.peak_gflops,
            "memory_before_bytes": self.memory.before if self.memory else None,
            "memory_peak_bytes": self.memory.peak if self.memory else None,
            "shapes": [self._shape(result) for result in self.shapes],
            "streams": [asdict(result) for result in self.streams],
        }

    def _shape(self, result: ShapeResult) -> dict[str, Any]:
        others = [side for side in result.latency if side != OWN]
        return {
            "time": result.shape.time,
            "batch": result.shape.batch,
            "latency": {side: asdict(latency) for side, latency in result.latency.items()},
            "us_per_step": result.us_per_step,
            "real_time_factor": result.real_time_factor(self.rate),
            "flops": result.work.flops if result.work else None,
            "weight_bytes_per_step": result.work.weight_bytes if result.work else None,
            "stored_weight_bytes": result.work.stored_bytes if result.work else None,
            "gflops": result.gflops,
            "share_of_peak": self.share_of_peak(result),
            "ratio": {side: result.ratio(side) for side in others},
            "not_timed": dict(result.not_timed),
            "differences": dict(result.differences),
        }
