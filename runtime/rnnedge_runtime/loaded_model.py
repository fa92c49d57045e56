"""`LoadedModel`: an engine and what is known of its model, with checked inputs.

The checks protect the process: ONNX Runtime's CPU kernels end it on an LSTM or GRU with an empty
batch and on a GRU without time steps, so such inputs never reach the engine.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from rnnedge_runtime.binding import Array, Binder, State, zeros
from rnnedge_runtime.contract import BATCH, METADATA_KEY, TIME, Contract, Interface, TensorSpec
from rnnedge_runtime.engine.options import Model
from rnnedge_runtime.errors import (
    EngineError,
    InputError,
    ModelError,
    StateError,
    one_line,
    pass_on_interruption,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from rnnedge_runtime.engine.protocol import Engine
    from rnnedge_runtime.foreign.read_interface import Reading


@dataclass(frozen=True, slots=True)
class RunResult:
    """The result of one call of `Session.run`.

    Attributes:
        outputs: Every output by name, including the final states.
        state: The final states in the order of `Interface.states`, each
            [layers*directions, batch, hidden]; ready to be the `state` of the next call.
    """

    outputs: dict[str, Array]
    state: tuple[Array, ...]

    @property
    def output(self) -> Array:
        """The first output: for a bare layer, every step's hidden state of the last layer."""
        return next(iter(self.outputs.values()))

    def __repr__(self) -> str:
        """List the outputs with their shapes, without their numbers."""
        named = (f"{name} {_described(array)}" for name, array in self.outputs.items())
        return f"RunResult({', '.join(named)}; {len(self.state)} state(s))"

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        from rnnedge_runtime.notebook import html_table

        rows = [(name, _described(array)) for name, array in self.outputs.items()]
        return html_table("RunResult", ("output", "shape"), rows)


class LoadedModel:
    """A model that can be run: what streams and pools work on.

    Attributes:
        engine: What computes it: `engine.name` says which engine, `engine.reason` why.
        interface: The inputs, outputs, states and lengths of the model.
        contract: What the exporter promised, or None for a model that rnnedge did not make.
        device: The device in use, `cpu` or `cuda`.
        path: The file that the model was opened from; None for bytes.
        binder: Checks the inputs of a call.
        doubts: For a model without a contract, a sentence for each input that may be a state and is
            not taken for one.
        input_values: For a model without a contract, integers that its inputs are compared with.
        fewest_steps: Steps that `probe_axes` found to be taken, where few are not, such as those
            of a window.
        frame_sizes: Sizes that it found to be taken for axes that are neither batch nor time.
    """

    engine: Engine
    interface: Interface
    contract: Contract | None
    device: Literal["cpu", "cuda"]
    path: str | os.PathLike[str] | None
    binder: Binder
    doubts: tuple[str, ...]
    input_values: Mapping[str, int]
    fewest_steps: int = 1
    frame_sizes: Mapping[str, int]

    def __init__(
        self, engine: Engine, model: Model, *, states: Mapping[str, str] | None = None
    ) -> None:
        """Read what an opened model declares.

        Args:
            engine: The opened model.
            model: The path or bytes that it was opened from.
            states: For a model without a contract, output name to the input that it feeds on the
                next call; None pairs them by their names.

        Raises:
            ModelError: If the contract and the graph have different inputs or outputs, or the
                graph has no outputs.
            ContractError: If the contract is damaged, or of a newer format.
            StateError: If `states` does not fit the model.
        """
        self.engine, self.device = engine, engine.device
        self.path = None if isinstance(model, bytes) else model
        name = "the model" if self.path is None else str(model)
        self.doubts, self.input_values, self.frame_sizes = (), {}, {}
        self._to_probe: Reading | None = None
        text = engine.metadata.get(METADATA_KEY)
        # With a contract the model is not needed again, and its bytes may be many.
        self._model = model if text is None else None
        if text is None:
            from rnnedge_runtime.foreign.read_interface import read_interface
            from rnnedge_runtime.onnx_file import read_graph

            self.contract = None
            reading = read_interface(read_graph(model), engine.inputs, engine.outputs, states)
            self.interface, self.doubts = reading.interface, reading.doubts
            self._to_probe, self.input_values = reading, reading.values
        elif states is not None:
            raise StateError(f"{name} names its states in its contract; leave states= out")
        else:
            self.contract = Contract.from_json(text, source=name)
            self.interface = self.contract.interface
            _check_promise(name, "inputs", self.interface.inputs, engine.inputs)
            _check_promise(name, "outputs", self.interface.outputs, engine.outputs)
        if not self.interface.outputs:
            raise ModelError(f"{name}: expected a model with outputs, found none")
        self.binder = Binder(self.interface)
        # `run` is called for every step of a signal: what it needs is looked up once.
        self._seen_before, self._run = self.binder.seen_before, engine.run
        self._output_names = [spec.name for spec in self.interface.data_outputs]
        self._first_final = len(self._output_names)
        self._output_names += [pair.output for pair in self.interface.states]
        self._computed_axes = [
            (spec, axis)
            for spec in (self.interface.outputs if self.contract else ())
            for axis in spec.axes
            if isinstance(axis, str) and not axis.isidentifier()
        ]

    def probe_axes(self) -> None:
        """Find which axes are `batch` and `time` by running a model without a contract.

        Runs it a few times at small sizes, once, and names the axes in `interface`; what the graph
        shows of them is not asked again. A model that refuses all of these sizes stays as it is.
        """
        reading, self._to_probe = self._to_probe, None
        if reading is None:
            return
        from rnnedge_runtime.foreign.probe_axes import probe_axes

        names = [spec.name for spec in self.interface.outputs]

        def run(feeds: dict[str, Array]) -> dict[str, Array] | None:
            try:
                return dict(zip(names, self.engine.run(names, feeds), strict=True))
            except Exception as raised:  # whatever the engine raises for sizes it does not take
                pass_on_interruption(raised)
                return None

        try:
            found = probe_axes(reading.declared, reading.roles, run, values=reading.values)
        except InputError:
            return  # an input of no numbers: there is nothing to run it on
        if found is not None:
            self.interface = found.interface
            self.fewest_steps, self.frame_sizes = found.steps, found.sizes
            self.binder = Binder(self.interface, takes_nan=self.binder.takes_nan)
            self._seen_before = self.binder.seen_before

    @cached_property
    def metadata(self) -> Mapping[str, Any]:
        """What the exporter's user kept in the file, by name; damaged, it is a ContractError."""
        from rnnedge_runtime.user_metadata import USER_KEY, from_json

        text = self.engine.metadata.get(USER_KEY)
        name = "the model" if self.path is None else str(self.path)
        return {} if text is None else from_json(text, source=name)

    @cached_property
    def hindrances(self) -> tuple[str, ...]:
        """What keeps chunks from giving what the whole sequence gives, as far as it is known."""
        if self.contract is not None:
            return self.contract.hindrances
        from rnnedge_runtime.foreign.reads_future import backward_nodes

        assert self._model is not None, "a model without a contract is kept"
        # Where frames have a fixed size, a backward node sees no more than one of them.
        return (backward_nodes(self._model) if self._has_open_time else ()) + self.lost_states

    @cached_property
    def lost_states(self) -> tuple[str, ...]:
        """Which recurrent nodes start anew at each call, although the model keeps a state."""
        states = [pair.input for pair in self.interface.states]
        if self.contract is not None or not states:
            return ()
        from rnnedge_runtime.foreign.loses_state import lost_states

        assert self._model is not None, "a model without a contract is kept"
        return lost_states(self._model, states, open_time=self._has_open_time)

    @property
    def _zeros_need_a_size(self) -> bool:
        """Whether a state has an axis that no data input is known to have."""
        known = {axis for spec in self.interface.data_inputs for axis in spec.axes}
        axes = {axis for spec in self.interface.state_inputs for axis in spec.axes}
        return any(isinstance(axis, str) for axis in axes - known)

    @property
    def _has_open_time(self) -> bool:
        axes = {axis for spec in self.interface.data_inputs for axis in spec.axes}
        return any(isinstance(axis, str) and axis != BATCH for axis in axes)

    @cached_property
    def digest(self) -> str:
        """`sha256:` and the digest of the weights, or of the whole file without a contract.

        A saved state belongs to the model with the same digest.
        """
        if self.contract is not None:
            return self.contract.weights_digest
        from hashlib import sha256
        from pathlib import Path

        assert self._model is not None, "a model without a contract is kept"
        content = self._model if isinstance(self._model, bytes) else Path(self._model).read_bytes()
        return f"sha256:{sha256(content).hexdigest()}"

    def run(
        self,
        input: ArrayLike | Mapping[str, ArrayLike],
        *,
        lengths: ArrayLike | None = None,
        state: State | None = None,
    ) -> RunResult:
        """Run whole sequences.

        Args:
            input: float32 [time, batch, features], or [batch, time, features] for a batch_first
                model; for a model of several inputs, a mapping by name.
            lengths: Steps of each row, integers [batch] from 0 to time, for a model that was
                exported with lengths; None means that every row is full.
            state: The initial state; None is zeros.

        Returns:
            Every output by name, and the final state.

        Raises:
            InputError: For an input of the wrong name, rank, size or dtype, for lengths that do
                not fit, and for a sequence without steps.
            StateError: For a state that does not fit, or a model that takes none.
            EngineError: If the engine fails.

        Example:
            >>> first = session.run(np.zeros((5, 1, 8), np.float32))
            >>> second = session.run(np.zeros((3, 1, 8), np.float32), state=first.state)
            >>> second.output.shape
            (3, 1, 16)
        """
        feeds = self._seen_before(input, state) if lengths is None else None
        if feeds is None:
            if state is None and self._to_probe is not None and self._zeros_need_a_size:
                self.probe_axes()
            feeds, sizes = self.binder.data(input)
            feeds.update(self.binder.state(state, sizes))
            feeds.update(self.binder.lengths(lengths, sizes))
            if 0 in sizes.values():
                return self._empty_result(sizes)
            if self._computed_axes:
                from rnnedge_runtime.axis_sizes import check_steps_are_left

                check_steps_are_left(self._computed_axes, self.interface.data_inputs, sizes)
            if lengths is None:
                self.binder.remember(feeds, with_state=state is not None)
        try:
            values = self._run(self._output_names, feeds)
        except Exception as raised:  # whatever the engine raises
            pass_on_interruption(raised)
            raise EngineError(f"{self.engine.title} failed: {one_line(raised)}") from raised
        outputs = dict(zip(self._output_names, values, strict=True))
        return RunResult(outputs, tuple(values[self._first_final :]))

    def zero_state(self, batch: int, sizes: Mapping[str, int] | None = None) -> tuple[Array, ...]:
        """Return a state of zeros.

        Args:
            batch: Rows, 0 or more.
            sizes: The sizes of other named axes.

        Returns:
            The arrays in the order of `Interface.states`.

        Raises:
            StateError: If a state has an axis whose size only the inputs tell.
        """
        known = {**(sizes or {}), BATCH: batch}
        return tuple(zeros(spec, known) for spec in self.interface.state_inputs)

    def check_streamable(self) -> None:
        """Check that the model can be run in chunks.

        Raises:
            StateError: If the model has no states, or reads the future.
        """
        states = self.interface.states
        if self.hindrances:
            remedy = ", which takes a state and gives the next" if states else ""
            raise StateError(
                "the model cannot be streamed, since chunks would not give what the whole sequence "
                f"gives: {'; '.join(self.hindrances)}; use Session.run{remedy}"
            )
        if not states:
            remedy = "; ".join(self.doubts) or "export it with states (--states)"
            raise StateError(f"the model has no states to keep between calls: {remedy}")

    def _empty_result(self, sizes: dict[str, int]) -> RunResult:
        """Return what PyTorch gives for an empty batch, without the engine, which may abort."""
        if sizes.get(TIME) == 0:
            names = ", ".join(s.name for s in self.interface.data_inputs if TIME in s.axes)
            raise InputError(f"{names}: expected a {TIME} axis of 1 or more steps, got 0")
        specs = {spec.name: spec for spec in self.interface.outputs}
        unknown = {axis for spec in specs.values() for axis in spec.axes} - set(sizes)
        if self.contract is None or any(isinstance(axis, str) for axis in unknown):
            empty = ", ".join(axis for axis, size in sizes.items() if size == 0)
            raise InputError(
                f"axis {empty} is empty, and {self.engine.title} may abort the process on it"
            )
        outputs = {name: zeros(specs[name], sizes) for name in self._output_names}
        return RunResult(outputs, tuple(outputs[pair.output] for pair in self.interface.states))


def _described(array: Array) -> str:
    return f"{array.dtype}{list(array.shape)}"


def _check_promise(
    model: str, kind: str, promised: Sequence[TensorSpec], real: Sequence[TensorSpec]
) -> None:
    """Check that a contract and the graph speak of the same tensors."""
    graph = {spec.name: spec for spec in real}
    expected = {spec.name for spec in promised}
    if expected != set(graph):
        raise ModelError(
            f"{model}: its contract promises the {kind} {', '.join(sorted(expected))}, "
            f"the graph has {', '.join(sorted(graph))}: it was changed after the export"
        )
    for spec in promised:
        found = graph[spec.name]
        named = "(" not in found.dtype  # the engine's own name for what numpy has no name for
        if named and spec.dtype != found.dtype:
            raise ModelError(
                f"{model}: its contract promises {spec}, the graph has {found}: it was changed "
                "after the export"
            )
