"""Runs cases on an exported model: whole, in chunks, in another order, again, in threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from rnnedge.parity.cases import Case, Inputs, Outputs, chunks
from rnnedge_runtime import ModelError
from rnnedge_runtime.chunking import cut, join
from rnnedge_runtime.contract import BATCH, Interface
from rnnedge_runtime.loaded_model import RunResult

_MOST_THREADS = 8
"""Threads that a file of integers is opened with, at the most, to see what they move."""


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
        self._axes = {spec.name: spec.axes for spec in (*interface.inputs, *interface.outputs)}
        self._opened = opened

    def __call__(self, inputs: Inputs, case: Case) -> Outputs:
        """Run `inputs`.

        Raises:
            ModelError: When the answers to chunks do not join, or those of several runs differ.
        """
        session = self._opened(2 if case.way == "threads" else 1)
        if case.way == "permuted":
            order = np.arange(case.batch)[::-1]
            answers = self._run(session, self._take(inputs, order, case.batch), case)
            return self._take(answers, np.argsort(order), case.batch)
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
        that rounds a batch to integers over its range then rounds a state over the range of each
        part, and what it is given over the whole or over each part, as the operator does. What more
        threads than are tried here would move, the parts alone show.
        """
        session = self._opened(1)
        whole = self._run(session, inputs, case)
        others = [
            self._run(self._opened(threads), inputs, case)
            for threads in range(2, min(case.batch, _MOST_THREADS) + 1)
        ]
        others += [self._in_parts(session, inputs, case, n) for n in range(1, case.batch)]
        moved = dict.fromkeys(whole, 0.0)
        for outputs in others:
            for name in outputs.keys() & whole.keys():
                difference = np.abs(outputs[name].astype(np.float64) - whole[name])
                moved[name] = max(moved[name], float(difference.max(initial=0.0)))
        return moved

    def _in_parts(self, session: Runs, inputs: Inputs, case: Case, count: int) -> Outputs:
        """Run so many rows at a time, and join what has a batch axis."""
        parts = [
            self._run(session, self._take(inputs, rows, case.batch), case)
            for rows in np.split(np.arange(case.batch), range(count, case.batch, count))
        ]
        return {
            spec.name: np.concatenate([part[spec.name] for part in parts], spec.axes.index(BATCH))
            for spec in self.interface.outputs
            if BATCH in spec.axes and spec.name in parts[0]
        }

    def _take(self, arrays: Outputs, rows: NDArray[np.int64], batch: int) -> Outputs:
        """Return rows of what has a batch axis."""
        axes = self._axes
        return {
            name: np.take(array, rows, axes[name].index(BATCH))
            if BATCH in axes[name] and array.shape[axes[name].index(BATCH)] == batch
            else array
            for name, array in arrays.items()
        }

    def _run(self, session: Runs, inputs: Inputs, case: Case) -> Outputs:
        face = self.interface
        state = {spec.name: inputs[spec.name] for spec in face.state_inputs}
        data = {spec.name: inputs[spec.name] for spec in face.data_inputs}
        lengths = inputs[face.lengths] if face.lengths else None
        answers: list[Outputs] = []
        for piece in chunks(case):
            steps = min(piece.stop, case.time) - piece.start
            result = session.run(
                cut(data, self._axes, piece),
                lengths=None if lengths is None else np.clip(lengths - piece.start, 0, steps),
                state=state or None,
            )
            state = {p.input: result.outputs[p.output] for p in face.states}
            answers.append(result.outputs)
        try:
            return answers[0] if len(answers) == 1 else join(answers, self._axes)
        except ValueError as error:
            raise ModelError(f"its answers to the chunks do not join: {error}") from error
