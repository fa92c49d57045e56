"""What months of running look like, in minutes: `python -m benchmarks.soak`.

A stream runs a million steps, and its last stretch is compared with PyTorch's run over the same
million; eight threads run a stream each on one session, and are compared with the same streams run
alone; and a pool is stepped a hundred thousand times while streams come and go. Resident memory is
read after the first thousand steps and at the end.
"""

from __future__ import annotations

import argparse
import gc
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Barrier
from time import perf_counter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import rnnedge
from benchmarks.machine import describe
from rnnedge_runtime import Session

FEATURES, HIDDEN = 16, 64
CELLS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
CHUNK = 10_000
"""Steps of one call of PyTorch, which carries the state from call to call."""
FIRST = 1_000
"""Steps after which nothing may grow any more."""
Array = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Soaked:
    """What came of one run.

    Attributes:
        name: What ran.
        steps: How many steps or ticks.
        seconds: How long it took.
        difference: The largest difference from what was expected; 0 is to the last bit.
        memory: Resident memory in bytes after the first thousand, after half of the steps and at
            the end; empty where it was not read.
    """

    name: str
    steps: int
    seconds: float
    difference: float
    memory: tuple[int, ...] = ()

    def row(self) -> str:
        """Return the row of the table."""
        difference = f"{self.difference:.1e}" if self.difference else "none, to the last bit"
        memory = " | | "
        if self.memory:
            first, half, last = (size / 1024 for size in self.memory)
            memory = f"{first / 1024:.1f} | {last - first:+.0f} | {last - half:+.0f}"
        return f"| {self.name} | {self.steps:,} | {self.seconds:.0f} | {memory} | {difference} |"


def main() -> None:
    """Run, print a Markdown table, and keep it under `benchmarks/results`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of the steps, such as 0.02")
    parser.add_argument("--print-only", action="store_true", help="leave the results as they are")
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = [
        *("# A million steps", "", describe(), ""),
        f"Input {FEATURES}, hidden {HIDDEN}, one thread of ONNX Runtime. Memory is resident memory "
        f"of the process after the first {FIRST:,} steps, and its growth from there to the end and "
        "from the half to the end.",
        "",
        "| what ran | steps | s | MiB | growth, KiB | second half, KiB | largest difference |",
        "|---|---|---|---|---|---|---|",
    ]
    for made in _all(options.share):
        lines.append(made.row())
        print(made.row(), flush=True)
    lines += [
        "",
        f"A stream is compared with PyTorch over its last {CHUNK:,} steps, threads with the same "
        "streams alone, and of the pool one stream after the other with itself alone, 100 steps "
        "each.",
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    if not options.print_only:
        Path(__file__).parent.joinpath("results", "soak.md").write_text(text, encoding="utf-8")


def _all(share: float) -> Iterator[Soaked]:
    for cell in CELLS:
        yield one_stream(cell, int(1_000_000 * share))
    for cell in CELLS:
        yield eight_threads(cell, int(10_000 * share))
    yield many_streams("gru", int(100_000 * share))


def one_stream(cell: str, steps: int) -> Soaked:
    """Run one stream, and PyTorch over the same frames with the state carried on."""
    layer, session = _model(cell)
    stream, memory, start = session.stream(), [], perf_counter()
    given = np.full((CHUNK, HIDDEN), np.nan, np.float32)
    frames = np.empty((CHUNK, 1, FEATURES), np.float32)
    for first in range(0, steps, CHUNK):
        _fill(frames, first)
        for t in range(CHUNK):
            given[t] = stream.step(frames[t], copy=False)[0]
            if first + t + 1 in (FIRST, steps // 2, steps):
                memory.append(resident())
    seconds = perf_counter() - start
    state: Any = None
    with torch.inference_mode():
        for first in range(0, steps, CHUNK):
            _fill(frames, first)
            expected, state = layer(torch.from_numpy(frames), state)
    difference = float(np.abs(given - expected[:, 0].numpy()).max())
    return Soaked(f"one stream, {cell}", steps, seconds, difference, tuple(memory))


def eight_threads(cell: str, steps: int) -> Soaked:
    """Run a stream in each of eight threads at once, and again one after the other."""
    _, session = _model(cell)
    barrier = Barrier(8)

    def run(seed: int) -> Array:
        frames, stream = np.empty((steps, 1, FEATURES), np.float32), session.stream()
        _fill(frames, seed)
        return np.stack([stream.step(frame)[0] for frame in frames])

    def together(seed: int) -> Array:
        barrier.wait(60)
        return run(seed)

    start = perf_counter()
    with ThreadPoolExecutor(8) as threads:
        crowd = list(threads.map(together, range(8)))
    seconds = perf_counter() - start
    difference = max(float(np.abs(run(seed) - crowd[seed]).max()) for seed in range(8))
    return Soaked(f"each of 8 threads, {cell}", steps, seconds, difference)


def many_streams(cell: str, ticks: int) -> Soaked:
    """Step a pool while streams come and go; one at a time is compared with itself alone."""
    _, session = _model(cell)
    random, memory, start = np.random.default_rng(0), [], perf_counter()
    pool = session.pool(capacity=64)
    streams: list[int] = []
    watched: int | None = None
    frames: list[Array] = []
    answers: list[Array] = []
    difference = 0.0
    for tick in range(ticks):
        while len(streams) < 8 or (len(streams) < 64 and random.random() < 0.05):
            streams.append(pool.open())
        if random.random() < 0.04:
            pool.close(streams.pop(int(random.integers(len(streams)))))
        if watched not in streams or len(frames) == 100:
            difference = max(difference, _against_alone(session, frames, answers))
            watched, frames, answers = streams[-1], [], []
            pool.reset(watched)
        rows = random.standard_normal((len(streams), FEATURES), np.float32)
        step = {s: row for s, row in zip(streams, rows, strict=True) if random.random() < 0.5}
        given = pool.step(step)
        if watched in step:
            frames.append(step[watched])
            answers.append(given[watched].copy())
        if tick + 1 in (FIRST, ticks // 2, ticks):
            memory.append(resident())
    seconds = perf_counter() - start
    return Soaked(f"a pool of up to 64, {cell}", ticks, seconds, difference, tuple(memory))


def resident() -> int:
    """Return the resident memory of this process in bytes (Linux)."""
    gc.collect()
    pages = Path("/proc/self/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _model(cell: str) -> tuple[nn.Module, Session]:
    torch.manual_seed(0)
    layer = CELLS[cell](FEATURES, HIDDEN).eval()
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        rnnedge.export(layer, path)
        return layer, Session(path.read_bytes(), engine="onnxruntime", threads=1)


def _fill(frames: Array, seed: int) -> None:
    """Draw float32 [time, 1, features] in place: new memory would be taken for growth."""
    np.random.default_rng(seed).standard_normal(out=frames, dtype=np.float32)


def _against_alone(session: Session, frames: list[Array], answers: list[Array]) -> float:
    stream = session.stream()
    pairs = zip(frames, answers, strict=True)
    return max((float(np.abs(stream.step(x[None])[0] - y).max()) for x, y in pairs), default=0.0)


if __name__ == "__main__":
    main()
