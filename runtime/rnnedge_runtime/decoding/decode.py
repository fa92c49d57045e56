"""`decode`: symbols from a model whose output is its next input."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from rnnedge_runtime.argument import whole_number
from rnnedge_runtime.binding import Array, State, as_array, dtype_of
from rnnedge_runtime.contract import BATCH, TensorSpec
from rnnedge_runtime.decoding.ports import Ports, find_ports, symbol_shape
from rnnedge_runtime.decoding.search import (
    BeamSearch,
    Floats,
    GreedySearch,
    Hypothesis,
    Integers,
    Search,
)
from rnnedge_runtime.errors import EngineError, InputError, StateError
from rnnedge_runtime.streaming.stream import Stream

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from rnnedge_runtime.loaded_model import LoadedModel


@dataclass(frozen=True, slots=True)
class Decoded:
    """What `Session.decode` wrote.

    Attributes:
        hypotheses: For each row of the batch its hypotheses, the best first; one with greedy
            search.
    """

    hypotheses: tuple[tuple[Hypothesis, ...], ...]

    @property
    def tokens(self) -> list[list[int]]:
        """The symbols of each row's best hypothesis, without start and stop symbols."""
        return [list(row[0].tokens) for row in self.hypotheses]

    @property
    def scores(self) -> Floats:
        """The score of each row's best hypothesis, float64 [batch]."""
        return np.array([row[0].score for row in self.hypotheses])

    @property
    def finished(self) -> NDArray[np.bool_]:
        """Whether each row's best hypothesis ends with a stop symbol, bool [batch]."""
        return np.array([row[0].finished for row in self.hypotheses])


@dataclass(frozen=True, slots=True)
class Start:
    """What a decoder begins with.

    Attributes:
        symbols: int64 [batch, steps], the symbols that are fed before the first is chosen.
        inputs: The inputs that stay the same, each with the rows of the batch.
        state: The initial states in the order of `Interface.states`; None for zeros.
        parts: Those inputs and states, each with what it is for.
    """

    symbols: Integers
    inputs: Mapping[str, Array]
    state: tuple[Array, ...] | None
    parts: tuple[tuple[TensorSpec, Array], ...]

    def check_batch(self, batch: int, option: str, what: str) -> None:
        """Check that each part has the rows of the batch.

        Args:
            batch: How many there are.
            option: The option that says so, for the message.
            what: What it has for each row.

        Raises:
            InputError: If one has other rows.
        """
        for spec, array in self.parts:
            found = _batch_of([(spec, array)])
            if BATCH in spec.axes and found != batch:
                raise InputError(
                    f"{option}: expected as many {what} as {spec.name} has rows, {found}, "
                    f"got {batch}"
                )


def decode(  # noqa: PLR0913 - the options of `Session.decode`
    model: LoadedModel,
    start: ArrayLike,
    stop: int | Sequence[int] | None,
    max_steps: int,
    *,
    inputs: Mapping[str, ArrayLike] | None,
    state: State | None,
    beam: int,
    length_penalty: float,
    symbol: str | None,
    logits: str | None,
) -> Decoded:
    """Do what `Session.decode` says."""
    max_steps, beam = whole_number("max_steps", max_steps), whole_number("beam", beam)
    if not isinstance(length_penalty, int | float) or not np.isfinite(length_penalty):
        raise InputError(f"length_penalty: expected a finite number, got {length_penalty!r}")
    held = held_inputs(model, inputs)
    ports = find_ports(model.interface, held, symbol, logits)
    begun = begin(model, start, ports.symbol, held, state)
    batch = len(begun.symbols)
    stops = _stops(stop, ports.logits.axes[-1])
    search: Search = GreedySearch(batch, stops)
    if beam > 1:
        check_batch_axes(model.interface.state_inputs)
        search = BeamSearch(batch, stops, int(beam), float(length_penalty))
    rows = np.repeat(np.arange(batch), beam)
    with open_stream(model, begun, rows) as stream:
        _search(model, stream, ports, begun.symbols[rows], search, int(max_steps))
    return Decoded(search.hypotheses())


def held_inputs(
    model: LoadedModel, inputs: Mapping[str, ArrayLike] | None
) -> Mapping[str, ArrayLike]:
    """Check that a model can be stepped, and by name which inputs keep one value.

    Args:
        model: The model; its axes are probed.
        inputs: Those inputs by name, or None.

    Returns:
        Those inputs; none for None.

    Raises:
        StateError: If the model cannot be streamed.
        InputError: If they have no names.
    """
    model.check_streamable()
    model.probe_axes()
    if inputs is not None and not isinstance(inputs, Mapping):
        raise InputError(f"inputs: expected a mapping by name, got {type(inputs).__name__}")
    return inputs or {}


def begin(
    model: LoadedModel,
    start: ArrayLike,
    symbol: TensorSpec,
    inputs: Mapping[str, ArrayLike],
    state: State | None,
) -> Start:
    """Check what a decoder begins with, and give each part the rows of the batch."""
    begun, rows = begin_rows(model, inputs, state)
    symbols = symbols_of(start, rows, symbol)
    begun.check_batch(len(symbols), "start", "symbols")
    return replace(begun, symbols=symbols)


def begin_rows(
    model: LoadedModel, inputs: Mapping[str, ArrayLike], state: State | None
) -> tuple[Start, int]:
    """Check the inputs that stay the same, and the initial state.

    Args:
        model: The model.
        inputs: Those inputs by name.
        state: The initial state; None for zeros.

    Returns:
        They, without symbols, and the rows of the batch; 1 where none of them has a batch axis.
    """
    specs = {spec.name: spec for spec in model.interface.data_inputs}
    arrays = {name: as_array(name, value, InputError) for name, value in inputs.items()}
    states: tuple[Array, ...] | None = None
    if state is not None:
        sizes = {
            axis: size
            for name, array in arrays.items()
            if name in specs and array.ndim == len(specs[name].axes)
            for axis, size in zip(specs[name].axes, array.shape, strict=True)
            if isinstance(axis, str)
        }
        states = tuple(model.binder.state(state, sizes).values())
    parts = [(spec, arrays[name]) for name, spec in specs.items() if name in arrays]
    parts += list(zip(model.interface.state_inputs, states or (), strict=False))
    return Start(np.empty((0, 0), np.int64), arrays, states, tuple(parts)), _batch_of(parts)


def symbols_of(start: ArrayLike, batch: int, spec: TensorSpec) -> Integers:
    """Read the symbols that a decoder begins with.

    Args:
        start: As the caller passed them.
        batch: How many rows one symbol is for.
        spec: The input that takes them.

    Returns:
        int64 [batch, steps].

    Raises:
        InputError: If they are not symbols, or the dtype of the input does not hold them.
    """
    symbols = as_array("start", start, InputError)
    if symbols.dtype.kind not in "iu" or symbols.ndim > 2 or not symbols.size or symbols.min() < 0:
        raise InputError(
            "start: expected a symbol (an integer of 0 or more), one for each row [batch], or the "
            f"same number for each [batch, steps], got {start!r}"
        )
    if symbols.max() > np.iinfo(dtype_of(spec.dtype)).max:
        raise InputError(f"start: {spec} cannot take the symbol {symbols.max()}")
    if symbols.ndim < 2:
        symbols = np.broadcast_to(symbols, symbols.shape or batch)[:, None]
    return symbols.astype(np.int64)


def open_stream(model: LoadedModel, begun: Start, rows: Integers) -> Stream:
    """Open a stream that has the state and the inputs of `rows` of the batch."""
    specs = {spec.name: spec for spec in model.interface.data_inputs}
    inputs = {
        name: take_rows(specs[name], array, rows) if name in specs else array
        for name, array in begun.inputs.items()
    }
    stream = Stream(model, len(rows), constants=inputs or None)
    if begun.state is not None:
        pairs = zip(model.interface.state_inputs, begun.state, strict=True)
        stream.state = tuple(take_rows(spec, array, rows) for spec, array in pairs)
    return stream


def take_rows(spec: TensorSpec, array: Array, rows: Integers) -> Array:
    """Return rows of an array; all of it where it has no batch axis."""
    if BATCH not in spec.axes or array.ndim != len(spec.axes):
        return array
    return np.take(array, rows, spec.axes.index(BATCH))


def read_logits(
    ports: Ports, answer: Array | Mapping[str, Array], live: NDArray[np.bool_]
) -> NDArray[Any]:
    """Read the logits of a step.

    Args:
        ports: What the logits are called.
        answer: What the step gave.
        live: The rows that are not finished, bool [rows].

    Returns:
        [rows, symbols].

    Raises:
        EngineError: If a row that is `live` has none to choose by: NaN, infinity, or all -infinity.
        InputError: If the next input does not hold every symbol.
    """
    name = ports.logits.name
    logits = answer[name] if isinstance(answer, Mapping) else answer
    logits = logits.reshape(len(live), -1)
    if logits.shape[1] - 1 > np.iinfo(dtype_of(ports.symbol.dtype)).max:
        raise InputError(f"{ports.symbol}: cannot take each of {logits.shape[1]} symbols")
    highest = logits.max(axis=1)  # NaN where there is a NaN
    wrong = live & ~np.isfinite(highest)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise EngineError(
            f"{name}: expected logits to choose by, got {highest[row]} as the highest of row {row}"
        )
    return logits


def check_batch_axes(states: Sequence[TensorSpec]) -> None:
    """Check that rows of the states can be exchanged."""
    for spec in states:
        if BATCH not in spec.axes:
            raise StateError(f"beam: the state {spec} has no {BATCH} axis: use beam=1")


def _search(
    model: LoadedModel,
    stream: Stream,
    ports: Ports,
    prompt: Integers,
    search: Search,
    max_steps: int,
) -> None:
    """Step until every row has stopped; a row that has is fed its first symbol again."""
    frame = np.empty(symbol_shape(ports.symbol, len(prompt)), dtype_of(ports.symbol.dtype))
    states = model.interface.state_inputs

    def step(symbols: Integers) -> Array | dict[str, Array]:
        frame[...] = symbols.reshape(frame.shape)
        return stream.step(frame, copy=False)  # the only input that is not a constant

    for symbols in prompt.T[:-1]:
        step(symbols)
    symbols = prompt[:, -1]
    for _ in range(max_steps):
        chosen = search.advance(read_logits(ports, step(symbols), search.live))
        if not search.live.any():
            return
        if chosen.parents is not None:
            pairs = zip(states, stream.state, strict=True)
            stream.state = tuple(take_rows(spec, array, chosen.parents) for spec, array in pairs)
        symbols = np.where(search.live, chosen.symbols, prompt[:, -1])


def _stops(stop: int | Sequence[int] | None, symbols: int | str) -> Integers:
    found = as_array("stop", () if stop is None else stop, InputError)
    ends = symbols if isinstance(symbols, int) else np.inf
    whole = found.dtype.kind in "iu" or not found.size
    if not whole or found.ndim > 1 or (found.size and not 0 <= found.min() <= found.max() < ends):
        raise InputError(
            f"stop: expected a symbol from 0 to {ends - 1}, several of them, or None, got {stop!r}"
        )
    return found.astype(np.int64).ravel()


def _batch_of(parts: Sequence[tuple[TensorSpec, Array]]) -> int:
    """Return the rows of the first array that has a batch axis; 1 if none has."""
    for spec, array in parts:
        if BATCH in spec.axes and array.ndim == len(spec.axes):
            return int(array.shape[spec.axes.index(BATCH)])
    return 1
