"""`build`: from a specification to a PyTorch layer."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from rnnedge.errors import SpecError
from rnnedge.sources.spec import RNNSpec
from rnnedge.sources.weight_names import find_layer

_CLASSES = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


def build(spec: RNNSpec, seed: int | None = None) -> nn.RNNBase:
    """Build the layer that `spec` describes.

    Args:
        spec: The specification.
        seed: Makes the initial weights the same each time and leaves torch's own random state
            alone; None draws from that state, as `nn.RNN(...)` does.

    Returns:
        An `nn.RNN`, `nn.LSTM` or `nn.GRU`: `forward(input, h_0=None) -> (output, h_n)`, with
        (h, c) as the state of an LSTM. Its `load_state_dict` also takes the weights of the same
        layer out of a larger model, with the prefix that they have there, and those of a bare
        cell (`weight_ih` for `weight_ih_l0`).

    Raises:
        SpecError: When the weights are larger than what PyTorch can allocate.
    """
    if seed is None:
        return _make(spec)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _make(spec)


def _make(spec: RNNSpec) -> nn.RNNBase:
    options: dict[str, Any] = {
        "num_layers": spec.num_layers,
        "bias": spec.bias,
        "batch_first": spec.batch_first,
        "dropout": spec.dropout,
        "bidirectional": spec.bidirectional,
    }
    if spec.cell == "rnn":
        options["nonlinearity"] = spec.nonlinearity
    elif spec.cell == "lstm":
        options["proj_size"] = spec.proj_size
    layer: nn.RNNBase
    try:
        layer = _CLASSES[spec.cell](spec.input_size, spec.hidden_size, **options)
    except (RuntimeError, TypeError) as error:  # TypeError: a size beyond 64 bits
        size = 4 * sum(math.prod(shape) for shape in spec.weight_shapes().values())
        raise SpecError(
            f"{spec}: its weights take {size:,} bytes, more than PyTorch can allocate here"
        ) from error
    layer.register_load_state_dict_pre_hook(  # type: ignore[no-untyped-call]
        _accept_other_names
    )
    return layer


def _accept_other_names(
    module: nn.Module, state_dict: dict[str, Any], prefix: str, *_rest: Any
) -> None:
    """Rename the weights of the only recurrent layer in `state_dict` to the layer's own names."""
    if any(name in state_dict for name in module.state_dict(prefix=prefix)):
        return
    layer = find_layer({name: w for name, w in state_dict.items() if name.startswith(prefix)})
    state_dict.clear()
    state_dict.update({f"{prefix}{name}": weight for name, weight in layer.weights.items()})
