"""Mistakes in what goes where: axes, directions, states, lengths and activations."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rnnedge.parity.diagnosis.mistake import Mistake, View, groups, layers, place_name
from rnnedge.parity.diagnosis.recurrence import (
    Activation,
    Float64,
    Place,
    Quirks,
    Rows,
    with_layers,
)
from rnnedge_exporters.layers.weights import RecurrentLayer

_RIGHT = Quirks()


def layouts(layer: RecurrentLayer) -> Iterator[Mistake]:
    """Yield batch and time exchanged in the input, in the output, or in both."""
    axes = "[batch, time]" if layer.batch_first else "[time, batch]"
    words = {
        "right": "is right",
        "transposed": "has batch and time exchanged",
        "reshaped": "is reshaped where it has to be transposed",
    }
    views: tuple[View, ...] = ("right", "transposed", "reshaped")
    for x_view, y_view in itertools.product(views, views):
        if (x_view, y_view) != ("right", "right"):
            yield Mistake(
                "batch_first mix-up",
                f"the layer is {axes}: in the model, the input {words[x_view]}, and the output "
                f"{words[y_view]}",
                layer,
                x_view=x_view,
                y_view=y_view,
            )


def transposed_inside(layer: RecurrentLayer) -> Iterator[Mistake]:
    """Yield axes that are exchanged between layers, and in the states."""
    cause = "batch_first mix-up"
    count = len(layer.layers)
    later = frozenset(range(1, count))
    for indices in dict.fromkeys([later, *(frozenset([index]) for index in later)]):
        for back in (False, True) if indices else ():
            yield Mistake(
                cause,
                f"batch and time are exchanged between layers{', and back' if back else ''}",
                layer,
                "" if indices == later else f"layer {min(indices)}",
                Quirks(transposed=indices, transposed_back=back),
            )
    both = (_swapped, _swapped)
    for text, quirks in (
        ("final states have", Quirks(final=both)),
        ("initial states have", Quirks(initial=both)),
        ("initial and final states have", Quirks(initial=both, final=both)),
    ):
        yield Mistake(cause, f"the {text} the batch as their first axis", layer, "", quirks)


def _swapped(state: Float64) -> Float64:
    return state.swapaxes(0, 1)


def _backward(layer: str) -> str:
    return ", ".join(filter(None, [layer, "backward"]))


def directions(layer: RecurrentLayer) -> Iterator[Mistake]:
    """Yield directions that are exchanged, or run in the wrong order."""
    if not layer.bidirectional:
        return
    cause = "swapped directions"
    rows = len(layer.layers) * 2
    for indices, where in layers(layer):
        exchanged = replace(
            layer,
            layers=tuple(
                pair[::-1] if index in indices else pair for index, pair in enumerate(layer.layers)
            ),
        )
        swap = np.arange(rows)
        for index in indices:
            swap[[2 * index, 2 * index + 1]] = swap[[2 * index + 1, 2 * index]]
        turned = _taken(swap)
        yield Mistake(cause, "the two directions have each other's weights", exchanged, where)
        yield Mistake(
            cause,
            "the backward direction comes first in the output",
            layer,
            where,
            Quirks(halves=indices),
        )
        yield Mistake(
            cause,
            "the backward direction comes first, in the output and in the final states",
            layer,
            where,
            Quirks(halves=indices, final=(turned, turned)),
        )
        yield Mistake(
            cause,
            "the backward output is not turned back in time",
            layer,
            _backward(where),
            Quirks(not_turned=indices),
        )
        yield Mistake(
            cause,
            "the backward direction runs forward",
            layer,
            _backward(where),
            Quirks(forward_again=indices),
        )
        yield Mistake(
            cause,
            "the backward direction runs forward, and its output is reversed",
            layer,
            _backward(where),
            Quirks(turned_only=indices),
        )
        yield Mistake(
            "other weights",
            "both directions have the forward weights",
            with_layers(layer, {n: (layer.layers[n][0],) * 2 for n in indices}),
            _backward(where),
        )
        yield Mistake(
            "other weights",
            "both directions have the backward weights",
            with_layers(layer, {n: (layer.layers[n][1],) * 2 for n in indices}),
            where,
        )
        for part in ("weight_ih", "weight_hh", "bias"):
            names = ("bias_ih", "bias_hh") if part == "bias" else (part,)
            swapped = {
                n: tuple(
                    replace(own, **{name: getattr(other, name) for name in names})
                    for own, other in (layer.layers[n], layer.layers[n][::-1])
                )
                for n in indices
            }
            yield Mistake(
                cause,
                f"the two directions have each other's {part}",
                with_layers(layer, swapped),
                where,
            )


def _taken(rows: NDArray[np.int64]) -> Rows:
    def take(state: Float64) -> Float64:
        return state[rows]

    return take


def _orders(layer: RecurrentLayer) -> dict[str, NDArray[np.int64]]:
    """Return the ways in which the rows of a state get mixed up."""
    count, directions = len(layer.layers), layer.directions
    rows = np.arange(count * directions)
    grid = rows.reshape(count, directions)
    orders = {
        "its layers are in reverse order": grid[::-1].ravel(),
        "its directions are exchanged": grid[:, ::-1].ravel(),
        "its rows are in reverse order": rows[::-1],
        "its rows are sorted by direction first": grid.T.ravel(),
        "rows that are sorted by layer are read by direction first": np.argsort(grid.T.ravel()),
        "every layer has that of layer 0": np.tile(grid[0], count),
        "every layer has that of the last layer": np.tile(grid[-1], count),
        "both directions have that of the forward one": np.repeat(grid[:, 0], directions),
        "both directions have that of the backward one": np.repeat(grid[:, -1], directions),
        "every row has that of the first": 0 * rows,
        "every row has that of the last": 0 * rows + rows[-1],
        "its layers are shifted by one": np.roll(grid, 1, axis=0).ravel(),
        "its layers are shifted by one, down": np.roll(grid, -1, axis=0).ravel(),
    }
    for one, two in itertools.combinations(rows, 2):
        swapped = rows.copy()
        swapped[[one, two]] = two, one
        names = [place_name(divmod(int(row), directions), layer) for row in (one, two)]
        orders[f"those of {names[0]} and {names[1]} are exchanged"] = swapped
    return {text: order for text, order in orders.items() if not np.array_equal(order, rows)}


def states(layer: RecurrentLayer, kind: Literal["initial", "final"]) -> Iterator[Mistake]:
    """Yield states that go to, or come from, the wrong place."""
    cause = "states of the wrong layer"
    both = layer.cell == "lstm"
    mark = "0" if kind == "initial" else "n"
    which: list[tuple[str, tuple[bool, bool]]] = [(f"h_{mark}", (True, False))]
    if both:
        which = [
            (f"h_{mark} and c_{mark}", (True, True)),
            (f"h_{mark}", (True, False)),
            (f"c_{mark}", (False, True)),
        ]

    def quirks(rows: Rows, parts: tuple[bool, bool]) -> Quirks:
        changed = tuple(rows if part else None for part in parts)
        return Quirks(**{kind: changed})  # type: ignore[arg-type]

    for name, parts in which:
        for text, order in _orders(layer).items():
            yield Mistake(cause, f"{name}: {text}", layer, "", quirks(_taken(order), parts))
    if both and not layer.proj_size:
        swap = Quirks(swap_initial=True) if kind == "initial" else Quirks(swap_final=True)
        yield Mistake(cause, f"h_{mark} and c_{mark} are exchanged", layer, "", swap)
    if kind == "final":
        return
    for name, parts in which:
        yield Mistake(
            "initial state ignored",
            f"the model starts from zeros whatever {name} is",
            layer,
            "",
            quirks(lambda state: 0 * state, parts),
        )
        for places, where in groups(layer):
            rows = [index * layer.directions + direction for index, direction in places]

            def without(state: Float64, rows: Sequence[int] = rows) -> Float64:
                changed = state.copy()
                changed[rows] = 0
                return changed

            yield Mistake(
                "initial state ignored",
                f"a part starts from zeros whatever {name} is",
                layer,
                where,
                quirks(without, parts),
            )


def lengths(layer: RecurrentLayer) -> Iterator[Mistake]:
    """Yield what happens to rows that end before the others."""
    ignored, padding = "lengths ignored", "h_n taken at padding"
    for places, where in groups(layer):

        def wrong(kind: str, places: frozenset[Place] = places) -> Quirks:
            return Quirks(lengths=kind, lengths_at=places)

        yield Mistake(ignored, "every row runs to the end", layer, where, wrong("ignored"))
        yield Mistake(
            ignored if layer.bidirectional else padding,
            "every row runs to the end, and the output alone is zeroed past its own",
            layer,
            where,
            wrong("ignored"),
            masked=True,
        )
        yield Mistake(
            ignored,
            "final states are right, and the output goes on past the end of a short row",
            layer,
            where,
            wrong("unmasked"),
            _RIGHT,
        )
        yield Mistake(
            ignored,
            "the output is that of full rows, and the final states are right",
            layer,
            where,
            wrong("ignored"),
            _RIGHT,
        )
        yield Mistake(
            ignored,
            "the backward direction starts in the padding",
            layer,
            where,
            wrong("backward at padding"),
        )
        for text, kind in (
            ("are those of full rows", "ignored"),
            ("are taken after the padding has run through the layer", "last step"),
            ("of a short row are zeros, the output at the last step", "zero at end"),
            ("come from a second run without lengths", "second run"),
        ):
            yield Mistake(padding, f"final states {text}", layer, where, _RIGHT, wrong(kind))
            if layer.cell == "lstm":
                yield Mistake(
                    padding,
                    f"h_n: final states {text}",
                    layer,
                    where,
                    _RIGHT,
                    wrong(kind),
                    h_alone=True,
                )
            yield Mistake(
                padding,
                f"final states {text}, and the output goes on past the end of a short row",
                layer,
                where,
                wrong("unmasked"),
                wrong(kind),
            )
        yield Mistake(
            "empty rows lose their state",
            "a row of length zero ends in zeros, not in its initial state",
            layer,
            where,
            wrong("empty rows lose"),
        )


def activations(layer: RecurrentLayer) -> Iterator[Mistake]:
    """Yield other activations."""
    options: list[tuple[str, dict[str, Activation]]] = []
    others: tuple[Activation, ...] = (
        *("tanh", "relu", "sigmoid", "identity", "hard sigmoid", "hard sigmoid x/6 + 1/2"),
        *("softsign", "leaky relu"),
    )
    own = layer.nonlinearity
    options += [(f"{o} in place of {own}", {"activation": o}) for o in others if o != own]
    if layer.cell != "rnn":
        options += [(f"{o} in place of sigmoid", {"gate": o}) for o in others if o != "sigmoid"]
        options.append(
            (
                "hard sigmoid in place of sigmoid, relu in place of tanh",
                {"gate": "hard sigmoid", "activation": "relu"},
            )
        )
    if layer.cell == "lstm":
        options += [
            (f"{o} in place of the tanh behind the cell state", {"cell_out": o})
            for o in others
            if o != "tanh"
        ]
        options += [
            (f"{o} in place of both tanh", {"activation": o, "cell_out": o})
            for o in others
            if o != "tanh"
        ]
    for text, changed in options:
        for places, where in groups(layer):
            yield Mistake(
                "activation",
                text,
                layer,
                where,
                Quirks(activated=places, **changed),  # type: ignore[arg-type]
            )


def resets(layer: RecurrentLayer) -> Iterator[Mistake]:
    """Yield a GRU's reset before the recurrent product."""
    if layer.cell != "gru":
        return
    for places, where in groups(layer):
        yield Mistake(
            "linear_before_reset",
            "the GRU resets before the recurrent product (linear_before_reset=0), and PyTorch "
            "after it",
            layer,
            where,
            Quirks(reset_first=places),
        )
