"""Finding the mistake that answers what a model answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from rnnedge.parity.cases import Inputs, Outputs
from rnnedge.parity.collect import Answers
from rnnedge.parity.diagnosis.budget import Budget
from rnnedge.parity.diagnosis.mistake import Mistake
from rnnedge.parity.diagnosis.mistakes import mistakes
from rnnedge.parity.module_runner import ModuleRunner
from rnnedge_exporters.copying import private_copy
from rnnedge_exporters.layers.weights import RecurrentLayer, is_readable, read_layer
from rnnedge_exporters.modules.capture import recurrent_layers
from rnnedge_exporters.modules.forwards import exchange_forward
from rnnedge_runtime.contract import BATCH, Interface
from rnnedge_runtime.errors import pass_on_interruption

Answer = Callable[[Mistake, Answers], Outputs]


@dataclass(frozen=True, slots=True)
class Explanation:
    """A mistake that was found.

    Attributes:
        mistake: The mistake.
        layer: Path of the layer inside a module; empty for a bare layer.
        cases: In how many cases it answers what the model answers.
        error: Largest difference to the model's answers there.
    """

    mistake: Mistake
    layer: str
    cases: int
    error: float


@dataclass(slots=True)
class Tried:
    """How many mistakes were tried, and whether the budget ended that."""

    budget: Budget
    mistakes: int = 0
    stopped: bool = False

    def another(self) -> bool:
        """Count one more mistake; False when there is no time for it."""
        self.stopped = not self.budget.left()
        self.mistakes += not self.stopped
        return not self.stopped


def explain(
    module: nn.Module,
    layer: RecurrentLayer | None,
    interface: Interface,
    pool: Sequence[Answers],
    floor: float,
    torch_factor: float,
    budget: Budget,
) -> Explanation | None:
    """Return the first mistake whose answers are those of the model, in every case of `pool`.

    Args:
        module: The source.
        layer: Its weights, when it is a bare layer.
        interface: Which inputs and outputs are which.
        pool: Cases that the model answered; the first one has to be wrong.
        floor: What counts as equal near 1.
        torch_factor: How many times PyTorch's own error counts as equal.
        budget: How long the search may take.
    """
    tried = Tried(budget)
    for chosen, empty_rows in _ways_to_look(pool, interface):
        same = partial(
            _difference,
            interface=interface,
            empty_rows=empty_rows,
            floor=4 * floor,
            torch_factor=2 * torch_factor,
        )
        found = _explain(module, layer, interface, chosen, same, tried)
        if found:
            return found
    if tried.stopped:
        budget.stopped("the mistake", f"{tried.mistakes} known mistakes tried")
    return None


def _ways_to_look(
    pool: Sequence[Answers], interface: Interface
) -> Iterator[tuple[Sequence[Answers], bool]]:
    """Yield which cases to explain, and whether with the rows that have no steps.

    A model may treat empty rows in its own way, and broadcast what does not fit where batch
    and time are mixed up; what is left without those has to be explained in full.
    """
    yield pool, True
    if interface.lengths:
        yield pool, False
    square = [answers for answers in pool if answers.case.time == answers.case.batch > 1]
    if square:
        yield square, True


def _explain(
    module: nn.Module,
    layer: RecurrentLayer | None,
    interface: Interface,
    pool: Sequence[Answers],
    same: Callable[[Answers, Callable[[Answers], Outputs]], float | None],
    tried: Tried,
) -> Explanation | None:
    with_lengths = interface.lengths is not None or layer is None
    # A bare layer's inputs after its first are states, whether or not the file gives their end.
    with_states = bool(interface.states) or (layer is not None and len(interface.data_inputs) > 1)
    for path, inner, answer in _layers(module, layer, interface):
        right = Mistake("", "", inner)
        if all(same(answers, partial(answer, right)) is not None for answers in pool):
            return None  # what is left is right
        candidates = mistakes(inner, lengths=with_lengths, states=with_states)
        for mistake in candidates:
            if not tried.another():
                return None
            worst = 0.0
            for answers in pool:
                error = same(answers, partial(answer, mistake))
                if error is None:
                    break
                worst = max(worst, error)
            else:
                return Explanation(mistake, path, len(pool), worst)
    return None


@np.errstate(over="ignore", invalid="ignore")  # gates without their sigmoid grow beyond float64
def _difference(
    answers: Answers,
    answer: Callable[[Answers], Outputs],
    interface: Interface,
    *,
    empty_rows: bool,
    floor: float,
    torch_factor: float,
) -> float | None:
    """Return the largest difference of all outputs, or None when one is too large."""
    assert answers.model is not None
    try:
        expected = answer(answers)
    except Exception as raised:  # shapes that such a model refuses: numpy's, or the module's
        pass_on_interruption(raised)
        return None
    rows = None
    if not empty_rows and interface.lengths:
        rows = np.flatnonzero(answers.inputs[interface.lengths])
    axes = {spec.name: spec.axes for spec in interface.outputs}
    worst = 0.0
    for name, given in answers.model.items():
        wanted = expected[name]
        if given.shape != wanted.shape:
            return None
        if rows is not None and BATCH in axes[name]:
            axis = axes[name].index(BATCH)
            given, wanted = np.take(given, rows, axis), np.take(wanted, rows, axis)
        if not wanted.size:
            continue
        size = float(np.abs(wanted).max())
        allowed = max(floor * max(1.0, size), torch_factor * answers.moved[name])
        error = float(np.abs(given - wanted).max())
        if not error <= allowed:
            return None
        worst = max(worst, error)
    return worst


def _layers(
    module: nn.Module, layer: RecurrentLayer | None, interface: Interface
) -> Iterator[tuple[str, RecurrentLayer, Answer]]:
    """Yield each recurrent layer with what answers for a mistake in it."""
    if layer is not None:
        yield "", layer, partial(_answer_layer, interface)
        return
    for path, inner in recurrent_layers(module).items():
        if is_readable(inner):
            yield path, read_layer(inner, path), _MistakenModule(module, interface, path)


def _answer_layer(interface: Interface, mistake: Mistake, answers: Answers) -> Outputs:
    inputs: Inputs = answers.inputs
    arrays = [
        inputs[spec.name].astype(np.float64)
        for spec in interface.inputs
        if spec.name != interface.lengths
    ]
    lengths = inputs[interface.lengths] if interface.lengths else None
    trace = mistake.answer(arrays[0], arrays[1:] or None, lengths)
    values = (trace.output, *trace.finals)
    return {spec.name: v for spec, v in zip(interface.outputs, values, strict=False)}


@dataclass
class _MistakenModule:
    """A module whose layer at `path` makes a mistake that can be exchanged."""

    module: nn.Module
    interface: Interface
    path: str
    _mistake: Mistake | None = None
    _runner: ModuleRunner | None = field(default=None, init=False)

    def __call__(self, mistake: Mistake, answers: Answers) -> Outputs:
        if self._runner is None:
            twin = private_copy(self.module, torch.float64)
            layer = recurrent_layers(twin)[self.path]
            exchange_forward(layer, lambda _: self._forward)
            self._runner = ModuleRunner(twin, self.interface, torch.float64)
        self._mistake = mistake
        return self._runner(answers.inputs, answers.case)

    def __deepcopy__(self, memo: dict[int, Any]) -> _MistakenModule:
        return self  # the copies of the module all ask the one mistake

    def _forward(self, input: Tensor | PackedSequence, hx: Any = None) -> Any:
        assert self._mistake is not None
        first = self._mistake.layer.batch_first
        before = None if hx is None else list(hx) if isinstance(hx, tuple) else [hx]
        lengths = None
        if isinstance(input, PackedSequence):
            x, lengths = pad_packed_sequence(input, batch_first=first)
        else:
            x = input
        unbatched = x.dim() == 2
        if unbatched:
            x = x.unsqueeze(0 if first else 1)
            before = before and [state.unsqueeze(1) for state in before]
        trace = self._mistake.answer(
            x.numpy(),
            before and [state.numpy() for state in before],
            None if lengths is None else lengths.numpy(),
        )
        output: Any = torch.from_numpy(np.ascontiguousarray(trace.output))
        finals = [torch.from_numpy(np.ascontiguousarray(final)) for final in trace.finals]
        if unbatched:
            output = output.squeeze(0 if first else 1)
            finals = [final.squeeze(1) for final in finals]
        if lengths is not None:
            output = pack_padded_sequence(output, lengths, first, enforce_sorted=False)
        return output, finals[0] if len(finals) == 1 else tuple(finals)
