"""`Session`: a model opened on a device, with every input checked before ONNX Runtime sees it.

The checks are not a courtesy. ONNX Runtime's CPU kernels end the whole process on an LSTM or GRU
with an empty batch and on a GRU without time steps, so those never reach it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from rnnedge_runtime.binding import Array as Array
from rnnedge_runtime.binding import as_array as as_array
from rnnedge_runtime.binding import bound, bound_lengths, by_name, dtype_of, zeros
from rnnedge_runtime.contract import (
    BATCH,
    METADATA_KEY,
    TIME,
    Contract,
    Interface,
    TensorSpec,
)
from rnnedge_runtime.engine import Device, EngineOptions, Model, open_engine
from rnnedge_runtime.errors import (
    EngineError,
    InputError,
    ModelError,
    StateError,
    engine_errors,
    one_line,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from rnnedge_runtime.info import SessionInfo
    from rnnedge_runtime.pool import StreamPool
    from rnnedge_runtime.stream import Stream

State: TypeAlias = "Sequence[ArrayLike] | Mapping[str, ArrayLike] | Array"
"""(h,) or (h, c) in the order of `Interface.states`, a mapping by input name, or the only one."""

_MOST_SEEN = 64
"""Calls of other shapes that are remembered, each with zeros for the states that it left out."""
_MOST_ZEROS = 1 << 16
"""Bytes of such zeros; where there are more, a call takes too long for its checks to matter."""


@dataclass(frozen=True, slots=True)
class RunResult:
    """What one call of `Session.run` gave.

    Attributes:
        outputs: Every output by name, final states among them.
        state: The final states in the order of `Interface.states`, each
            [layers*directions, batch, hidden]; ready to be the `state` of the next call.
    """

    outputs: dict[str, Array]
    state: tuple[Array, ...]

    @property
    def output(self) -> Array:
        """The first output: for a bare layer, every step's hidden state of the last layer."""
        return next(iter(self.outputs.values()))


class Session:
    """A model opened on a device.

    Attributes:
        interface: The inputs, outputs, states and lengths of the model.
        contract: What the exporter promised, or None for a model that rnnedge did not make.
        device: The device in use, `cpu` or `cuda`.
    """

    interface: Interface
    contract: Contract | None
    device: Literal["cpu", "cuda"]

    def __init__(
        self,
        model: Model,
        *,
        device: Device = "cpu",
        threads: int | None = None,
        spinning: bool = True,
        arena: bool = True,
        memory_pattern: bool = False,
        tf32: bool = False,
        options: Mapping[str, str] | None = None,
        states: Mapping[str, str] | None = None,
    ) -> None:
        """Open `model`.

        Args:
            model: Path of an `.onnx` file, or its bytes.
            device: `cpu`; `cuda`, which is CUDA or an error; `auto`, which takes CUDA where it
                works and says in `device` what it took.
            threads: Threads inside one operator, 1 or more; None leaves ONNX Runtime's default, the
                number of physical cores. Streams are best with 1.
            spinning: Whether waiting threads look for work instead of sleeping; no difference with
                one thread.
            arena: Whether memory that ONNX Runtime has used is kept for the next call.
            memory_pattern: Whether it plans the memory of each shape that it has seen.
            tf32: Whether CUDA may round the factors of its products to 10 bits, for speed.
            options: Any other entry of ONNX Runtime's session configuration, by its name.
                `EngineOptions` says what was measured of all of these.
            states: For a model without a contract, output name to the input that it feeds on the
                next call; None goes by the names.

        Raises:
            MissingPackageError: When onnxruntime is not installed.
            ModelError: When the model is missing, damaged, or refused by ONNX Runtime.
            ContractError: When its contract is damaged, or of a newer format.
            DeviceError: When the device cannot be had.
            StateError: When `states` does not fit the model.
            OptionError: For an option that ONNX Runtime does not know, or a wrong value.
        """
        self._options = EngineOptions(threads, spinning, arena, memory_pattern, tf32, options or {})
        self._engine, self.device = open_engine(model, device=device, options=self._options)
        # `InferenceSession.run` looks in Python for missing names, values of its own class, and a
        # provider to fall back to: 1.5 to 4 microseconds of each call for what cannot be here.
        self._run = getattr(self._engine, "_sess", self._engine).run
        name = "the model" if isinstance(model, bytes) else str(model)
        self._path = None if isinstance(model, bytes) else model
        with engine_errors(f"{name} cannot be read", ModelError):
            text = self._engine.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
            inputs, outputs = self._engine.get_inputs(), self._engine.get_outputs()
            if text is None:
                from rnnedge_runtime.foreign import read_interface

                self.contract, self._model = None, model
                self.interface = read_interface(inputs, outputs, states)
            elif states is not None:
                raise StateError(f"{name} names its states in its contract; leave states= out")
            else:
                self.contract = Contract.from_json(text, source=name)
                self.interface = self.contract.interface
                _check_same_names(name, "inputs", self.interface.inputs, inputs)
                _check_same_names(name, "outputs", self.interface.outputs, outputs)
        face = self.interface
        self._output_names = [spec.name for spec in face.data_outputs]
        self._output_names += [pair.output for pair in face.states]
        # What `run` needs at each call, worked out once: it is called for every step of a signal.
        self._data_specs, self._state_specs = face.data_inputs, face.state_inputs
        self._first_final = len(face.data_outputs)
        self._lengths_dtype = next(
            (spec.dtype for spec in face.inputs if spec.name == face.lengths), ""
        )
        self._data_names = tuple(spec.name for spec in self._data_specs)
        specs = (*self._data_specs, *self._state_specs)
        self._reckoned = [
            (spec, axis)
            for spec in (face.outputs if self.contract else ())
            for axis in spec.axes
            if isinstance(axis, str) and not axis.isidentifier()
        ]
        self._expected = tuple((spec.name, dtype_of(spec.dtype)) for spec in specs)
        self._seen: dict[tuple[tuple[int, ...], ...], dict[str, Array]] = {}

    def __repr__(self) -> str:
        """List the inputs and outputs with their axes."""
        inputs = ", ".join(map(str, self.interface.inputs))
        outputs = ", ".join(map(str, self.interface.outputs))
        return f"Session({inputs} -> {outputs}, device={self.device!r})"

    @cached_property
    def info(self) -> SessionInfo:
        """Where each node runs and whether one fell back, the states, and the delay of a stream."""
        from rnnedge_runtime.info import describe

        return describe(self._engine, self.device, self._options, self.interface, self._hindrances)

    @cached_property
    def _hindrances(self) -> tuple[str, ...]:
        """What keeps chunks from giving what the whole sequence gives, as far as it is known."""
        if self.contract is not None:
            return self.contract.hindrances
        axes = {axis for spec in self._data_specs for axis in spec.axes}
        if not any(isinstance(axis, str) and axis != BATCH for axis in axes):
            return ()  # its frames are of one size: what it does inside them is its own affair
        from rnnedge_runtime.backwards import backward_nodes

        return backward_nodes(self._model)

    @cached_property
    def digest(self) -> str:
        """`sha256:` and the digest of the weights, or of the whole file where there is no contract.

        A saved state belongs to the model with the same digest.
        """
        if self.contract is not None:
            return self.contract.weights_digest
        from hashlib import sha256
        from pathlib import Path

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

        Raises:
            InputError: For an input of the wrong name, rank, size or dtype, for lengths that do
                not fit, and for a sequence without steps.
            StateError: For a state that does not fit, or a model that takes none.
            EngineError: When ONNX Runtime itself fails.
        """
        feeds = self._seen_before(input, state) if lengths is None else None
        if feeds is None:
            feeds, sizes = self._bind_data(input)
            self._bind_state(state, feeds, sizes)
            self._bind_lengths(lengths, feeds, sizes)
            if 0 in sizes.values():
                return self._answer_nothing(sizes)
            if self._reckoned:
                from rnnedge_runtime.axis_sizes import check_steps_are_left

                check_steps_are_left(self._reckoned, self._data_specs, sizes)
            if lengths is None:
                self._remember(feeds, with_state=state is not None)
        try:
            values = self._run(self._output_names, feeds, None)
        except Exception as raised:
            raise EngineError(f"ONNX Runtime failed: {one_line(raised)}") from raised
        outputs = dict(zip(self._output_names, values, strict=True))
        return RunResult(outputs, tuple(values[self._first_final :]))

    def stream(self, batch: int = 1, *, constants: Mapping[str, ArrayLike] | None = None) -> Stream:
        """Start a stream: a running sequence whose state is kept between calls.

        Args:
            batch: Rows that run side by side, 1 or more.
            constants: Inputs that are the same at every step, by name, such as `{"sr": 16000}`:
                they are bound once, and a step is given the others.

        Raises:
            StateError: When the model has no states to keep, or reads the future.
            InputError: When `batch` is not 1 or more, or a constant does not fit.
        """
        from rnnedge_runtime.stream import Stream

        return Stream(self, batch, constants=constants)

    def pool(
        self,
        *,
        capacity: int = 1024,
        max_delay_ms: float = 2.0,
        max_waiting: int = 1024,
        constants: Mapping[str, ArrayLike] | None = None,
    ) -> StreamPool:
        """Make a pool of streams that come and go, and are stepped together.

        Args:
            capacity: The most streams that may be open at once, 1 or more.
            max_delay_ms: Milliseconds that a frame given to `StreamPool.submit` waits for others.
            max_waiting: The most frames that may wait, 1 or more.
            constants: Inputs that are the same at every step of all streams, by name, such as
                `{"sr": 16000}`: a frame is given the others.

        Raises:
            StateError: When the model has no states to keep, reads the future, or has a state or
                an output without a batch axis.
            InputError: When a number is out of its range, an input has no batch axis and is no
                constant, or a constant has one or does not fit.
        """
        from rnnedge_runtime.pool import StreamPool

        return StreamPool(
            self,
            capacity=capacity,
            max_delay_ms=max_delay_ms,
            max_waiting=max_waiting,
            constants=constants,
        )

    def zero_state(self, batch: int) -> tuple[Array, ...]:
        """Return a state of zeros for `batch` rows, in the order of `Interface.states`."""
        return tuple(zeros(spec, {BATCH: batch}) for spec in self.interface.state_inputs)

    def _seen_before(self, data: object, state: object) -> dict[str, Array] | None:
        """Return what to feed when arrays of these shapes have passed every check, else None.

        The checks look at shapes and dtypes only, and take longer than a step of a small layer.
        """
        if type(data) is np.ndarray and len(self._data_names) == 1:
            arrays: tuple[Any, ...] = (data,)
        elif type(data) is dict and tuple(data) == self._data_names:
            arrays = tuple(data.values())
        else:
            return None
        if state is not None:
            if type(state) is not tuple or not state:
                return None
            arrays += state
            if len(arrays) != len(self._expected):
                return None
        feeds: dict[str, Array] = {}
        shapes = []
        for array, (name, dtype) in zip(arrays, self._expected):  # noqa: B905 - or without states
            if (
                type(array) is not np.ndarray
                or array.dtype is not dtype
                or not array.flags.c_contiguous
            ):
                return None
            feeds[name] = array
            shapes.append(array.shape)
        rest = self._seen.get(tuple(shapes))
        if rest is None:
            return None
        if rest:
            feeds.update(rest)
        return feeds

    def _remember(self, feeds: Mapping[str, Array], *, with_state: bool) -> None:
        """Keep the shapes of a call that passed, and what was fed beside the arrays given."""
        given = [name for name, _ in self._expected if with_state or name in self._data_names]
        rest = {name: feeds[name] for name in feeds if name not in given}
        if sum(array.nbytes for array in rest.values()) > _MOST_ZEROS:
            return
        if len(self._seen) >= _MOST_SEEN:
            self._seen.clear()
        self._seen[tuple([feeds[name].shape for name in given])] = rest

    def _bind_data(
        self, data: ArrayLike | Mapping[str, ArrayLike]
    ) -> tuple[dict[str, Array], dict[str, int]]:
        specs = self._data_specs
        if isinstance(data, Mapping) and not specs:
            raise InputError("the model has no data inputs")
        data = by_name(specs, data)
        given, expected = set(map(str, data)), {spec.name for spec in specs}
        if given != expected:
            wrong = sorted(given - expected) or sorted(expected - given)
            raise InputError(
                f"expected the inputs {', '.join(s.name for s in specs)}; "
                f"{'unknown' if given - expected else 'missing'}: {', '.join(wrong)}"
            )
        sizes: dict[str, int] = {}
        return {spec.name: bound(spec, data[spec.name], sizes, InputError) for spec in specs}, sizes

    def _bind_state(
        self, state: State | None, feeds: dict[str, Array], sizes: dict[str, int]
    ) -> None:
        specs = self._state_specs
        if state is None:
            feeds.update({spec.name: zeros(spec, sizes) for spec in specs})
            return
        if not specs:
            raise StateError("the model takes no state: export it with states (--states)")
        if isinstance(state, Mapping):
            if set(state) != {spec.name for spec in specs}:
                names = ", ".join(spec.name for spec in specs)
                raise StateError(f"expected the states {names}, got {', '.join(map(str, state))}")
            values = [state[spec.name] for spec in specs]
        else:
            values = [state] if isinstance(state, np.ndarray) else list(state)
            if len(values) != len(specs):
                names = ", ".join(spec.name for spec in specs)
                raise StateError(
                    f"expected {len(specs)} state(s) ({names}), got {len(values)} array(s)"
                )
        for spec, value in zip(specs, values, strict=True):
            feeds[spec.name] = bound(spec, value, sizes, StateError)

    def _bind_lengths(
        self, lengths: ArrayLike | None, feeds: dict[str, Array], sizes: dict[str, int]
    ) -> None:
        name = self.interface.lengths
        if name is None:
            if lengths is not None:
                raise InputError(
                    "the model takes no lengths: export it with lengths=True (--lengths)"
                )
            return
        dtype = self._lengths_dtype
        batch, time = sizes.get(BATCH), sizes.get(TIME)
        if lengths is None:
            if batch is None or time is None:
                raise InputError(f"{name}: expected the steps of each row, got none")
            feeds[name] = np.full(batch, time, dtype)
            return
        feeds[name] = bound_lengths(name, lengths, batch, time).astype(dtype, copy=False)

    def _answer_nothing(self, sizes: dict[str, int]) -> RunResult:
        """Answer an empty batch as PyTorch does, without ONNX Runtime, which may abort on it."""
        if sizes.get(TIME) == 0:
            names = ", ".join(s.name for s in self.interface.data_inputs if TIME in s.axes)
            raise InputError(f"{names}: expected a {TIME} axis of 1 or more steps, got 0")
        specs = {spec.name: spec for spec in self.interface.outputs}
        unknown = {axis for spec in specs.values() for axis in spec.axes} - set(sizes)
        if self.contract is None or any(isinstance(axis, str) for axis in unknown):
            empty = ", ".join(axis for axis, size in sizes.items() if size == 0)
            raise InputError(f"axis {empty} is empty, and ONNX Runtime may abort the process on it")
        outputs = {name: zeros(specs[name], sizes) for name in self._output_names}
        return RunResult(outputs, tuple(outputs[pair.output] for pair in self.interface.states))


def _check_same_names(
    model: str, kind: str, specs: Sequence[TensorSpec], args: Sequence[Any]
) -> None:
    promised, real = {spec.name for spec in specs}, {arg.name for arg in args}
    if promised != real:
        raise ModelError(
            f"{model}: its contract promises the {kind} {', '.join(sorted(promised))}, "
            f"the graph has {', '.join(sorted(real))}: it was changed after the export"
        )
