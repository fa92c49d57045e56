"""How long an export takes, and PyTorch's own exporters: `python -m benchmarks.export_time`.

Everything runs in one process, interleaved, on one thread; a first round warms up and is not
counted. Peers are measured on what they do, right or wrong: the last column says whether the file
they wrote answers as PyTorch does at lengths and batches that it was not exported with.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch import Tensor, nn

import rnnedge
from benchmarks.machine import describe
from rnnedge_exporters.modules.quiet import quiet
from rnnedge_runtime.engine.library import onnxruntime

ROUNDS = 7


class Speech(nn.Module):
    """About a million parameters: Conv1d, a 2-layer bidirectional LSTM, a CTC head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(40, 128, 3, padding=1)
        self.rnn = nn.LSTM(128, 144, num_layers=2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(288, 40)

    def forward(self, x: Tensor) -> Tensor:
        """Map float32 [batch, time, 40] to log probabilities [batch, time, 40]."""
        features = torch.relu(self.conv(x.transpose(1, 2))).transpose(1, 2)
        return self.head(self.rnn(features)[0]).log_softmax(-1)


def main() -> None:
    """Measure, print a Markdown table, and keep it under `benchmarks/results`."""
    torch.set_num_threads(1)
    lines = ["# Export time", "", describe(), "", f"Median of {ROUNDS} rounds, milliseconds.", ""]
    with tempfile.TemporaryDirectory() as folder:
        lines += _table("2-layer bidirectional LSTM, 64 -> 128, time first", _layer(Path(folder)))
        lines += _table(
            f"module of {sum(p.numel() for p in Speech().parameters()):,} parameters",
            _module(Path(folder)),
        )
    text = "\n".join(lines)
    print(text)
    Path(__file__).parent.joinpath("results", "export_time.md").write_text(text + "\n")


Call = tuple[Callable[[], object], Callable[[], str]]


def _layer(folder: Path) -> dict[str, Call]:
    layer = nn.LSTM(64, 128, num_layers=2, bidirectional=True).eval()
    x = torch.randn(11, 3, 64)
    axes = {"x": {0: "time", 1: "batch"}}
    right = _checker(lambda a: layer(a)[0], lambda time, batch: (time, batch, 64))
    return {
        "rnnedge.export": (
            lambda: rnnedge.export(layer, folder / "a.onnx", states=False),
            lambda: right(folder / "a.onnx"),
        ),
        **_peers(layer, (x,), axes, folder, right),
    }


def _module(folder: Path) -> dict[str, Call]:
    module = Speech().eval()
    x = torch.randn(3, 11, 40)
    axes = {"x": {0: "batch", 1: "time"}}
    right = _checker(module, lambda time, batch: (batch, time, 40))
    dynamic = {"x": {0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO}}
    return {
        "torch.export.export alone": (
            lambda: torch.export.export(module, (x,), dynamic_shapes=dynamic, strict=False),
            lambda: "writes no file",
        ),
        "rnnedge.export": (
            lambda: rnnedge.export(module, folder / "a.onnx", example_inputs=(x,)),
            lambda: right(folder / "a.onnx"),
        ),
        **_peers(module, (x,), axes, folder, right),
    }


def _peers(
    module: nn.Module,
    args: tuple[Tensor, ...],
    axes: dict[str, dict[int, str]],
    folder: Path,
    right: Callable[[Path], str],
) -> dict[str, Call]:
    def export(file: str, *, dynamo: bool) -> None:
        dim = torch.export.Dim.DYNAMIC
        shapes = tuple(dict.fromkeys(axis, dim) for axis in axes.values())
        options: dict[str, object] = (
            {"dynamic_shapes": shapes}
            if dynamo
            else {"dynamic_axes": axes, "input_names": list(axes)}
        )
        torch.onnx.export(module, args, str(folder / file), dynamo=dynamo, **options)  # type: ignore[arg-type]

    return {
        f"torch.onnx.export(dynamo={dynamo})": (
            lambda dynamo=dynamo: export(f"{dynamo}.onnx", dynamo=dynamo),
            lambda dynamo=dynamo: right(folder / f"{dynamo}.onnx"),
        )
        for dynamo in (True, False)
    }


def _checker(
    module: Callable[[Tensor], Tensor], shape: Callable[[int, int], tuple[int, ...]]
) -> Callable[[Path], str]:
    def right(path: Path) -> str:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # the declared shapes of peers' files are another matter
        providers = ["CPUExecutionProvider"]
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        name = session.get_inputs()[0].name
        for time, batch in ((11, 3), (1, 1), (7, 5), (22, 6), (50, 2)):
            x = torch.randn(*shape(time, batch))
            try:
                given = session.run(None, {name: x.numpy()})[0]
            except Exception:
                return f"refuses time {time}, batch {batch}"
            with torch.inference_mode():
                expected = module(x).numpy()
            if given.shape != expected.shape:
                return f"answers {list(given.shape)} for {list(expected.shape)}"
            if not np.abs(given - expected).max() < 1e-4:
                return f"wrong at time {time}, batch {batch}"
        return "right"

    return right


def _table(title: str, calls: dict[str, Call]) -> list[str]:
    times: dict[str, list[float]] = {name: [] for name in calls}
    failures: dict[str, str] = {}
    for _ in range(ROUNDS + 1):
        for name, (call, _) in calls.items():
            start = perf_counter()
            try:
                with quiet(verbose=False):
                    call()
            except Exception as error:
                failures[name] = f"raises {type(error).__name__}"
            times[name].append((perf_counter() - start) * 1e3)
    rows = [f"| {title} | ms | answers at other shapes |", "|---|---|---|"]
    for name, (_, check) in calls.items():
        verdict = failures[name] if name in failures else check()
        rows.append(f"| `{name}` | {statistics.median(times[name][1:]):.1f} | {verdict} |")
    return [*rows, ""]


if __name__ == "__main__":
    sys.exit(main())
