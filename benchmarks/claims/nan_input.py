"""What ONNX Runtime answers to a NaN: `python -m benchmarks.claims.nan_input`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.claims.one_node import feeds, named, run, write_node

KINDS = {
    "RNN with tanh": ("RNN", ["Tanh"]),
    "RNN with relu": ("RNN", ["Relu"]),
    "LSTM": ("LSTM", []),
    "GRU": ("GRU", []),
}


def claims() -> Iterator[str]:
    """Yield a sentence for each kind of layer."""
    with tempfile.TemporaryDirectory() as folder:
        for kind, (operator, activations) in KINDS.items():
            path = Path(folder) / "model.onnx"
            write_node(path, operator, activations=activations)
            given = feeds(3, 2)
            given["X"][1, 0] = np.nan
            after = run("onnxruntime", path, given).outputs["Y"][1:, 0, 0]
            how = "NaN" if np.isnan(after).all() else "plausible numbers"
            yield f"{named('onnxruntime')} answers a NaN in the input of {kind} by {how} (CPU)."


if __name__ == "__main__":
    print(*claims(), sep="\n")
