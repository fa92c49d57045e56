"""`Session`: a model opened on a device, to be run, streamed and pooled."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from rnnedge_runtime.engine.open import open_engine
from rnnedge_runtime.engine.options import Device, EngineName, EngineOptions, Model, as_model
from rnnedge_runtime.errors import ModelError
from rnnedge_runtime.loaded_model import LoadedModel
from rnnedge_runtime.onnx_file import reading_once

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from rnnedge_runtime.binding import State
    from rnnedge_runtime.decoding.decode import Decoded
    from rnnedge_runtime.decoding.generate import Generated
    from rnnedge_runtime.engine.info import SessionInfo
    from rnnedge_runtime.pool.pool import StreamPool
    from rnnedge_runtime.streaming.stream import Stream


class Session(LoadedModel):
    """A model opened on a device.

    Attributes:
        engine: What computes the model: `engine.name` says which engine, `engine.reason` why.
        interface: The inputs, outputs, states and lengths of the model.
        contract: What the exporter promised, or None for a model that rnnedge did not make.
        device: The device in use, `cpu` or `cuda`.
        metadata: What the exporter's user kept in the file, such as labels.

    Example:
        >>> session = Session("model.onnx", threads=1)
        >>> x = np.zeros((5, 1, 8), np.float32)  # time, batch, features
        >>> session.run(x).output.shape
        (5, 1, 16)
    """

    def __init__(  # noqa: PLR0913 - each is a separate option, given by name
        self,
        model: Model,
        *,
        device: Device = "cpu",
        engine: EngineName = "auto",
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
            device: `cpu`; `cuda`, which is CUDA or an error; `auto`, which takes CUDA if it works;
                the attribute `device` says which one it took.
            engine: `onnxruntime`; `native`, which needs rnnedge-native and a model that it knows;
                `auto`, which with threads=1 takes the native engine where it is installed, knows
                the model and was measured to be no slower. `session.engine` says which one it
                took, and why.
            threads: Threads inside one operator, or that share the rows of a batch in the native
                engine, 1 or more; None is ONNX Runtime's default, the number of physical cores,
                and 1 in the native engine. Streams are best with 1.
            spinning: Whether waiting threads spin instead of sleeping; no difference with one
                thread.
            arena: Whether ONNX Runtime keeps memory for the next call.
            memory_pattern: Whether it plans the memory of each shape that it has seen.
            tf32: Whether CUDA may round the factors of its products to 10 bits, for speed.
            options: Any other entry of ONNX Runtime's session configuration, by its name.
                `EngineOptions` gives the measurements behind all of these.
            states: For a model without a contract, output name to the input that it feeds on the
                next call; None finds them in the graph.

        Raises:
            MissingPackageError: If the package of the engine is not installed.
            ModelError: If the model is missing, damaged, or refused by the engine; the native
                engine names the node that it does not know.
            ContractError: If its contract is damaged, or of a newer format.
            DeviceError: If the device is not available.
            StateError: If `states` does not fit the model.
            OptionError: For an option that ONNX Runtime does not know, or a wrong value.
        """
        model = as_model(model)
        entries = EngineOptions(
            threads, spinning, arena, memory_pattern, tf32, {} if options is None else options
        )
        with reading_once():
            opened = open_engine(model, device=device, options=entries, engine=engine)
            super().__init__(opened, model, states=states)
        self._options = {
            "device": device,
            "engine": engine,
            "threads": threads,
            "spinning": spinning,
            "arena": arena,
            "memory_pattern": memory_pattern,
            "tf32": tf32,
            "options": None if options is None else dict(options),
            "states": None if states is None else dict(states),
        }

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the path and the options: the model is opened again where it is unpickled.

        Raises:
            ModelError: If the session was opened from bytes, which are not kept.
        """
        if self.path is None:
            raise ModelError(
                "a session of a model given as bytes cannot be pickled: open it from a path"
            )
        return _opened, (type(self), os.path.abspath(self.path), self._options)

    def __repr__(self) -> str:
        """List the inputs and outputs with their axes."""
        inputs = ", ".join(map(str, self.interface.inputs))
        outputs = ", ".join(map(str, self.interface.outputs))
        return f"Session({inputs} -> {outputs}, device={self.device!r})"

    def _repr_html_(self) -> str:
        """Return what a notebook shows."""
        from rnnedge_runtime.notebook import html_table

        pairs = {pair.input: pair.output for pair in self.interface.states}
        final = {output: state for state, output in pairs.items()}
        roles = {name: f"initial state, from {output}" for name, output in pairs.items()}
        roles |= {name: f"final state, to {state}" for name, state in final.items()}
        roles |= {self.interface.lengths: "length of each row"} if self.interface.lengths else {}
        rows = [
            (side, str(spec), roles.get(spec.name, "data"))
            for side, specs in (("in", self.interface.inputs), ("out", self.interface.outputs))
            for spec in specs
        ]
        rows += [("metadata", name, str(value)) for name, value in self.metadata.items()]
        where = f"Session on {self.device}, {self.engine.name}"
        return html_table(where, ("side", "name, dtype and axes", "what it is"), rows)

    def __copy__(self) -> Session:
        """Return the session itself: it does not change, and any number of users may share it."""
        return self

    def __deepcopy__(self, memo: object) -> Session:
        """Return the session itself, likewise."""
        return self

    @cached_property
    def info(self) -> SessionInfo:
        """Where each node runs and whether one fell back, the states, and the delay of a stream."""
        from rnnedge_runtime.engine.info import describe

        return describe(self.engine, self.interface, self.hindrances, self.doubts)

    def stream(self, batch: int = 1, *, constants: Mapping[str, ArrayLike] | None = None) -> Stream:
        """Start a stream: a running sequence whose state is kept between calls.

        Args:
            batch: Rows that run side by side, 1 or more.
            constants: Inputs that are the same at every step, by name, such as `{"sr": 16000}`:
                they are bound once, and a step takes only the others.

        Returns:
            The stream, at a state of zeros.

        Raises:
            StateError: If the model has no states to keep, or reads the future.
            InputError: If `batch` is not 1 or more, or a constant does not fit.

        Example:
            >>> stream = session.stream()
            >>> stream.step(np.zeros(8, np.float32)).shape
            (16,)
            >>> stream
            Stream(1 steps, batch=1, frames input float32[batch, 8])
        """
        from rnnedge_runtime.streaming.stream import Stream

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
            max_delay_ms: Milliseconds that a frame passed to `StreamPool.submit` waits for others.
            max_waiting: The most frames that may wait, 1 or more.
            constants: Inputs that are the same at every step of all streams, by name, such as
                `{"sr": 16000}`: a frame has only the others.

        Returns:
            The pool, without streams.

        Raises:
            StateError: If the model has no states to keep, reads the future, or has a state or an
                output without a batch axis.
            InputError: If a number is out of its range, an input has no batch axis and is not a
                constant, or a constant has one or does not fit.

        Example:
            >>> pool = session.pool(capacity=8)
            >>> one, other = pool.open(), pool.open()
            >>> frames = {one: np.zeros(8, np.float32), other: np.ones(8, np.float32)}
            >>> sorted(pool.step(frames)) == [one, other]
            True
        """
        from rnnedge_runtime.pool.pool import StreamPool

        return StreamPool(
            self,
            capacity=capacity,
            max_delay_ms=max_delay_ms,
            max_waiting=max_waiting,
            constants=constants,
        )

    def decode(  # noqa: PLR0913 - each is a separate option, given by name
        self,
        start: ArrayLike,
        stop: int | Sequence[int] | None,
        max_steps: int,
        *,
        inputs: Mapping[str, ArrayLike] | None = None,
        state: State | None = None,
        beam: int = 1,
        length_penalty: float = 0.0,
        symbol: str | None = None,
        logits: str | None = None,
    ) -> Decoded:
        """Let a model write symbols: what it chooses at one step is its input at the next.

        The model takes integer symbols [batch] (or [batch, time]) and gives logits
        [batch, symbols] (or [batch, time, symbols]), with its embedding and its last layer inside.

        Args:
            start: The symbol that starts a sequence; one for each row, integers [batch]; or a
                prompt of the same length for each row, integers [batch, steps].
            stop: The symbol that ends a sequence, or several; None always makes `max_steps` steps.
            max_steps: The most symbols that are chosen for a row, 1 or more, the stop symbol
                included.
            inputs: Inputs that are the same at every step, by name, such as the outputs of an
                encoder that an attention decoder reads, with the rows of the batch.
            state: The initial state, such as the final one of an encoder; None is zeros.
            beam: How many hypotheses of each row are kept; 1 is greedy search.
            length_penalty: With a beam, a hypothesis of n symbols, the stop symbol included, ranks
                by `score / n**length_penalty`.
            symbol: The input that takes the symbols; None finds the only one that fits.
            logits: The output that has the logits; None finds the only one that fits.

        Returns:
            The hypotheses; `.tokens` has the symbols of each row's best one, `.scores` their
            log-probabilities.

        Raises:
            StateError: If the model has no states to keep, or reads the future, or if a state does
                not fit, or has no batch axis while `beam` is above 1.
            InputError: If an argument does not fit, or no input or output of the model does.
            EngineError: If the engine fails, or gives NaN or no finite logit.
        """
        from rnnedge_runtime.decoding.decode import decode

        return decode(
            self,
            start,
            stop,
            max_steps,
            inputs=inputs,
            state=state,
            beam=beam,
            length_penalty=length_penalty,
            symbol=symbol,
            logits=logits,
        )

    def generate(  # noqa: PLR0913 - each is a separate option, given by name
        self,
        start: ArrayLike | None,
        max_steps: int,
        *,
        threshold: float = 0.5,
        inputs: Mapping[str, ArrayLike] | None = None,
        state: State | None = None,
        frame: str | None = None,
        output: str | None = None,
        stop: str | None = None,
    ) -> Generated:
        """Let a model write frames: what it gives at one step is its input at the next.

        The model takes a frame, floats [batch, ...], and gives one of the same sizes (both with or
        without a time axis); another output [batch] or [batch, 1] may say that a row has ended.

        Args:
            start: The frame before the first, floats [batch, ...]; None is zeros.
            max_steps: The most frames that are written for a row, 1 or more.
            threshold: A row ends with the frame at which its stop output is above it: 0.5 for a
                probability, 0 for a logit.
            inputs: Inputs that are the same at every step, by name, such as the outputs of an
                encoder, with the rows of the batch.
            state: The initial state; None is zeros.
            frame: The input that takes the frames; None finds the only one that fits.
            output: The output that is the next frame; None finds the only one that fits.
            stop: The output that ends a row; None finds the only one that fits, and always makes
                `max_steps` steps where there is none.

        Returns:
            The frames, how many each row has, and the other outputs of each step.

        Raises:
            StateError: If the model has no states to keep, or reads the future, or if a state does
                not fit.
            InputError: If an argument does not fit, or no input or output of the model does.
            EngineError: If the engine fails, or a frame has NaN or infinity.
        """
        from rnnedge_runtime.decoding.generate import generate

        return generate(
            self,
            start,
            max_steps,
            threshold=threshold,
            inputs=inputs,
            state=state,
            frame=frame,
            output=output,
            stop=stop,
        )

    def transduce(  # noqa: PLR0913 - each is a separate option, given by name
        self,
        frames: ArrayLike,
        blank: int,
        max_symbols: int = 10,
        *,
        lengths: ArrayLike | None = None,
        start: ArrayLike | None = None,
        state: State | None = None,
        frame: str | None = None,
        symbol: str | None = None,
        logits: str | None = None,
    ) -> Decoded:
        """Let the step of a transducer (RNN-T) write symbols for the frames of an encoder.

        The model is predictor and joint network: it takes one frame float [batch, features] and the
        last symbol, integers [batch] (both with or without a time axis), and gives logits
        [batch, symbols]. Each row stays at a frame until the most likely symbol is the blank; its
        state changes only where it writes another.

        Args:
            frames: float32 [batch, time, features], what the encoder gives.
            blank: The symbol that moves on to the next frame.
            max_symbols: The most symbols that are written at one frame, 1 or more.
            lengths: Frames of each row, integers [batch]; None means that every row is full.
            start: The symbol before the first, one or one for each row; None is the blank.
            state: The initial state of the predictor; None is zeros.
            frame: The input that takes the frames; None finds the only one that fits.
            symbol: The input that takes the symbols; None finds the only one that fits.
            logits: The output that has the logits; None finds the only one that fits.

        Returns:
            One hypothesis for each row, with the frame at which each symbol was written.

        Raises:
            StateError: If the model has no states to keep, or reads the future, or if the state
                does not fit, or has no batch axis.
            InputError: If an argument does not fit, or no input or output of the model does.
            EngineError: If the engine fails, or gives NaN or no finite logit.
        """
        from rnnedge_runtime.decoding.transduce import transduce

        return transduce(
            self,
            frames,
            blank,
            max_symbols,
            lengths=lengths,
            start=start,
            state=state,
            frame=frame,
            symbol=symbol,
            logits=logits,
        )


def _opened(kind: type[Session], path: str, options: Mapping[str, Any]) -> Session:
    return kind(path, **options)
