"""What a step of a live signal costs: `python -m benchmarks.streams`.

Three parts. A step of `Session.stream` against what is written by hand around ONNX Runtime, and
against PyTorch eager; a step of `Session.pool` against its model alone; and the tail of latency
with one thread and two. One process, sides in turns, medians.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch import nn

import rnnedge
from benchmarks.machine import describe
from benchmarks.timing import time_in_blocks
from rnnedge_runtime import Session
from rnnedge_runtime.engine.library import onnxruntime

INPUT_SIZE = 64
HIDDEN = (32, 64, 128, 256, 512)
SECONDS = 1.5
"""For each row of a table, all sides together."""
STEPS = 60_000
"""Steps whose latency is looked at one by one."""

Call = Callable[[], object]


def main() -> None:
    """Measure, print, and keep the tables under `benchmarks/results`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--print-only", action="store_true", help="leave the results as they are")
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = ["# Streams", "", describe(), ""]
    for part in (_steps, _pools, _tails):
        lines += [*part(), ""]
    text = "\n".join(lines)
    print(text)
    if not options.print_only:
        results = Path(__file__).parent / "results"
        results.joinpath("streams.md").write_text(text, encoding="utf-8")


def _steps() -> list[str]:
    lines = [
        "## One step, batch 1, one thread",
        "",
        "Microseconds. `bound`: `run_with_iobinding` on buffers that were bound by hand, the state "
        "swapped, the answer left in its buffer. `dictionaries`: `InferenceSession.run` with a "
        "dictionary for inputs and states. Ratios are ours over theirs; below 1 ours is faster.",
        "",
        "| layer | step | `copy=False` | bound | dictionaries | eager | `copy=False` / bound | "
        "step / bound | step / dictionaries | step / eager |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for kind in ("rnn", "gru", "lstm"):
        for hidden in HIDDEN:
            layer, session = _opened(kind, hidden)
            x = _frames(1)
            stream, view = session.stream(), session.stream()
            calls: dict[str, Call] = {
                "step": lambda stream=stream, x=x: stream.step(x),
                "view": lambda view=view, x=x: view.step(x, copy=False),
                "bound": _bound_by_hand(session, hidden, x),
                "dictionaries": _with_dictionaries(session, x),
                "eager": _eager(layer, x),
            }
            us = {n: t.wall * 1e3 for n, t in time_in_blocks(calls, SECONDS).items()}
            ratios = [
                us["view"] / us["bound"],
                *(us["step"] / us[peer] for peer in ("bound", "dictionaries", "eager")),
            ]
            lines.append(
                f"| {kind} {hidden} | {' | '.join(f'{value:.1f}' for value in us.values())} | "
                f"{' | '.join(f'{ratio:.2f}' for ratio in ratios)} |"
            )
    return lines


def _pools() -> list[str]:
    lines = [
        "## Many streams, GRU of hidden 256, one thread",
        "",
        "Microseconds. `model`: the same batch by `InferenceSession.run` alone. `overhead`: what "
        "the pool adds: it checks frames, gathers and scatters states, and hands answers out. "
        "`rows`: frames in one array, by `step_rows`. Ratio: a frame in the pool to a step of its "
        "own stream.",
        "",
        "| streams | step | rows | model | overhead of step | of rows | for each frame | a stream "
        "of its own | ratio |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    _, session = _opened("gru", 256)
    stream, x = session.stream(), _frames(1)
    for count in (1, 8, 64, 256, 1024):
        pool, rows = session.pool(capacity=count), _frames(count)
        frames = {pool.open(): row for row in rows}
        feeds = {"input": rows[None], "h_0": np.zeros((1, count, 256), np.float32)}
        timed = time_in_blocks(
            {
                "pool": lambda pool=pool, frames=frames: pool.step(frames),
                "rows": partial(pool.step_rows, list(frames), rows),
                "model": lambda feeds=feeds: session.engine.session.run(None, feeds),
                "alone": lambda: stream.step(x),
            },
            SECONDS,
        )
        together, joined, model, alone = (time.wall * 1e3 for time in timed.values())
        lines.append(
            f"| {count} | {together:.0f} | {joined:.0f} | {model:.0f} | "
            f"{together / model - 1:.0%} | {joined / model - 1:.0%} | "
            f"{together / count:.1f} | {alone:.1f} | {together / count / alone:.2f} |"
        )
    return lines


def _tails() -> list[str]:
    lines = [
        f"## The tail, LSTM of hidden 128, {STEPS:,} steps one after the other",
        "",
        "Microseconds, one way after the other: spinning threads of another would take a core.",
        "",
        "| options | p50 | p99 | p99.9 | largest | p99.9 / p50 |",
        "|---|---|---|---|---|---|",
    ]
    ways = {
        "`threads=1`": {"threads": 1},
        "`threads=2`": {"threads": 2},
        "`threads=2, spinning=False`": {"threads": 2, "spinning": False},
    }
    x = _frames(1)
    for name, options in ways.items():
        stream, taken = _opened("lstm", 128, **options)[1].stream(), []
        for _ in range(STEPS):
            start = perf_counter()
            stream.step(x)
            taken.append(perf_counter() - start)
        del stream
        p50, p99, p999, largest = (
            float(value) * 1e6 for value in np.percentile(taken, [50, 99, 99.9, 100])
        )
        lines.append(
            f"| {name} | {p50:.1f} | {p99:.1f} | {p999:.1f} | {largest:.0f} | {p999 / p50:.1f} |"
        )
    return lines


def _opened(kind: str, hidden: int, **options: int) -> tuple[nn.Module, Session]:
    spec = rnnedge.RNNSpec(cell=kind, input_size=INPUT_SIZE, hidden_size=hidden)
    layer = rnnedge.build(spec, seed=0).eval()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        rnnedge.export(layer, path)
        return layer, Session(path.read_bytes(), engine="onnxruntime", **{"threads": 1, **options})


def _frames(batch: int) -> np.ndarray:
    """Return float32 [batch, features]."""
    return np.random.default_rng(0).standard_normal((batch, INPUT_SIZE)).astype(np.float32)


def _bound_by_hand(session: Session, hidden: int, x: np.ndarray) -> Call:
    engine, pairs = session.engine.session, session.interface.states
    frame, answer = np.zeros((1, 1, INPUT_SIZE), np.float32), np.zeros((1, 1, hidden), np.float32)
    halves = [[np.zeros((1, 1, hidden), np.float32) for _ in pairs] for _ in range(2)]
    bindings, kept = [], []

    def value(array: np.ndarray) -> onnxruntime.OrtValue:
        kept.append(onnxruntime.OrtValue.ortvalue_from_numpy(array))
        return kept[-1]

    for before, after in (halves, halves[::-1]):
        binding = engine.io_binding()
        binding.bind_ortvalue_input("input", value(frame))
        binding.bind_ortvalue_output("output", value(answer))
        for pair, given, made in zip(pairs, before, after, strict=True):
            binding.bind_ortvalue_input(pair.input, value(given))
            binding.bind_ortvalue_output(pair.output, value(made))
        bindings.append(binding)
    turn = 0

    def step() -> object:
        nonlocal turn
        frame[0] = x
        engine.run_with_iobinding(bindings[turn])
        turn = 1 - turn
        return answer, kept

    return step


def _with_dictionaries(session: Session, x: np.ndarray) -> Call:
    engine, pairs = session.engine.session, session.interface.states
    names = ["output", *(pair.output for pair in pairs)]
    state = {pair.input: array for pair, array in zip(pairs, session.zero_state(1), strict=True)}

    def step() -> object:
        nonlocal state
        output, *finals = engine.run(names, {"input": x[None], **state})
        state = {pair.input: array for pair, array in zip(pairs, finals, strict=True)}
        return output[0]

    return step


def _eager(layer: nn.Module, x: np.ndarray) -> Call:
    frame, state = torch.from_numpy(x)[None], None

    def step() -> object:
        nonlocal state
        with torch.inference_mode():
            output, state = layer(frame, state)
            return output[0].numpy()

    return step


if __name__ == "__main__":
    main()
