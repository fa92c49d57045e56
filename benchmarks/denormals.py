"""Whether a step becomes slow in a long silence: `python -m benchmarks.denormals`.

The state of a cell without biases decays in silence, through numbers so small that processors
multiply them many times as slowly, and may stay there. The weights here are such that it loses half
a percent a step, as a trained memory does. (With biases a state goes to a point that is not zero,
and nothing becomes slow.) Measured are our `Stream`, and the loop that a person would write over
buffers that are bound by hand.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import thread_time

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import rnnedge
from benchmarks.machine import describe
from rnnedge_runtime import Session
from rnnedge_runtime.engine.library import onnxruntime

FEATURES = 16
HIDDEN = (64, 256)
CELLS = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}
KEPT = 0.995
"""Of a state, from one silent step to the next."""
SILENT, BLOCK = 24_000, 100
"""Steps of silence, and steps that are timed together; a state is denormal from step 17,500 on."""
Array = NDArray[np.float32]
Step = Callable[[Array], object]


@dataclass(frozen=True, slots=True)
class Timed:
    """Steps compared with the same steps with frames of random numbers.

    Attributes:
        loud: Microseconds of a step with frames of random numbers.
        worst: How many times as long one takes in the slowest tenth of the silence.
        last: At the end of the silence.
        tiny: With frames of 1e-40, as a fade-out ends.
    """

    loud: float
    worst: float
    last: float
    tiny: float


def main() -> None:
    """Measure, print a Markdown table, and keep it under `benchmarks/results`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--print-only", action="store_true", help="leave the results as they are")
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = [
        *("# Steps in a long silence", "", describe(), ""),
        f"Batch 1, input {FEATURES}, no biases (with biases a state does not decay), one thread, "
        f"processor time. Loud: frames of random numbers. Then how many times as long a step takes "
        f"in a silence of {SILENT:,} steps, in which a state loses half a percent a step (its "
        "slowest tenth, and its end), and with tiny frames of 1e-40, as a fade-out ends: medians "
        f"over blocks of {BLOCK} steps, each next to a block of a loud stream.",
        "",
        "| cell | who | loud, us | silence | end of it | tiny |",
        "|---|---|---|---|---|---|",
    ]
    for cell in CELLS:
        for hidden in HIDDEN:
            model = _model(cell, hidden)
            for name, made in (("`Stream`", _stream), ("bound by hand", _by_hand)):
                timed = _time(partial(made, model))
                row = f"| {cell} {hidden} | {name} | {timed.loud:.1f} | {timed.worst:.2f} "
                row += f"| {timed.last:.2f} | {timed.tiny:.2f} |"
                print(row, flush=True)
                lines.append(row)
    if not options.print_only:
        text = "\n".join(lines) + "\n"
        Path(__file__).parent.joinpath("results", "denormals.md").write_text(text, encoding="utf-8")


def _time(make: Callable[[], Step]) -> Timed:
    """Time a stream that falls silent in turns with one that does not."""
    random = np.random.default_rng(0)
    loud = list(random.standard_normal((BLOCK, 1, FEATURES)).astype(np.float32))
    silence = [np.zeros((1, FEATURES), np.float32)] * BLOCK
    tiny = [np.full((1, FEATURES), 1e-40, np.float32)] * BLOCK
    control, step = make(), make()
    for _ in range(10):
        _block(control, loud)
        _block(step, loud)
    normal: list[float] = []

    def ratio(frames: list[Array]) -> float:
        normal.append(_block(control, loud))
        return _block(step, frames) / normal[-1]

    quiet = [ratio(silence) for _ in range(SILENT // BLOCK)]
    tenth = len(quiet) // 10
    tenths = [statistics.median(quiet[i : i + tenth]) for i in range(0, len(quiet), tenth)]
    small = statistics.median(ratio(tiny) for _ in range(30))
    return Timed(statistics.median(normal), max(tenths), tenths[-1], small)


def _block(step: Step, frames: list[Array]) -> float:
    start = thread_time()
    for frame in frames:
        step(frame)
    return (thread_time() - start) / len(frames) * 1e6


def _stream(model: bytes) -> Step:
    stream = Session(model, engine="onnxruntime", threads=1).stream()
    return lambda frame: stream.step(frame, copy=False)


def _by_hand(model: bytes) -> Step:
    """Return a step over two halves of a state that change places, and nothing else."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    engine = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    states = [spec for spec in engine.get_inputs() if spec.name != "input"]
    names = [(spec.name, spec.name.replace("_0", "_n")) for spec in states]
    hidden = int(states[0].shape[2])
    frame, output = np.zeros((1, 1, FEATURES), np.float32), np.zeros((1, 1, hidden), np.float32)
    halves = [[np.zeros((1, 1, hidden), np.float32) for _ in states] for _ in range(2)]
    value = onnxruntime.OrtValue.ortvalue_from_numpy
    values = [[value(array) for array in half] for half in halves]
    bindings = []
    for half in (0, 1):
        binding = engine.io_binding()
        binding.bind_ortvalue_input("input", value(frame))
        binding.bind_ortvalue_output("output", value(output))
        for (before, after), read, written in zip(
            names, values[half], values[1 - half], strict=True
        ):
            binding.bind_ortvalue_input(before, read)
            binding.bind_ortvalue_output(after, written)
        bindings.append(binding)
    steps = 0

    def step(given: Array) -> Array:
        nonlocal steps
        frame[0] = given
        engine.run_with_iobinding(bindings[steps % 2])
        steps += 1
        return output[0]

    return step


def _model(cell: str, hidden: int) -> bytes:
    torch.manual_seed(0)
    layer = CELLS[cell](FEATURES, hidden, bias=False).eval()
    rows = torch.randn(hidden, 1)
    mirror = torch.eye(hidden) - 2 * rows @ rows.T / (rows.T @ rows)  # dense, and keeps lengths
    with torch.no_grad():
        if cell == "rnn":
            layer.weight_hh_l0.copy_(KEPT * mirror)
        else:
            # In silence all gates are a half, so that near zero half of a state is kept, and a
            # quarter of what the candidate, the third block of rows, makes of it is added.
            layer.weight_hh_l0.zero_()
            layer.weight_hh_l0[2 * hidden : 3 * hidden].copy_((KEPT - 0.5) * 4 * mirror)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        rnnedge.export(layer, path)
        return path.read_bytes()


if __name__ == "__main__":
    main()
