"""What the command `bench` measures on a device: whole sequences, or frame after frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import cycle

import numpy as np
from numpy.typing import NDArray

from rnnedge_runtime.binding import Array
from rnnedge_runtime.contract import TIME
from rnnedge_runtime.latency import Latency, measure, random_inputs, time_in_turns
from rnnedge_runtime.session import Session

_FRAMES = 16
"""Different frames that a stream is given, over and over."""


@dataclass(frozen=True, slots=True)
class FrameLatency:
    """Steps of one frame through a stream.

    Attributes:
        batch: Rows of the stream.
        latency: Of a step.
        missed_share: Which part of the frames is not done when the next one comes; None without
            a rate.
    """

    batch: int
    latency: Latency
    missed_share: float | None


def bench_sequences(
    session: Session, times: Sequence[int], batches: Sequence[int], *, seconds: float
) -> tuple[list[dict[str, object]], list[str]]:
    """Measure calls with whole sequences.

    Args:
        session: The model.
        times: Steps of a sequence.
        batches: Sequences side by side.
        seconds: Time to measure each shape for, above 0.

    Returns:
        A row for each shape, and the lines of a table.
    """
    rows: list[dict[str, object]] = []
    lines = ["  time  batch    p50 ms    p90 ms    p99 ms   us/step"]
    for batch in batches:
        for time in times:
            inputs = random_inputs(session, time, batch)
            latency = measure(partial(session.run, inputs), seconds=seconds)
            rows.append({"time": time, "batch": batch, **asdict(latency)})
            lines.append(f"{time:6} {batch:6} {_times(latency)} {latency.p50 * 1e3 / time:9.1f}")
    return rows, lines


def bench_frames(
    session: Session, batches: Sequence[int], *, seconds: float, rate: float | None
) -> tuple[list[FrameLatency], list[str]]:
    """Measure steps of one frame through `Session.stream`, as fast as frames are taken.

    Args:
        session: The model.
        batches: Rows of the streams.
        seconds: Time to measure each stream for, above 0.
        rate: Frames in a second, to say which of them would be late; above 0.

    Returns:
        A row for each stream, and the lines of a table.

    Raises:
        StateError: When the model cannot be streamed.
    """
    rows = []
    lines = [" batch    p50 ms    p90 ms    p99 ms    max ms" + "    late" * (rate is not None)]
    for batch in batches:
        timed = time_in_turns({"step": frame_stepper(session, batch)}, seconds=seconds)["step"]
        late = None if rate is None else missed_share(timed.seconds, 1 / rate)
        row = FrameLatency(batch, timed.latency(), late)
        rows.append(row)
        share = "" if late is None else f" {late:7.2%}"
        lines.append(f"{batch:6} {_times(row.latency)} {row.latency.largest:9.3f}{share}")
    return rows, lines


def missed_share(seconds: NDArray[np.float64], period: float) -> float:
    """Return which part of the frames is not done when the next one comes.

    A frame comes every `period` and waits for those before it.

    Args:
        seconds: float64 [frames], how long each takes.
        period: Seconds between two frames.
    """
    arrival = np.arange(len(seconds)) * period
    work = np.cumsum(seconds)
    # The last frame before which nothing waited began when it came; all since ran without a pause.
    done = work + np.maximum.accumulate(arrival - (work - seconds))
    return float(np.mean(done > arrival + period))


def frame_stepper(session: Session, batch: int) -> Callable[[], object]:
    """Return what makes one step of a new stream.

    Args:
        session: The model.
        batch: Rows of the stream.

    Raises:
        StateError: When the model cannot be streamed.
    """
    stream = session.stream(batch)
    frames = cycle([_frame(session, batch, seed) for seed in range(_FRAMES)])
    return lambda: stream.step(next(frames))


def _frame(session: Session, batch: int, seed: int) -> dict[str, Array]:
    chunk = random_inputs(session, 1, batch, seed)
    axes = {spec.name: spec.axes for spec in session.interface.data_inputs}
    return {
        name: value.squeeze(axes[name].index(TIME)) if TIME in axes[name] else value
        for name, value in chunk.items()
    }


def _times(latency: Latency) -> str:
    return f"{latency.p50:9.3f} {latency.p90:9.3f} {latency.p99:9.3f}"
