"""How fast exported layers run, against what else a person could use: `python -m benchmarks.speed`.

The grid: 3 cells, 1 and 2 layers, one and two directions, 4 hidden sizes, 5 shapes. In each, our
file (`target="cpu"`) runs against torch's TorchScript export in ONNX Runtime, PyTorch eager and,
where it is installed, OpenVINO (on torch's file). All are in one process, one thread each, and take
turns in blocks of a few milliseconds; their outputs are compared before anything is timed. What is
reported is the median over the blocks, and ratios of medians; process CPU time is shown next to
wall time, since other work on a machine moves the one and hardly the other.
"""

from __future__ import annotations

import argparse
import io
import itertools
import math
import statistics
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn

import rnnedge
from benchmarks.machine import describe
from benchmarks.timing import time_in_blocks
from rnnedge_exporters.modules.quiet import quiet
from rnnedge_runtime.engine.library import onnxruntime

INPUT_SIZE = 64
HIDDEN = (32, 128, 256, 512)
SHAPES = ((1, 1), (100, 1), (1000, 1), (100, 8), (100, 32))
"""(time, batch)."""
SECONDS = 0.25
"""For all calls of one cell of the grid together, after a warm-up; more where few calls fit."""
PEERS = ("TorchScript", "eager", "OpenVINO")


@dataclass
class Cell:
    """One cell of the grid: milliseconds of a call by who ran it, wall and CPU time."""

    name: str
    cell: str
    time: int
    batch: int
    wall: dict[str, float] = field(default_factory=dict)
    cpu: dict[str, float] = field(default_factory=dict)

    def ratio(self, peer: str) -> float:
        """Return how many times as long as ours a peer takes."""
        return self.wall[peer] / self.wall["rnnedge"]


def main() -> None:
    """Measure, print, and keep the table and a picture under `benchmarks/results`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", nargs="+", default=["rnn", "lstm", "gru"])
    parser.add_argument("--hidden", type=int, nargs="+", default=HIDDEN)
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for each cell of the grid")
    parser.add_argument("--print-only", action="store_true", help="leave the results as they are")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cells = []
    for cell in _measured(options.cells, options.hidden, options.seconds):
        cells.append(cell)
        ratios = ", ".join(f"{p} {cell.ratio(p):.2f}" for p in PEERS if p in cell.wall)
        print(f"{cell.name}: {cell.wall['rnnedge']:.3f} ms; {ratios}", flush=True)
    text = _report(cells)
    print(text)
    if not options.print_only:
        results = Path(__file__).parent / "results"
        results.joinpath("speed.md").write_text(text, encoding="utf-8")
        _draw(cells, results / "speed.png")


def _measured(kinds: Sequence[str], hidden_sizes: Sequence[int], seconds: float) -> Iterator[Cell]:
    for kind, hidden, layers, both in itertools.product(kinds, hidden_sizes, (1, 2), (False, True)):
        torch.manual_seed(0)
        spec = rnnedge.RNNSpec(
            cell=kind,
            input_size=INPUT_SIZE,
            hidden_size=hidden,
            num_layers=layers,
            bidirectional=both,
        )
        layer = rnnedge.build(spec, seed=0).eval()
        runners = sides(layer)
        for time, batch in SHAPES:
            x = np.random.default_rng(0).standard_normal((time, batch, INPUT_SIZE))
            calls = {name: side(x.astype(np.float32)) for name, side in runners.items()}
            compare(calls)
            words = [f"{kind} {hidden}", f"{layers} layer(s)", "both directions" * both]
            name = f"{', '.join(filter(None, words))}, time {time}, batch {batch}"
            cell = Cell(name, kind, time, batch)
            for side, time_of in time_in_blocks(calls, seconds).items():
                cell.wall[side], cell.cpu[side] = time_of
            yield cell


Side = Callable[[np.ndarray], Callable[[], Sequence[np.ndarray]]]


def sides(layer: nn.Module) -> dict[str, Side]:
    """Return who runs the layer: each takes an input and gives a call."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        rnnedge.export(layer, path, states=False)
        ours = path.read_bytes()
    theirs = _torchscript(layer)
    runners = {
        "rnnedge": in_onnxruntime(ours),
        "TorchScript": in_onnxruntime(theirs),
        "eager": _in_torch(layer),
    }
    try:
        runners["OpenVINO"] = _in_openvino(theirs)
    except ImportError:
        print("OpenVINO is not installed, and left out")
    return runners


def _torchscript(layer: nn.Module) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings(), quiet(verbose=False):
        warnings.simplefilter("ignore")
        torch.onnx.export(
            layer,
            (torch.randn(5, 2, INPUT_SIZE),),
            file,
            dynamo=False,
            input_names=["input"],
            dynamic_axes={"input": {0: "time", 1: "batch"}},
        )
    return file.getvalue()


def in_onnxruntime(model: bytes) -> Side:
    """Return ONNX Runtime on one thread, with a model opened."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda x: lambda: session.run(None, {"input": x})


def _in_torch(layer: nn.Module) -> Side:
    def side(x: np.ndarray) -> Callable[[], Sequence[np.ndarray]]:
        tensor = torch.from_numpy(x)

        def call() -> Sequence[np.ndarray]:
            with torch.inference_mode():
                output, finals = layer(tensor)
            parts = finals if isinstance(finals, tuple) else (finals,)
            return [output.numpy(), *(part.numpy() for part in parts)]

        return call

    return side


def _in_openvino(model: bytes) -> Side:
    import openvino

    core = openvino.Core()
    settings = {
        "INFERENCE_NUM_THREADS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    request = core.compile_model(core.read_model(model), "CPU", settings).create_infer_request()

    def side(x: np.ndarray) -> Callable[[], Sequence[np.ndarray]]:
        def call() -> Sequence[np.ndarray]:
            answer = request.infer({"input": x}, share_inputs=True, share_outputs=True)
            return [answer[index] for index in range(len(answer))]

        return call

    return side


def compare(calls: dict[str, Callable[[], Sequence[np.ndarray]]]) -> None:
    """End the program where a side does not answer what PyTorch does."""
    expected = [np.array(value) for value in calls["eager"]()]
    for name, call in calls.items():
        for given, value in zip(call(), expected, strict=True):
            if given.shape != value.shape or not np.abs(given - value).max() < 1e-4:
                raise SystemExit(f"{name} does not answer what PyTorch does, and is not timed")


def _report(cells: Sequence[Cell]) -> str:
    peers = [peer for peer in PEERS if peer in cells[0].wall]
    lines = ["# Speed of recurrent layers", "", describe(), ""]
    lines += [
        f"Input {INPUT_SIZE}, one thread on every side, one process, interleaved, median of the "
        "calls of a cell. Ratios: how many times as long as ours a peer takes; above 1 ours is "
        "faster.",
        "",
        "| part of the grid | " + " | ".join(f"{p}: mean, least" for p in peers) + " | best peer |",
        "|---|" + "---|" * (len(peers) + 1),
    ]
    parts = {"the whole grid": list(cells)}
    parts |= {kind: [c for c in cells if c.cell == kind] for kind in ("rnn", "lstm", "gru")}
    parts["rnn, batch 8 and 32"] = [c for c in cells if c.cell == "rnn" and c.batch >= 8]
    parts["one step"] = [c for c in cells if c.time == 1]
    for name, some in parts.items():
        if some:
            row = [_mean_and_least([c.ratio(p) for c in some]) for p in peers]
            best = _mean_and_least([min(c.ratio(p) for p in peers) for c in some])
            lines.append(f"| {name} | {' | '.join(row)} | {best} |")
    lines += ["", "Geometric means. The whole grid, milliseconds (CPU milliseconds):", ""]
    lines += [
        "| cell | rnnedge | " + " | ".join(f"{peer} | ratio" for peer in peers) + " |",
        "|---|---|" + "---|---|" * len(peers),
    ]
    for cell in cells:
        row = [f"{cell.wall['rnnedge']:.3f} ({cell.cpu['rnnedge']:.3f})"]
        for peer in peers:
            row += [f"{cell.wall[peer]:.3f} ({cell.cpu[peer]:.3f})", f"{cell.ratio(peer):.2f}"]
        lines.append(f"| {cell.name} | {' | '.join(row)} |")
    return "\n".join(lines) + "\n"


def _mean_and_least(ratios: Sequence[float]) -> str:
    mean = math.exp(statistics.fmean(math.log(ratio) for ratio in ratios))
    return f"{mean:.2f}, {min(ratios):.2f}"


def _draw(cells: Sequence[Cell], path: Path) -> None:
    """Draw the ratio to each peer, one dot a cell of the grid."""
    from matplotlib.figure import Figure

    peers = [peer for peer in PEERS if peer in cells[0].wall]
    kinds = list(dict.fromkeys(cell.cell for cell in cells))
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    axes = figure.subplots(1, len(peers), sharey=True, squeeze=False)[0]
    for axis, peer in zip(axes, peers, strict=True):
        for place, kind in enumerate(kinds):
            some = [cell for cell in cells if cell.cell == kind]
            spread = np.linspace(-0.3, 0.3, len(some))
            for batch, marker, color in ((1, "o", "C0"), (8, "^", "C1"), (32, "s", "C2")):
                at = [i for i, cell in enumerate(some) if cell.batch == batch]
                axis.scatter(
                    [place + spread[i] for i in at],
                    [some[i].ratio(peer) for i in at],
                    marker=marker,
                    color=color,
                    s=14,
                    label=f"batch {batch}" if place == 0 else None,
                )
        axis.axhline(1, color="black", linewidth=0.8)
        axis.set(yscale="log", title=peer, xticks=range(len(kinds)), xticklabels=kinds)
        axis.grid(axis="y", alpha=0.3)
    axes[0].set_ylabel("time of the peer / time of rnnedge")
    axes[0].legend(fontsize=8)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
