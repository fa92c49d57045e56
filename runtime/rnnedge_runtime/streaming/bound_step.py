"""`BoundStep`: one step of a stream through buffers that were bound once.

A call of `InferenceSession.run` with dictionaries costs 10 to 20 microseconds on top of the model:
names are looked up, inputs wrapped, outputs allocated. Here everything is prepared once for a
shape; a step copies the frame in, runs the model, and swaps the two halves of the state.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from rnnedge_runtime.binding import Array
from rnnedge_runtime.contract import TIME, TensorSpec
from rnnedge_runtime.errors import EngineError, one_line, pass_on_interruption
from rnnedge_runtime.loaded_model import LoadedModel, RunResult
from rnnedge_runtime.streaming.silence_and_nan import FLUSHED_EVERY, TINY, check_finite
from rnnedge_runtime.streaming.step_output import Answer, Out, check_out, written_into
from rnnedge_runtime.streaming.stream_state import Position, StreamState

if TYPE_CHECKING:
    from rnnedge_runtime.engine.protocol import Stepper, StepTensor


class BoundStep:
    """The buffers for frames of one shape.

    Attributes:
        frames: Where a frame is written, by the name of the input; without the time axis if frames
            have none.
        outputs: Where the model writes its outputs, by name; likewise.
        stepper: What the engine runs these frames by in one call each, or None.
    """

    __slots__ = (
        "_dtype",
        "_flat",
        "_frame",
        "_kept",
        "_only",
        "_only_view",
        "_runs",
        "_shape",
        "_spec",
        "_state",
        "_title",
        "_views",
        "frames",
        "outputs",
        "stepper",
    )

    def __init__(
        self,
        model: LoadedModel,
        state: StreamState,
        inputs: Mapping[str, Array],
        outputs: Mapping[str, Array],
        *,
        frames: Sequence[TensorSpec],
        single: bool,
    ) -> None:
        """Bind.

        Args:
            model: The opened model.
            state: The state that is read and written.
            inputs: Every input that is not a state, including lengths and constants, at its full
                rank.
            outputs: Every output that is not a state, as a call with these inputs returned it.
            frames: The inputs that change from step to step.
            single: Whether frames come without their time axis.
        """
        engine, pairs = model.engine, model.interface.states
        given = {n: engine.tensor(array.copy(), on_device=False) for n, array in inputs.items()}
        made = {
            n: engine.tensor(np.empty_like(array), on_device=False) for n, array in outputs.items()
        }
        self._kept = (given, made)  # a bound call does not keep its tensors alive
        self._state = state
        self._runs = []
        reads, writes = [], []
        for before, after in (state.halves, state.halves[::-1]):
            reads.append({pair.input: tensor for pair, tensor in zip(pairs, before, strict=True)})
            writes.append({pair.output: tensor for pair, tensor in zip(pairs, after, strict=True)})
            self._runs.append(engine.bind({**given, **reads[-1]}, {**made, **writes[-1]}))
        self._title = engine.title
        self.frames = _without_time(frames, given, single=single)
        self.outputs = _without_time(model.interface.data_outputs, made, single=single)
        # What `take` and `answer` need at each step.
        self._spec = frames[0]
        self._frame = self.frames[self._spec.name]
        self._shape = self._frame.shape if len(self.frames) == 1 else None
        self._dtype = self._frame.dtype
        self._flat = self._frame.reshape(-1) if self._dtype.kind == "f" else None
        self._views = {name: _read_only(array) for name, array in self.outputs.items()}
        single_output = len(self.outputs) == 1
        self._only = next(iter(self.outputs.values())) if single_output else None
        self._only_view = next(iter(self._views.values())) if single_output else None
        self.stepper: Stepper | None = None
        if single and isinstance(state.position, Position) and len(inputs) == single_output == 1:
            assert self._only is not None
            self.stepper = engine.stepper(
                self._frame,
                self._only,
                (reads[0], reads[1]),
                (writes[0], writes[1]),
                shape=inputs[frames[0].name].shape,
                tiny=TINY,
                flushed_every=FLUSHED_EVERY,
            )
        if self.stepper is not None:
            self.stepper.half, self.stepper.steps = state.half, state.position.steps
            state.position = self.stepper

    def take(self, frame: Array) -> bool:
        """Copy a frame of the only input into its buffer.

        Args:
            frame: An array of any shape and dtype.

        Returns:
            False if its shape or dtype is another, or if several inputs change.

        Raises:
            InputError: If it holds NaN or infinity.
        """
        if frame.shape != self._shape or frame.dtype != self._dtype:
            return False
        self._frame[...] = frame
        flat = self._flat
        if flat is not None:
            energy = np.vdot(flat, flat)  # `is_finite` says why not `dot`
            if not energy < np.inf:
                check_finite(self._spec, self._frame)
            elif energy < TINY * TINY:
                self._frame.fill(0)  # silence: each number is below TINY, and may be denormal
        return True

    def answer(self, out: Out, *, copy: bool) -> Answer:
        """Run the frame in the buffers, and return the output.

        Args:
            out: What the output is written into, or None.
            copy: Whether the output is a new array instead of a read-only view.

        Raises:
            InputError: If `out` does not fit; the model has not run then.
            EngineError: If the engine fails; the state stays as it was.
        """
        if out is not None:
            check_out(self.outputs, out)
        state = self._state
        try:
            self._runs[state.half]()
        except Exception as raised:  # whatever the engine raises
            pass_on_interruption(raised)
            raise EngineError(f"{self._title} failed: {one_line(raised)}") from raised
        state.swap()
        if out is not None:
            return written_into(self.outputs, out)
        if self._only is not None and self._only_view is not None:
            return self._only.copy() if copy else self._only_view
        if not copy:
            return dict(self._views)
        return {name: array.copy() for name, array in self.outputs.items()}


def bind_step(
    model: LoadedModel,
    state: StreamState,
    chunk: Mapping[str, Array],
    result: RunResult,
    *,
    constants: Mapping[str, Array],
    single: bool,
) -> BoundStep | None:
    """Prepare the buffers for chunks of this shape.

    Args:
        model: The opened model.
        state: The state of the stream.
        chunk: The inputs that change from step to step by name, at their full rank.
        result: What a call with them and the constants returned.
        constants: The other inputs.
        single: Whether frames come without their time axis.

    Returns:
        None if the shape of the inputs does not determine that of the outputs: it may depend on
        values, or the model declares it wrongly.
    """
    interface = model.interface
    inputs = {**chunk, **constants}
    sizes = {
        axis: size
        for spec in interface.data_inputs
        for axis, size in zip(spec.axes, inputs[spec.name].shape, strict=True)
        if isinstance(axis, str)
    }
    for spec in interface.data_outputs:
        expected = tuple(sizes.get(axis) if isinstance(axis, str) else axis for axis in spec.axes)
        if expected != result.outputs[spec.name].shape:
            return None
    # Zeros of the declared shape were made for the state: a model may return another.
    if any(
        zeros.shape != after.shape for zeros, after in zip(state.read(), result.state, strict=True)
    ):
        return None
    inputs |= model.binder.lengths(None, sizes)
    outputs = {spec.name: result.outputs[spec.name] for spec in interface.data_outputs}
    frames = [spec for spec in interface.data_inputs if spec.name in chunk]
    return BoundStep(model, state, inputs, outputs, frames=frames, single=single)


def _read_only(array: Array) -> Array:
    view = array.view()
    view.flags.writeable = False
    return view


def _without_time(
    specs: Iterable[TensorSpec], tensors: Mapping[str, StepTensor], *, single: bool
) -> dict[str, Array]:
    """Return the memory of tensors by name, without the time axis for single frames."""
    views = {}
    for spec in specs:
        array = tensors[spec.name].array
        assert array is not None, "frames and outputs lie on the CPU"
        dropped = single and TIME in spec.axes
        views[spec.name] = np.squeeze(array, spec.axes.index(TIME)) if dropped else array
    return views
