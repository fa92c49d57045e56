"""`BoundStep`: one step of a stream through buffers that were bound once.

A call of `InferenceSession.run` with dictionaries costs 10 to 20 microseconds beside the model:
names are looked up, inputs wrapped, outputs allocated. Here everything is laid out once for a
shape, and a step copies the frame in, runs, and lets the two halves of the state change places.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from rnnedge_runtime.binding import Array as Array
from rnnedge_runtime.contract import TIME, TensorSpec
from rnnedge_runtime.errors import EngineError, one_line
from rnnedge_runtime.streaming.silence_and_nan import TINY, check_finite
from rnnedge_runtime.streaming.stream_state import KeptState, Tensor

if TYPE_CHECKING:
    import onnxruntime

    from rnnedge_runtime.session import RunResult, Session


class BoundStep:
    """The buffers for frames of one shape.

    Attributes:
        frames: Where a frame goes, by the name of the input; without the time axis where frames
            come without.
        answers: Where the model answers, by the name of the output; likewise.
        views: The same, read-only.
        answer: The only one of `answers`, or None.
        view: The only one of `views`, or None.
    """

    __slots__ = (
        "_dtype",
        "_flat",
        "_frame",
        "_kept",
        "_runs",
        "_shape",
        "_spec",
        "_state",
        "answer",
        "answers",
        "frames",
        "view",
        "views",
    )

    def __init__(
        self,
        session: Session,
        state: KeptState,
        inputs: Mapping[str, Array],
        outputs: Mapping[str, Array],
        *,
        frames: Sequence[TensorSpec],
        single: bool,
    ) -> None:
        """Bind.

        Args:
            session: The opened model.
            state: The state that is read and written.
            inputs: Every input that is not a state, lengths and constants among them, at its full
                rank.
            outputs: Every output that is not a state, as a call with these inputs gave it.
            frames: The inputs that change from step to step.
            single: Whether frames come without their time axis.
        """
        face = session.interface
        given = {name: Tensor(array.copy()) for name, array in inputs.items()}
        made = {name: Tensor(np.empty_like(array)) for name, array in outputs.items()}
        self._kept = (given, made)  # a binding does not hold its tensors
        self._state = state
        self._runs = []
        for half in (0, 1):
            binding = session._engine.io_binding()
            for name, tensor in made.items():
                binding.bind_ortvalue_output(name, tensor.value)
            halves = state.halves[half], state.halves[1 - half]
            sides = list(zip(face.states, *halves, strict=True))
            for pair, _, after in sides:
                binding.bind_ortvalue_output(pair.output, after.value)
            feeds = [(name, tensor.value) for name, tensor in given.items()]
            feeds += [(pair.input, before.value) for pair, before, _ in sides]
            for name, value in feeds:
                binding.bind_ortvalue_input(name, value)
            self._runs.append(_run_of(session, binding, feeds))
        self.frames = _seen(frames, given, single)
        self.answers = _seen(face.data_outputs, made, single)
        # What `take` needs, laid out for it: it runs at each step.
        self._spec = frames[0]
        self._frame = self.frames[self._spec.name]
        self._shape = self._frame.shape if len(self.frames) == 1 else None
        self._dtype = self._frame.dtype
        self._flat = self._frame.reshape(-1) if self._dtype.kind == "f" else None
        self.views = {name: _read_only(array) for name, array in self.answers.items()}
        single_answer = len(self.answers) == 1
        self.answer = next(iter(self.answers.values())) if single_answer else None
        self.view = next(iter(self.views.values())) if single_answer else None

    def take(self, frame: Array) -> bool:
        """Copy a frame of the only input into its place.

        Returns:
            False where it is of another shape or dtype, or several inputs change.

        Raises:
            InputError: When it holds NaN or infinity.
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

    def run(self) -> None:
        """Run what lies in `frames`.

        Raises:
            EngineError: When ONNX Runtime fails; the state stays as it was.
        """
        state = self._state
        try:
            self._runs[state.half]()
        except Exception as raised:
            raise EngineError(f"ONNX Runtime failed: {one_line(raised)}") from raised
        state.swap()


def bind_step(
    session: Session,
    state: KeptState,
    chunk: Mapping[str, Array],
    result: RunResult,
    *,
    constants: Mapping[str, Array],
    single: bool,
) -> BoundStep | None:
    """Lay out the buffers for chunks of this shape.

    Args:
        session: The opened model.
        state: The state of the stream.
        chunk: The inputs that change from step to step by name, at their full rank.
        result: What a call with them and the constants gave.
        constants: The other inputs.
        single: Whether frames come without their time axis.

    Returns:
        None where the shape of the inputs does not tell those of the outputs: they may depend on
        values, or the model declares what is not so.
    """
    face = session.interface
    inputs = {**chunk, **constants}
    sizes = {
        axis: size
        for spec in face.data_inputs
        for axis, size in zip(spec.axes, inputs[spec.name].shape, strict=True)
        if isinstance(axis, str)
    }
    for spec in face.data_outputs:
        told = tuple(sizes.get(axis) if isinstance(axis, str) else axis for axis in spec.axes)
        if told != result.outputs[spec.name].shape:
            return None
    halves = zip(state.halves[0], result.state, strict=True)
    if any(tuple(tensor.value.shape()) != array.shape for tensor, array in halves):
        return None
    feeds: dict[str, Array] = {}
    session._bind_lengths(None, feeds, sizes)
    outputs = {spec.name: result.outputs[spec.name] for spec in face.data_outputs}
    frames = [spec for spec in face.data_inputs if spec.name in chunk]
    return BoundStep(session, state, inputs | feeds, outputs, frames=frames, single=single)


def _run_of(
    session: Session,
    binding: onnxruntime.IOBinding,
    feeds: Sequence[tuple[str, onnxruntime.OrtValue]],
) -> Callable[[], object]:
    """Return what runs a binding.

    The Python method adds a microsecond to each call, for WebGPU; beneath it is the same call of
    the library, as in every version from 1.20 to 1.32. Where it is not, the method serves.
    """
    engine = session._engine
    inner, bound = getattr(engine, "_sess", None), getattr(binding, "_iobinding", None)
    if session.device != "cpu":

        def run_and_wait() -> None:
            # ONNX Runtime copies what lies on the other device when it is bound, not when it runs.
            for name, value in feeds:
                binding.bind_ortvalue_input(name, value)
            engine.run_with_iobinding(binding)
            binding.synchronize_outputs()

        return run_and_wait
    if inner is None or bound is None:
        return partial(engine.run_with_iobinding, binding)
    return partial(inner.run_with_iobinding, bound, None)


def _read_only(array: Array) -> Array:
    view = array.view()
    view.flags.writeable = False
    return view


def _seen(
    specs: Iterable[TensorSpec], tensors: Mapping[str, Tensor], single: bool
) -> dict[str, Array]:
    views = {}
    for spec in specs:
        array = tensors[spec.name].array
        assert array is not None, "frames and answers lie on the CPU"
        dropped = single and TIME in spec.axes
        views[spec.name] = np.squeeze(array, spec.axes.index(TIME)) if dropped else array
    return views
