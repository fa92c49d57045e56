"""Finding a recurrent layer among the weights of a checkpoint, by their names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from rnnedge.errors import SourceError

T = TypeVar("T")

# weight_ih_l0_reverse as nn.LSTM saves it; weight_ih as nn.LSTMCell does; w_ih for short.
_NAME = re.compile(
    r"(?P<prefix>(?:.*[._/:-])?)(?P<kind>weight|bias|w|b)_(?P<half>ih|hh|hr)"
    r"(?:_l(?P<layer>[0-9]{1,4}))?(?P<reverse>_reverse)?"
)
_KINDS = {"w": "weight", "b": "bias"}
_WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""Parts of names that torch.compile, FSDP and activation checkpointing put in."""


@dataclass(frozen=True, slots=True)
class NamedWeights(Generic[T]):
    """The weights of one recurrent layer.

    Attributes:
        prefix: What their names began with, such as `encoder.rnn.`.
        weights: By the name that `nn.RNN` gives them, such as `weight_ih_l0`.
        names: From these names to those in the checkpoint.
    """

    prefix: str
    weights: dict[str, T] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """What to call the layer in a message."""
        return f"layer {self.prefix!r}" if self.prefix else "the layer"


def is_recurrent_name(name: str) -> bool:
    """Whether a weight has the name that one of a recurrent layer or cell has."""
    return _NAME.fullmatch(name) is not None


def without_wrappers(state_dict: Mapping[str, T]) -> dict[str, T]:
    """Take out of names what torch.compile, DataParallel, FSDP and averaging put in.

    Args:
        state_dict: Weights by name.

    Returns:
        The same weights, by the names that the module itself gives them; without the counter of
        `torch.optim.swa_utils.AveragedModel`.
    """
    plain = {".".join(p for p in n.split(".") if p not in _WRAPPERS): n for n in state_dict}
    if len(plain) != len(state_dict):  # two weights would have one name
        return dict(state_dict)
    counted = {name: own for name, own in plain.items() if name != "n_averaged"}
    while counted and all(name.startswith("module.") for name in counted):
        plain = counted = {name.removeprefix("module."): own for name, own in counted.items()}
    return {name: state_dict[own] for name, own in plain.items()}


def find_layers(state_dict: Mapping[str, T]) -> list[NamedWeights[T]]:
    """Return the recurrent layers in `state_dict`, in its order; other weights are passed over."""
    found: dict[str, NamedWeights[T]] = {}
    for name, weight in state_dict.items():
        match = _NAME.fullmatch(str(name))
        if not match:
            continue
        kind = _KINDS.get(match["kind"], match["kind"])
        own = f"{kind}_{match['half']}_l{int(match['layer'] or 0)}{match['reverse'] or ''}"
        layer = found.setdefault(match["prefix"], NamedWeights(match["prefix"]))
        if own not in layer.weights:  # one that is there twice is left over
            layer.weights[own], layer.names[own] = weight, str(name)
    return list(found.values())


def find_layer(state_dict: Mapping[str, T], prefix: str | None = None) -> NamedWeights[T]:
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
