"""Measuring what the cases of a sweep have seen of a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from rnnedge.parity.coverage.found import Coverage, GraphCoverage, TableCoverage
from rnnedge.parity.coverage.wanted import find_wanted
from rnnedge.parity.coverage.watched import Mark, Watched, watch
from rnnedge.parity.model_runner import Runs
from rnnedge_exporters.sandbox.session import Worker
from rnnedge_runtime.contract import Interface
from rnnedge_runtime.errors import RnnEdgeError, one_line, pass_on_interruption
from rnnedge_runtime.loaded_model import RunResult

Array = NDArray[Any]
Feeds = Mapping[str, Array]
Probe = Callable[[bytes, Sequence[dict[str, Array]]], Sequence[Mapping[str, Array]]]
"""Runs a model, given as bytes, on inputs by name, once for each of them."""


def watch_file(path: str | os.PathLike[str]) -> Watched:
    """Return a model that answers what of a file runs, and what its graph asks of its inputs."""
    try:
        model = onnx.load(path)
        return replace(watch(model), wanted=find_wanted(model))
    except Exception as error:  # protobuf and file errors of many kinds
        pass_on_interruption(error)
        why = f"onnx cannot read the file: {one_line(error)}"
        return Watched(None, unmeasured=why)


class FeedLog:
    """Opens a model for a `ModelRunner`, and keeps what it is run on where a copy watches it.

    Args:
        watched: The copy.
        opened: Returns the model opened with so many threads.

    Attributes:
        feeds: Inputs by name of each run that gave an answer.
    """

    def __init__(self, watched: Watched, opened: Callable[[int], Runs]) -> None:
        """Keep nothing yet."""
        self.feeds: list[Feeds] = []
        self._watched, self._opened = watched, opened

    def session(self, threads: int = 1) -> Runs:
        """Return the model opened with so many threads."""
        opened = self._opened(threads)
        return opened if self._watched.content is None else _Logged(opened, self.feeds)


class _Logged:
    """A model of which every run is kept."""

    def __init__(self, opened: Runs, feeds: list[Feeds]) -> None:
        self.interface: Interface = opened.interface
        self._opened, self._feeds = opened, feeds

    def run(
        self, input: Any, *, lengths: NDArray[Any] | None = None, state: Any = None
    ) -> RunResult:
        """Run whole sequences."""
        result = self._opened.run(input, lengths=lengths, state=state)
        name = self.interface.lengths
        given = {} if name is None or lengths is None else {name: lengths}
        self._feeds.append({**input, **given, **(state or {})})
        return result


def probe_in(worker: Worker | None) -> Probe:
    """Return what runs a model in the process of a worker, or in this one."""
    if worker is not None:
        return lambda model, feeds: worker.call("probe_all", model, feeds)
    from rnnedge_exporters.sandbox.session_server import probe_all

    return probe_all


def measure(watched: Watched, feeds: Sequence[Feeds], probe: Probe) -> Coverage:
    """Return what runs have seen of a file.

    Args:
        watched: The model that answers it.
        feeds: What the file was run on, inputs by name, once for each run.
        probe: Runs the model.
    """
    if watched.unmeasured:
        return _unmeasured(watched, watched.unmeasured)
    if watched.content is None:
        return Coverage(watched.nodes, watched.nodes)
    if not feeds:
        return _unmeasured(watched, "it answered none of the cases")
    try:
        given = [_given(watched, one) for one in feeds]
        answers = [next(iter(one.values())) for one in probe(watched.content, given)]
    except (RnnEdgeError, KeyError) as error:
        return _unmeasured(watched, one_line(error))
    return _summed(watched, np.stack(answers))


def _given(watched: Watched, feeds: Feeds) -> dict[str, Array]:
    return {name: np.asarray(feeds[name]).astype(dtype) for name, dtype in watched.inputs.items()}


def _unmeasured(watched: Watched, why: str) -> Coverage:
    graphs = tuple(GraphCoverage(m.name, m.nodes, ran=False) for m in watched.marks if m.nodes)
    return Coverage(watched.total, 0, graphs, unmeasured=why)


def _summed(watched: Watched, answers: Array) -> Coverage:
    """Sum up what the runs answered.

    Args:
        watched: Says what the answers mean.
        answers: float32 [runs, width].
    """
    graphs: list[GraphCoverage] = []
    tables: dict[tuple[str, int], Array] = {}
    ran, start = watched.nodes, 0
    for mark in watched.marks:
        part = answers[:, start : start + mark.width]
        start += mark.width
        if mark.kind == "rows":
            key = mark.name, mark.width
            tables[key] = np.maximum(tables.get(key, 0), part.max(axis=0))
        else:
            graphs.append(_graph(mark, part[:, 0]))
            ran += mark.nodes * graphs[-1].ran
    return Coverage(
        watched.total,
        ran,
        tuple(graphs),
        tuple(TableCoverage(n, rows, int((t > 0).sum())) for (n, rows), t in tables.items()),
    )


def _graph(mark: Mark, ran: Array) -> GraphCoverage:
    steps = (int(ran.min()), int(ran.max())) if mark.kind == "loop" else None
    return GraphCoverage(mark.name, mark.nodes, bool(ran.any()), steps)
