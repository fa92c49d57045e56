"""`transduce`: symbols from the frames of an encoder, by the step of a transducer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rnnedge_runtime.argument import whole_number
from rnnedge_runtime.binding import Array, State, as_array, bound_lengths, dtype_of
from rnnedge_runtime.contract import BATCH, TIME, TensorSpec
from rnnedge_runtime.decoding.decode import Decoded, read_logits, symbols_of
from rnnedge_runtime.decoding.ports import Ports, find_ports, symbol_shape
from rnnedge_runtime.decoding.search import Hypothesis, Integers, chosen_scores
from rnnedge_runtime.errors import InputError, StateError
from rnnedge_runtime.streaming.silence_and_nan import check_finite

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from rnnedge_runtime.loaded_model import LoadedModel


def transduce(  # noqa: PLR0913 - the options of `Session.transduce`
    model: LoadedModel,
    frames: ArrayLike,
    blank: int,
    max_symbols: int,
    *,
    lengths: ArrayLike | None,
    start: ArrayLike | None,
    state: State | None,
    frame: str | None,
    symbol: str | None,
    logits: str | None,
) -> Decoded:
    """Do what `Session.transduce` says."""
    max_symbols = whole_number("max_symbols", max_symbols)
    model.check_streamable()
    model.probe_axes()
    spec = _frame_input(model.interface.data_inputs, frame)
    ports = find_ports(model.interface, [spec.name], symbol, logits)
    array = _checked_frames(spec, frames)
    batch, time = array.shape[:2]
    ends = np.full(batch, time) if lengths is None else lengths
    ends = bound_lengths("lengths", ends, batch, time).astype(np.int64)
    blank = _checked_blank(blank, ports)
    begun = symbols_of(blank if start is None else start, batch, ports.symbol)
    if begun.shape != (batch, 1):
        raise InputError(f"start: expected one symbol, or one for each of {batch} row(s)")
    states = tuple(model.binder.state(state, {BATCH: batch}).values())
    _check_rows(model.interface.state_inputs)
    walk = _Walk(model, spec, ports, array, ends)
    return walk.run(states, begun[:, 0], blank, int(max_symbols))


class _Walk:
    """All rows side by side, each at its own frame."""

    def __init__(
        self, model: LoadedModel, frame: TensorSpec, ports: Ports, frames: Array, ends: Integers
    ) -> None:
        self._model, self._frame, self._ports = model, frame, ports
        self._frames, self._ends = frames, ends
        self._written: list[list[int]] = [[] for _ in ends]
        self._places: list[list[int]] = [[] for _ in ends]
        self._scores = np.zeros(len(ends))

    def run(
        self, state: tuple[Array, ...], symbols: Integers, blank: int, max_symbols: int
    ) -> Decoded:
        """Walk until every row is at its end."""
        at = np.zeros(len(self._ends), np.int64)
        here = np.zeros(len(self._ends), np.int64)  # symbols written at this frame
        while (live := at < self._ends).any():
            logits, after = self._step(at, symbols, state, live)
            chosen = logits.argmax(axis=1)
            self._scores[live] += chosen_scores(logits[live])
            wrote = live & (chosen != blank)
            for row in np.flatnonzero(wrote):
                self._written[row].append(int(chosen[row]))
                self._places[row].append(int(at[row]))
            symbols = np.where(wrote, chosen, symbols)
            state = self._kept(wrote, after, state)
            here = np.where(wrote, here + 1, 0)
            onwards = live & (~wrote | (here >= max_symbols))
            at, here = at + onwards, np.where(onwards, 0, here)
        return Decoded(
            tuple(
                (Hypothesis(tuple(tokens), float(score), finished=True, frames=tuple(places)),)
                for tokens, places, score in zip(
                    self._written, self._places, self._scores, strict=True
                )
            )
        )

    def _step(
        self, at: Integers, symbols: Integers, state: tuple[Array, ...], live: NDArray[np.bool_]
    ) -> tuple[Array, tuple[Array, ...]]:
        rows = np.arange(len(at))
        frame = self._frames[rows, np.minimum(at, self._frames.shape[1] - 1)]  # [batch, features]
        axes = [axis for axis in self._frame.axes if axis != TIME]
        frame = np.moveaxis(frame, 0, axes.index(BATCH))
        ports = self._ports
        symbol = symbols.astype(dtype_of(ports.symbol.dtype))
        symbol = symbol.reshape(symbol_shape(ports.symbol, len(at)))
        feeds = {
            self._frame.name: _with_time(self._frame, frame),
            ports.symbol.name: _with_time(ports.symbol, symbol),
        }
        result = self._model.run(feeds, state=state)
        return read_logits(ports, result.outputs, live), result.state

    def _kept(
        self, wrote: NDArray[np.bool_], after: tuple[Array, ...], before: tuple[Array, ...]
    ) -> tuple[Array, ...]:
        """Return the state of each row: the next one where a symbol was written."""
        states = []
        for spec, new, old in zip(self._model.interface.state_inputs, after, before, strict=True):
            shape = [-1 if axis == BATCH else 1 for axis in spec.axes]
            states.append(np.where(wrote.reshape(shape), new, old))
        return tuple(states)


def _frame_input(specs: tuple[TensorSpec, ...], name: str | None) -> TensorSpec:
    fitting = [
        spec
        for spec in specs
        if spec.dtype.startswith("float") and BATCH in spec.axes and name in (None, spec.name)
    ]
    if len(fitting) == 1:
        return fitting[0]
    there = "; ".join(map(str, specs))
    wanted = "one float[batch, features] input" if name is None else f"a float input {name!r}"
    raise InputError(
        f"frame: expected a model with {wanted} for the frames of the encoder, got {there}"
        + (": pass frame='name'" if fitting else "")
    )


def _checked_frames(spec: TensorSpec, frames: ArrayLike) -> Array:
    """Return the frames, [batch, time, ...], after their shape and dtype were checked."""
    array = as_array("frames", frames, InputError)
    rest = [axis for axis in spec.axes if axis not in (BATCH, TIME)]
    expected = ", ".join(map(str, [BATCH, TIME, *rest]))
    if (
        array.dtype != dtype_of(spec.dtype)
        or array.ndim != 2 + len(rest)
        or 0 in array.shape
        or any(isinstance(a, int) and a != n for a, n in zip(rest, array.shape[2:], strict=True))
    ):
        raise InputError(
            f"frames: expected {spec.dtype}[{expected}], got {array.dtype}{list(array.shape)}"
        )
    check_finite(spec, array)
    return array


def _checked_blank(blank: object, ports: Ports) -> int:
    count = ports.logits.axes[-1]
    ends = count if isinstance(count, int) else np.inf
    whole = isinstance(blank, int | np.integer) and not isinstance(blank, bool)
    if not whole or not 0 <= int(blank) < ends:  # type: ignore[call-overload]
        raise InputError(f"blank: expected a symbol from 0 to {ends - 1}, got {blank!r}")
    return int(blank)  # type: ignore[call-overload, no-any-return]


def _check_rows(states: tuple[TensorSpec, ...]) -> None:
    for spec in states:
        if BATCH not in spec.axes:
            raise StateError(f"the state {spec} has no {BATCH} axis: each row has its own frame")


def _with_time(spec: TensorSpec, array: Array) -> Array:
    if TIME in spec.axes:
        array = np.expand_dims(array, spec.axes.index(TIME))
    return np.ascontiguousarray(array)
