"""What runtimes make of `sequence_lens`: `python -m benchmarks.claims.sequence_lens`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.claims.one_node import feeds, installed, named, run, write_node

LENGTHS = (5, 3, 1)


def claims() -> Iterator[str]:
    """Yield a sentence for each runtime that is installed."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "gru.onnx"
        write_node(path, "GRU", lengths=True)
        given = feeds(5, 3, LENGTHS)
        right = run("onnxruntime", path, given).outputs
        for runtime in installed():
            answer = run(runtime, path, given)
            if answer.outputs is None or not answer.outputs:
                yield f"{named(runtime)} refuses a GRU with sequence_lens."
                continue
            past = np.abs(answer.outputs["Y"][3:, 0, 1:]).max()
            off = np.abs(answer.outputs["Y_h"] - right["Y_h"]).max()
            if off < 1e-5 and past == 0:
                yield f"{named(runtime)} runs a forward GRU with sequence_lens as ONNX Runtime."
                continue
            outputs = "zero" if past == 0 else "not zero"
            yield (
                f"{named(runtime)} ignores sequence_lens of a forward GRU without a word: outputs "
                f"past a row's end are {outputs}, and final states are off by {off:.2f}."
            )


if __name__ == "__main__":
    print(*claims(), sep="\n")
