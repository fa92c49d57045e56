"""A hundred recurrent modules, with batch and time dynamic, that exporters are compared on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

FEATURES, HIDDEN = 6, 5
EXPORTED = (5, 2)
"""Steps and rows of the example."""
SIZES = ((5, 2), (1, 1), (9, 3), (17, 4), (4, 7))
"""Steps and rows at which a file is run."""
CELLS: dict[str, Callable[..., nn.Module]] = {
    "rnn": nn.RNN,
    "relu": lambda *sizes, **options: nn.RNN(*sizes, nonlinearity="relu", **options),
    "lstm": nn.LSTM,
    "gru": nn.GRU,
}
Inputs = tuple[Tensor, ...]


@dataclass(frozen=True)
class ExportCase:
    """A module and what it takes.

    Attributes:
        group: The kind of module.
        name: What it is.
        make: Makes the module.
        inputs: Makes its inputs for a number of steps and of rows.
        axes: Dynamic axes of each input, by argument.
    """

    group: str
    name: str
    make: Callable[[], nn.Module]
    inputs: Callable[[int, int], Inputs]
    axes: dict[str, dict[int, str]]


class WithState(nn.Module):
    """A layer whose initial state is an argument."""

    def __init__(self, rnn: nn.Module) -> None:
        super().__init__()
        self.rnn = rnn

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Return the outputs and the final state."""
        output, h_n = self.rnn(x, h)
        return output, h_n


class WithCellState(nn.Module):
    """An LSTM whose initial states are arguments."""

    def __init__(self, rnn: nn.Module) -> None:
        super().__init__()
        self.rnn = rnn

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the outputs and the final states."""
        output, (h_n, c_n) = self.rnn(x, (h, c))
        return output, h_n, c_n


class Packed(nn.Module):
    """A layer over rows of different lengths."""

    def __init__(self, rnn: nn.Module) -> None:
        super().__init__()
        self.rnn = rnn

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Return the padded outputs."""
        first = bool(self.rnn.batch_first)
        packed = pack_padded_sequence(x, lengths, batch_first=first, enforce_sorted=False)
        time = x.shape[1 if first else 0]
        padded: Tensor = pad_packed_sequence(
            self.rnn(packed)[0], batch_first=first, total_length=time
        )[0]
        return padded


class Tagger(nn.Module):
    """Embedding, layer, linear head at each step."""

    def __init__(self, rnn: nn.Module, width: int) -> None:
        super().__init__()
        self.embed, self.rnn, self.head = nn.Embedding(20, FEATURES), rnn, nn.Linear(width, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return scores [batch, time, 3]."""
        scores: Tensor = self.head(self.rnn(self.embed(tokens))[0])
        return scores


class Causal(nn.Module):
    """A convolution that looks back, and a layer."""

    def __init__(self, rnn: nn.Module) -> None:
        super().__init__()
        self.conv, self.rnn = nn.Conv1d(FEATURES, FEATURES, 3), rnn

    def forward(self, x: Tensor) -> Tensor:
        """Return outputs [batch, time, hidden]."""
        padded = nn.functional.pad(x.transpose(1, 2), (2, 0))
        output: Tensor = self.rnn(self.conv(padded).transpose(1, 2))[0]
        return output


class Attentive(nn.Module):
    """A layer and attention over its outputs."""

    def __init__(self, rnn: nn.Module) -> None:
        super().__init__()
        self.rnn, self.score = rnn, nn.Linear(HIDDEN, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return one vector for each row."""
        output = self.rnn(x)[0]
        return (self.score(output).softmax(1) * output).sum(1)


class EncoderDecoder(nn.Module):
    """A layer whose final state starts another."""

    def __init__(self, make: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.encoder = make(FEATURES, HIDDEN, batch_first=True)
        self.decoder = make(FEATURES, HIDDEN, batch_first=True)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the decoder's outputs."""
        output: Tensor = self.decoder(y, self.encoder(x)[1])[0]
        return output


class CellLoop(nn.Module):
    """A Python loop over time around a cell."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor) -> Tensor:
        """Return outputs [batch, time, hidden]."""
        h = x.new_zeros(x.shape[0], HIDDEN)
        state = (h, h) if isinstance(self.cell, nn.LSTMCell) else h
        outputs = []
        for t in range(x.shape[1]):
            state = self.cell(x[:, t], state)
            outputs.append(state[0] if isinstance(state, tuple) else state)
        return torch.stack(outputs, 1)


class Residual(nn.Module):
    """Two layers with normalization and a connection around the second."""

    def __init__(self, make: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.first = make(FEATURES, HIDDEN, batch_first=True)
        self.second = make(HIDDEN, HIDDEN, batch_first=True)
        self.norm = nn.LayerNorm(HIDDEN)

    def forward(self, x: Tensor) -> Tensor:
        """Return outputs [batch, time, hidden]."""
        first = self.norm(self.first(x)[0])
        return first + self.second(first)[0]


class LastStep(nn.Module):
    """A layer and a head on its last step."""

    def __init__(self, rnn: nn.Module) -> None:
        super().__init__()
        self.rnn, self.head = rnn, nn.Linear(HIDDEN, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores [batch, 2]."""
        scores: Tensor = self.head(self.rnn(x)[0][:, -1])
        return scores


def _x(time: int, batch: int, first: bool) -> Tensor:
    generator = torch.Generator().manual_seed(100 * time + batch)
    shape = (batch, time, FEATURES) if first else (time, batch, FEATURES)
    return torch.randn(shape, generator=generator)


def _axes(first: bool) -> dict[int, str]:
    return {0: "batch", 1: "time"} if first else {0: "time", 1: "batch"}


def _layers() -> Iterator[ExportCase]:
    """Bare layers: 32, and 8 without biases."""
    grid = product(CELLS, (1, 2), (False, True), (False, True))
    kinds = [(cell, layers, both, first, True) for cell, layers, both, first in grid]
    kinds += [(cell, 1, False, first, False) for cell in CELLS for first in (False, True)]
    for cell, layers, both, first, bias in kinds:
        options = dict(num_layers=layers, bidirectional=both, batch_first=first, bias=bias)
        told = "".join(f", {name}={value}" for name, value in options.items())
        yield ExportCase(
            *("layer", f"{cell}{told}"),
            lambda cell=cell, options=options: CELLS[cell](FEATURES, HIDDEN, **options),
            lambda time, batch, first=first: (_x(time, batch, first),),
            {"input": _axes(first)},
        )


def _states() -> Iterator[ExportCase]:
    """Layers whose initial states are arguments: 16."""
    for cell, both, first in product(CELLS, (False, True), (False, True)):
        directions = 2 if both else 1
        names = ("h", "c") if cell == "lstm" else ("h",)

        def make(cell: str = cell, both: bool = both, first: bool = first) -> nn.Module:
            layer = CELLS[cell](FEATURES, HIDDEN, bidirectional=both, batch_first=first)
            return WithCellState(layer) if cell == "lstm" else WithState(layer)

        def inputs(
            time: int,
            batch: int,
            first: bool = first,
            directions: int = directions,
            names: tuple[str, ...] = names,
        ) -> Inputs:
            state = torch.linspace(-1, 1, directions * batch * HIDDEN)
            return (
                _x(time, batch, first),
                *(state.reshape(directions, batch, HIDDEN) for _ in names),
            )

        axes = {"x": _axes(first), **{name: {1: "batch"} for name in names}}
        name = f"{cell}, bidirectional={both}, batch_first={first}"
        yield ExportCase("initial states", name, make, inputs, axes)


def _lengths() -> Iterator[ExportCase]:
    """Packed sequences: 12."""
    for cell, both, first in product(("rnn", "lstm", "gru"), (False, True), (False, True)):
        options = dict(bidirectional=both, batch_first=first)

        def inputs(time: int, batch: int, first: bool = first) -> Inputs:
            lengths = torch.tensor([max(1, time - row) for row in range(batch)])
            return _x(time, batch, first), lengths

        yield ExportCase(
            *("lengths", f"{cell}, bidirectional={both}, batch_first={first}"),
            lambda cell=cell, options=options: Packed(CELLS[cell](FEATURES, HIDDEN, **options)),
            inputs,
            {"x": _axes(first), "lengths": {0: "batch"}},
        )


def _projections() -> Iterator[ExportCase]:
    """LSTM with `proj_size`: 8."""
    for layers, both, first in product((1, 2), (False, True), (False, True)):
        options = dict(num_layers=layers, bidirectional=both, batch_first=first, proj_size=3)
        yield ExportCase(
            *("proj_size", f"{layers} layer(s), bidirectional={both}, batch_first={first}"),
            lambda options=options: nn.LSTM(FEATURES, HIDDEN, **options),
            lambda time, batch, first=first: (_x(time, batch, first),),
            {"input": _axes(first)},
        )


def _modules() -> Iterator[ExportCase]:
    """Modules with layers inside: 24."""
    loops = {"rnn": nn.RNNCell, "lstm": nn.LSTMCell, "gru": nn.GRUCell}
    for cell in ("rnn", "lstm", "gru"):
        layer = CELLS[cell]

        def one(layer: Callable[..., nn.Module] = layer, *, both: bool = False) -> nn.Module:
            return layer(FEATURES, HIDDEN, batch_first=True, bidirectional=both)

        made: dict[str, Callable[[], nn.Module]] = {
            "causal convolution": lambda one=one: Causal(one()),
            "attention": lambda one=one: Attentive(one()),
            "loop over a cell": lambda cell=cell: CellLoop(loops[cell](FEATURES, HIDDEN)),
            "residual": lambda layer=layer: Residual(layer),
            "last step": lambda one=one: LastStep(one()),
        }
        for name, make in made.items():
            yield ExportCase(
                *("module", f"{name}, {cell}", make),
                lambda time, batch: (_x(time, batch, True),),
                {"x": _axes(True)},
            )
        for both in (False, True):
            yield ExportCase(
                *("module", f"tagger, {cell}, bidirectional={both}"),
                lambda one=one, both=both: Tagger(one(both=both), HIDDEN * (1 + both)),
                lambda time, batch: (torch.arange(time * batch).reshape(batch, time) % 20,),
                {"tokens": _axes(True)},
            )
        yield ExportCase(
            *("module", f"encoder and decoder, {cell}"),
            lambda layer=layer: EncoderDecoder(layer),
            lambda time, batch: (_x(time, batch, True), _x(time + 1, batch, True)),
            {"x": _axes(True), "y": {0: "batch", 1: "steps"}},
        )


def cases() -> list[ExportCase]:
    """Return all of them."""
    return [*_layers(), *_states(), *_lengths(), *_projections(), *_modules()]
