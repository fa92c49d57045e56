"""The right models that are broken later: a PyTorch layer, and the file a converter makes of it."""

from __future__ import annotations

import io
import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, TypeAlias

import onnx
import onnx_ir as ir
import torch
from breaking.broken import ALL, Part
from breaking.handmade import HandMade, Looped, Reversing
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnedge_exporters import export
from rnnedge_exporters.layers.weights import DirectionWeights, RecurrentLayer, read_layer
from rnnedge_exporters.lowerings.layer_graph import build_layer_graph

TIME, BATCH = 5, 2
"""The example that every exporter sees."""

Cell: TypeAlias = Literal["rnn", "relu", "lstm", "gru"]
Producer: TypeAlias = Literal["operator", "scan", "torchscript", "hand", "reversing", "looped"]
DynamicAxes: TypeAlias = Mapping[str, Mapping[int, str]]

OPSET = 17


@dataclass(frozen=True)
class Original:
    """A recurrent layer and how it becomes a file.

    Attributes:
        cell: `rnn` is the tanh one.
        num_layers: As in PyTorch, like the other options of the layer.
        lengths: Whether the file takes `lengths`.
        states: Whether the file takes initial states.
        producer: `operator` and `scan` are the lowerings of this project, `torchscript` is torch's
            older exporter; the others write the graph by hand.
    """

    cell: Cell
    num_layers: int = 1
    bidirectional: bool = False
    batch_first: bool = False
    bias: bool = True
    proj_size: int = 0
    dropout: float = 0.0
    lengths: bool = False
    states: bool = True
    producer: Producer = "operator"

    def __str__(self) -> str:
        words = [self.cell, str(self.num_layers)]
        words += [
            word
            for word in ("bidirectional", "batch_first", "proj_size", "lengths")
            if getattr(self, word)
        ]
        words += [f"no_{word}" for word in ("bias", "states") if not getattr(self, word)]
        return "-".join([*words, self.producer])

    @cached_property
    def seed(self) -> int:
        """A separate seed for every layer and producer; states and lengths change no weight."""
        return zlib.crc32(str(replace(self, lengths=False, states=True)).encode())

    @property
    def input_size(self) -> int:
        return 3 + self.seed % 10

    @property
    def hidden_size(self) -> int:
        return 4 + self.seed // 10 % 13

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def state_names(self) -> tuple[str, ...]:
        return ("h", "c") if self.cell == "lstm" else ("h",)

    @property
    def state_sizes(self) -> tuple[int, ...]:
        sizes = (self.proj_size or self.hidden_size, self.hidden_size)
        return sizes[: len(self.state_names)]

    def state_shapes(self, batch: int) -> list[tuple[int, int, int]]:
        """Return the shapes of the initial states that the file takes."""
        rows = self.num_layers * self.directions
        return [(rows, batch, size) for size in self.state_sizes] if self.states else []

    @cached_property
    def layer(self) -> nn.RNNBase:
        return self.seeded(self.seed)

    def seeded(self, seed: int) -> nn.RNNBase:
        """Make such a layer with the weights of another seed."""
        sizes = (self.input_size, self.hidden_size)
        options = {
            "num_layers": self.num_layers,
            "bias": self.bias,
            "batch_first": self.batch_first,
            "dropout": self.dropout,
            "bidirectional": self.bidirectional,
        }
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            if self.cell == "lstm":
                return nn.LSTM(*sizes, proj_size=self.proj_size, **options)
            if self.cell == "gru":
                return nn.GRU(*sizes, **options)
            nonlinearity = "relu" if self.cell == "relu" else "tanh"
            return nn.RNN(*sizes, nonlinearity=nonlinearity, **options)

    def model(self) -> onnx.ModelProto:
        """Return the right file, a separate copy at every call."""
        return onnx.load_from_string(_model(self))

    def example(self) -> tuple[Tensor, ...]:
        """Return what the file takes, flat and in its order."""
        outer = (BATCH, TIME) if self.batch_first else (TIME, BATCH)
        made = [torch.ones(*outer, self.input_size)]
        if self.lengths:
            made.append(torch.tensor([TIME, TIME - 2]))
        return (*made, *(torch.ones(shape) for shape in self.state_shapes(BATCH)))

    def names(self) -> tuple[list[str], list[str]]:
        """Return the names of inputs and outputs in torch's own exports."""
        inputs = ["input", *["lengths"] * self.lengths]
        inputs += [f"{name}_0" for name in self.state_names] if self.states else []
        return inputs, ["output", *(f"{name}_n" for name in self.state_names)]

    def dynamic_axes(self, *, batch: bool = True, time: bool = True) -> DynamicAxes:
        """Return the dynamic axes by name of input or output, as torch's older exporter asks."""

        def axes(name: str) -> dict[int, str]:
            if name in ("input", "output"):
                found = {int(not self.batch_first): "batch", int(self.batch_first): "time"}
            else:
                found = {0 if name == "lengths" else 1: "batch"}
            wanted = {"batch": batch, "time": time}
            return {axis: label for axis, label in found.items() if wanted[label]}

        inputs, outputs = self.names()
        return {name: axes(name) for name in (*inputs, *outputs) if axes(name)}


operator = partial(Original, producer="operator")
scan = partial(Original, producer="scan")
traced = partial(Original, producer="torchscript")
hand = partial(Original, producer="hand")
reversing = partial(Original, producer="reversing")
looped = partial(Original, producer="looped")


class FlatArguments(nn.Module):
    """A layer with the arguments and results of the file: states and lengths one by one."""

    def __init__(self, original: Original) -> None:
        super().__init__()
        self.layer = original.layer
        self.lengths = original.lengths

    def forward(self, x: Tensor, *more: Tensor) -> tuple[Tensor, ...]:
        lengths, states = (more[0], more[1:]) if self.lengths else (None, more)
        return self.run(x, lengths, (states if len(states) == 2 else states[0]) if states else None)

    def run(
        self, x: Tensor, lengths: Tensor | None, state: Tensor | tuple[Tensor, ...] | None
    ) -> tuple[Tensor, ...]:
        """Run the layer; wrong exports change this."""
        if lengths is None:
            return _flat(self.layer(x, state))
        first = self.layer.batch_first
        packed = pack_padded_sequence(x, lengths, first, enforce_sorted=False)
        output, *after = _flat(self.layer(packed, state))
        total = x.size(1 if first else 0)
        return (pad_packed_sequence(output, first, total_length=total)[0], *after)


def torchscript(
    module: nn.Module,
    arguments: tuple[Tensor, ...],
    names: tuple[Sequence[str], Sequence[str]],
    dynamic_axes: DynamicAxes,
    *,
    training: bool = False,
) -> onnx.ModelProto:
    """Export with torch's older exporter."""
    mode = torch.onnx.TrainingMode.TRAINING if training else torch.onnx.TrainingMode.EVAL
    buffer = io.BytesIO()
    with warnings.catch_warnings():  # it is deprecated, and warns of what is broken here on purpose
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module,
            arguments,
            buffer,
            dynamo=False,
            training=mode,
            do_constant_folding=not training,
            input_names=names[0],
            output_names=names[1],
            dynamic_axes=dynamic_axes,
            opset_version=OPSET,
        )
    return onnx.load_from_string(buffer.getvalue())


def lowered(original: Original, layer: RecurrentLayer) -> onnx.ModelProto:
    """Build the graph with a lowering of this project, from weights that may have been changed."""
    graph, _ = build_layer_graph(
        layer,
        original.producer,
        lengths=original.lengths,
        states=original.states,
        opset=OPSET,
    )
    return ir.to_proto(ir.Model(graph, ir_version=8))


def changed(
    layer: RecurrentLayer, change: Callable[[DirectionWeights], DirectionWeights], part: Part = ALL
) -> RecurrentLayer:
    """Change the weights of a part of a layer."""
    layers = tuple(
        tuple(
            change(weights) if part.has(index, direction) else weights
            for direction, weights in enumerate(directions)
        )
        for index, directions in enumerate(layer.layers)
    )
    return replace(layer, layers=layers)


@cache
def _model(original: Original) -> bytes:
    return _produce(original).SerializeToString()


def _produce(original: Original) -> onnx.ModelProto:
    if original.producer == "operator":
        with TemporaryDirectory() as folder:
            path = Path(folder, "model.onnx")
            takes = {"lengths": original.lengths, "states": original.states}
            lowering = None if original.proj_size else "operator"
            export(original.layer, path, lowering=lowering, **takes)
            return onnx.load(path)
    if original.producer == "scan":
        return lowered(original, read_layer(original.layer))
    if original.producer == "torchscript":
        return torchscript(
            FlatArguments(original),
            original.example(),
            original.names(),
            original.dynamic_axes(),
        )
    writers = {"hand": HandMade, "reversing": Reversing, "looped": Looped}
    return writers[original.producer](original).model()


def _flat(result: tuple[Tensor, Tensor | tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    output, state = result
    return (output, *state) if isinstance(state, tuple) else (output, state)
