"""Mistakes with the weights: rows, halves, directions and matrices in the wrong place."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rnnedge.parity.diagnosis.mistake import GATES, Mistake, groups
from rnnedge.parity.diagnosis.recurrence import (
    with_layers,
    with_weights,
)
from rnnedge_exporters.layers.weights import DirectionWeights, RecurrentLayer

Change = Callable[[DirectionWeights], DirectionWeights]


def gate_orders(layer: RecurrentLayer) -> Iterator[Mistake]:
    """Yield gates whose rows are in another order."""
    gates = GATES[layer.cell]
    parts = {
        "": ("weight_ih", "weight_hh", "bias_ih", "bias_hh"),
        " in the input weights": ("weight_ih",),
        " in the recurrent weights": ("weight_hh",),
        " in the biases": ("bias_ih", "bias_hh"),
        " in the input bias": ("bias_ih",),
        " in the recurrent bias": ("bias_hh",),
        " in both weight matrices": ("weight_ih", "weight_hh"),
    }
    for part, names in parts.items():
        for places, where in groups(layer):
            for order in itertools.permutations(range(len(gates))):
                if order == tuple(range(len(gates))):
                    continue

                def change(
                    weights: DirectionWeights,
                    order: Sequence[int] = order,
                    names: Sequence[str] = names,
                ) -> DirectionWeights:
                    return replace(
                        weights, **{name: _ordered(getattr(weights, name), order) for name in names}
                    )

                yield Mistake(
                    "gate order",
                    f"the gates {', '.join(gates)} compute with the rows of "
                    f"{', '.join(gates[g] for g in order)}{part}",
                    with_weights(layer, places, change),
                    where,
                )


def _ordered(array: NDArray[np.float32], order: Sequence[int]) -> NDArray[np.float32]:
    blocks = np.split(array, len(order))
    return np.concatenate([blocks[gate] for gate in order])


def biases(layer: RecurrentLayer) -> Iterator[Mistake]:
    """Yield biases that are left out, exchanged, or counted twice."""
    if not layer.bias:
        return
    changes: dict[str, Change] = {
        "the recurrent bias is left out": lambda w: replace(w, bias_hh=0 * w.bias_hh),
        "the input bias is left out": lambda w: replace(w, bias_ih=0 * w.bias_ih),
        "both biases are left out": lambda w: replace(
            w, bias_ih=0 * w.bias_ih, bias_hh=0 * w.bias_hh
        ),
        "the sum of the biases is counted twice": lambda w: replace(
            w, bias_ih=w.bias_ih + w.bias_hh, bias_hh=w.bias_ih + w.bias_hh
        ),
        "the input bias is counted twice": lambda w: replace(w, bias_ih=2 * w.bias_ih),
        "the recurrent bias is counted twice": lambda w: replace(w, bias_hh=2 * w.bias_hh),
        "the input bias stands for both": lambda w: replace(w, bias_hh=w.bias_ih),
        "the recurrent bias stands for both": lambda w: replace(w, bias_ih=w.bias_hh),
        "input and recurrent bias are exchanged": lambda w: replace(
            w, bias_ih=w.bias_hh, bias_hh=w.bias_ih
        ),
        "both biases are summed into the input bias": lambda w: replace(
            w, bias_ih=w.bias_ih + w.bias_hh, bias_hh=0 * w.bias_hh
        ),
        "both biases are summed into the recurrent bias": lambda w: replace(
            w, bias_ih=0 * w.bias_ih, bias_hh=w.bias_ih + w.bias_hh
        ),
        "each bias is doubled": lambda w: replace(w, bias_ih=2 * w.bias_ih, bias_hh=2 * w.bias_hh),
    }
    for text, change in changes.items():
        for places, where in groups(layer):
            yield Mistake("bias halves", text, with_weights(layer, places, change), where)


def other_weights(layer: RecurrentLayer) -> Iterator[Mistake]:
    """Yield weights that are transposed, or those of another layer."""
    gates = len(GATES[layer.cell])
    for name in ("weight_hh", "weight_ih"):
        for places, where in groups(layer):
            if all(_square(getattr(layer.layers[n][d], name), gates) for n, d in places):
                for some, text in _gates_at_a_time(layer):

                    def change(
                        weights: DirectionWeights, name: str = name, some: Sequence[int] = some
                    ) -> DirectionWeights:
                        blocks = np.split(getattr(weights, name), gates)
                        turned = [b.T if g in some else b for g, b in enumerate(blocks)]
                        return replace(weights, **{name: np.concatenate(turned)})

                    yield Mistake(
                        "transposed weights",
                        f"{name} is transposed, {text}",
                        with_weights(layer, places, change),
                        where,
                    )
    for one, two in itertools.permutations(range(len(layer.layers)), 2):
        if layer.layers[one][0].weight_ih.shape == layer.layers[two][0].weight_ih.shape:
            yield Mistake(
                "other weights",
                f"layer {one} has the weights of layer {two}",
                with_layers(layer, {one: layer.layers[two]}),
                f"layer {one}",
            )
            if one < two:
                yield Mistake(
                    "other weights",
                    f"layers {one} and {two} have each other's weights",
                    with_layers(layer, {one: layer.layers[two], two: layer.layers[one]}),
                )
        for names in (("weight_hh",), ("bias_ih", "bias_hh"), ("weight_hh", "bias_ih", "bias_hh")):
            taken = tuple(
                replace(own, **{name: getattr(other, name) for name in names})
                for own, other in zip(layer.layers[one], layer.layers[two], strict=True)
            )
            yield Mistake(
                "other weights",
                f"layer {one} has the {' and '.join(names)} of layer {two}",
                with_layers(layer, {one: taken}),
                f"layer {one}",
            )


def _gates_at_a_time(layer: RecurrentLayer) -> Iterator[tuple[Sequence[int], str]]:
    gates = GATES[layer.cell]
    yield range(len(gates)), "gate by gate"
    for index, gate in enumerate(gates if len(gates) > 1 else ""):
        yield [index], f"in gate {gate} alone"


def _square(array: NDArray[np.float32], gates: int) -> bool:
    return bool(array.shape[0] == gates * array.shape[1])
