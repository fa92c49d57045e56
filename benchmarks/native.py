"""The native engine against ONNX Runtime, both through `Session` on one thread.

    python -m benchmarks.native [--instructions avx2] [--print-only]

Steps, whole sequences and pools; CPU time, interleaved in blocks, medians. ONNX Runtime uses every
instruction that the processor has, whatever `--instructions` leaves to the native engine.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

import rnnedge
from benchmarks.machine import describe
from benchmarks.timing import time_in_blocks
from rnnedge_native import Plan
from rnnedge_runtime import Session
from rnnedge_runtime.engine.native import NativeEngine
from rnnedge_runtime.engine.options import EngineOptions
from rnnedge_runtime.loaded_model import LoadedModel
from rnnedge_runtime.pool.pool import StreamPool
from rnnedge_runtime.streaming.stream import Stream

INPUT_SIZE = 40
CELLS = ("rnn", "lstm", "gru")
HIDDEN = (8, 32, 64, 128, 256, 512)
BATCHES = (1, 8, 32)
POOLS = ((32, 64), (64, 64), (256, 64), (256, 256))
"""Hidden size and streams."""
INTEGERS = (64, 128, 256, 512)
"""Hidden sizes of layers that are computed in int8."""
TIME = 100
SECONDS = 0.35
"""For each cell of a table, both sides together."""


class Tagger(nn.Module):
    """Embedding, GRU, Linear."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.embedding = nn.Embedding(100, INPUT_SIZE)
        self.gru = nn.GRU(INPUT_SIZE, 64, batch_first=True)
        self.linear = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Take int64 [batch, time], give [batch, time, 10]."""
        return self.linear(self.gru(self.embedding(x))[0])


class Spotter(nn.Module):
    """Causal Conv1d, GRU, Linear."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.conv = nn.Conv1d(INPUT_SIZE, 64, 3)
        self.gru = nn.GRU(64, 64, batch_first=True)
        self.linear = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Take [batch, time, features], give [batch, time, 10]."""
        x = nn.functional.pad(x.transpose(1, 2), (2, 0))
        return self.linear(self.gru(torch.relu(self.conv(x)).transpose(1, 2))[0])


def main() -> None:
    """Measure, print, and keep the tables under `benchmarks/results`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instructions", help="such as avx512 or avx2, for the native engine")
    parser.add_argument("--print-only", action="store_true", help="leave the results as they are")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        models = _models(Path(folder))
        integers = {
            (cell, hidden): _layer(Path(folder), cell, hidden, "int8:all")
            for cell in CELLS
            for hidden in INTEGERS
        }
    used = Plan(models["gru", 32], instructions=options.instructions).instructions
    lines = ["# The native engine", "", f"{describe()}; native engine with {used}", ""]
    lines += [*_steps(models, used), "", *_sequences(models, used), "", *_pools(models, used)]
    lines += ["", *_integers(models, integers, used)]
    text = "\n".join(lines) + "\n"
    print(text)
    if not options.print_only:
        name = "native.md" if options.instructions is None else f"native_{used}.md"
        Path(__file__).parent.joinpath("results", name).write_text(text, encoding="utf-8")


def _layer(folder: Path, cell: str, hidden: int, quantize: str | None = None) -> bytes:
    spec = rnnedge.RNNSpec(cell=cell, input_size=INPUT_SIZE, hidden_size=hidden)
    path = folder / "layer.onnx"
    rnnedge.export(rnnedge.build(spec, seed=0).eval(), path, quantize=quantize, validate=False)
    return path.read_bytes()


def _models(folder: Path) -> dict[tuple[str, int], bytes]:
    models = {(cell, hidden): _layer(folder, cell, hidden) for cell in CELLS for hidden in HIDDEN}
    torch.manual_seed(0)
    for name, module, example in (
        ("Embedding, GRU, Linear", Tagger(), torch.zeros(2, 9, dtype=torch.int64)),
        ("Conv1d, GRU, Linear", Spotter(), torch.zeros(2, 9, INPUT_SIZE)),
    ):
        path = folder / "module.onnx"
        rnnedge.export(module.eval(), path, example_inputs=(example,))
        models[name, 64] = path.read_bytes()
        path.unlink()
    return models


def _both(model: bytes, instructions: str) -> tuple[LoadedModel, LoadedModel]:
    theirs = Session(model, engine="onnxruntime", threads=1)
    plan = Plan(model, instructions=instructions)
    ours = NativeEngine(plan, options=EngineOptions(threads=1), reason="it is measured")
    return theirs, LoadedModel(ours, model)


def _input(model: LoadedModel, time: int, batch: int) -> np.ndarray:
    (spec,) = model.interface.data_inputs
    random = np.random.default_rng(0)
    sizes = {"time": time, "batch": batch}
    shape = [axis if isinstance(axis, int) else sizes[axis] for axis in spec.axes]
    if spec.dtype == "int64":
        return random.integers(0, 100, shape)
    return random.standard_normal(shape).astype(np.float32)


def _ratio(theirs: Callable[[], object], ours: Callable[[], object]) -> tuple[float, float]:
    """Return microseconds of both sides."""
    timed = time_in_blocks({"theirs": theirs, "ours": ours}, SECONDS)
    return timed["theirs"].cpu * 1e3, timed["ours"].cpu * 1e3


def _steps(models: dict[tuple[str, int], bytes], instructions: str) -> list[str]:
    lines = [
        "## One step of `Stream.step`, batch 1",
        "",
        "| model | hidden | ONNX Runtime, µs | native, µs | times as fast |",
        "|---|---|---|---|---|",
    ]
    for (name, hidden), model in models.items():
        both = _both(model, instructions)
        x = _input(both[0], 1, 1)
        frame = x[0] if name in CELLS else x[:, 0]
        theirs, ours = (Stream(each) for each in both)
        for _ in range(3):
            assert np.abs(theirs.step(frame) - ours.step(frame)).max() < 1e-5
        a, b = _ratio(partial(theirs.step, frame), partial(ours.step, frame))
        lines.append(f"| {name} | {hidden} | {a:.2f} | {b:.2f} | {a / b:.1f} |")
    return lines


def _sequences(models: dict[tuple[str, int], bytes], instructions: str) -> list[str]:
    lines = [
        f"## Sequences of {TIME} steps by `run`",
        "",
        "Times as fast as ONNX Runtime, and microseconds of the native engine.",
        "",
        f"| model | hidden | {' | '.join(f'batch {batch}' for batch in BATCHES)} |",
        f"|---|---|{'---|' * len(BATCHES)}",
    ]
    ratios = []
    for (name, hidden), model in models.items():
        theirs, ours = _both(model, instructions)
        cells = []
        for batch in BATCHES:
            x = _input(theirs, TIME, batch)
            assert np.abs(theirs.run(x).output - ours.run(x).output).max() < 1e-5
            a, b = _ratio(partial(theirs.run, x), partial(ours.run, x))
            ratios.append(a / b)
            cells.append(f"{a / b:.2f} ({b:.0f})")
        lines.append(f"| {name} | {hidden} | {' | '.join(cells)} |")
    mean = float(np.exp(np.mean(np.log(ratios))))
    return [*lines, "", f"Geometric mean {mean:.2f}, least {min(ratios):.2f}."]


def _pools(models: dict[tuple[str, int], bytes], instructions: str) -> list[str]:
    lines = [
        "## A frame of every stream of a pool",
        "",
        "Microseconds; of the native engine, the share of ONNX Runtime's time. `kernels` is the",
        "program alone, without the pool. Of ONNX Runtime the faster of two pools: now and then",
        "one takes several times as long as another.",
        "",
        "| model | hidden | streams | ONNX Runtime, `step_rows` | native, `step_rows` | kernels "
        "| native, `step` |",
        "|---|---|---|---|---|---|---|",
    ]
    for cell in CELLS:
        for hidden, count in POOLS:
            theirs, ours = _both(models[cell, hidden], instructions)
            x = _input(theirs, 1, count)[0]
            calls: dict[str, Callable[[], object]] = {}
            for name, model in (("theirs", theirs), ("theirs again", theirs), ("ours", ours)):
                pool = StreamPool(model, capacity=count)
                streams = [pool.open() for _ in range(count)]
                calls[name] = partial(pool.step_rows, streams, x)
                calls[f"{name} each"] = partial(pool.step, dict(zip(streams, x, strict=True)))
            calls["kernels"] = _program(ours, x[None])
            timed = time_in_blocks(calls, SECONDS)
            us = {name: time.cpu * 1e3 for name, time in timed.items()}
            for way in ("", " each"):
                us[f"theirs{way}"] = min(us[f"theirs{way}"], us[f"theirs again{way}"])
            cells = [
                f"{us['theirs']:.1f}",
                f"{us['ours']:.1f} ({us['ours'] / us['theirs']:.2f})",
                f"{us['kernels']:.1f}",
                f"{us['ours each']:.1f} ({us['ours each'] / us['theirs each']:.2f})",
            ]
            lines.append(f"| {cell} | {hidden} | {count} | {' | '.join(cells)} |")
    return lines


def _integers(
    models: dict[tuple[str, int], bytes], integers: dict[tuple[str, int], bytes], instructions: str
) -> list[str]:
    lines = [
        "## int8",
        "",
        'Layers that were exported with `quantize="int8:all"`: a step, batch 1; a sequence of '
        f"{TIME} steps;",
        "and a frame of 64 streams of a pool. Microseconds of the native engine; in brackets, how",
        "many times as fast that is as ONNX Runtime on the same file, and as the native engine in",
        "float32.",
        "",
        "| model | hidden | step | sequence, batch 1 | sequence, batch 32 | pool |",
        "|---|---|---|---|---|---|",
    ]
    for (cell, hidden), model in integers.items():
        theirs, ours = _both(model, instructions)
        sides = {
            "theirs": theirs,
            "ours": ours,
            "wide": _both(models[cell, hidden], instructions)[1],
        }
        cells = []
        for prepare in (_step, partial(_run, batch=1), partial(_run, batch=32), _pool_step):
            timed = time_in_blocks({name: prepare(side) for name, side in sides.items()}, SECONDS)
            us = {name: time.cpu * 1e3 for name, time in timed.items()}
            ratios = us["theirs"] / us["ours"], us["wide"] / us["ours"]
            cells.append(f"{us['ours']:.2f} ({ratios[0]:.1f}, {ratios[1]:.2f})")
        lines.append(f"| {cell} | {hidden} | {' | '.join(cells)} |")
    return lines


def _step(model: LoadedModel) -> Callable[[], object]:
    return partial(Stream(model).step, _input(model, 1, 1)[0])


def _run(model: LoadedModel, batch: int) -> Callable[[], object]:
    return partial(model.run, _input(model, TIME, batch))


def _pool_step(model: LoadedModel) -> Callable[[], object]:
    pool = StreamPool(model, capacity=64)
    return partial(pool.step_rows, [pool.open() for _ in range(64)], _input(model, 1, 64)[0])


def _program(model: LoadedModel, x: np.ndarray) -> Callable[[], object]:
    """Return a call of the kernels alone."""
    assert isinstance(model.engine, NativeEngine)
    arrays = [x, *model.zero_state(x.shape[1])]
    layout = model.engine.plan.layout([array.shape for array in arrays])
    made = [np.empty(shape, dtype) for _, shape, dtype in layout.outputs]
    return layout.program().bind(*arrays, *made).run


if __name__ == "__main__":
    main()
