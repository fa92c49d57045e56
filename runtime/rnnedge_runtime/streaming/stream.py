"""`Stream`: one running sequence whose state is kept between calls."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import NoReturn, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from rnnedge_runtime.argument import whole_number
from rnnedge_runtime.binding import (
    Array,
    State,
    as_array,
)
from rnnedge_runtime.contract import BATCH, TIME
from rnnedge_runtime.errors import EngineError, InputError, StateError, StreamError
from rnnedge_runtime.loaded_model import LoadedModel, RunResult
from rnnedge_runtime.streaming.bound_step import BoundStep, bind_step
from rnnedge_runtime.streaming.constant_inputs import take_constants
from rnnedge_runtime.streaming.frames import chunk_of
from rnnedge_runtime.streaming.one_row import OneRow
from rnnedge_runtime.streaming.step_output import Answer, Out, check_out, only, written_into
from rnnedge_runtime.streaming.stream_state import StreamState

_T = TypeVar("_T")
_LARGEST_FRAME = 1 << 26
"""Numbers; of a larger one, as a damaged file may state it, no buffers are kept."""
_MOST_BOUND = 4
"""How many shapes keep their buffers."""


class Stream:
    """A running sequence, or `batch` of them side by side, whose state is kept between calls.

    Made by `Session.stream`. The outputs of chunks are those of the whole sequence in one call. A
    stream belongs to one thread at a time: a call from a second thread during a call is refused.

    On the CPU, numbers of the state below 1e-18 become zero every few steps. With a state that has
    decayed into denormal numbers, each step would take ten times as long.
    """

    def __init__(
        self,
        model: LoadedModel,
        batch: int = 1,
        *,
        constants: Mapping[str, ArrayLike] | None = None,
    ) -> None:
        """Start at a state of zeros, and run one frame of zeros so that the first is not slow.

        Args:
            model: The opened model.
            batch: Rows that run side by side, 1 or more.
            constants: Inputs that are the same at every step, by name.

        Raises:
            StateError: If the model has no states to keep, or reads the future.
            InputError: If `batch` is not 1 or more, or a constant does not fit.
        """
        rows = whole_number("batch", batch)
        model.check_streamable()
        model.probe_axes()
        self._model = model
        self._batch = rows
        self._inputs, self._constants, self._sizes = take_constants(
            model.interface, constants, {BATCH: self._batch}
        )
        self._state = StreamState(self._zeros(), model.engine)
        self._free = [True]  # whose only item the thread that is inside holds: a list is atomic
        self._closed = False
        outputs = model.interface.data_outputs
        self._one_row = OneRow(self._inputs, outputs) if self._batch == 1 else None
        self._bound: dict[object, BoundStep] = {}
        self._last: object = None
        self._usual = self._warm_up()
        self._stepper = None if self._usual is None else self._usual.stepper
        if self._stepper is not None and self._stepper.guard(self._step_in_python, self._free):
            # A call of a Python method takes as long as a step of a small layer.
            self.step = self._stepper.step  # type: ignore[method-assign, assignment]

    def __repr__(self) -> str:
        """Say how many rows it has, how far it is, and what a frame is."""
        frames = ", ".join(
            f"{spec.name} {spec.dtype}[{', '.join(str(a) for a in spec.axes if a != TIME)}]"
            for spec in self._inputs
        )
        steps = "closed" if self._closed else f"{self._state.position.steps} steps"
        return f"Stream({steps}, batch={self._batch}, frames {frames})"

    @property
    def batch(self) -> int:
        """Rows that run side by side."""
        return self._batch

    @property
    def state(self) -> tuple[Array, ...]:
        """The state after the last step, (h,) or (h, c), each [layers, batch, hidden]; a copy."""
        return self._alone(self._state.read)

    @state.setter
    def state(self, state: State) -> None:
        arrays = self._model.binder.state(state, dict(self._sizes))
        self._alone(self._state.write, list(arrays.values()))

    def reset(self, rows: Sequence[int] | None = None) -> None:
        """Set the state to zeros.

        Args:
            rows: Which rows of the batch; None is all. The state of other rows does not change.

        Raises:
            StateError: For a row that the stream does not have, or a state without a batch axis.
        """
        if rows is None:
            self._alone(self._state.write, self._zeros())
            return
        picked = as_array("rows", rows, StateError)
        whole = picked.dtype.kind in "iu" or not picked.size
        if not whole or (picked.size and not 0 <= picked.min() <= picked.max() < self._batch):
            raise StateError(f"rows: expected integers from 0 to {self._batch - 1}, got {rows!r}")
        specs = self._model.interface.state_inputs
        for spec in specs:
            if BATCH not in spec.axes:
                raise StateError(
                    f"rows: {spec} has no {BATCH} axis: use reset() for the whole state"
                )

        def set_to_zero() -> None:
            state = self._state.read()
            for spec, array in zip(specs, state, strict=True):
                np.moveaxis(array, spec.axes.index(BATCH), 0)[picked.astype(np.intp)] = 0
            self._state.write(state)

        self._alone(set_to_zero)

    def clone(self) -> Stream:
        """Return a second stream that continues from the same state."""
        twin = Stream(self._model, self._batch, constants=self._constants)

        def copy_state() -> None:
            twin._state.write(self._state.read())
            twin._state.position.steps = self._state.position.steps

        self._alone(copy_state)
        return twin

    def __copy__(self) -> Stream:
        """Return a clone: two streams never share a state."""
        return self.clone()

    def __deepcopy__(self, memo: object) -> Stream:
        """Return a clone, over the same model."""
        return self.clone()

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled."""
        raise StreamError(
            "a stream cannot be pickled: write its state with Stream.save, and continue from it "
            "with Session.stream().load in the other process"
        )

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write the state to a file, from which any process can continue, bit for bit.

        Args:
            path: An `.npz` file; an existing one is replaced, whole or not at all.
            force: Whether a file that holds something else may be replaced.

        Raises:
            WriteError: If the file must not or cannot be written.
        """
        from rnnedge_runtime.streaming.state_file import write_state  # only files need it

        write_state(path, self._model, self.state, force=force)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Continue from a state that `save` wrote.

        Args:
            path: The `.npz` file.

        Raises:
            StateError: If the file cannot be read, or has the state of another model or batch; the
                state of the stream does not change.
        """
        from rnnedge_runtime.streaming.state_file import read_state

        self.state = read_state(path, self._model)

    def close(self) -> None:
        """Free the buffers; later calls are refused."""

        def free() -> None:
            self._closed = True
            self._bound, self._usual = {}, None
            if self._stepper is not None:
                self._stepper.guard(self._step_in_python, [])  # all that is left is the error

        self._alone(free)

    def __enter__(self) -> Stream:
        """Return the stream itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the stream."""
        if not self._closed:
            self.close()

    def step(
        self, frame: ArrayLike | Mapping[str, ArrayLike], *, out: Out = None, copy: bool = True
    ) -> Answer:
        """Run one step, or a chunk of steps, and keep the state.

        Args:
            frame: float32 [batch, features] for one step, or [features] in a stream of one row;
                with a time axis, as `Session.run` takes it, for a chunk. For a model of several
                inputs, a mapping by name, without the constants.
            out: An array of the output's shape and dtype that the output is written into; for a
                model of several outputs, a mapping by name. It is returned.
            copy: Whether the output is a new array. With False it may be a read-only view that is
                valid until the next step, which saves the one allocation of a step.

        Returns:
            The output, without its time axis for one step, with it for a chunk, and without its
            batch axis where the frame had none; for a model of several outputs, a dict by name.

        Raises:
            InputError: If the frame does not fit, or holds NaN or infinity, or `out` does not fit;
                the state does not change.
            EngineError: If the engine fails; the state does not change.
            StreamError: If the stream is closed, or in use by another thread.

        Example:
            >>> stream = session.stream(batch=2)
            >>> stream.step(np.zeros((2, 8), np.float32)).shape
            (2, 16)
            >>> stream.step(np.zeros((10, 2, 8), np.float32)).shape  # a chunk of 10 steps
            (10, 2, 16)
        """
        return self._step_in_python(frame, out=out, copy=copy)

    def _step_in_python(
        self, frame: ArrayLike | Mapping[str, ArrayLike], *, out: Out = None, copy: bool = True
    ) -> Answer:
        try:
            del self._free[0]  # as `_alone` does it, which would cost another microsecond
        except IndexError:
            raise _busy() from None
        try:
            bound = self._usual
            if bound is not None and type(frame) is np.ndarray and bound.take(frame):
                return bound.answer(out, copy=copy)
            if self._closed:
                raise _closed()
            return self._step_of_any_shape(frame, out, copy=copy)
        finally:
            self._free.append(True)

    def _step_of_any_shape(
        self, frame: ArrayLike | Mapping[str, ArrayLike], out: Out, *, copy: bool
    ) -> Answer:
        """Check everything; a shape that comes twice in a row is bound for the next time."""
        rows = None if self._one_row is None else self._one_row.rows(frame)
        if rows is not None and self._one_row is not None:
            answer = self._step_of_rows(rows, self._one_row.into(out), copy=copy)
            if out is not None:
                return dict(out) if isinstance(out, Mapping) else out
            return self._one_row.answer(answer)
        return self._step_of_rows(frame, out, copy=copy)

    def _step_of_rows(
        self, frame: ArrayLike | Mapping[str, ArrayLike], out: Out, *, copy: bool
    ) -> Answer:
        chunk, single = chunk_of(self._inputs, self._constants, self._batch, frame)
        key = (single, *((name, array.shape, array.dtype) for name, array in chunk.items()))
        bound = self._bound.get(key)
        if bound is not None:
            for name, place in bound.frames.items():
                place[...] = chunk[name].reshape(place.shape)
            return bound.answer(out, copy=copy)
        result = self._model.run({**chunk, **self._constants}, state=self._state.read())
        answers = {}
        for spec in self._model.interface.data_outputs:
            value = result.outputs[spec.name]
            dropped = single and TIME in spec.axes
            answers[spec.name] = value.squeeze(spec.axes.index(TIME)) if dropped else value
        if out is not None:
            check_out(answers, out)
        self._state.advance(result.state)
        if key == self._last:
            while len(self._bound) >= _MOST_BOUND:
                self._bound.pop(next(iter(self._bound)))
            made = self._bind(chunk, result, single=single)
            if made is not None:
                self._bound[key] = made
        self._last = key
        return only(answers) if out is None else written_into(answers, out)

    def _zeros(self) -> tuple[Array, ...]:
        return self._model.zero_state(self._batch, self._sizes)

    def _warm_up(self) -> BoundStep | None:
        """Run a frame of zeros, if the inputs determine its shape, and bind its buffers."""
        sizes = {BATCH: self._batch, TIME: 1}
        zeros = {}
        specs = self._inputs
        for spec in specs:
            shape = [sizes.get(axis, 0) if isinstance(axis, str) else axis for axis in spec.axes]
            # A single input without a time axis is a frame; one of several may be a number, such as
            # a sample rate, for which zero has no meaning.
            if 0 in shape or (TIME not in spec.axes and len(specs) > 1):
                return None
            if math.prod(shape) > _LARGEST_FRAME:
                return None
            zeros[spec.name] = np.zeros(shape, spec.dtype)
        with suppress(InputError, EngineError):  # a model may refuse a single step
            result = self._model.run({**zeros, **self._constants}, state=self._state.read())
            return self._bind(zeros, result, single=True)
        return None

    def _bind(
        self, chunk: dict[str, Array], result: RunResult, *, single: bool
    ) -> BoundStep | None:
        return bind_step(
            self._model, self._state, chunk, result, constants=self._constants, single=single
        )

    def _alone(self, call: Callable[..., _T], *arguments: object) -> _T:
        """Return what a call returns; keep other threads out, and closed streams closed.

        Python runs signal handlers after calls, and a handler may raise. So the item is taken
        without a call right before the `try`: it can only be gone where it comes back.
        """
        try:
            del self._free[0]
        except IndexError:
            raise _busy() from None
        try:
            if self._closed:
                raise _closed()
            return call(*arguments)
        finally:
            self._free.append(True)


def _busy() -> StreamError:
    return StreamError(
        "the stream is in use by another thread: use one stream for each thread, or a lock"
    )


def _closed() -> StreamError:
    return StreamError("the stream is closed: open a new one with Session.stream")
