"""What a module does while it runs in PyTorch: which recurrent layers it calls, at which sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial, wraps
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from rnnedge_exporters.errors import ExportError
from rnnedge_exporters.layers.recurrent import Recurrent
from rnnedge_exporters.modules.forwards import Forward, exchange_forward
from rnnedge_exporters.modules.loops.rolled import RolledLoop
from rnnedge_exporters.modules.packing import PackedSequences
from rnnedge_exporters.modules.source_lines import calling_line

Layer: TypeAlias = nn.RNNBase | Recurrent | RolledLoop

RECURRENT = "Recurrent"
LAYER = "layer"
LENGTHS_GIVEN = "lengths_given"
"""Which input has the lengths; 0 where every row is full."""


@dataclass
class Capture:
    """What was seen while the module ran.

    Attributes:
        layers: The recurrent layers by path, those inside others left out.
        calls: Paths of the layers in the order in which they were called.
        time: Sizes of the time axis that each call saw, symbolic under `torch.export`.
        batch: Sizes of the batch axis that each call saw.
        cells: How often each cell (`nn.LSTMCell` and its siblings) was called, by path.
        lines: The line of the user's code that called a layer or a cell first, by path.
        weights: Weights that a layer was called with and that are not its parameters, by path and
            name: what a forward, or a hook of the user's own, computes before the call.
        guards: What torch assumed of a size, and the line of the user's code that made it do so.
        packed: The packed sequences that were made.
    """

    layers: dict[str, Layer]
    calls: list[str] = field(default_factory=list)
    time: list[int | torch.SymInt] = field(default_factory=list)
    batch: list[int | torch.SymInt] = field(default_factory=list)
    cells: dict[str, int] = field(default_factory=dict)
    lines: dict[str, str] = field(default_factory=dict)
    weights: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    guards: dict[str, str] = field(default_factory=dict)
    packed: PackedSequences = field(default_factory=PackedSequences)

    def note_call(self, path: str) -> None:
        """Note that a layer is being called."""
        self.calls.append(path)
        self.note_line(path)

    def note_line(self, path: str) -> None:
        """Note the line that is calling a layer or a cell, once."""
        if path not in self.lines:
            self.lines[path] = calling_line()


def recurrent_layers(module: nn.Module) -> dict[str, Layer]:
    """Return the recurrent layers of `module` by path, in order, each once."""
    kinds = (nn.RNN, nn.LSTM, nn.GRU, Recurrent, RolledLoop)
    return {path: inner for path, inner in module.named_modules() if isinstance(inner, kinds)}


@contextmanager
def observed(module: nn.Module) -> Iterator[Capture]:
    """Note sizes and calls while `module`, a private copy, runs in PyTorch as it is."""
    capture = Capture(recurrent_layers(module))
    own = {path: dict(layer._parameters) for path, layer in capture.layers.items()}

    def noting(layer: Any, path: str, forward: Forward) -> Forward:
        if isinstance(layer, RolledLoop):
            return partial(_note_loop, capture, layer, path, forward)

        def call(*args: Any, **kwargs: Any) -> Any:
            x = args[0] if args else kwargs["input"]
            capture.note_call(path)
            _note_weights(capture, path, layer, own[path])
            if isinstance(x, PackedSequence):
                capture.time.append(len(x.batch_sizes))
                capture.batch.append(int(x.batch_sizes[0]))
            elif isinstance(layer, Recurrent) or x.dim() == 3:
                axis = 1 if layer.batch_first else 0
                capture.time.append(x.shape[axis])
                capture.batch.append(x.shape[1 - axis])
            else:
                capture.time.append(x.shape[0])
            if isinstance(layer, nn.RNNBase) and (isinstance(x, PackedSequence) or x.dim() == 3):
                hx = args[1] if len(args) > 1 else kwargs.get("hx")
                _check_states(path, layer, hx, capture.batch[-1])
            return forward(*args, **kwargs)

        return wraps(forward)(call)  # by the signature of which arguments are bound

    with exchanged(module, capture, noting):
        yield capture


@contextmanager
def exchanged(
    module: nn.Module, capture: Capture, make: Callable[[Any, str, Forward], Forward]
) -> Iterator[None]:
    """Exchange the forwards of the recurrent layers, and count the cells, inside the block.

    Args:
        module: The private copy.
        capture: Has the layers, and gets the cells.
        make: Makes the forward of a layer, from the layer, its path and the forward that it has.
    """
    put_backs = [
        exchange_forward(layer, partial(make, layer, path))
        for path, layer in capture.layers.items()
    ]
    hooks = count_cells(module, capture)
    try:
        yield
    finally:
        for put_back in put_backs:
            put_back()
        for hook in hooks:
            hook.remove()


def _note_loop(
    capture: Capture, loop: RolledLoop, path: str, forward: Forward, *given: Tensor
) -> Any:
    capture.note_call(path)
    capture.time.append(given[loop.shape.states].shape[0])
    capture.batch += loop.rows(given)
    return forward(*given)


def _check_states(path: str, layer: nn.RNNBase, hx: Any, batch: Any) -> None:
    """Refuse states of another shape: PyTorch 2.13 reads past the end of those of packed rows."""
    states = [] if hx is None else [hx] if isinstance(hx, Tensor) else list(hx)
    for state, size in zip(states, state_sizes(layer), strict=False):
        expected = [layer.num_layers * (2 if layer.bidirectional else 1), batch, size]
        if list(state.shape) != expected:
            raise ExportError(f"{path}: expected a state of {expected}, got {list(state.shape)}")


def state_sizes(layer: nn.RNNBase) -> list[int]:
    """Return the sizes of the states of a layer, the hidden state first."""
    cell = [layer.hidden_size] if layer.mode == "LSTM" else []
    return [layer.proj_size or layer.hidden_size, *cell]


def _note_weights(capture: Capture, path: str, layer: Layer, own: dict[str, Any]) -> None:
    """Note the weights of a call that are not the parameters that the layer had before the run."""
    for name in layer._flat_weights_names if isinstance(layer, nn.RNNBase) else ():
        weight = getattr(layer, name)
        if weight is own.get(name):
            continue
        noted = capture.weights.setdefault(path, {}).setdefault(name, weight.detach().clone())
        if not torch.equal(noted, weight):
            raise ExportError(
                f"{path}.{name} is computed anew for each call, and differs between two: give each "
                "call its own layer"
            )


def count_cells(module: nn.Module, capture: Capture) -> list[Any]:
    """Note each call of an `nn.RNNCell`, `nn.LSTMCell` or `nn.GRUCell`; its axis 0 is a batch.

    The cells inside a `Recurrent` are left out: that one walks time itself.
    """
    hooks = []
    own = {inner for layer in capture.layers.values() for inner in layer.modules()}
    for path, cell in module.named_modules():
        if isinstance(cell, nn.RNNCellBase) and cell not in own:

            def count(_: Any, args: Any, path: str = path) -> None:
                capture.cells[path] = capture.cells.get(path, 0) + 1
                capture.note_line(path)
                if args[0].dim() == 2:
                    capture.batch.append(args[0].shape[0])

            hooks.append(cell.register_forward_pre_hook(count))
    return hooks
