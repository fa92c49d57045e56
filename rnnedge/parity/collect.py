"""Collecting what both sides answer, before anything is compared."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnedge.parity.cases import Case, Inputs, chunks, make_inputs
from rnnedge_runtime import RnnEdgeError, Session
from rnnedge_runtime.contract import TIME, Interface

Outputs = dict[str, NDArray[Any]]


class Runner(Protocol):
    """Runs one case: inputs by name to outputs by name."""

    def __call__(self, inputs: Inputs, case: Case) -> Outputs:
        """Run `inputs`."""
        ...


@dataclass(frozen=True, slots=True)
class Answers:
    """What everybody answered in one case.

    Attributes:
        case: The case.
        reference: PyTorch's outputs in float64, by name.
        torch: PyTorch's outputs in float32, by name.
        model: The exported model's outputs by name, or None when it raised.
        failure: What the exported model raised, or None.
    """

    case: Case
    reference: Outputs
    torch: Outputs
    model: Outputs | None
    failure: str | None


def collect(
    session: Session,
    module: nn.Module,
    cases: Sequence[Case],
    progress: Callable[[int, int], None] | None = None,
) -> list[Answers]:
    """Run every case on the exported model and, in float64 and float32, on its source.

    Args:
        session: The exported model.
        module: The source; it is copied, never changed.
        cases: What to run.
        progress: Called with the number of cases done and in all.
    """
    model = ModelRunner(session)
    reference = LayerRunner(module, session.interface, torch.float64)
    single = LayerRunner(module, session.interface, torch.float32)
    collected = []
    for done, case in enumerate(cases, 1):
        inputs = make_inputs(session.interface, case)
        outputs, failure = None, None
        try:
            outputs = model(inputs, case)
        except RnnEdgeError as error:
            failure = str(error)
        answers = (reference(inputs, case), single(inputs, case))
        collected.append(Answers(case, *answers, outputs, failure))
        if progress:
            progress(done, len(cases))
    return collected


class ModelRunner:
    """Runs cases on an exported model, whole or in chunks that hand their state on."""

    def __init__(self, session: Session) -> None:
        """Run on `session`."""
        self._session = session

    def __call__(self, inputs: Inputs, case: Case) -> Outputs:
        """Run `inputs`."""
        face = self._session.interface
        data = {spec.name: inputs[spec.name] for spec in face.data_inputs}
        state = {spec.name: inputs[spec.name] for spec in face.state_inputs}
        lengths = inputs[face.lengths] if face.lengths else None
        pieces: list[Outputs] = []
        for piece in chunks(case):
            cut = {
                spec.name: data[spec.name][_at(spec.axes.index(TIME), piece)]
                if TIME in spec.axes
                else data[spec.name]
                for spec in face.data_inputs
            }
            steps = min(piece.stop, case.time) - piece.start
            rows = None if lengths is None else np.clip(lengths - piece.start, 0, steps)
            result = self._session.run(cut, lengths=rows, state=state or None)
            state = {p.input: result.outputs[p.output] for p in face.states}
            pieces.append(result.outputs)
        timed = {spec.name: spec.axes.index(TIME) for spec in face.outputs if TIME in spec.axes}
        return {
            name: np.concatenate([piece[name] for piece in pieces], timed[name])
            if name in timed
            else last
            for name, last in pieces[-1].items()
        }


class LayerRunner:
    """Runs cases on an `nn.RNN`, `nn.LSTM` or `nn.GRU` in PyTorch, in one dtype.

    Args:
        layer: The layer; it is copied.
        interface: Gives the answers the names that the exported model has.
        dtype: What to compute in.
    """

    def __init__(self, layer: nn.Module, interface: Interface, dtype: torch.dtype) -> None:
        """Copy `layer` to the CPU, in `dtype` and in eval mode."""
        self._layer: nn.Module = copy.deepcopy(layer).to("cpu", dtype).eval()
        self._batch_first = bool(getattr(layer, "batch_first", False))
        self._interface = interface
        self._dtype = dtype

    def __call__(self, inputs: Inputs, case: Case) -> Outputs:
        """Run `inputs` whole; a case in chunks has the same answer."""
        face = self._interface
        x = torch.from_numpy(inputs[face.data_inputs[0].name]).to(self._dtype)
        states = [torch.from_numpy(inputs[s.name]).to(self._dtype) for s in face.state_inputs]
        lengths = torch.from_numpy(inputs[face.lengths]) if face.lengths else None
        with torch.inference_mode():
            output, finals = self._run(x, states, lengths)
        names = [face.data_outputs[0].name] + [
            spec.name for spec in face.outputs if spec.name != face.data_outputs[0].name
        ]
        return {n: t.numpy() for n, t in zip(names, [output, *finals], strict=True)}

    def _run(
        self, x: Tensor, states: list[Tensor], lengths: Tensor | None
    ) -> tuple[Tensor, list[Tensor]]:
        hx = (tuple(states) if len(states) > 1 else states[0]) if states else None
        if lengths is None:
            output, finals = self._layer(x, hx)
            return output, list(finals) if isinstance(finals, tuple) else [finals]
        # A PackedSequence holds no row of length zero: those are left out, and put back.
        axis = 0 if self._batch_first else 1
        time = x.shape[1 - axis]
        rows = torch.nonzero(lengths)[:, 0]
        packed = pack_padded_sequence(
            x.index_select(axis, rows), lengths[rows], self._batch_first, enforce_sorted=False
        )
        some = [state.index_select(1, rows) for state in states]
        answer, last = self._layer(packed, (tuple(some) if len(some) > 1 else some[0]) if some
                                   else None)  # fmt: skip
        padded, _ = pad_packed_sequence(answer, self._batch_first, total_length=time)
        shape = [*x.shape[:2], padded.shape[2]]
        output = torch.zeros(shape, dtype=self._dtype).index_copy(axis, rows, padded)
        parts = last if isinstance(last, tuple) else (last,)
        before = states or [p.new_zeros(p.shape[0], len(lengths), p.shape[2]) for p in parts]
        return output, [b.index_copy(1, rows, p) for b, p in zip(before, parts, strict=True)]


def _at(axis: int, piece: slice) -> tuple[slice, ...]:
    return (*[slice(None)] * axis, piece)
