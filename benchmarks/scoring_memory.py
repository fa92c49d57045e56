"""How far memory grows while a corpus is scored: run by `python -m benchmarks.scoring --memory`.

It imports no PyTorch, which would take more than what is measured.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnedge_runtime.scoring import Scorer
from rnnedge_runtime.scoring.arrow_package import arrow, parquet
from rnnedge_runtime.scoring.corpus import make_job
from rnnedge_runtime.scoring.job import PartScorer

MOST = 10_000
"""Steps of the longest row."""
CHUNK = 1000
"""Rows of a batch that comes in, and of a row group."""


def table_of(lengths: NDArray[np.int64], values: NDArray[Any]) -> Any:
    """Return rows as a table with a column `x`; values are [steps] or [steps, features]."""
    pa = arrow()
    column = pa.array(values.ravel())
    if values.ndim > 1:
        column = pa.FixedSizeListArray.from_arrays(column, values.shape[1])
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.table({"x": pa.ListArray.from_arrays(pa.array(offsets), column)})


def tables(rows: int, most: int) -> Iterator[Any]:
    """Yield rows of 1 to `most` steps, as many of each octave."""
    random = np.random.default_rng(0)
    for start in range(0, rows, CHUNK):
        spread = random.uniform(0, np.log(most), min(CHUNK, rows - start))
        lengths = np.exp(spread).astype(np.int64)
        yield table_of(lengths, random.standard_normal((int(lengths.sum()), 1), np.float32))


def now() -> float:
    """Return the memory of this process, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def peak() -> float:
    """Return the most memory that this process had since `forget_peak`, in MB."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 2**10


def forget_peak() -> None:
    """Let the peak start at what is used now; https://docs.kernel.org/filesystems/proc.html."""
    Path("/proc/self/clear_refs").write_text("5")


def main(folder: Path, rows: int) -> None:
    """Score rows as they come, and from a file in a worker, and print how far memory grew."""
    model = str(folder / "small.onnx")
    options = {"columns": {"input": "x"}}
    scorer = Scorer(model, columns={"input": "x"})
    for table in tables(CHUNK, 10):
        scorer.arrow(table)  # everything is loaded
    forget_peak()
    before, steps = now(), scorer.tally.steps
    batches = (batch for table in tables(rows, MOST) for batch in table.to_batches())
    answered = sum(len(batch) for batch in scorer.batches(batches))
    print(
        f"{answered:,} rows of 1 to {MOST:,} steps, {scorer.tally.steps - steps:,} in all: "
        f"`Scorer` grew by {peak() - before:.0f} MB over the start."
    )
    for name, count, most in (("few", CHUNK, 10), ("many", rows, MOST)):
        with parquet().ParquetWriter(folder / f"{name}.parquet", table.schema) as writer:
            for table in tables(count, most):
                writer.write_table(table)
    used = []
    for name in ("few", "many"):
        forget_peak()
        job = make_job(model, folder / f"{name}.parquet", folder / name, options)
        Path(job.out).mkdir()
        worker = PartScorer(job)
        for part in job.plan.parts:
            worker.do(part)
        used.append(peak())
    print(
        f"From a file, a worker's peak was {used[1]:.0f} MB, {used[1] - used[0]:.0f} MB over one "
        f"that scores {CHUNK:,} rows of up to 10 steps."
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
