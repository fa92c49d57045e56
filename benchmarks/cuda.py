"""How fast and exact exported layers run on an NVIDIA GPU: `python -m benchmarks.cuda`.

Our files (`target="cuda"`) are compared with PyTorch on the same GPU and with our file for the CPU.
What is timed is what an app does: an array of numpy in, an array of numpy out, copies to the GPU
and back on every side. PyTorch multiplies in float32 here, as we do; `tf32=True` and float16 are
also shown. Sides take turns, but for the CPU, which is timed apart: its calls are long enough for
the GPU to slow down, and whose turn came next would pay. Reported is the median. Errors are
the largest difference from PyTorch in float64 on the CPU, over 100 steps of 32 rows.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

import rnnedge
from benchmarks.machine import describe
from benchmarks.timing import time_in_blocks
from rnnedge_runtime import Session

INPUT_SIZE = 64
LAYERS = ("rnn", "rnn relu", "lstm", "gru")
HIDDEN = (256, 1024)
SHAPES = ((1, 1), (100, 1), (100, 32), (1000, 64))
"""(time, batch)."""
STREAMS = (1, 32, 256)
"""Rows of a stream that is stepped frame by frame."""
SECONDS = 0.4
SIDES = ("float32", "TF32", "float16", "PyTorch", "PyTorch TF32", "PyTorch float16", "CPU")


@dataclass
class Row:
    """One layer: milliseconds by shape and side, of a step by rows and side, and errors by side."""

    name: str
    hidden: int
    wall: dict[tuple[int, int], dict[str, float]] = field(default_factory=dict)
    steps: dict[int, dict[str, float]] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)


def main() -> None:
    """Measure, print, and keep the table under `benchmarks/results`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", nargs="+", default=LAYERS, choices=LAYERS)
    parser.add_argument("--hidden", type=int, nargs="+", default=HIDDEN)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for each layer and shape")
    parser.add_argument("--print-only", action="store_true", help="leave the results as they are")
    options = parser.parse_args()
    rows = []
    for row in _measured(options.layers, options.hidden, options.seconds):
        rows.append(row)
        print(row, flush=True)
    text = _report(rows)
    print(text)
    if not options.print_only:
        results = Path(__file__).parent / "results"
        results.joinpath("cuda.md").write_text(text, encoding="utf-8")


def _measured(names: Sequence[str], hidden_sizes: Sequence[int], seconds: float) -> Iterator[Row]:
    for name, hidden in itertools.product(names, hidden_sizes):
        cell, _, nonlinearity = name.partition(" ")
        spec = rnnedge.RNNSpec(
            cell=cell,
            input_size=INPUT_SIZE,
            hidden_size=hidden,
            nonlinearity=nonlinearity or "tanh",
        )
        layer = rnnedge.build(spec, seed=0).eval()
        sessions = _sessions(layer)
        sides = {side: _runs(session) for side, session in sessions.items()}
        for side, half in (("PyTorch", False), ("PyTorch TF32", False), ("PyTorch float16", True)):
            sides[side] = _in_torch(layer, half=half, tf32=side == "PyTorch TF32")
        row = Row(name, hidden)
        for shape in SHAPES:
            x = np.random.default_rng(0).standard_normal((*shape, INPUT_SIZE), dtype=np.float32)
            calls = {side: partial(run, x) for side, run in sides.items()}
            row.wall[shape] = _timed(calls, seconds)
            if shape == (100, 32):
                row.errors = _errors(layer, x, calls)
        for rows in STREAMS:
            frame = np.random.default_rng(0).standard_normal((rows, INPUT_SIZE), dtype=np.float32)
            streams = {side: sessions[side].stream(rows) for side in ("float32", "float16", "CPU")}
            steps = {side: partial(stream.step, frame) for side, stream in streams.items()}
            steps["PyTorch"] = _stepped_in_torch(layer, frame)
            row.steps[rows] = _timed(steps, seconds)
        yield row


def _timed(calls: dict[str, Callable[[], np.ndarray]], seconds: float) -> dict[str, float]:
    apart = {"CPU": calls["CPU"]}
    on_gpu = {side: call for side, call in calls.items() if side not in apart}
    times = time_in_blocks(on_gpu, seconds) | time_in_blocks(apart, seconds / len(calls))
    return {side: time.wall for side, time in times.items()}


def _sessions(layer: nn.Module) -> dict[str, Session]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"

        def opened(device: str, *, tf32: bool = False, **options: str) -> Session:
            rnnedge.export(layer, path, **options)
            return Session(path, device=device, tf32=tf32)

        return {
            "float32": opened("cuda", target="cuda"),
            "TF32": opened("cuda", tf32=True, target="cuda"),
            "float16": opened("cuda", target="cuda", dtype="float16"),
            "CPU": opened("cpu"),
        }


def _runs(session: Session) -> Callable[[np.ndarray], np.ndarray]:
    return lambda x: session.run(x).output


def _in_torch(layer: nn.Module, *, half: bool, tf32: bool) -> Callable[[np.ndarray], np.ndarray]:
    dtype = torch.float16 if half else torch.float32
    moved = copy.deepcopy(layer).to("cuda", dtype)

    def call(x: np.ndarray) -> np.ndarray:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = tf32
        with torch.inference_mode():
            output, _ = moved(torch.from_numpy(x).to("cuda", dtype))
            return output.to("cpu", torch.float32).numpy()

    return call


def _stepped_in_torch(layer: nn.Module, frame: np.ndarray) -> Callable[[], np.ndarray]:
    moved, state = copy.deepcopy(layer).to("cuda"), None

    def step() -> np.ndarray:
        nonlocal state
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        with torch.inference_mode():
            output, state = moved(torch.from_numpy(frame)[None].to("cuda"), state)
            return output[0].cpu().numpy()

    return step


def _errors(
    layer: nn.Module, x: np.ndarray, calls: dict[str, Callable[[], np.ndarray]]
) -> dict[str, float]:
    with torch.inference_mode():
        exact = copy.deepcopy(layer).double()(torch.from_numpy(x).double())[0].numpy()
    return {side: float(np.abs(call() - exact).max()) for side, call in calls.items()}


def _gpu() -> str:
    asked = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


def _report(rows: Sequence[Row]) -> str:
    machine = describe().replace(", one thread", "")
    lines = ["# Layers on a GPU", "", f"{_gpu()}; {machine}", ""]
    lines += [f"Input {INPUT_SIZE}, one layer; milliseconds from numpy to numpy, medians.", ""]
    lines += [f"| layer | time, batch | {' | '.join(SIDES)} | PyTorch / float32 |"]
    lines += ["|---|---|" + "---|" * (len(SIDES) + 1)]
    for row in rows:
        for (time, batch), wall in row.wall.items():
            times = " | ".join(f"{wall[side]:.3f}" for side in SIDES)
            ratio = wall["PyTorch"] / wall["float32"]
            lines += [f"| {row.name} {row.hidden} | {time}, {batch} | {times} | {ratio:.2f} |"]
    sides = list(rows[0].steps[STREAMS[0]])
    lines += ["", "One step of a stream, milliseconds:", ""]
    lines += [f"| layer | rows | {' | '.join(sides)} |", "|---|---|" + "---|" * len(sides)]
    for row in rows:
        for count, wall in row.steps.items():
            times = " | ".join(f"{wall[side]:.3f}" for side in sides)
            lines += [f"| {row.name} {row.hidden} | {count} | {times} |"]
    lines += ["", "Largest error over 100 steps of 32 rows:", ""]
    lines += [f"| layer | {' | '.join(SIDES)} |", "|---|" + "---|" * len(SIDES)]
    for row in rows:
        errors = " | ".join(f"{row.errors[side]:.1e}" for side in SIDES)
        lines += [f"| {row.name} {row.hidden} | {errors} |"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
