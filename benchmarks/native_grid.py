"""Whole sequences on the native engine, against the best of three others.

    python -m benchmarks.native_grid [--hidden 32 64] [--layers 1] [--directions 1] [--print-only]

The cells are those of `benchmarks.speed`: 3 cells, 1 and 2 layers, one and two directions, 4 hidden
sizes, 5 shapes. In each the native engine runs against PyTorch eager, torch's TorchScript export in
ONNX Runtime, and OpenVINO where it is installed. One process, one thread each, in turns; medians of
CPU time. Answers are compared before anything is timed.
"""

from __future__ import annotations

import argparse
import itertools
import math
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

import rnnedge
from benchmarks.machine import describe
from benchmarks.speed import HIDDEN, INPUT_SIZE, PEERS, SHAPES, Side, compare, sides
from benchmarks.timing import time_in_blocks
from rnnedge_native import Plan, instructions

SECONDS = 0.25
"""For all calls of one cell of the grid together, after a warm-up; more where few calls fit."""
FLOOR = 0.95
"""Cells below are named."""


@dataclass(frozen=True)
class Cell:
    """One cell of the grid; milliseconds of CPU time by who ran it."""

    spec: rnnedge.RNNSpec
    time: int
    batch: int
    cpu: dict[str, float]

    def __str__(self) -> str:
        """Return its place in the grid."""
        spec = self.spec
        words = [f"{spec.cell} {spec.hidden_size}", f"{spec.num_layers} layer(s)"]
        words += ["both directions"] * spec.bidirectional
        return ", ".join([*words, f"time {self.time}, batch {self.batch}"])

    @property
    def best(self) -> str:
        """The fastest of the others."""
        return min((name for name in self.cpu if name != "native"), key=self.cpu.__getitem__)

    @property
    def ratio(self) -> float:
        """How many times as long as the native engine the best of the others takes."""
        return self.cpu[self.best] / self.cpu["native"]


def main() -> None:
    """Measure, print, and keep the table under `benchmarks/results`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", nargs="+", default=["rnn", "lstm", "gru"])
    parser.add_argument("--hidden", type=int, nargs="+", default=HIDDEN)
    parser.add_argument("--layers", type=int, nargs="+", default=(1, 2))
    parser.add_argument("--directions", type=int, nargs="+", default=(1, 2))
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for each cell of the grid")
    parser.add_argument("--instructions", help="such as avx2, for the native engine alone")
    parser.add_argument("--print-only", action="store_true", help="leave the results as they are")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cells = []
    for cell in _measured(options):
        cells.append(cell)
        print(f"{cell}: {cell.ratio:.2f} of {cell.best}", flush=True)
    text = _report(cells, options)
    print(text)
    if not options.print_only:
        name = "native_grid" + (f"_{options.instructions}" if options.instructions else "")
        path = Path(__file__).parent / "results" / f"{name}.md"
        path.write_text(text, encoding="utf-8")


def _measured(options: argparse.Namespace) -> Iterator[Cell]:
    grid = itertools.product(options.cells, options.hidden, options.layers, options.directions)
    for kind, hidden, layers, directions in grid:
        spec = rnnedge.RNNSpec(
            cell=kind,
            input_size=INPUT_SIZE,
            hidden_size=hidden,
            num_layers=layers,
            bidirectional=directions == 2,
        )
        layer = rnnedge.build(spec, seed=0).eval()
        runners = sides(layer)
        del runners["rnnedge"]  # ONNX Runtime too, which `benchmarks.speed` measures
        runners["native"] = _native(layer, options.instructions)
        for time, batch in SHAPES:
            x = np.random.default_rng(0).standard_normal((time, batch, INPUT_SIZE))
            calls = {name: side(x.astype(np.float32)) for name, side in runners.items()}
            compare(calls)
            timed = time_in_blocks(calls, options.seconds)
            yield Cell(spec, time, batch, {name: took.cpu for name, took in timed.items()})


def _native(layer: torch.nn.RNNBase, instructions: str | None) -> Side:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        rnnedge.export(layer, path, states=False, validate=False)
        plan = Plan(path, instructions=instructions)

    def side(x: np.ndarray) -> Callable[[], Sequence[np.ndarray]]:
        return partial(plan.layout([x.shape]).run, [x])

    return side


def _report(cells: Sequence[Cell], options: argparse.Namespace) -> str:
    used = options.instructions or instructions()[0]
    peers = [peer for peer in PEERS if peer in cells[0].cpu]
    load = os.getloadavg()[1]
    lines = ["# Sequences on the native engine", ""]
    lines += [f"{describe()}; native engine with {used}", ""]
    lines += [
        f"Input {INPUT_SIZE}, {len(cells)} cells; CPU time, interleaved, medians. How many times",
        f"as long as the native engine the best of {', '.join(peers)} takes: the geometric mean",
        f"over layers and directions, and the least. On average {load:.1f} processes were running.",
        "",
        "| cell | hidden | " + " | ".join(f"{t} × {b}" for t, b in SHAPES) + " |",
        "|---|---|" + "---|" * len(SHAPES),
    ]
    for kind, hidden in dict.fromkeys((c.spec.cell, c.spec.hidden_size) for c in cells):
        own = [c for c in cells if (c.spec.cell, c.spec.hidden_size) == (kind, hidden)]
        row = [[c.ratio for c in own if (c.time, c.batch) == shape] for shape in SHAPES]
        texts = [f"{_mean(ratios):.2f} ({min(ratios):.2f})" for ratios in row]
        lines.append(f"| {kind} | {hidden} | {' | '.join(texts)} |")
    ratios = [cell.ratio for cell in cells]
    lines += ["", f"Geometric mean {_mean(ratios):.2f}, median {statistics.median(ratios):.2f}."]
    below = sorted((cell for cell in cells if cell.ratio < FLOOR), key=lambda cell: cell.ratio)
    lines += ["", f"Below {FLOOR}: {len(below)} of {len(cells)}."]
    lines += [f"- {cell}: {cell.ratio:.2f} of {cell.best}" for cell in below]
    return "\n".join(lines) + "\n"


def _mean(ratios: Sequence[float]) -> float:
    return math.exp(statistics.fmean(map(math.log, ratios)))


if __name__ == "__main__":
    main()
