"""`bench_stream`: a model step by step, as a signal comes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from rnnedge.measuring.latency import CallLatency
from rnnedge.measuring.machine import this_machine
from rnnedge.measuring.measuring import Progress, check_sizes
from rnnedge.measuring.memory import import_engine, with_memory
from rnnedge.measuring.results import OWN, OWN_LABEL, Benchmark, StreamResult
from rnnedge.measuring.shapes import Shape
from rnnedge_runtime.benchmark import frame_stepper, missed_share
from rnnedge_runtime.engine.options import Device
from rnnedge_runtime.latency import time_in_turns
from rnnedge_runtime.session import Session


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
            frame_stepper(session, batch)()
        return session

    import_engine()
    session, memory = with_memory(open_and_step)
    results = []
    for done, batch in enumerate(batches, 1):
        step = frame_stepper(session, batch)
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
