"""Activations that are rounded to 8 bits before they are multiplied, as a file of integers does.

The rounding is that of https://onnx.ai/onnx/operators/onnx__DynamicQuantizeLinear.html: to 256
steps between the smallest and the largest number of a tensor and zero. The products of a recurrent
layer round its state at each step, over all rows, and its input once, over all time.

A state that lies between two steps is rounded up by one program and down by another, since both
were right to 1e-7 before. From there on the two differ by a step of that state, which the network
may amplify. How far that goes is measured: `seed` rounds at random, up or down, what was computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial, wraps
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from rnnedge_exporters.modules.forwards import exchange_forward

STEPS = 255
"""Between the smallest and the largest number of a range."""
_HALF_STEPS = 127


@dataclass(frozen=True, slots=True)
class Parts:
    """An input that is multiplied several times, as the `operator_int8` lowering does.

    Attributes:
        factors: What the input is multiplied by in each part; in the last one it is what rounding
            takes from the input.
        weights: float32 [rows, parts*features].
    """

    factors: tuple[float, ...]
    weights: Tensor

    def project(self, x: Tensor, rounded: Rounder, *, given: bool) -> Tensor:
        """Return the product of all parts, rounded over one range."""
        *wholes, last = self.factors
        rest = x - rounded(x, given=True)
        parts = torch.cat([*(x * factor for factor in wholes), rest * last], -1)
        return rounded(parts, given=given) @ self.weights.to(x.dtype).T


@dataclass(frozen=True, slots=True)
class Integers:
    """Which products of a module are made of integers.

    Attributes:
        names: The parameters whose products are, by path.
        seed: Of the rounding at random; None rounds to the nearest.
        blocks: For products that round in blocks along their features, each over its own range: how
            many numbers a block has.
        parts: For products that take their input several times: how.
    """

    names: frozenset[str]
    seed: int | None = None
    blocks: Mapping[str, int] = field(default_factory=dict)
    parts: Mapping[str, Parts] = field(default_factory=dict)

    def sample(self, seed: int) -> Integers:
        """Return the same with rounding at random."""
        return replace(self, seed=seed)

    def install(self, module: nn.Module) -> None:
        """Make a private copy of a module round what its products take."""
        for path, inner in module.named_modules():
            layer = isinstance(inner, nn.RNN | nn.LSTM | nn.GRU)
            walker = self.walker(inner, path) if layer else None
            if walker is not None:
                exchange_forward(inner, partial(_layer_forward, inner, walker))
            elif f"{path}.weight" in self.names and not isinstance(inner, nn.Embedding):
                block = self.blocks.get(f"{path}.weight", 0)
                inner.register_forward_pre_hook(partial(_round_input, self.rounder(), block))

    def walker(self, layer: nn.Module, path: str = "") -> StepRunner | None:
        """Return what runs a recurrent layer; None when its products are not those of integers."""
        start = f"{path}." if path else ""
        own = {name for name, _ in layer.named_parameters(recurse=False)}
        names = {name for name in own if start + name in self.names}
        if not names:
            return None
        blocks = {name: self.blocks.get(start + name, 0) for name in names}
        parts = {name: self.parts[start + name] for name in names if start + name in self.parts}
        return StepRunner(layer, blocks, self.rounder(), parts)

    def rounder(self) -> Rounder:
        """Return what rounds to 8 bits."""
        return Rounder(self.seed)


class Rounder:
    """Rounds tensors to 8 bits.

    Args:
        seed: As in `Integers`.
    """

    def __init__(self, seed: int | None) -> None:
        """Start the random numbers."""
        self._random = None if seed is None else torch.Generator().manual_seed(seed)

    def __call__(self, x: Tensor, *, given: bool = False, block: int = 0) -> Tensor:
        """Return `x` rounded; what was `given` is the same in every program, as its rounding is.

        The arithmetic is that of float32, whatever the dtype of `x`.
        """
        if not x.numel():
            return x
        single = x.float()
        if block:
            return self._in_blocks(single, given=given, block=block).to(x.dtype)
        low, high = single.min().clamp(max=0), single.max().clamp(min=0)
        scale = (high - low) / STEPS
        if not scale > 0:
            return torch.zeros_like(x)
        zero = (-low / scale).round().clamp(0, STEPS)
        near = self.near(single / scale, given=given)
        return ((near + zero).clamp(0, STEPS) - zero).to(x.dtype) * scale.to(x.dtype)

    def _in_blocks(self, x: Tensor, *, given: bool, block: int) -> Tensor:
        """Round as `MatMulNBits` does: to 127 steps on either side of zero."""
        features = x.shape[-1]
        padded = nn.functional.pad(x, (0, -features % block))
        blocks = padded.reshape(*x.shape[:-1], -1, block)
        scale = blocks.abs().amax(-1, keepdim=True) / _HALF_STEPS
        scale = scale.where(scale > 0, torch.ones_like(scale))
        near = self.near(blocks / scale, given=given).clamp(-_HALF_STEPS, _HALF_STEPS)
        return (near * scale).reshape(padded.shape)[..., :features]

    def near(self, position: Tensor, *, given: bool) -> Tensor:
        """Return whole numbers: the nearest, or of the two nearest to each one at random."""
        if self._random is None or given:
            return position.round()
        draws = torch.rand(position.shape, generator=self._random, dtype=position.dtype)
        return (position + draws).floor()

    def kept(self, x: Tensor) -> Tensor:
        """Return what a layer keeps of `x` between two operations: here all of it."""
        return x


class StepRunner:
    """Runs a recurrent layer step by step.

    Args:
        layer: The layer.
        blocks: Its parameters that are multiplied as integers, with the numbers of a block.
        rounding: Rounds what they are multiplied with.
        parts: As in `Integers`, for its own parameters.
    """

    def __init__(
        self,
        layer: nn.Module,
        blocks: Mapping[str, int],
        rounding: Rounder,
        parts: Mapping[str, Parts],
    ) -> None:
        self._layer: Any = layer
        self._blocks, self._round, self._parts = blocks, rounding, parts

    def __call__(
        self, x: Tensor, states: list[Tensor], lengths: Tensor | None, *, given: bool = False
    ) -> tuple[Tensor, list[Tensor]]:
        """Run whole sequences.

        Args:
            x: [time, batch, features].
            states: Each [layers*directions, batch, size]; empty for zeros.
            lengths: int64 [batch], zero or more; None when all rows are full.
            given: Whether input and states are what every program is given, and rounds alike.

        Returns:
            The output [time, batch, directions*hidden], zero past a row's end, and the states.
        """
        layer = self._layer
        directions = 2 if layer.bidirectional else 1
        if not states:
            sizes = [layer.proj_size or layer.hidden_size, layer.hidden_size]
            shape = (layer.num_layers * directions, x.shape[1])
            states = [x.new_zeros(*shape, size) for size in sizes[: 1 + (layer.mode == "LSTM")]]
        finals: list[list[Tensor]] = []
        for index in range(layer.num_layers):
            outputs = []
            for backward in range(directions):
                suffix = f"l{index}" + "_reverse" * backward
                initial = [state[index * directions + backward] for state in states]
                y, last = self._walk(x, initial, lengths, suffix, (given and not index, given))
                outputs.append(y)
                finals.append(last)
            x = torch.cat(outputs, 2)
        return x, [torch.stack(parts) for parts in zip(*finals, strict=True)]

    def _walk(
        self,
        x: Tensor,
        state: list[Tensor],
        lengths: Tensor | None,
        suffix: str,
        given: tuple[bool, bool],
    ) -> tuple[Tensor, list[Tensor]]:
        name = f"weight_ih_{suffix}"
        if name in self._parts:
            projected = self._parts[name].project(x, self._round, given=given[0])
        else:
            projected = self._product(x, name, given=given[0])  # [time, batch, gates*hidden]
        if self._layer.bias:
            projected = projected + getattr(self._layer, f"bias_ih_{suffix}")
        projected = self._round.kept(projected)
        state = [self._round.kept(part) for part in state]
        steps = range(len(x))
        outputs: list[Tensor] = []
        for number, t in enumerate(reversed(steps) if suffix.endswith("_reverse") else steps):
            new = self._step(projected[t], state, suffix, given=given[1] and not number)
            new = [self._round.kept(part) for part in new]
            y = new[0]
            if lengths is not None:
                inside = (t < lengths)[:, None]
                y = torch.where(inside, y, torch.zeros_like(y))
                new = [torch.where(inside, a, b) for a, b in zip(new, state, strict=True)]
            outputs.append(y)
            state = new
        if suffix.endswith("_reverse"):
            outputs.reverse()
        return torch.stack(outputs), state

    def _product(self, h: Tensor, name: str, *, given: bool = False) -> Tensor:
        block = self._blocks.get(name)
        rounded = h if block is None else self._round(h, given=given, block=block)
        product: Tensor = rounded @ getattr(self._layer, name).T
        return product

    def _step(self, x: Tensor, state: list[Tensor], suffix: str, *, given: bool) -> list[Tensor]:
        """Run one step; the equations are those of `torch.nn.RNN`, `GRU` and `LSTM`."""
        layer, h = self._layer, state[0]
        recurrent = self._product(h, f"weight_hh_{suffix}", given=given)
        if layer.bias:
            recurrent = recurrent + getattr(layer, f"bias_hh_{suffix}")
        recurrent = self._round.kept(recurrent)
        if layer.mode == "LSTM":
            i, f, g, o = (x + recurrent).chunk(4, 1)
            c = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            return [self._product(h, f"weight_hr_{suffix}") if layer.proj_size else h, c]
        if layer.mode == "GRU":
            x_r, x_z, x_n = x.chunk(3, 1)
            h_r, h_z, h_n = recurrent.chunk(3, 1)
            z, n = (x_z + h_z).sigmoid(), (x_n + (x_r + h_r).sigmoid() * h_n).tanh()
            return [(1 - z) * n + z * h]
        return [(x + recurrent).tanh() if layer.mode == "RNN_TANH" else (x + recurrent).relu()]


def _round_input(
    rounding: Rounder, block: int, _: nn.Module, inputs: tuple[Any, ...]
) -> tuple[Any, ...]:
    return (rounding(inputs[0], block=block), *inputs[1:])


def _layer_forward(layer: nn.RNNBase, walker: StepRunner, own: Any) -> Any:
    """Return a forward with the signature of the layer's own."""

    @wraps(own)  # by which arguments are bound
    def forward(input: Any, hx: Any = None) -> Any:
        states = [] if hx is None else list(hx) if isinstance(hx, tuple) else [hx]
        lengths, x, unbatched = None, input, False
        if isinstance(input, PackedSequence):
            x, lengths = pad_packed_sequence(input)  # [time, batch, features]
        else:
            unbatched = input.dim() == 2
            if unbatched:
                x, states = x.unsqueeze(1), [state.unsqueeze(1) for state in states]
            elif layer.batch_first:
                x = x.transpose(0, 1)
        output: Any
        output, last = walker(x, states, lengths)
        if isinstance(input, PackedSequence):
            output = _packed_like(input, output, lengths)
        elif unbatched:
            output, last = output.squeeze(1), [state.squeeze(1) for state in last]
        elif layer.batch_first:
            output = output.transpose(0, 1)
        return output, tuple(last) if layer.mode == "LSTM" else last[0]

    return forward


def _packed_like(packed: PackedSequence, output: Tensor, lengths: Any) -> PackedSequence:
    if packed.sorted_indices is not None:
        output, lengths = output[:, packed.sorted_indices], lengths[packed.sorted_indices]
    data = pack_padded_sequence(output, lengths).data
    return PackedSequence(data, packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices)
