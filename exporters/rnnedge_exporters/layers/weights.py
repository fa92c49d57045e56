"""From a live PyTorch layer to numpy weights: the only step that touches torch tensors.

Weights keep PyTorch's own layout here (rows of gates, in PyTorch's order); each lowering turns them
into what its ONNX form needs. Layout: https://docs.pytorch.org/docs/stable/generated/torch.nn.LSTM.html
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from typing_extensions import TypeIs

from rnnedge_exporters.errors import ExportError, WeightsError, WeightsWarning
from rnnedge_exporters.layers.computed_weights import with_computed_weights
from rnnedge_runtime.contract import Cell, LayerInfo

Float32 = NDArray[np.float32]

_MODES: dict[str, tuple[Cell, Literal["tanh", "relu"]]] = {
    "RNN_TANH": ("rnn", "tanh"),
    "RNN_RELU": ("rnn", "relu"),
    "LSTM": ("lstm", "tanh"),
    "GRU": ("gru", "tanh"),
}


@dataclass(frozen=True, slots=True)
class DirectionWeights:
    """The weights of one direction of one stacked layer, in PyTorch's layout.

    Attributes:
        weight_ih: float32 [gates*hidden, features].
        weight_hh: float32 [gates*hidden, hidden], or [gates*hidden, proj] with a projection.
        bias_ih: float32 [gates*hidden]; zeros for a layer without bias.
        bias_hh: float32 [gates*hidden]; zeros for a layer without bias.
        weight_hr: float32 [proj, hidden] for an LSTM with a projection, else None.
    """

    weight_ih: Float32
    weight_hh: Float32
    bias_ih: Float32
    bias_hh: Float32
    weight_hr: Float32 | None


@dataclass(frozen=True, slots=True)
class RecurrentLayer:
    """A recurrent layer read from PyTorch.

    Attributes:
        name: Path inside the exported module; empty for a bare layer.
        cell: `rnn`, `lstm` or `gru`.
        input_size: Features of the input.
        hidden_size: Features of the hidden state.
        nonlinearity: `tanh` or `relu`.
        bias: Whether the PyTorch layer has biases.
        batch_first: Whether its input is [batch, time, features].
        bidirectional: Whether it runs in both directions.
        proj_size: Features of the projected hidden state, 0 without projection.
        layers: For each stacked layer, its one or two directions, forward first.
        follows: Whether its input is known to be the output of another layer, within 1.
    """

    name: str
    cell: Cell
    input_size: int
    hidden_size: int
    nonlinearity: Literal["tanh", "relu"]
    bias: bool
    batch_first: bool
    bidirectional: bool
    proj_size: int
    layers: tuple[tuple[DirectionWeights, ...], ...]
    follows: bool = False

    @property
    def directions(self) -> int:
        """1, or 2 for a bidirectional layer."""
        return 2 if self.bidirectional else 1

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """Features of each state: (h,) or (h, c); h has the size of the projection, if any."""
        h = self.proj_size or self.hidden_size
        return (h, self.hidden_size) if self.cell == "lstm" else (h,)

    def arrays(self) -> Iterator[Float32]:
        """Yield every weight that the PyTorch layer has, in PyTorch's order."""
        for directions in self.layers:
            for weights in directions:
                yield weights.weight_ih
                yield weights.weight_hh
                if self.bias:
                    yield weights.bias_ih
                    yield weights.bias_hh
                if weights.weight_hr is not None:
                    yield weights.weight_hr

    def info(self, lowering: str, reason: str) -> LayerInfo:
        """Describe the layer for the contract, with the form it took and why."""
        return LayerInfo(
            name=self.name,
            cell=self.cell,
            input_size=self.input_size,
            hidden_size=self.hidden_size,
            num_layers=len(self.layers),
            nonlinearity=self.nonlinearity,
            bias=self.bias,
            batch_first=self.batch_first,
            bidirectional=self.bidirectional,
            proj_size=self.proj_size,
            lowering=lowering,
            reason=reason,
            weights=sum(array.size for array in self.arrays()),
        )


def read_layer(
    layer: nn.RNNBase, name: str = "", weights: Mapping[str, Tensor] | None = None
) -> RecurrentLayer:
    """Read a live layer; weights that a parametrization or a hook computes are computed first.

    Args:
        layer: An `nn.RNN`, `nn.LSTM` or `nn.GRU`, of any floating dtype, on any device.
        name: Its path inside the exported module.
        weights: Weights that the layer was seen to compute with, by name, where they are not its
            own parameters.

    Raises:
        ExportError: When the layer is not one of the three.
        WeightsError: When a weight holds no numbers, as on the meta device.

    Warns:
        WeightsWarning: When a weight holds NaN or infinity.
    """
    if layer.mode not in _MODES:
        raise ExportError(f"expected an nn.RNN, nn.LSTM or nn.GRU, got mode {layer.mode!r}")
    cell, nonlinearity = _MODES[layer.mode]
    suffixes = ["", "_reverse"] if layer.bidirectional else [""]
    computed = with_computed_weights(layer)
    given = weights or {}
    layers = tuple(
        tuple(_read_direction(computed, f"l{index}{suffix}", name, given) for suffix in suffixes)
        for index in range(layer.num_layers)
    )
    return RecurrentLayer(
        name=name,
        cell=cell,
        input_size=layer.input_size,
        hidden_size=layer.hidden_size,
        nonlinearity=nonlinearity,
        bias=bool(layer.bias),
        batch_first=layer.batch_first,
        bidirectional=layer.bidirectional,
        proj_size=layer.proj_size,
        layers=layers,
    )


def is_readable(layer: nn.Module) -> TypeIs[nn.RNNBase]:
    """Whether `layer` is an `nn.RNN`, `nn.LSTM` or `nn.GRU` that has its weights without a call."""
    names = layer._flat_weights_names if isinstance(layer, nn.RNNBase) else []
    return bool(names) and all(isinstance(getattr(layer, name, None), Tensor) for name in names)


def is_bare_layer(module: nn.Module) -> TypeIs[nn.RNNBase]:
    """Whether `module` computes just what `nn.RNN`, `nn.LSTM` or `nn.GRU` does."""
    if not isinstance(module, nn.RNN | nn.LSTM | nn.GRU) or "forward" in vars(module):
        return False
    return any(type(module).forward is layer.forward for layer in (nn.RNN, nn.LSTM, nn.GRU))


def digest(arrays: Iterable[NDArray[Any]]) -> str:
    """Return `sha256:` and the digest of weights in their order, floats as float32."""
    sha = hashlib.sha256()
    for array in arrays:
        sha.update(str(array.shape).encode())
        plain = array.astype("<f4", copy=False) if array.dtype.kind == "f" else array
        sha.update(np.ascontiguousarray(plain).tobytes())
    return f"sha256:{sha.hexdigest()}"


def _read_direction(
    layer: nn.RNNBase, suffix: str, name: str, given: Mapping[str, Tensor]
) -> DirectionWeights:
    def read(weight: str) -> Float32:
        called = f"{weight}_{suffix}"
        return _to_numpy(given[called] if called in given else getattr(layer, called), called, name)

    weight_ih = read("weight_ih")
    no_bias = np.zeros(len(weight_ih), np.float32)
    return DirectionWeights(
        weight_ih=weight_ih,
        weight_hh=read("weight_hh"),
        bias_ih=read("bias_ih") if layer.bias else no_bias,
        bias_hh=read("bias_hh") if layer.bias else no_bias,
        weight_hr=read("weight_hr") if layer.proj_size else None,
    )


def _to_numpy(tensor: Tensor, weight: str, layer: str) -> Float32:
    path = f"{layer}.{weight}" if layer else weight
    if tensor.is_meta:
        raise WeightsError(f"{path}: expected numbers, got a tensor on the meta device: load them")
    array: Float32 = np.ascontiguousarray(tensor.detach().cpu().float().numpy())
    if not np.isfinite(array).all():
        bad = int(np.size(array) - np.isfinite(array).sum())
        warnings.warn(
            f"{path}: {bad} of {array.size} values are NaN or infinite; the exported model may "
            "answer with them, or with numbers that hide them",
            WeightsWarning,
            stacklevel=2,
        )
    return array
