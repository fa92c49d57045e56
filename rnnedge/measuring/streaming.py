"""`bench_stream`: a model step by step, as a signal comes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnedge.measuring.latency import CallLatency
from rnnedge.measuring.machine import this_machine
from rnnedge.measuring.measuring import Progress, check_sizes
from rnnedge.measuring.memory import import_engine, with_memory
from rnnedge.measuring.results import OWN, OWN_LABEL, Benchmark, StreamResult
from rnnedge.measuring.shapes import Shape
from rnnedge_runtime.binding import Array
from rnnedge_runtime.contract import TIME
from rnnedge_runtime.engine.options import Device
from rnnedge_runtime.latency import random_inputs, time_in_turns
from rnnedge_runtime.session import Session

_FRAMES = 16
"""Different frames that a stream is given, over and over."""


def bench_stream(  # noqa: PLR0913 - each is an option, given by name
    model: str | os.PathLike[str],
    batches: Sequence[int],
    *,
    device: Device = "cpu",
    threads: int = 1,
    seconds: float = 0.5,
    count: int | None = None,
    warmup: int = 5,
    rate: float | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Benchmark:
    """Measure steps of one through `Session.stream`.

    Frames are given as fast as they are taken. Which of them would be late at `rate` is reckoned
    from that.

    Args:
        model: The `.onnx` file, of any maker.
        batches: Rows of the streams.
        device: Where the model runs.
        threads: Threads inside one operator, 1 or more.
        seconds: Time to measure each stream for, above 0.
        count: Steps to measure of each stream instead, 1 or more.
        warmup: Steps that are not measured, 0 or more.
        rate: Frames in a second, above 0.
        progress: Called with the number of streams done and in all.
        options: What else `Session` takes to open the model, such as `arena`.

    Raises:
        ModelError: When the model cannot be opened.
        OptionError: For an option that ONNX Runtime does not know, or a wrong value.
        StateError: When it cannot be streamed.
        InputError: When a batch does not fit it.
    """
    model = os.fspath(model)
    machine = this_machine()

    def open_and_step() -> Session:
        session = Session(model, device=device, threads=threads, **options)
        session.probe_axes()
        for batch in batches:
            check_sizes(session.interface, Shape(1, batch))
            _stepper(session, batch)()
        return session

    import_engine()
    session, memory = with_memory(open_and_step)
    results = []
    for done, batch in enumerate(batches, 1):
        step = _stepper(session, batch)
        timed = time_in_turns({OWN: step}, seconds=seconds, count=count, warmup=warmup)[OWN]
        results.append(
            StreamResult(
                batch=batch,
                latency=CallLatency.of(timed),
                real_time_factor=None if rate is None else float(timed.seconds.mean()) * rate,
                missed_share=None if rate is None else missed_share(timed.seconds, 1 / rate),
            )
        )
        if progress:
            progress(done, len(batches))
    return Benchmark(
        model=model,
        device=session.device,
        options=session.info.options,
        threads=threads,
        machine=machine,
        sides={OWN: OWN_LABEL},
        streams=tuple(results),
        rate=rate,
        memory=memory,
    )


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


def _stepper(session: Session, batch: int) -> Callable[[], object]:
    """Return what makes one step of a new stream."""
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
