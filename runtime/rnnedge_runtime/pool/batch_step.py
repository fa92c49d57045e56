"""One step of some streams of a pool, as one batch for each length of chunks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import RLock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from rnnedge_runtime.binding import Array
from rnnedge_runtime.contract import TensorSpec
from rnnedge_runtime.engine.protocol import PoolRows
from rnnedge_runtime.pool.batching import Group
from rnnedge_runtime.pool.slots import Slots
from rnnedge_runtime.streaming.silence_and_nan import FLUSHED_EVERY, TINY

if TYPE_CHECKING:
    from rnnedge_runtime.engine.protocol import RowSteps
    from rnnedge_runtime.loaded_model import LoadedModel


class BatchStep:
    """Runs steps one at a time, and keeps the states of all streams of a step, or of none.

    Attributes:
        lock: Held while a step runs.
        inside: Whether one runs; of the thread that holds the lock.
    """

    def __init__(
        self,
        model: LoadedModel,
        slots: Slots,
        inputs: Sequence[TensorSpec],
        constants: Mapping[str, Array],
    ) -> None:
        """Ask the engine whether it makes steps of rows by itself.

        Args:
            model: The opened model.
            slots: The states of the streams.
            inputs: The inputs that frames give.
            constants: The other data inputs by name.
        """
        self.lock = RLock()
        self.inside = False
        self._model, self._slots, self._constants = model, slots, constants
        self._row_steps = self._engine_steps(inputs)

    def at_once(self, streams: object, frames: object) -> Array | None:
        """Run a frame of each stream in one call of the engine, which checks them.

        Args:
            streams: Anything.
            frames: Anything.

        Returns:
            The output of each; None where the engine does not take them so, and nothing has run.

        Raises:
            EngineError: If the engine fails; no state changes.
        """
        if self._row_steps is None:
            return None
        slots = self._slots
        with self.lock:
            try:
                if slots.left is None:  # as `begin` does it, which would cost as much again
                    slots.left = []
                self.inside = True
                return self._row_steps(streams, frames)
            finally:
                self.inside = False
                slots.end()

    def run(self, groups: Sequence[Group]) -> list[dict[str, Array]]:
        """Run each group and keep its states.

        Args:
            groups: The frames.

        Returns:
            The outputs of each group.

        Raises:
            StreamError: If a stream is not open; no state changes.
            EngineError: If the engine fails; no state changes.
        """
        results = []
        with self.lock:
            try:
                places, before = self._states_of(groups)
                for group, state in zip(groups, before, strict=True):
                    results.append(self._model.run(self._with_constants(group.batch), state=state))
                with self._slots.lock:
                    self._slots.keep(places, [result.state for result in results])
            finally:
                self.inside = False
                self._slots.end()
        return [result.outputs for result in results]

    def _engine_steps(self, inputs: Sequence[TensorSpec]) -> RowSteps | None:
        interface, slots = self._model.interface, self._slots
        if self._constants or len(inputs) != 1 or len(interface.data_outputs) != 1:
            return None
        rows = PoolRows(
            inputs[0],
            interface.data_outputs[0],
            {pair.input: pair.output for pair in interface.states},
            slots.blocks,
            slots.axes,
            slots.of_stream,
            slots.steps,
        )
        return self._model.engine.row_steps(rows, tiny=TINY, flushed_every=FLUSHED_EVERY)

    def _with_constants(self, batch: dict[str, Array]) -> dict[str, Array]:
        """Return all inputs, in the order of the graph, which `Session.run` checks fastest."""
        if not self._constants:
            return batch
        given = {**batch, **self._constants}
        return {spec.name: given[spec.name] for spec in self._model.interface.data_inputs}

    def _states_of(
        self, groups: Sequence[Group]
    ) -> tuple[list[NDArray[np.intp]], list[tuple[Array, ...]]]:
        """Return slots and states of each group; no slot is reused before the step has ended."""
        slots = self._slots
        with slots.lock:
            places = [slots.places(group.streams) for group in groups]
            states = [slots.states(own) for own in places]
            slots.begin()
            self.inside = True
            return places, states
