"""The second moments of what each weight is multiplied with, on the user's own sequences."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from functools import partial, wraps
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from rnnedge_exporters.calibration.sequences import NamedSequence, given_to
from rnnedge_exporters.copying import private_copy
from rnnedge_exporters.errors import ExportError
from rnnedge_exporters.layers.recurrent import join
from rnnedge_exporters.layers.weights import is_bare_layer
from rnnedge_exporters.modules.attributes import unchanged
from rnnedge_exporters.modules.call_structure import arguments_of
from rnnedge_exporters.modules.forwards import Forward, exchange_forward
from rnnedge_exporters.quantization.second_moments import Moments, SecondMoments
from rnnedge_runtime.contract import Interface


def collect_moments(
    model: nn.Module, interface: Interface, sequences: Sequence[NamedSequence]
) -> Moments:
    """Run a module on sequences, in float32, and see what it multiplies.

    States that an export lifts start from zeros, as they do in the module.

    Args:
        model: The layer or module; a copy is run.
        interface: What a file of it takes.
        sequences: The sequences, one or more.

    Raises:
        ExportError: When the module does not take a sequence.
    """
    copied = private_copy(model)
    bare = is_bare_layer(copied)
    seen = _Seen(single=len(sequences) == 1)
    for path, inner in copied.named_modules():
        if isinstance(inner, nn.RNN | nn.LSTM | nn.GRU):
            exchange_forward(inner, partial(_noting_layer, seen, path, inner))
        elif isinstance(inner, nn.Linear | nn.RNNCellBase):
            note = _note_linear if isinstance(inner, nn.Linear) else _note_cell
            inner.register_forward_pre_hook(partial(note, seen, path), with_kwargs=True)
    with torch.no_grad(), warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")  # what PyTorch remarks on its own kernels
        for number, sequence in enumerate(sequences):
            seen.part = number % 2
            arrays = sequence.with_states(interface)
            tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
            with given_to(model, sequence, ExportError):
                if bare:
                    states = [tensors[spec.name] for spec in interface.state_inputs]
                    copied(tensors[interface.inputs[0].name], join(states))
                    continue
                with unchanged(copied):
                    copied(**arguments_of(copied, interface, tensors).values)
    return seen.moments()


class _Seen:
    """Adds up what was seen, in two parts."""

    def __init__(self, *, single: bool) -> None:
        self.part = 0
        self._single = single
        self._alone: dict[tuple[nn.RNNBase, str], nn.RNNBase] = {}
        self._sums: dict[str, list[tuple[Any, int]]] = {}

    def add(self, name: str, x: Tensor) -> None:
        """Add rows [..., features], in the order of time."""
        rows = x.reshape(-1, x.shape[-1]).double()
        sums = self._sums.setdefault(name, [(0.0, 0), (0.0, 0)])
        pieces = rows.tensor_split(2) if self._single else (rows,)
        for part, piece in enumerate(pieces, self.part):
            total, count = sums[part]
            sums[part] = (total + (piece.T @ piece).numpy(), count + len(piece))

    def alone(self, layer: nn.RNNBase, weights: str, features: int) -> nn.RNNBase:
        """Return one direction of one stacked layer as a separate layer, made once."""
        key = layer, weights
        if key not in self._alone:
            self._alone[key] = _alone(layer, weights, features)
        return self._alone[key]

    def moments(self) -> Moments:
        """Return what was seen; one part stands for both where the other is empty."""
        found = {}
        for name, sums in self._sums.items():
            parts = [total / count for total, count in sums if count]
            if parts:
                found[name] = SecondMoments(parts[0], parts[-1])
        return Moments(found)


def _note_linear(seen: _Seen, path: str, _: nn.Module, args: Any, kwargs: Any) -> None:
    seen.add(_name(path, "weight"), args[0] if args else kwargs["input"])


def _note_cell(seen: _Seen, path: str, _: nn.Module, args: Any, kwargs: Any) -> None:
    x, state = _given(args, kwargs)
    seen.add(_name(path, "weight_ih"), x)
    if state is not None:
        seen.add(_name(path, "weight_hh"), state[0] if isinstance(state, tuple) else state)


def _note_layer(seen: _Seen, path: str, layer: Any, args: Any, kwargs: Any) -> None:
    """Run a layer once more, one of its layers and directions after the other, for the states."""
    ways = ("", "_reverse") if layer.bidirectional else ("",)
    for x, states in _rows(layer, *_given(args, kwargs)):
        for index in range(layer.num_layers):
            outputs = []
            for way, suffix in enumerate(ways):
                weights = f"l{index}{suffix}"
                walked = x.flip(0) if way else x
                row = index * len(ways) + way
                initial = tuple(state[row : row + 1].contiguous() for state in states)
                given = (initial if layer.mode == "LSTM" else initial[0]) if initial else None
                y, _ = seen.alone(layer, weights, x.shape[2])(walked.contiguous(), given)
                seen.add(_name(path, f"weight_ih_{weights}"), walked)
                first = initial[0] if initial else torch.zeros_like(y[:1])
                seen.add(_name(path, f"weight_hh_{weights}"), torch.cat([first, y[:-1]]))
                outputs.append(y.flip(0) if way else y)
            x = torch.cat(outputs, 2)


def _noting_layer(seen: _Seen, path: str, layer: Any, forward: Forward) -> Forward:
    @wraps(forward)  # by the signature of which arguments are bound
    def call(*args: Any, **kwargs: Any) -> Any:
        _note_layer(seen, path, layer, args, kwargs)
        return forward(*args, **kwargs)

    return call


def _given(args: Any, kwargs: Any) -> tuple[Any, Any]:
    return args[0] if args else kwargs["input"], args[1] if len(args) > 1 else kwargs.get("hx")


def _name(path: str, weight: str) -> str:
    return f"{path}.{weight}" if path else weight


def _rows(layer: nn.RNNBase, x: Any, hx: Any) -> Iterator[tuple[Tensor, list[Tensor]]]:
    """Yield x [time, batch, features] and its initial states; each row of ragged ones alone."""
    states = [] if hx is None else list(hx) if isinstance(hx, tuple) else [hx]
    if isinstance(x, PackedSequence):
        padded, lengths = pad_packed_sequence(x)
        for row, length in enumerate(lengths.tolist()):
            yield padded[:length, row : row + 1], [s[:, row : row + 1] for s in states]
    elif x.dim() == 2:
        yield x.unsqueeze(1), [state.unsqueeze(1) for state in states]
    else:
        yield x.transpose(0, 1) if layer.batch_first else x, states


def _alone(layer: nn.RNNBase, weights: str, features: int) -> nn.RNNBase:
    sizes = (features, layer.hidden_size)
    one: nn.RNNBase
    if layer.mode == "LSTM":
        one = nn.LSTM(*sizes, bias=layer.bias, proj_size=layer.proj_size)
    elif layer.mode == "GRU":
        one = nn.GRU(*sizes, bias=layer.bias)
    else:
        kind = layer.mode.removeprefix("RNN_").lower()
        one = nn.RNN(*sizes, bias=layer.bias, nonlinearity=kind)
    for name, parameter in one.named_parameters():
        parameter.data = getattr(layer, name.replace("l0", weights)).detach()
    return one
