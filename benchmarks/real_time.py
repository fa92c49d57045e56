"""The worst step of a million on the native engine: `python -m benchmarks.real_time`.

Wall time, since that is what a deadline is; the figures are those of the engine on a machine that
does nothing else only. The process stays on one core.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from time import perf_counter_ns

import numpy as np

import rnnedge
from benchmarks.machine import describe
from rnnedge_runtime import Session

INPUT_SIZE = 40
STEPS = 1_000_000
LAYERS = (("gru", 32), ("lstm", 64), ("gru", 128))
WARM_UP = 10_000


def main() -> None:
    """Measure, print, and keep the table under `benchmarks/results`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--print-only", action="store_true", help="leave the results as they are")
    options = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    lines = [
        "# The worst of many steps",
        "",
        describe(),
        "",
        f"{options.steps:,} calls of `Stream.step(frame, out=out)` of each layer, batch 1, by the "
        f"clock; {os.getloadavg()[0]:.1f} processes were running. Microseconds.",
        "",
        "| model | hidden | median | 99.9% | 99.999% | worst | worst / median |",
        "|---|---|---|---|---|---|---|",
    ]
    for cell, hidden in LAYERS:
        took = _steps(cell, hidden, options.steps) / 1e3
        median, often, rarely = np.quantile(took, [0.5, 0.999, 0.99999])
        worst = took.max()
        lines.append(
            f"| {cell} | {hidden} | {median:.2f} | {often:.2f} | {rarely:.2f} | {worst:.2f} | "
            f"{worst / median:.1f} |"
        )
    text = "\n".join(lines) + "\n"
    print(text)
    if not options.print_only:
        path = Path(__file__).parent / "results" / "real_time.md"
        path.write_text(text, encoding="utf-8")


def _steps(cell: str, hidden: int, steps: int) -> np.ndarray:
    """Return nanoseconds of each step, without those of the clock."""
    spec = rnnedge.RNNSpec(cell=cell, input_size=INPUT_SIZE, hidden_size=hidden)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        rnnedge.export(rnnedge.build(spec, seed=0).eval(), path, validate=False)
        stream = Session(path, engine="native").stream()
    frame = np.random.default_rng(0).standard_normal((1, INPUT_SIZE)).astype(np.float32)
    out, step, clock = stream.step(frame), stream.step, perf_counter_ns
    took, empty = np.zeros(steps, np.int64), np.zeros(WARM_UP, np.int64)
    for i in range(WARM_UP):
        step(frame, out=out)
        start = clock()
        empty[i] = clock() - start
    for i in range(steps):
        start = clock()
        step(frame, out=out)
        took[i] = clock() - start
    return took - int(np.median(empty))


if __name__ == "__main__":
    main()
