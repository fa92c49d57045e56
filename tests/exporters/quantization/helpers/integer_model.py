"""The arithmetic of the integer lowerings, written again in numpy from what the operators promise.

https://onnx.ai/onnx/operators/onnx__DynamicQuantizeLinear.html, `onnx__MatMulInteger`, and
PyTorch's equations. Nothing here is shared with the exporter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import nn

Array = NDArray[np.float32]

STORED, COMPUTED = 127, 64
"""Largest magnitudes of int8 weights: widened before use, and multiplied as integers."""


def dynamic_uint8(x: Array) -> tuple[NDArray[np.int32], np.float32, int]:
    """Quantize as DynamicQuantizeLinear does: values, scale, zero point."""
    low, high = np.float32(min(x.min(), 0)), np.float32(max(x.max(), 0))
    scale = (high - low) / np.float32(255)
    if scale == 0:
        return np.zeros(x.shape, np.int32), np.float32(1), 0
    zero = int(np.clip(np.rint(-low / scale), 0, 255))
    return np.clip(np.rint(x / scale) + zero, 0, 255).astype(np.int32), scale, zero


def int8_rows(weights: Array, limit: int) -> tuple[NDArray[np.int32], Array]:
    """Quantize each row symmetrically: values, and a scale for each row."""
    scale = np.abs(weights).max(1) / np.float32(limit)
    scale = np.where(scale > 0, scale, np.float32(1)).astype(np.float32)
    return np.rint(weights / scale[:, None]).astype(np.int32), scale


def widened(weights: Array, limit: int = STORED) -> Array:
    """Return weights as they are after storing them."""
    values, scale = int8_rows(weights, limit)
    return values.astype(np.float32) * scale[:, None]


def int8_blocks(x: Array, size: int) -> tuple[NDArray[np.int32], Array]:
    """Quantize blocks of the last axis symmetrically: [rows, blocks, size], and their scales.

    Zeros fill up the last block.
    """
    padded = np.zeros((len(x), -(-x.shape[1] // size) * size), np.float32)
    padded[:, : x.shape[1]] = x
    blocks = padded.reshape(len(x), -1, size)
    scale = np.abs(blocks).max(2) / np.float32(STORED)
    scale = np.where(scale > 0, scale, np.float32(1)).astype(np.float32)
    return np.rint(blocks / scale[:, :, None]).astype(np.int32), scale


@dataclass
class Arithmetic:
    """How products are made; a test replaces one to make a mistake.

    Attributes:
        integer_input: Whether the input is quantized too, over all time and rows.
        parts: Whether a quantized input of the first layer is so in three parts.
        block: Numbers of a block, where weights and states are quantized in blocks; 0 elsewhere.
        rows: Quantizes the rows of weights that are multiplied as integers.
        gates: The order in which blocks of rows are taken for gates.
        bias_hh: What the recurrent bias is multiplied by.
    """

    integer_input: bool = False
    parts: bool = True
    block: int = 0
    rows: Callable[[Array, int], tuple[NDArray[np.int32], Array]] = int8_rows
    gates: dict[str, list[int]] = field(default_factory=dict)
    bias_hh: float = 1.0

    def integer(self, x: Array, weights: Array) -> Array:
        """Return `x @ weights.T`, both quantized."""
        if self.block:
            (left, left_scale), (right, right_scale) = (
                int8_blocks(part, self.block) for part in (x, weights)
            )
            sums = np.einsum("rbi,nbi->rnb", left, right).astype(np.float32)
            return (sums * left_scale[:, None, :] * right_scale[None]).sum(2, dtype=np.float32)
        values, x_scale, zero = dynamic_uint8(x)
        rows, scale = self.rows(weights, COMPUTED)
        return ((values - zero) @ rows.T).astype(np.float32) * x_scale * scale

    def project(self, x: Array, weights: Array, *, first: bool) -> Array:
        """Return the input projection of [time, batch, features]."""
        if self.integer_input and first and self.parts:
            return self.in_parts(x, weights)
        if self.integer_input:
            flat = self.integer(x.reshape(-1, x.shape[2]), weights)
            return flat.reshape(*x.shape[:2], len(weights))
        return x @ widened(weights).T

    def in_parts(self, x: Array, weights: Array) -> Array:
        """Return the projection of the input, its eighth and its rounding, each with weights."""
        values, scale, zero = dynamic_uint8(x)
        rest = x - (values - zero).astype(np.float32) * scale
        values, scale, zero = dynamic_uint8(np.concatenate([x, x / 8, rest * 16], 2))
        rows, steps = self.rows(weights, STORED)
        main = np.rint(rows / 2)
        small = np.rint(main / 16)
        joined = np.concatenate([main, 4 * (rows - 2 * main), small], 1).astype(np.int64)
        sums = (values - zero).astype(np.int64) @ joined.T
        return sums.astype(np.float32) * scale * (2 * steps)


def run(
    layer: nn.RNNBase,
    x: Array,
    state: tuple[Array, ...],
    lengths: NDArray[np.int64] | None,
    arithmetic: Arithmetic,
) -> dict[str, Array]:
    """Run a layer: `output`, `h_n` (and `c_n`), with the axes of the model file."""
    x = x.transpose(1, 0, 2) if layer.batch_first else x
    directions = 2 if layer.bidirectional else 1
    if lengths is None:
        lengths = np.full(x.shape[1], len(x))
    finals: list[tuple[Array, ...]] = []
    for index in range(layer.num_layers):
        outputs = []
        for direction in range(directions):
            suffix = f"l{index}" + "_reverse" * direction
            row = index * directions + direction
            y, last = _walk(
                layer, suffix, x, tuple(s[row] for s in state), lengths, arithmetic, direction
            )
            outputs.append(y)
            finals.append(last)
        x = np.concatenate(outputs, 2)
    states = [np.stack(part) for part in zip(*finals, strict=True)]
    named = dict(zip(("h_n", "c_n"), states, strict=False))
    return {"output": x.transpose(1, 0, 2) if layer.batch_first else x, **named}


def _walk(
    layer: nn.RNNBase,
    suffix: str,
    x: Array,
    state: tuple[Array, ...],
    lengths: NDArray[np.int64],
    arithmetic: Arithmetic,
    direction: int,
) -> tuple[Array, tuple[Array, ...]]:
    def weight(name: str) -> Array:
        return getattr(layer, f"{name}_{suffix}").detach().numpy()

    rows = len(weight("weight_hh"))
    b_ih = weight("bias_ih") if layer.bias else np.zeros(rows, np.float32)
    b_hh = weight("bias_hh") if layer.bias else np.zeros(rows, np.float32)
    b_hh = b_hh * np.float32(arithmetic.bias_hh)
    first = suffix.startswith("l0")
    projected = arithmetic.project(x, weight("weight_ih"), first=first) + b_ih
    outputs = np.zeros((*x.shape[:2], state[0].shape[1]), np.float32)
    steps = range(len(x))
    for t in reversed(steps) if direction else steps:
        h = state[0]
        recurrent = arithmetic.integer(h, weight("weight_hh")) + b_hh
        if layer.mode == "LSTM":
            blocks = np.split(projected[t] + recurrent, 4, axis=1)
            i, f, g, o = (blocks[k] for k in arithmetic.gates.get("lstm", [0, 1, 2, 3]))
            c = _sigmoid(f) * state[1] + _sigmoid(i) * np.tanh(g)
            h = _sigmoid(o) * np.tanh(c)
            if layer.proj_size:
                h = arithmetic.integer(h, weight("weight_hr"))
            new: tuple[Array, ...] = (h, c)
        elif layer.mode == "GRU":
            order = arithmetic.gates.get("gru", [0, 1, 2])
            x_blocks, h_blocks = np.split(projected[t], 3, axis=1), np.split(recurrent, 3, axis=1)
            (x_r, x_z, x_n), (h_r, h_z, h_n) = (
                [blocks[k] for k in order] for blocks in (x_blocks, h_blocks)
            )
            r, z = _sigmoid(x_r + h_r), _sigmoid(x_z + h_z)
            n = np.tanh(x_n + r * h_n)
            new = ((1 - z) * n + z * h,)
        else:
            early = projected[t] + recurrent
            new = (np.tanh(early) if layer.mode == "RNN_TANH" else np.maximum(early, 0),)
        inside = (t < lengths)[:, None]
        state = tuple(np.where(inside, a, b) for a, b in zip(new, state, strict=True))
        outputs[t] = np.where(inside, new[0], 0)
    return outputs, state


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))
