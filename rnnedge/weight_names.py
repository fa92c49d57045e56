"""Finding a recurrent layer among the weights of a checkpoint, by their names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from rnnedge.errors import SourceError

T = TypeVar("T")

# weight_ih_l0_reverse as nn.LSTM saves it; weight_ih as nn.LSTMCell does; w_ih for short.
_NAME = re.compile(
    r"(?P<prefix>(?:.*[._/:-])?)(?P<kind>weight|bias|w|b)_(?P<half>ih|hh|hr)"
    r"(?:_l(?P<layer>\d+))?(?P<reverse>_reverse)?"
)
_KINDS = {"w": "weight", "b": "bias"}


@dataclass(frozen=True, slots=True)
class LayerWeights(Generic[T]):
    """The weights of one recurrent layer.

    Attributes:
        prefix: What their names began with, such as `encoder.rnn.`.
        weights: By the name that `nn.RNN` gives them, such as `weight_ih_l0`.
    """

    prefix: str
    weights: dict[str, T]

    @property
    def label(self) -> str:
        """What to call the layer in a message."""
        return f"layer {self.prefix!r}" if self.prefix else "the layer"


def find_layers(state_dict: Mapping[str, T]) -> list[LayerWeights[T]]:
    """Return the recurrent layers in `state_dict`, in its order; other weights are passed over."""
    found: dict[str, dict[str, T]] = {}
    for name, weight in state_dict.items():
        match = _NAME.fullmatch(str(name))
        if match:
            kind = _KINDS.get(match["kind"], match["kind"])
            own = f"{kind}_{match['half']}_l{match['layer'] or 0}{match['reverse'] or ''}"
            found.setdefault(match["prefix"], {})[own] = weight
    return [LayerWeights(prefix, weights) for prefix, weights in found.items()]


def find_layer(state_dict: Mapping[str, T], prefix: str | None = None) -> LayerWeights[T]:
    """Return the only recurrent layer, or the one whose names begin with `prefix`.

    Args:
        state_dict: Weights by name.
        prefix: Such as `encoder.rnn.` or `encoder.rnn`; None when there is one layer.

    Raises:
        SourceError: When there is none, or several and no prefix; it names the candidates.
    """
    layers = find_layers(state_dict)
    if prefix is not None:
        for layer in layers:
            if layer.prefix in (prefix, f"{prefix}.", f"{prefix}_"):
                return layer
    elif len(layers) == 1:
        return layers[0]
    if not layers:
        some = ", ".join(list(map(str, state_dict))[:4]) or "nothing"
        raise SourceError(
            f"expected weights named like weight_ih_l0 and weight_hh_l0, found {some}"
            f"{', ...' if len(state_dict) > 4 else ''}"
        )
    names = ", ".join(repr(layer.prefix) for layer in layers)
    if prefix is not None:
        raise SourceError(f"no recurrent layer has the prefix {prefix!r}; there are {names}")
    raise SourceError(
        f"{len(layers)} recurrent layers, with the prefixes {names}: choose one with prefix= "
        "(--prefix)"
    )
