"""`bench_shapes`: a model over batch and length, alone or next to those that run its source."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rnnedge.measuring.latency import CallLatency
from rnnedge.measuring.machine import peak_gflops, this_machine
from rnnedge.measuring.memory import import_engine, with_memory
from rnnedge.measuring.other_files import BesideFiles
from rnnedge.measuring.results import OWN, OWN_LABEL, Benchmark, ShapeResult
from rnnedge.measuring.shapes import Shape
from rnnedge.measuring.work import WorkCounter
from rnnedge_runtime.binding import Array
from rnnedge_runtime.contract import BATCH, TIME, Interface
from rnnedge_runtime.engine.options import Device
from rnnedge_runtime.errors import InputError
from rnnedge_runtime.latency import random_inputs, time_in_turns
from rnnedge_runtime.session import Session

if TYPE_CHECKING:
    from rnnedge.measuring.other_files import MeasuredModel
    from rnnedge.sources.load import Source

Progress = Callable[[int, int], None]


class _Alone:
    """A model measured alone."""

    def __init__(self, model: str, device: Device, options: Mapping[str, Any]) -> None:
        self._model, self._device, self._options = model, device, options
        self.sides = {OWN: OWN_LABEL}

    def open(self) -> Session:
        return Session(self._model, device=self._device, **self._options)

    def inputs(self, session: Session, shape: Shape) -> dict[str, Array]:
        return random_inputs(session, shape.time, shape.batch)

    def calls(
        self, session: Session, shape: Shape
    ) -> tuple[dict[str, Callable[[], object]], dict[str, str]]:
        return {OWN: partial(session.run, self.inputs(session, shape))}, {}


def bench_shapes(  # noqa: PLR0913 - each is an option, given by name
    model: str | os.PathLike[str],
    shapes: Sequence[Shape],
    *,
    source: Source | None = None,
    against: Sequence[str] = (),
    device: Device = "cpu",
    threads: int = 1,
    seconds: float = 0.5,
    count: int | None = None,
    warmup: int = 5,
    rate: float | None = None,
    progress: Progress | None = None,
    only_fitting: bool = False,
    **options: Any,
) -> Benchmark:
    """Measure whole sequences.

    Args:
        model: The `.onnx` file, of any maker.
        shapes: What to run.
        source: What the model was exported from; needed by `PEERS`.
        against: What is measured next to the model, in turns: names of `PEERS`, which run the
            source, and paths of other `.onnx` files, which need none.
        device: Where the model runs; with `against`, `cpu`.
        threads: Threads inside one operator, of every side, 1 or more.
        seconds: Time to measure each side for at each shape, above 0.
        count: Calls to measure of each side at each shape instead, 1 or more.
        warmup: Calls of each side that are not measured, 0 or more.
        rate: Steps of the signal in a second, above 0, for the real-time factor.
        progress: Called with the number of shapes done and in all.
        only_fitting: Whether shapes that the model cannot take are left out, unless all are; where
            it takes windows of a size, lengths count these.
        options: What else `Session` takes to open the model, such as `arena`.

    Raises:
        ModelError: When the model cannot be opened.
        OptionError: For an option that ONNX Runtime does not know, or a wrong value.
        InputError: When a shape does not fit it.
        SourceError: When the source takes other inputs than the model.
        UnequalError: When the model does not compute what its source does.
        MissingPackageError: When what a peer needs is not installed.
    """
    model = os.fspath(model)
    files = [name for name in against if name.endswith(".onnx")]
    peers = [name for name in against if name not in files]
    machine = this_machine(("torch", *peers) if source is not None else ())
    with ExitStack() as stack:
        opened = {"threads": threads, **options}
        subject: MeasuredModel = _Alone(model, device, opened)
        if (source is not None or files) and device != "cpu":
            raise InputError(f"--against, --beside: require --device cpu, got {device}")
        if source is not None:
            from rnnedge.measuring.peer_comparison import Beside
            from rnnedge.measuring.peers import torch_threads

            stack.enter_context(torch_threads(threads))
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            subject = Beside(model, source, peers, threads, Path(folder), options)
        beside = BesideFiles(subject, model, files, opened) if files else None
        subject = beside or subject

        import_engine()

        def open_and_run() -> Session:
            session = subject.open()
            session.probe_axes()
            for shape in _chosen(session, shapes, only_fitting=only_fitting):
                check_sizes(session.interface, shape)
                session.run(subject.inputs(session, shape))
            return session

        session, memory = with_memory(open_and_run)
        shapes = _chosen(session, shapes, only_fitting=only_fitting)
        counter = WorkCounter(model)
        results = []
        for done, shape in enumerate(shapes, 1):
            calls, not_timed = subject.calls(session, shape)
            work = counter(subject.inputs(session, shape))
            timed = time_in_turns(
                calls, seconds=seconds, count=count, warmup=warmup, settle=threads > 1
            )
            latency = {side: CallLatency.of(taken) for side, taken in timed.items()}
            differences = (
                {f: d for (at, f), d in beside.differences.items() if at == shape} if beside else {}
            )
            results.append(ShapeResult(shape, latency, not_timed, work, differences))
            if progress:
                progress(done, len(shapes))
    return Benchmark(
        model=model,
        device=session.device,
        options=session.info.options,
        threads=threads,
        machine=machine,
        sides=subject.sides,
        shapes=tuple(results),
        rate=rate,
        peak_gflops=peak_gflops(threads) if session.device == "cpu" else None,
        memory=memory,
    )


def _chosen(session: Session, shapes: Sequence[Shape], *, only_fitting: bool) -> Sequence[Shape]:
    """Return the shapes to measure: where nobody asked for them, those that the model can take."""
    if not only_fitting:
        return shapes
    taken = []
    for shape in shapes:
        window = Shape(shape.time * session.fewest_steps, shape.batch)
        with suppress(InputError):
            check_sizes(session.interface, window)
            taken.append(window)
    return taken or shapes


def check_sizes(interface: Interface, shape: Shape) -> None:
    """Refuse a size that no input can have: the numbers would be of another shape than is said."""
    axes = [axis for spec in interface.data_inputs for axis in spec.axes]
    if any(isinstance(axis, str) and axis not in (TIME, BATCH) for axis in axes):
        return  # an axis of another name may be either
    for axis, size in ((TIME, shape.time), (BATCH, shape.batch)):
        # A model without the axis takes one frame, or one row, in a call.
        if axis not in axes and size not in axes and size != 1:
            inputs = ", ".join(map(str, interface.data_inputs))
            raise InputError(f"--{axis} {size}: no input has an axis that can be {size}: {inputs}")
