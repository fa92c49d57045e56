"""What runtimes make of an RNN with relu: `python -m benchmarks.claims.activations`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.claims.one_node import feeds, installed, named, run, write_node


def claims() -> Iterator[str]:
    """Yield a sentence for each runtime that is installed."""
    with tempfile.TemporaryDirectory() as folder:
        relu, tanh = Path(folder) / "relu.onnx", Path(folder) / "tanh.onnx"
        write_node(relu, "RNN", activations=["Relu"])
        write_node(tanh, "RNN", activations=["Tanh"])
        given = feeds(5, 2)
        right = run("onnxruntime", relu, given).outputs["Y"]
        as_tanh = run("onnxruntime", tanh, given).outputs["Y"]
        for runtime in installed():
            answer = run(runtime, relu, given)
            if answer.outputs is None or not answer.outputs:
                yield f"{named(runtime)} refuses an RNN with relu."
            elif np.allclose(answer.outputs["Y"], right, atol=1e-5):
                yield f"{named(runtime)} runs an RNN with relu as ONNX Runtime."
            elif np.allclose(answer.outputs["Y"], as_tanh, atol=1e-5):
                yield f"{named(runtime)} runs an RNN with relu as if it were tanh, without a word."
            else:
                yield f"{named(runtime)} answers an RNN with relu wrongly."


if __name__ == "__main__":
    print(*claims(), sep="\n")
