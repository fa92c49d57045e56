"""How cost and memory grow with time and layers."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from functools import partial
from time import process_time

import numpy as np

import rnnedge
from benchmarks.runtime.models import Fresh, exported, fresh_processes
from rnnedge_runtime import Session

SIZE = 128
"""Features of the input and of the hidden state, so that all layers are alike."""
TIMES = (100, 1_000, 10_000, 100_000)
LAYERS = (1, 2, 4, 8)
LAYER_TIME = 1_000
ROUNDS = 5
CHUNK = 1_000
SPECS = {
    "rnn 128": rnnedge.RNNSpec(cell="rnn", input_size=SIZE, hidden_size=SIZE),
    "rnn 256": rnnedge.RNNSpec(cell="rnn", input_size=SIZE, hidden_size=256),
    "lstm 128": rnnedge.RNNSpec(cell="lstm", input_size=SIZE, hidden_size=SIZE),
    "gru 128": rnnedge.RNNSpec(cell="gru", input_size=SIZE, hidden_size=SIZE),
}
"""The narrow rnn is run by the operator at batch 1, the wide one by a Scan."""

_MEASURE = """
import sys
import numpy as np
from rnnedge_runtime import Session

def resident(field):
    for line in open("/proc/self/status"):
        if line.startswith(field):
            return int(line.split()[1]) * 1024

session = Session(sys.argv[1], engine="onnxruntime", threads=1)
time, features = int(sys.argv[2]), int(sys.argv[3])
session.run(np.zeros((1, 1, features), np.float32))
"""
_WHOLE = """
x = np.ones((time, 1, features), np.float32)
before = resident("VmRSS")
open("/proc/self/clear_refs", "w").write("5")  # the peak of what came before
output = session.run(x).output
print(resident("VmHWM") - before - output.nbytes)
"""
_STREAMED = f"""
stream = session.stream()
chunk = np.ones(({CHUNK}, 1, features), np.float32)
before = resident("VmRSS")
open("/proc/self/clear_refs", "w").write("5")
for _ in range(time // len(chunk)):
    stream.step(chunk)
print(resident("VmHWM") - before)
"""


@dataclass
class Growth:
    """Microseconds of a step by name of the layer, for each of `TIMES`."""

    step_us: dict[str, list[float]]


def report() -> tuple[list[str], Growth]:
    """Measure, and return lines of Markdown."""
    steps = {name: _step_us(spec) for name, spec in SPECS.items()}
    times = " | ".join(f"{time:,}" for time in TIMES)
    lines = ["## Growth with time and layers", ""]
    lines += [
        f"Batch 1, input {SIZE}, CPU time, medians of {ROUNDS} rounds in turns. Microseconds a "
        "step, for sequences of:",
        "",
        f"| layer | {times} | longest to 1,000 |",
        "|---|" + "---|" * (len(TIMES) + 1),
    ]
    for name, us in steps.items():
        cells = " | ".join(f"{value:.2f}" for value in us)
        lines.append(f"| {name} | {cells} | {us[-1] / us[TIMES.index(1_000)]:.2f} |")
    lines += [
        "",
        f"Milliseconds a layer, for {LAYER_TIME:,} steps of so many layers:",
        "",
        f"| cell, hidden {SIZE} | {' | '.join(map(str, LAYERS))} | most to least |",
        "|---|" + "---|" * (len(LAYERS) + 1),
    ]
    for cell in ("rnn", "lstm", "gru"):
        ms = _layer_ms(cell)
        cells = " | ".join(f"{value:.2f}" for value in ms)
        lines.append(f"| {cell} | {cells} | {max(ms) / min(ms):.2f} |")
    return [*lines, "", *_memory(), ""], Growth(steps)


def _step_us(spec: rnnedge.RNNSpec) -> list[float]:
    session = Session(exported(spec), engine="onnxruntime", threads=1)
    calls = {}
    for time in TIMES:
        x = np.random.default_rng(0).standard_normal((time, 1, SIZE)).astype(np.float32)
        calls[time] = partial(session.run, x)
    return [ms * 1e3 / time for time, ms in _medians(calls).items()]


def _layer_ms(cell: str) -> list[float]:
    x = np.random.default_rng(0).standard_normal((LAYER_TIME, 1, SIZE)).astype(np.float32)
    calls = {}
    for layers in LAYERS:
        spec = rnnedge.RNNSpec(cell=cell, input_size=SIZE, hidden_size=SIZE, num_layers=layers)
        calls[layers] = partial(Session(exported(spec), engine="onnxruntime", threads=1).run, x)
    return [ms / layers for layers, ms in _medians(calls).items()]


def _medians(calls: dict[int, partial[object]]) -> dict[int, float]:
    """Return CPU milliseconds of each call, whose cost is about in proportion to its key."""
    taken: dict[int, list[float]] = {size: [] for size in calls}
    for _ in range(ROUNDS):
        for size, call in calls.items():
            repeats = max(1, max(calls) // size // 10)
            call()
            start = process_time()
            for _ in range(repeats):
                call()
            taken[size].append((process_time() - start) * 1e3 / repeats)
    return {size: statistics.median(times) for size, times in taken.items()}


def _memory() -> list[str]:
    lines = [
        "Memory that a process takes at its peak above its input and output, MB, each length in a "
        f"fresh process; the last column is a stream in chunks of {CHUNK:,} over the longest.",
        "",
        f"| layer | {' | '.join(f'{time:,}' for time in TIMES)} | bytes a step | streamed |",
        "|---|" + "---|" * (len(TIMES) + 2),
    ]
    with fresh_processes() as fresh:
        for name, spec in SPECS.items():
            path = fresh.folder / "model.onnx"
            path.write_bytes(exported(spec))
            held = [_held(fresh, _WHOLE, path, time) for time in TIMES]
            streamed = _held(fresh, _STREAMED, path, TIMES[-1])
            cells = " | ".join(f"{value / 1e6:.1f}" for value in held)
            slope = (held[-1] - held[-2]) / (TIMES[-1] - TIMES[-2])
            lines.append(f"| {name} | {cells} | {slope:,.0f} | {streamed / 1e6:.1f} |")
    return [
        *lines,
        "",
        "What grows is ONNX Runtime's own: its kernels and a Scan project the input over all time "
        f"at once, {4 * SIZE} bytes a step for each gate of hidden {SIZE}. A stream gives the same "
        "numbers chunk by chunk and does not grow.",
    ]


def _held(fresh: Fresh, code: str, path: object, time: int) -> int:
    return statistics.median_low([fresh(_MEASURE + code, path, time, SIZE)[0] for _ in range(3)])
