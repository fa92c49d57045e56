"""One mistake that can be run: a changed layer, or one that does something otherwise (`Quirks`)."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from rnnedge.parity.diagnosis.recurrence import (
    Float64,
    Int64,
    LayerRun,
    Place,
    Quirks,
    run,
)
from rnnedge_exporters.layers.weights import DirectionWeights, RecurrentLayer

View = Literal["right", "transposed", "reshaped"]
Change = Callable[[DirectionWeights], DirectionWeights]

GATES = {"rnn": "h", "lstm": "ifgo", "gru": "rzn"}
_RIGHT = Quirks()


@dataclass(frozen=True, slots=True)
class Mistake:
    """One way to be wrong.

    Attributes:
        cause: Two or three words; several mistakes share one.
        text: What is done, as a clause.
        place: Where; empty when everywhere.
        layer: The layer with its weights as the mistake has them.
        quirks: What is done otherwise.
        final_quirks: The same for the final states; None where both come from one run.
        h_alone: Whether that is so for h_n alone, and c_n is right.
        x_view: How the input is brought to [time, batch, features].
        y_view: How the output is brought back.
        masked: Whether the output is zeroed past the end of each row afterwards.
    """

    cause: str
    text: str
    layer: RecurrentLayer
    place: str = ""
    quirks: Quirks = field(default_factory=Quirks)
    final_quirks: Quirks | None = None
    h_alone: bool = False
    x_view: View = "right"
    y_view: View = "right"
    masked: bool = False

    def answer(
        self, x: Float64, initial: Sequence[Float64] | None, lengths: Int64 | None
    ) -> LayerRun:
        """Answer as a model with this mistake does.

        Args:
            x: The input in the layout of the layer.
            initial: (h,) or (h, c), or None.
            lengths: int64 [batch], or None.

        Raises:
            ValueError: When such a model refuses these shapes.
        """
        batch_first = self.layer.batch_first
        inner = _to_time_first(x, self.x_view, batch_first=batch_first)
        trace = run(self.layer, inner, initial, lengths, self.quirks)
        output, finals = trace.output, trace.finals
        if self.final_quirks is not None:
            others = run(self.layer, inner, initial, lengths, self.final_quirks).finals
            finals = (others[0], *finals[1:]) if self.h_alone else others
        if self.masked and lengths is not None:
            output = np.where((np.arange(len(output))[:, None] < lengths)[..., None], output, 0.0)
        return LayerRun(
            _from_time_first(output, self.y_view, batch_first=batch_first), finals, trace.layers
        )


def _to_time_first(x: Float64, view: View, *, batch_first: bool) -> Float64:
    if view == "reshaped":
        return x.reshape(x.shape[1], x.shape[0], x.shape[2])
    return x.swapaxes(0, 1) if batch_first != (view == "transposed") else x


def _from_time_first(y: Float64, view: View, *, batch_first: bool) -> Float64:
    return _to_time_first(y, view, batch_first=batch_first)  # each view is its own way back


def place_name(place: Place, layer: RecurrentLayer) -> str:
    """Return `layer 0, backward`."""
    words = [f"layer {place[0]}"]
    words += [("forward", "backward")[place[1]]] if layer.bidirectional else []
    return ", ".join(words)


def groups(layer: RecurrentLayer) -> Iterator[tuple[frozenset[Place], str]]:
    """Yield everywhere, each layer, each direction and each place, without repeating a set."""
    layers, directions = range(len(layer.layers)), range(layer.directions)
    every = frozenset(itertools.product(layers, directions))
    named = [(every, "")]
    named += [(frozenset((n, d) for d in directions), f"layer {n}") for n in layers]
    if layer.bidirectional:
        for d, word in enumerate(("forward", "backward")):
            named.append((frozenset((n, d) for n in layers), word))
    named += [(frozenset([place]), place_name(place, layer)) for place in sorted(every)]
    seen = set()
    for places, name in named:
        if places not in seen:
            seen.add(places)
            yield places, name


def layers(layer: RecurrentLayer) -> Iterator[tuple[frozenset[int], str]]:
    """Yield all stacked layers, then each of several."""
    count = len(layer.layers)
    yield frozenset(range(count)), ""
    if count > 1:
        for index in range(count):
            yield frozenset([index]), f"layer {index}"
