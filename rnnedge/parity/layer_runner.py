"""Runs cases on a bare layer in PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnedge.parity.cases import Case, Inputs, Outputs
from rnnedge.parity.rounding.dynamic_quantization import Integers, StepRunner
from rnnedge_exporters.copying import private_copy
from rnnedge_exporters.layers.recurrent import join
from rnnedge_runtime.contract import Interface


class LayerRunner:
    """Runs cases on an `nn.RNN`, `nn.LSTM` or `nn.GRU` in PyTorch, in one dtype.

    Args:
        layer: The layer; it is copied.
        interface: Gives the answers the names that the exported model has.
        dtype: What to compute in.
        integers: Which products are made of integers; None where none are.

    Attributes:
        source: The copy that is run.
        interface: Gives the answers the names that the exported model has.
    """

    def __init__(
        self,
        layer: nn.Module,
        interface: Interface,
        dtype: torch.dtype,
        integers: Integers | None = None,
    ) -> None:
        """Copy `layer` to the CPU, in `dtype` and in eval mode."""
        self._layer = self.source = private_copy(layer, dtype)
        self._walker = integers.walker(self._layer) if integers else None
        self._batch_first = bool(getattr(layer, "batch_first", False))
        self.interface = interface
        self._dtype = dtype

    def __call__(self, inputs: Inputs, case: Case) -> Outputs:
        """Run `inputs`; whole where a case in chunks has the same answer, as without integers."""
        face = self.interface
        tensors = [
            torch.from_numpy(inputs[spec.name]).to(self._dtype)
            for spec in face.inputs
            if spec.name != face.lengths
        ]
        lengths = torch.from_numpy(inputs[face.lengths]) if face.lengths else None
        with torch.inference_mode():
            output, finals = self._run(tensors[0], tensors[1:], lengths, case)
        answers = [output, *finals]  # a model may leave out the last ones
        return {s.name: t.numpy() for s, t in zip(face.outputs, answers, strict=False)}

    def _run(
        self, x: Tensor, states: list[Tensor], lengths: Tensor | None, case: Case
    ) -> tuple[Tensor, list[Tensor]]:
        if self._walker:
            return self._walk(self._walker, x, states, lengths, case)
        if lengths is None:
            output, finals = self._layer(x, join(states))
            return output, list(finals) if isinstance(finals, tuple) else [finals]
        # A PackedSequence holds no row of length zero: those are left out, and put back.
        axis = 0 if self._batch_first else 1
        rows = torch.nonzero(lengths)[:, 0]
        if not len(rows):  # nor a batch of none
            output, last = self._layer(x, join(states))
            parts = last if isinstance(last, tuple) else (last,)
            return torch.zeros_like(output), states or [torch.zeros_like(part) for part in parts]
        packed = pack_padded_sequence(
            x.index_select(axis, rows), lengths[rows], self._batch_first, enforce_sorted=False
        )
        some = [state.index_select(1, rows) for state in states]
        answer, last = self._layer(packed, join(some))
        padded, _ = pad_packed_sequence(answer, self._batch_first, total_length=x.shape[1 - axis])
        shape = [*x.shape[:2], padded.shape[2]]
        output = torch.zeros(shape, dtype=self._dtype).index_copy(axis, rows, padded)
        parts = last if isinstance(last, tuple) else (last,)
        before = states or [p.new_zeros(p.shape[0], len(lengths), p.shape[2]) for p in parts]
        return output, [b.index_copy(1, rows, p) for b, p in zip(before, parts, strict=True)]

    def _walk(
        self,
        walker: StepRunner,
        x: Tensor,
        states: list[Tensor],
        lengths: Tensor | None,
        case: Case,
    ) -> tuple[Tensor, list[Tensor]]:
        """Run in chunks, since an input is rounded over the range of its chunk."""
        x = x.transpose(0, 1) if self._batch_first else x
        outputs, start = [], 0
        given = case.way != "threads"  # each thread takes the range of its own rows
        for piece in torch.split(x, case.chunk or len(x)):
            rows = None if lengths is None else (lengths - start).clamp(0, len(piece))
            output, states = walker(piece, states, rows, given=given and not start)
            outputs.append(output)
            start += len(piece)
        output = torch.cat(outputs)
        return output.transpose(0, 1) if self._batch_first else output, states
