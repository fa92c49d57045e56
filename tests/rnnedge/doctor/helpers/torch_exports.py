"""Writes ONNX files with PyTorch's own exporters; run as a script, since they keep state."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

OPEN, ASKED = torch.export.Dim.DYNAMIC, torch.export.Dim.AUTO


class Tagger(nn.Module):
    """An embedding, a recurrent layer and a linear head."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.embed, self.rnn, self.head = nn.Embedding(11, 3), layer, nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(self.embed(x))[0])  # type: ignore[no-any-return]


class Loop(nn.Module):
    """A cell in a Python loop over time."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.LSTMCell(3, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = torch.zeros(x.shape[1], 4), torch.zeros(x.shape[1], 4)
        outputs = []
        for t in range(x.shape[0]):
            state = self.cell(x[t], state)
            outputs.append(state[0])
        return torch.stack(outputs)


FLOATS, TOKENS = torch.zeros(5, 2, 3), torch.zeros(5, 2, dtype=torch.long)
BOTH = {0: OPEN, 1: OPEN}
DYNAMO: dict[str, tuple[Callable[[], nn.Module], torch.Tensor, dict[int, Any]]] = {
    # DYNAMIC is refused for an nn.RNN; AUTO says it worked.
    "rnn_both_ways": (
        *(lambda: nn.RNN(3, 4, 2, bidirectional=True), FLOATS, {0: ASKED, 1: ASKED}),
    ),
    "lstm": (lambda: nn.LSTM(3, 4), FLOATS, BOTH),
    "tagger": (lambda: Tagger(nn.LSTM(3, 4)), TOKENS, BOTH),
}
TORCHSCRIPT: dict[str, tuple[Callable[[], nn.Module], torch.Tensor]] = {
    "rnn": (lambda: nn.RNN(3, 4, nonlinearity="relu"), FLOATS),
    "lstm": (lambda: nn.LSTM(3, 4, 2, bidirectional=True), FLOATS),
    "gru": (lambda: nn.GRU(3, 4), FLOATS),
    "tagger": (lambda: Tagger(nn.GRU(3, 4)), TOKENS),
    "loop": (Loop, FLOATS),
}


def make(source: Callable[[], nn.Module]) -> nn.Module:
    """Make a module with the weights that it has in its file."""
    torch.manual_seed(0)
    return source().eval()


def write_dynamo(kind: str, folder: Path) -> None:
    """Write one file of the newer exporter, whose next answer depends on its last."""
    source, example, axes = DYNAMO[kind]
    torch.onnx.export(
        make(source),
        (example,),
        folder / f"dynamo_{kind}.onnx",
        dynamo=True,
        dynamic_shapes=(axes,),
        external_data=False,
    )


def write_torchscript(folder: Path) -> None:
    """Write all files of the older exporter."""
    for name, (source, example) in TORCHSCRIPT.items():
        torch.onnx.export(
            make(source),
            (example,),
            folder / f"torchscript_{name}.onnx",
            dynamo=False,
            input_names=["x"],
            dynamic_axes={"x": {0: "time", 1: "batch"}},
        )


def main(folder: Path) -> None:
    """Write all files, each of the newer exporter in a process that is forked off for it."""
    import networkx  # noqa: F401 - what it imports itself, each time, in seconds
    import torch._dynamo
    import torch.onnx._internal.exporter._core  # noqa: F401

    for kind in DYNAMO:
        process = os.fork()
        if not process:
            write_dynamo(kind, folder)
            os._exit(0)
        assert os.waitpid(process, 0)[1] == 0, kind
    write_torchscript(folder)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    with contextlib.redirect_stdout(io.StringIO()):
        main(Path(sys.argv[1]))
