"""Layers whose rows differ in size, exported in int8 and run."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from integer_model import Array
from numpy.typing import NDArray
from torch import nn

from rnnedge_exporters import export
from rnnedge_runtime import Session

INPUT, HIDDEN, PROJ = 4, 6, 3
WIDE = 20
"""A hidden size of two blocks of 16, of which the last is not full."""
SHAPES = ((1, 1), (1, 4), (2, 3), (5, 5), (9, 2), (13, 1))
"""(time, batch) pairs."""


@dataclass(frozen=True)
class Case:
    """One row of the matrix; `form` is what the layer is expected to compute in."""

    cell: str
    form: str
    num_layers: int
    bidirectional: bool
    lengths: bool
    bias: bool
    batch_first: bool

    @property
    def hidden(self) -> int:
        """The hidden size."""
        return WIDE if self.form == "scan_nbits" else HIDDEN

    def __str__(self) -> str:
        words = [self.cell, self.form, f"{self.num_layers}layer"]
        words += ["bi"] * self.bidirectional + ["lengths"] * self.lengths
        return "-".join([*words, *["nobias"] * (not self.bias), *["first"] * self.batch_first])

    def layer(self) -> nn.RNNBase:
        """Make a layer whose rows differ in size, so that each scale is another."""
        options = {
            "num_layers": self.num_layers,
            "bidirectional": self.bidirectional,
            "bias": self.bias,
            "batch_first": self.batch_first,
        }
        torch.manual_seed(5)
        if self.cell in ("tanh", "relu"):
            layer = nn.RNN(INPUT, self.hidden, nonlinearity=self.cell, **options)
        elif self.cell == "gru":
            layer = nn.GRU(INPUT, self.hidden, **options)
        else:
            layer = nn.LSTM(INPUT, self.hidden, proj_size=PROJ * (self.cell == "proj"), **options)
        with torch.no_grad():
            for weight in layer.parameters():
                if weight.ndim == 2:
                    weight *= torch.linspace(0.3, 1.5, len(weight))[torch.randperm(len(weight))][
                        :, None
                    ]
        return layer


def integer_cases() -> Iterator[Case]:
    """Yield the cases that compute in int8."""
    flags = [False, True]
    for cell in ("tanh", "relu", "gru", "lstm", "proj"):
        forms = ["operator_int8"] if cell == "lstm" else []
        for form, layers, both, lengths, bias in itertools.product(
            ["scan_int8", "scan_nbits", *forms], (1, 2), flags, flags, flags
        ):
            if form == "scan_nbits" and not bias:
                continue  # what it has in common with scan_int8
            if form != "operator_int8" or not lengths:
                yield Case(cell, form, layers, both, lengths, bias, batch_first=layers == 2)


class Integer:
    """A case that computes in int8, as a file, run at every shape."""

    def __init__(self, case: Case, path: Path) -> None:
        self.case, self.layer, self.path = case, case.layer(), path
        self.result = export(
            self.layer, path, lengths=case.lengths, quantize="int8:all", lowering=case.form
        )
        session = Session(path, threads=1)
        self.runs = [
            (x, lengths, state, session.run(x, lengths=lengths, state=state).outputs)
            for x, lengths, state in self._inputs()
        ]

    def _inputs(self) -> Iterator[tuple[Array, NDArray[np.int64] | None, tuple[Array, ...]]]:
        layer, case = self.layer, self.case
        rows = case.num_layers * (2 if case.bidirectional else 1)
        sizes = [layer.proj_size or case.hidden, *[case.hidden] * isinstance(layer, nn.LSTM)]
        for time, batch in SHAPES:
            random = np.random.default_rng([time, batch])
            outer = [batch, time] if case.batch_first else [time, batch]
            x = random.standard_normal([*outer, INPUT]).astype(np.float32)
            state = tuple(
                random.uniform(-1, 1, [rows, batch, size]).astype(np.float32) for size in sizes
            )
            lengths = None
            if case.lengths:
                lengths = random.integers(0, time + 1, batch)
                lengths[0], lengths[-1] = time, 0  # in a batch of one, the only row is empty
            yield x, lengths, state
