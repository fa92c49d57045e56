"""What an empty batch does to ONNX Runtime: `python -m benchmarks.claims.empty_batch`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.claims.one_node import feeds, named, write_node
from rnnedge_exporters.sandbox.onnx_runtime import Sandbox


def claims() -> Iterator[str]:
    """Yield a sentence for each operator."""
    with tempfile.TemporaryDirectory() as folder, Sandbox() as sandbox:
        for operator in ("RNN", "GRU", "LSTM"):
            path = Path(folder) / f"{operator}.onnx"
            write_node(path, operator)
            answer = sandbox.run(path, feeds(3, 0))
            how = "answers"
            if answer.death:
                how = "ends the process, which no exception handler sees, on"
            elif answer.error:
                how = "refuses"
            yield f"{named('onnxruntime')} {how} {operator} with an empty batch (CPU)."


if __name__ == "__main__":
    print(*claims(), sep="\n")
