"""The final state of a row of length zero: `python -m benchmarks.claims.zero_length`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.claims.one_node import feeds, named, run, write_node


def claims() -> Iterator[str]:
    """Yield a sentence for each operator."""
    with tempfile.TemporaryDirectory() as folder:
        for operator in ("RNN", "GRU", "LSTM"):
            path = Path(folder) / f"{operator}.onnx"
            write_node(path, operator, lengths=True)
            given = feeds(3, 2, (3, 0))
            final = run("onnxruntime", path, given).outputs["Y_h"][0, 1]
            kept = np.array_equal(final, given["initial_h"][0, 1])
            what = "its initial state" if kept else "zeros" if not final.any() else "something else"
            yield f"{named('onnxruntime')} gives a row of length zero {what} ({operator}, CPU)."


if __name__ == "__main__":
    print(*claims(), sep="\n")
