"""A process that opens a model and runs it once, against one that does so without rnnedge."""

from __future__ import annotations

import resource
import statistics
from time import perf_counter

import rnnedge
from benchmarks.runtime.models import exported, fresh_processes

PROCESSES = 40
"""Of each side, in turns."""
MOST_TIME, MOST_MEMORY = 1.10, 1.05

_BARE = """
import sys
import numpy as np
import onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
zeros = np.zeros((1, 1, 128), np.float32)
session.run(None, {"input": np.zeros((100, 1, 64), np.float32), "h_0": zeros, "c_0": zeros})
"""
_OURS = """
import sys
import numpy as np
from rnnedge_runtime import Session
Session(sys.argv[1]).run(np.zeros((100, 1, 64), np.float32))
"""
_PEAK = """
for line in open("/proc/self/status"):
    if line.startswith("VmHWM"):
        print(line.split()[1])
"""


def report() -> tuple[list[str], None]:
    """Measure, and return lines of Markdown."""
    spec = rnnedge.RNNSpec(cell="lstm", input_size=64, hidden_size=128)
    sides = {"numpy and ONNX Runtime": _BARE + _PEAK, "rnnedge_runtime": _OURS + _PEAK}
    wall: dict[str, list[float]] = {name: [] for name in sides}
    cpu: dict[str, list[float]] = {name: [] for name in sides}
    peak: dict[str, list[float]] = {name: [] for name in sides}
    with fresh_processes() as fresh:
        path = fresh.folder / "model.onnx"
        path.write_bytes(exported(spec))
        for round_ in range(PROCESSES + 2):
            for name, code in sides.items():
                busy, start = _children(), perf_counter()
                (kilobytes,) = fresh(code, path)
                if round_ >= 2:  # the first ones write bytecode and fill the disk's cache
                    wall[name].append((perf_counter() - start) * 1e3)
                    cpu[name].append((_children() - busy) * 1e3)
                    peak[name].append(kilobytes / 1024)
    rows = []
    for name in sides:
        middle = [statistics.median(values[name]) for values in (wall, cpu, peak)]
        rows.append(f"| {name} | {middle[0]:.1f} | {middle[1]:.1f} | {middle[2]:.1f} |")
    bare, ours = sides
    ratios = [statistics.median(v[ours]) / statistics.median(v[bare]) for v in (wall, cpu, peak)]
    return [
        "## A fresh process",
        "",
        f"It imports what it needs, opens an LSTM (64 -> 128) and runs 100 steps. Medians of "
        f"{PROCESSES} processes of each side, in turns. Allowed are {MOST_TIME:g} times the time "
        f"and {MOST_MEMORY:g} times the memory.",
        "",
        "| process with | ms | CPU ms | peak MiB |",
        "|---|---|---|---|",
        *rows,
        f"| ratio | {ratios[0]:.3f} | {ratios[1]:.3f} | {ratios[2]:.3f} |",
        "",
    ], None


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
