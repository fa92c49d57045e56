"""How fast, small and exact int8 weights are: `python -m benchmarks.quantized`.

Each int8 file is compared with our float32 file (`target="cpu"`) in one process, one thread,
in turns in blocks of a few milliseconds, as in `benchmarks.speed`. Layers with hidden sizes that do
not compute in int8 are there too, since they must not be slower than before. Errors are the largest
difference from PyTorch in float64, over 200 steps, with PyTorch's initial weights, on standard
normal inputs and on inputs that saturate the gates; an LSTM is also compared with what
`onnxruntime.quantization.quantize_dynamic(reduce_range=True)` makes of our float32 file.

`scan_nbits`, which `rnnedge tune` may find faster, is shown next to the form that is exported.
`--instructions avx2` measures as on a processor without AVX-512, VNNI and AMX.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import logging
import statistics
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

import rnnedge
from benchmarks.instructions import LEVELS, show_only
from benchmarks.machine import describe
from benchmarks.speed import Side, in_onnxruntime
from benchmarks.timing import Time, time_in_blocks
from rnnedge_runtime.engine import library  # noqa: F401 - before onnxruntime.quantization

INPUT_SIZE = 64
HIDDEN = (32, 64, 128, 192, 256, 384, 512, 768, 1024)
SHAPES = ((100, 1), (1, 1), (100, 8))
"""(time, batch); the first is the one of the targets."""
SECONDS = 1.0
OPENED = 5
"""How often each file is opened for a figure, which is the median."""
TIMED = ("float32", "int8", "scan_nbits")
EXACT = ("int8", "int8:all", "scan_nbits", "theirs")
LOUD = (1, 10, 30)
"""What standard normal inputs are multiplied by: from 10 on, gates saturate."""
STEPS, ROWS = 200, 4


@dataclass
class Row:
    """One layer: sizes, forms, and figures by name."""

    cell: str
    hidden: int
    done: str
    size: float
    speed: dict[tuple[int, int], dict[str, Time]]
    errors: dict[str, dict[int, float]]

    def ratio(self, shape: tuple[int, int], side: str = "int8") -> float:
        """Return how many times as fast as float32 a file is, by CPU time."""
        times = self.speed[shape]
        return times["float32"].cpu / times[side].cpu


def main() -> None:
    """Measure, print, and keep the table under `benchmarks/results`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", nargs="+", default=["rnn", "gru", "lstm"])
    parser.add_argument("--hidden", type=int, nargs="+", default=HIDDEN)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for each layer and shape")
    parser.add_argument(
        "--instructions", choices=LEVELS, help="what the processor seems to have [all it has]"
    )
    parser.add_argument("--print-only", action="store_true", help="leave the results as they are")
    options = parser.parse_args()
    if options.instructions:
        show_only(options.instructions, "benchmarks.quantized")
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)  # quantize_dynamic advises a step that is for other models
    rows = []
    for row in _measured(options.cells, options.hidden, options.seconds):
        rows.append(row)
        print(_line(row), flush=True)
    seen = options.instructions
    text = _report(rows, f" as if it had {seen} at most" if seen else "")
    print(text)
    if not options.print_only:
        results = Path(__file__).parent / "results"
        name = f"quantized_{seen}.md" if seen else "quantized.md"
        results.joinpath(name).write_text(text, encoding="utf-8")


def _measured(cells: Sequence[str], hidden_sizes: Sequence[int], seconds: float) -> Iterator[Row]:
    for cell, hidden in itertools.product(cells, hidden_sizes):
        spec = rnnedge.RNNSpec(cell=cell, input_size=INPUT_SIZE, hidden_size=hidden)
        layer = rnnedge.build(spec, seed=0).eval()
        with tempfile.TemporaryDirectory() as folder:
            files, report = _files(layer, Path(folder))
        speed = {}
        for time, batch in SHAPES:
            x = np.random.default_rng(0).standard_normal((time, batch, INPUT_SIZE))
            speed[time, batch] = _measure(files, x.astype(np.float32), seconds)
        errors = {name: _errors(layer, in_onnxruntime(file)) for name, file in files.items()}
        size = len(files["int8"]) / len(files["float32"])
        yield Row(cell, hidden, report.done, size, speed, errors)


def _files(layer: nn.Module, folder: Path) -> tuple[dict[str, bytes], rnnedge.LayerQuantization]:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    paths = {name: folder / f"{name}.onnx" for name in (*TIMED, "int8:all")}
    rnnedge.export(layer, paths["float32"], states=False)
    result = rnnedge.export(layer, paths["int8"], states=False, quantize="int8")
    rnnedge.export(layer, paths["int8:all"], states=False, quantize="int8:all")
    rnnedge.export(layer, paths["scan_nbits"], states=False, quantize="int8", lowering="scan_nbits")
    if isinstance(layer, nn.LSTM):
        paths["theirs"] = folder / "theirs.onnx"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            quantize_dynamic(
                paths["float32"],
                paths["theirs"],
                weight_type=QuantType.QInt8,
                reduce_range=True,
            )
    return {name: path.read_bytes() for name, path in paths.items()}, result.quantization[0]


def _measure(files: dict[str, bytes], x: np.ndarray, seconds: float) -> dict[str, Time]:
    """Open the files a few times, since where their weights lie in memory moves a single step."""
    tries = []
    for _ in range(OPENED):
        calls = {name: in_onnxruntime(files[name])(x) for name in TIMED}
        tries.append(time_in_blocks(calls, seconds / OPENED))
    return {
        name: Time(
            *(statistics.median(part) for part in zip(*(t[name] for t in tries), strict=True))
        )
        for name in tries[0]
    }


def _errors(layer: nn.Module, side: Side) -> dict[int, float]:
    exact = copy.deepcopy(layer).double()
    found = {}
    for loud in LOUD:
        x = loud * np.random.default_rng(1).standard_normal((STEPS, ROWS, INPUT_SIZE))
        x = x.astype(np.float32)
        with torch.inference_mode():
            expected = exact(torch.from_numpy(x).double())[0].numpy()
        found[loud] = float(np.abs(side(x)()[0] - expected).max())
    return found


def _line(row: Row) -> str:
    ratios = ", ".join(f"{row.ratio(s):.2f} at time {s[0]}, batch {s[1]}" for s in SHAPES)
    return f"{row.cell} {row.hidden}, {row.done}: {ratios}; file {row.size:.3f}"


def _report(rows: Sequence[Row], seen: str) -> str:
    lines = ["# int8 weights", "", describe().replace(",", f"{seen},", 1), ""]
    lines += [
        f"Input {INPUT_SIZE}, one layer, one direction, one process, interleaved; CPU time of the "
        "float32 file over that of the int8 file, median of the blocks: above 1 int8 is faster. "
        "File: int8 over float32.",
        "",
        "| layer | what int8 does | "
        + " | ".join(f"time {time}, batch {batch}" for time, batch in SHAPES)
        + " | milliseconds, float32 and int8 | file | "
        + " | ".join(f"scan_nbits, time {time}, batch {batch}" for time, batch in SHAPES)
        + " |",
        "|---|---|" + "---|" * len(SHAPES) + "---|---|" + "---|" * len(SHAPES),
    ]
    for row in rows:
        first = {name: time.cpu for name, time in row.speed[SHAPES[0]].items()}
        ratios, blocked = (
            " | ".join(f"{row.ratio(shape, side):.2f}" for shape in SHAPES) for side in TIMED[1:]
        )
        lines.append(
            f"| {row.cell} {row.hidden} | {row.done} | {ratios} | "
            f"{first['float32']:.3f}, {first['int8']:.3f} | {row.size:.3f} | {blocked} |"
        )
    lines += [
        "",
        f"Largest error against PyTorch float64 over {STEPS} steps of {ROWS} rows, by what "
        "standard normal inputs are multiplied by. `int8:all` computes in int8 at every size; "
        "theirs is quantize_dynamic(reduce_range=True) of the LSTM.",
        "",
        "| layer | " + " | ".join(f"{side}, {n}" for n in LOUD for side in EXACT) + " |",
        "|---|" + "---|" * len(EXACT) * len(LOUD),
    ]
    for row in rows:
        cells = [
            f"{row.errors[name][loud]:.1e}" if name in row.errors else "-"
            for loud in LOUD
            for name in EXACT
        ]
        lines.append(f"| {row.cell} {row.hidden} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
