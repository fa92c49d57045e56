"""Model files with one mistake each, as real converters and export code make them.

Each member of `BROKEN` was made from a right model (`breaking/originals.py`), which passes where
the broken one fails; `test_broken_models_set.py` shows both.
"""

from __future__ import annotations

from collections.abc import Hashable

from breaking import (
    activations,
    axes,
    biases,
    directions,
    dropout,
    frozen,
    gate_order,
    modules,
    other_weights,
    padding,
    reset,
    states,
)
from breaking.broken import Broken as Broken
from breaking.broken import Source
from breaking.originals import Original

CLASSIC = (
    "gate order",
    "linear_before_reset",
    "swapped directions",
    "bias halves",
    "frozen length",
    "batch_first mix-up",
    "states of the wrong layer",
    "dropout left on",
    "h_n taken at padding",
)
"""The mistakes that are met most."""

CAUSES = (
    *CLASSIC,
    "initial state ignored",
    "lengths ignored",
    "activation",
    "other weights",
    "transposed weights",
)
"""Every label."""

BROKEN: tuple[Broken, ...] = (
    *gate_order.BROKEN,
    *reset.BROKEN,
    *activations.BROKEN,
    *directions.BROKEN,
    *biases.BROKEN,
    *frozen.BROKEN,
    *axes.BROKEN,
    *states.BROKEN,
    *dropout.BROKEN,
    *padding.BROKEN,
    *other_weights.BROKEN,
    *modules.BROKEN,
)

_OPTIONS = (
    *("cell", "num_layers", "bidirectional", "batch_first"),
    *("bias", "proj_size", "lengths", "states", "producer"),
)


def options_of(source: Source) -> tuple[Hashable, ...]:
    """Return what distinguishes right models; a whole module is the only one of its kind."""
    if isinstance(source, Original):
        return tuple(getattr(source, name) for name in _OPTIONS)
    return (str(source), *[None] * (len(_OPTIONS) - 1))


def mistake_of(broken: Broken) -> tuple[Hashable, ...]:
    """Return what distinguishes broken models: the mistake, and what it was made in."""
    return (broken.cause, *options_of(broken.original))


UNSEEN: tuple[Broken, ...] = (*dropout.UNSEEN, *modules.UNSEEN)
"""Models that ONNX Runtime mends: it answers right by default, and wrong without optimizations."""
