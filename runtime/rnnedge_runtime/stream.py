"""`Stream`: one running sequence whose state is kept between calls."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from rnnedge_runtime.contract import BATCH, TIME, TensorSpec
from rnnedge_runtime.errors import InputError, StateError
from rnnedge_runtime.session import Array, Session, State, as_array


class Stream:
    """A running sequence, or `batch` of them side by side, whose state is kept between calls.

    Made by `Session.stream`. What the model answers chunk by chunk is what it would have answered
    for the whole sequence in one call.
    """

    def __init__(self, session: Session, batch: int) -> None:
        """Start at a state of zeros.

        Raises:
            StateError: When the model has no states to keep, or reads the future.
            InputError: When `batch` is not 1 or more.
        """
        if not isinstance(batch, int | np.integer) or batch < 1:
            raise InputError(f"batch: expected an integer of 1 or more, got {batch!r}")
        if session.contract and session.contract.hindrances:
            raise StateError(
                "the model cannot be streamed, since chunks would not give what the whole sequence "
                f"gives: {'; '.join(session.contract.hindrances)}; use Session.run"
            )
        if not session.interface.states:
            raise StateError(
                "the model has no states to keep between calls: export it with states (--states)"
            )
        self._session = session
        self._batch = int(batch)
        self._state = session.zero_state(self._batch)

    @property
    def state(self) -> tuple[Array, ...]:
        """The state after the last step, (h,) or (h, c), each [layers, batch, hidden]; a copy."""
        return tuple(array.copy() for array in self._state)

    @state.setter
    def state(self, state: State) -> None:
        feeds: dict[str, Array] = {}
        self._session._bind_state(state, feeds, {BATCH: self._batch})
        self._state = tuple(feeds[s.name].copy() for s in self._session.interface.state_inputs)

    def reset(self) -> None:
        """Go back to a state of zeros."""
        self._state = self._session.zero_state(self._batch)

    def step(self, frame: ArrayLike | Mapping[str, ArrayLike]) -> Array | dict[str, Array]:
        """Run one step, or a chunk of steps, and keep the state.

        Args:
            frame: float32 [batch, features] for one step; with a time axis, as `Session.run` takes
                it, for a chunk. For a model of several inputs, a mapping by name.

        Returns:
            The output without its time axis for one step, with it for a chunk; for a model of
            several outputs, a dict by name.

        Raises:
            InputError: When the frame does not fit; the state stays as it was.
            EngineError: When ONNX Runtime fails; the state stays as it was.
        """
        face = self._session.interface
        if not isinstance(frame, Mapping):
            if len(face.data_inputs) != 1:
                names = ", ".join(spec.name for spec in face.data_inputs)
                raise InputError(f"expected a mapping with the inputs {names}, got one array")
            frame = {face.data_inputs[0].name: frame}
        chunk = {name: as_array(name, value, InputError) for name, value in frame.items()}
        single = False
        for spec in face.data_inputs:
            value = chunk.get(spec.name)
            if value is not None and _is_frame(spec, value):
                chunk[spec.name] = np.expand_dims(value, spec.axes.index(TIME))
                single = True
            self._check_batch(spec, chunk.get(spec.name))
        result = self._session.run(chunk, state=self._state)
        self._state = result.state
        outputs = {}
        for spec in face.data_outputs:
            value = result.outputs[spec.name]
            outputs[spec.name] = (
                value.squeeze(spec.axes.index(TIME)) if single and TIME in spec.axes else value
            )
        return next(iter(outputs.values())) if len(outputs) == 1 else outputs

    def _check_batch(self, spec: TensorSpec, value: Array | None) -> None:
        if value is None or BATCH not in spec.axes or value.ndim != len(spec.axes):
            return  # `Session.run` says what is wrong with it
        rows = value.shape[spec.axes.index(BATCH)]
        if rows != self._batch:
            raise InputError(
                f"{spec.name}: expected {self._batch} row(s), as the stream was opened with, "
                f"got {rows}"
            )


def _is_frame(spec: TensorSpec, value: Array) -> bool:
    return TIME in spec.axes and value.ndim == len(spec.axes) - 1
