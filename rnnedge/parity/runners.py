"""Who runs a case: the exported model, a bare layer in PyTorch, a whole module in PyTorch."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from rnnedge.parity.cases import Case, Inputs, chunks
from rnnedge.parity.lifted_states import LiftedStates
from rnnedge.parity.rolled_source import (
    RolledSource,
    roll_source,
    states_of_loops,
    with_weights,
)
from rnnedge.parity.rounding.dynamic_quantization import Integers, StepRunner
from rnnedge_exporters import is_bare_layer
from rnnedge_exporters.copying import private_copy
from rnnedge_exporters.layers.recurrent import Recurrent, as_arguments, flatten, join, rebuild
from rnnedge_exporters.modules.arguments import Arguments, flatten_result
from rnnedge_exporters.modules.attributes import unchanged
from rnnedge_exporters.modules.call_structure import arguments_of
from rnnedge_exporters.modules.capture import recurrent_layers
from rnnedge_exporters.modules.constant_starts import STARTED
from rnnedge_exporters.modules.forwards import exchange_forward
from rnnedge_exporters.modules.loops.rolled import RolledLoop
from rnnedge_runtime import ModelError
from rnnedge_runtime.contract import BATCH, TIME, Interface, StatePair
from rnnedge_runtime.loaded_model import RunResult

Outputs = dict[str, NDArray[Any]]


@contextmanager
def quiet_kernels() -> Iterator[None]:
    """Hide what PyTorch remarks on its own kernels."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class Runner(Protocol):
    """Runs one case: inputs by name to outputs by name."""

    def __call__(self, inputs: Inputs, case: Case) -> Outputs:
        """Run `inputs`."""
        ...


class Runs(Protocol):
    """What runs a model: a `Session`, or one in a separate process."""

    interface: Interface

    def run(
        self, input: Any, *, lengths: NDArray[Any] | None = None, state: Any = None
    ) -> RunResult:
        """Run whole sequences."""
        ...


class ModelRunner:
    """Runs cases on an exported model, in the way that each case says.

    Args:
        interface: Which inputs and outputs are which; the axes are those the model should have.
        opened: Returns the model opened with so many threads.
    """

    def __init__(self, interface: Interface, opened: Callable[[int], Runs]) -> None:
        """Run on what `opened` returns."""
        self.interface = interface
        self._opened = opened

    def __call__(self, inputs: Inputs, case: Case) -> Outputs:
        """Run `inputs`.

        Raises:
            ModelError: When the answers to chunks do not join, or those of several runs differ.
        """
        session = self._opened(2 if case.way == "threads" else 1)
        if case.way == "permuted":
            order = np.arange(case.batch)[::-1]
            answers = self._run(session, self._take(inputs, order, case.batch, "inputs"), case)
            return self._take(answers, np.argsort(order), case.batch, "outputs")
        outputs = self._run(session, inputs, case)
        if case.way == "repeated":
            for _ in range(2):
                again = self._run(session, inputs, case)
                for name, first in outputs.items():
                    if not np.array_equal(first, again[name], equal_nan=first.dtype.kind == "f"):
                        raise ModelError(f"{name} differs between two runs of the same inputs")
        return outputs

    def moved_by_threads(self, inputs: Inputs, case: Case) -> dict[str, float]:
        """Return how far each output moves where threads share the rows of a batch.

        ONNX Runtime gives each thread the same number of rows, the last one what is left. A file
        that rounds a batch to integers over its range then rounds over the range of each part.
        """
        session = self._opened(1)
        whole = self._run(session, inputs, case)
        moved = dict.fromkeys(whole, 0.0)
        for count in range(1, case.batch):
            parts = []
            for first in range(0, case.batch, count):
                rows = np.arange(first, min(first + count, case.batch))
                parts.append(
                    self._run(session, self._take(inputs, rows, case.batch, "inputs"), case)
                )
            for spec in self.interface.outputs:
                if BATCH in spec.axes and spec.name in whole:
                    axis = spec.axes.index(BATCH)
                    joined = np.concatenate([part[spec.name] for part in parts], axis)
                    difference = np.abs(joined.astype(np.float64) - whole[spec.name])
                    moved[spec.name] = max(moved[spec.name], float(difference.max(initial=0.0)))
        return moved

    def _take(self, arrays: Outputs, rows: NDArray[np.int64], batch: int, kind: str) -> Outputs:
        """Return rows of what has a batch axis."""
        axes = {spec.name: spec.axes for spec in getattr(self.interface, kind)}
        return {
            name: np.take(array, rows, axes[name].index(BATCH))
            if BATCH in axes[name] and array.shape[axes[name].index(BATCH)] == batch
            else array
            for name, array in arrays.items()
        }

    def _run(self, session: Runs, inputs: Inputs, case: Case) -> Outputs:
        face = self.interface
        state = {spec.name: inputs[spec.name] for spec in face.state_inputs}
        lengths = inputs[face.lengths] if face.lengths else None
        pieces: list[Outputs] = []
        for piece in chunks(case):
            cut = {
                spec.name: inputs[spec.name][_at(spec.axes.index(TIME), piece)]
                if TIME in spec.axes
                else inputs[spec.name]
                for spec in face.data_inputs
            }
            steps = min(piece.stop, case.time) - piece.start
            rows = None if lengths is None else np.clip(lengths - piece.start, 0, steps)
            result = session.run(cut, lengths=rows, state=state or None)
            state = {p.input: result.outputs[p.output] for p in face.states}
            pieces.append(result.outputs)
        if len(pieces) == 1:
            return pieces[0]
        timed = {spec.name: spec.axes.index(TIME) for spec in face.outputs if TIME in spec.axes}
        try:
            return {
                name: np.concatenate([piece[name] for piece in pieces], timed[name])
                if name in timed
                else last
                for name, last in pieces[-1].items()
            }
        except ValueError as error:
            raise ModelError(f"its answers to the chunks do not join: {error}") from error


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
            output, finals = self._layer(x, _joined(states))
            return output, list(finals) if isinstance(finals, tuple) else [finals]
        # A PackedSequence holds no row of length zero: those are left out, and put back.
        axis = 0 if self._batch_first else 1
        rows = torch.nonzero(lengths)[:, 0]
        packed = pack_padded_sequence(
            x.index_select(axis, rows), lengths[rows], self._batch_first, enforce_sorted=False
        )
        some = [state.index_select(1, rows) for state in states]
        answer, last = self._layer(packed, _joined(some))
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


class ModuleRunner:
    """Runs cases on a whole module in PyTorch, in one dtype.

    States that the export lifted out of the layers inside are put in and taken out at the layers.

    Args:
        module: The module; it is copied.
        interface: Gives names to arguments and answers.
        dtype: What to compute in.
        integers: Which products are made of integers; None where none are.
        rolled: What `roll_source` made of the same module with other weights, to save the time.

    Attributes:
        source: The copy that is run.
        interface: Gives names to arguments and answers.
        rolled: What `roll_source` made of it; None where it has no Python loop with a state.
    """

    def __init__(
        self,
        module: nn.Module,
        interface: Interface,
        dtype: torch.dtype,
        integers: Integers | None = None,
        rolled: fx.GraphModule | None = None,
    ) -> None:
        """Copy `module` to the CPU, in `dtype` and in eval mode."""
        self._module = self.source = private_copy(module, dtype)
        if integers:
            integers.install(self._module)
        self.interface = interface
        self._dtype = dtype
        self._given: dict[str, Tensor] = {}
        self._finals: dict[str, Tensor] = {}
        self._calls: dict[str, int] = {}
        for path, layer in recurrent_layers(self._module).items():
            exchange_forward(layer, partial(self._with_states, layer, path))
        loops = states_of_loops(self._module, interface)
        self.rolled, self._loops = rolled, None
        if loops:
            self.rolled = rolled or roll_source(module, interface, loops)
            twin = with_weights(self.rolled, self._module, dtype)
            self._loops = RolledSource(twin, loops, self._with_states, self._pairs_of)
        for path, conv in self._module.named_modules():
            if f"{path}.context_0" in {pair.input for pair in interface.states}:
                assert isinstance(conv, nn.Conv1d)  # no other has a context
                conv.forward = partial(self._with_context, path, conv)  # type: ignore[method-assign]

    def __call__(self, inputs: Inputs, case: Case) -> Outputs:
        """Run `inputs` whole; a case in chunks has the same answer."""
        tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
        self._given = {
            name: t.to(self._dtype) if t.is_floating_point() else t for name, t in tensors.items()
        }
        self._finals, self._calls = {}, {}
        arguments = arguments_of(self._module, self.interface, self._given)
        default = torch.get_default_dtype()
        torch.set_default_dtype(self._dtype)  # what a forward makes with torch.zeros(...)
        try:
            with unchanged(self._module), torch.inference_mode():
                result, finals = self._results(arguments)
        finally:
            torch.set_default_dtype(default)
        # Lifted states come behind what the module returns itself.
        own = [spec.name for spec in self.interface.outputs[: len(result)]]
        answers = dict(zip(own, result, strict=True)) | self._finals | finals
        return {name: tensor.numpy() for name, tensor in answers.items()}

    def _results(self, arguments: Arguments) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Return the results, and the final states of the Python loops."""
        if self._loops is None:
            return flatten_result(self._module(**arguments.values)), {}
        results, finals = self._loops.run(arguments, self._given)
        if not self._loops.starts_elsewhere(self._given):
            self._finals, self._calls = {}, {}
            results = flatten_result(self._module(**arguments.values))
        return results, finals

    def _with_context(self, path: str, conv: nn.Conv1d, x: Tensor) -> Tensor:
        """Run a causal convolution with what came before instead of zeros."""
        before = self._given[f"{path}.context_0"]  # [batch, channels, context]
        context = before.shape[2]
        in_front = conv.padding == (0,)  # the module has padded zeros in front of x itself
        full = torch.cat([before, x[..., context:] if in_front else x], 2)
        self._finals[f"{path}.context_n"] = full[..., -context:]
        y = nn.functional.conv1d(
            full, conv.weight, conv.bias, dilation=conv.dilation, groups=conv.groups
        )
        # Else the module cuts off the end, which padding on both sides would have made.
        return y if in_front else nn.functional.pad(y, (0, context))

    def _pairs_of(self, layer: nn.Module, name: str) -> list[StatePair]:
        """Return the states that were lifted from one call of a layer."""
        letter = r"[^.]+" if isinstance(layer, Recurrent | RolledLoop) else rf"h|c|s\d+|{STARTED}"
        return [pair for pair in self.interface.states if _lifted_from(pair, name, letter)]

    def _with_states(self, layer: nn.Module, path: str, forward: Any) -> Any:
        if isinstance(layer, Recurrent):
            return self._cell_with_states(layer, path, forward)

        @wraps(forward)  # keeps the signature, by which arguments are bound
        def with_states(input: Any, hx: Any = None, *rest: Any, **more: Any) -> Any:
            number = self._calls.get(path, 0)
            self._calls[path] = number + 1
            name = f"{path}.call{number}" if number else path
            lifted = LiftedStates(self._pairs_of(layer, name), self._given)
            pairs = lifted.pairs
            if not pairs:
                return forward(input, hx, *rest, **more)
            own = [] if hx is None else list(hx) if isinstance(hx, tuple) else [hx]
            states = lifted.begun(own, [1] * len(pairs))
            unbatched = isinstance(input, Tensor) and input.dim() == 2
            if unbatched:
                states = [state.squeeze(1) for state in states]
            output, last = forward(input, _joined(states), *rest, **more)
            finals = last if isinstance(last, tuple) else (last,)
            finals = tuple(final.unsqueeze(1) if unbatched else final for final in finals)
            self._finals |= lifted.finals(finals)
            return output, last

        return with_states

    def _cell_with_states(self, layer: Recurrent, path: str, forward: Any) -> Any:
        @wraps(forward)
        def with_states(
            input: Tensor, state: Any = None, lengths: Tensor | None = None, **inputs: Tensor
        ) -> Any:
            number = self._calls.get(path, 0)
            self._calls[path] = number + 1
            name = f"{path}.call{number}" if number else path
            lifted = LiftedStates(self._pairs_of(layer, name), self._given)
            if not lifted.pairs:
                return forward(input, state, lengths, **inputs)
            x = input.transpose(0, 1) if layer.batch_first else input
            own, structure = layer.split(state, x, inputs)
            if layer.is_plain(input, inputs):
                states = lifted.begun(own, [1] * len(own))
            else:  # the file has no axis of directions there
                begun = lifted.begun([one.squeeze(0) for one in own], [0] * len(own))
                states = [one.unsqueeze(0) for one in begun]
            output, last = forward(input, rebuild(states, structure), lengths, **inputs)
            finals, _ = flatten(as_arguments(last))
            shaped = zip(finals, lifted.given, strict=True)
            self._finals |= lifted.finals([one.reshape(like.shape) for one, like in shaped])
            return output, last

        return with_states


def runner_of(module: nn.Module) -> type[LayerRunner | ModuleRunner]:
    """Return what runs `module` in PyTorch."""
    return LayerRunner if is_bare_layer(module) else ModuleRunner


def runner_like(
    known: LayerRunner | ModuleRunner,
    module: nn.Module,
    dtype: torch.dtype,
    integers: Integers | None = None,
) -> LayerRunner | ModuleRunner:
    """Return what runs a module in another dtype, or one with other weights.

    Args:
        known: Runs the module.
        module: The module, or a copy with other weights.
        dtype: What to compute in.
        integers: Which products are made of integers; None where none are.
    """
    if isinstance(known, LayerRunner):
        return LayerRunner(module, known.interface, dtype, integers)
    return ModuleRunner(module, known.interface, dtype, integers, known.rolled)


def _lifted_from(pair: StatePair, layer: str, letter: str) -> bool:
    """Whether a pair is a state lifted from a layer, whose names have no other dots behind it."""
    start = f"{layer}." if layer else ""
    name = pair.input.removeprefix(start)
    return pair.input.startswith(start) and re.fullmatch(rf"({letter})_0", name) is not None


def _joined(states: list[Tensor]) -> Any:
    return join(states) if states else None


def _at(axis: int, piece: slice) -> tuple[slice, ...]:
    return (*[slice(None)] * axis, piece)
