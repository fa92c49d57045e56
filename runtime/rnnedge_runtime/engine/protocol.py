"""`Engine`: what a loaded model asks of the library that computes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from rnnedge_runtime.binding import Array
from rnnedge_runtime.contract import TensorSpec
from rnnedge_runtime.engine.options import EngineOptions

if TYPE_CHECKING:
    from rnnedge_runtime.engine.node import ExecutedNode


class StepTensor(Protocol):
    """Memory that a bound step reads or writes."""

    @property
    def array(self) -> Array | None:
        """The memory as an array; None if it is not in the CPU's memory."""

    @property
    def handle(self) -> Any:
        """What the engine that made the tensor binds."""

    def read(self) -> Array:
        """Return a copy of the values."""

    def write(self, array: Array) -> None:
        """Set the values to those of an array with the same shape and dtype."""


class Stepper(Protocol):
    """Steps of one frame in one call of the engine, with everything checked inside.

    Attributes:
        half: Which half of the state holds it; the other one is written next.
        steps: How many steps were made.
    """

    half: Literal[0, 1]
    steps: int

    def step(self, frame: Any, *, out: Any = None) -> Any:
        """Run one frame.

        Args:
            frame: Anything.
            out: What the output is written into, or None.

        Returns:
            The output, in `out` or a new array; False, with nothing run, where `frame` or `out` is
            not an array of the very dtype and shape, or `frame` holds NaN or infinity.
        """

    def guard(self, fallback: Callable[..., Any], idle: list[bool]) -> bool:
        """Set what `step` calls instead of returning False.

        Args:
            fallback: Takes the same arguments, and any others.
            idle: A list that is empty while another thread is inside a call of the stream; the
                fallback is called then too.

        Returns:
            Whether `step` may be called in place of `fallback`: other Python threads do not run
            while it does.
        """


@dataclass(frozen=True, slots=True)
class PoolRows:
    """Where the states of the streams of a pool lie.

    Attributes:
        input: The data input of the model.
        output: Its data output.
        states: Name of each input that holds a state to that of the output that feeds it.
        blocks: For each of them the states of all slots.
        axes: For each of them the axis of the slots.
        slots: Stream to slot, as it is at each step.
        steps: int64 [slots], how many steps were made in each.
    """

    input: TensorSpec
    output: TensorSpec
    states: Mapping[str, str]
    blocks: tuple[Array, ...]
    axes: tuple[int, ...]
    slots: dict[int, int]
    steps: Array


class RowSteps(Protocol):
    """Steps of some streams of a pool in one call of the engine, with everything checked inside."""

    def __call__(self, streams: Any, frames: Any) -> Array | None:
        """Run a frame of each stream.

        Args:
            streams: Anything.
            frames: Anything.

        Returns:
            The output, its first axis the streams; None, with nothing run, where `streams` is not a
            list or tuple of different open streams, or `frames` is neither an array with a row for
            each of them nor a list of arrays, of the very dtype and shape and finite.
        """


class Engine(Protocol):
    """A model opened by a library.

    Whatever exceptions the library raises in `run` and in a bound step pass through; the caller
    turns them into an `EngineError` that names `title`.
    """

    @property
    def name(self) -> str:
        """The name in code, such as `onnxruntime`."""

    @property
    def title(self) -> str:
        """The name in messages, such as `ONNX Runtime`."""

    @property
    def reason(self) -> str:
        """Why this engine was chosen, in one line."""

    @property
    def device(self) -> Literal["cpu", "cuda"]:
        """The device in use."""

    @property
    def options(self) -> EngineOptions:
        """The options that the model was opened with."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs of the graph, in its order; an axis without a name has a unique one."""

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The outputs of the graph, likewise."""

    @property
    def metadata(self) -> Mapping[str, str]:
        """The model's `metadata_props`."""

    @property
    def rounds_rows(self) -> bool:
        """Whether a file that computes in int8 is computed with each row over its own range."""

    @property
    def providers(self) -> tuple[str, ...]:
        """The execution providers that were opened, in order of preference."""

    def nodes(self) -> tuple[ExecutedNode, ...] | None:
        """Return where each node runs; None if the engine does not report it."""

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Array]) -> Sequence[Array]:
        """Run the model once.

        Args:
            outputs: The names of the outputs to return.
            feeds: Every input by name: C-contiguous, with the dtype and axes of the graph, and with
                no empty axis.

        Returns:
            The outputs, in the order of `outputs`; the arrays belong to the caller.
        """

    def tensor(self, array: Array, *, on_device: bool) -> StepTensor:
        """Return a tensor that can be bound.

        Args:
            array: The values to start from. On the CPU its memory is used as it is, without a copy.
            on_device: Whether the tensor is placed on `device`, or on the CPU in any case.
        """

    def bind(
        self, inputs: Mapping[str, StepTensor], outputs: Mapping[str, StepTensor]
    ) -> Callable[[], object]:
        """Prepare calls that read and write the same tensors each time.

        Args:
            inputs: Every input of the graph by name.
            outputs: The outputs that are written, by name.

        Returns:
            A function that runs the model once. It does not keep the tensors alive.
        """

    def stepper(  # noqa: PLR0913 - each is known to the caller alone
        self,
        frame: Array,
        output: Array,
        states: tuple[Mapping[str, StepTensor], Mapping[str, StepTensor]],
        finals: tuple[Mapping[str, StepTensor], Mapping[str, StepTensor]],
        *,
        shape: tuple[int, ...],
        tiny: float,
        flushed_every: int,
    ) -> Stepper | None:
        """Prepare steps through two halves of a state for a model of one input and one output.

        Args:
            frame: An array of the dtype and shape that frames have.
            output: A buffer for the output, as the caller gets it.
            states: The initial states by input name, in each half.
            finals: The final states by output name, in the half that is not read.
            shape: The shape that the graph takes a frame in, with its time axis.
            tiny: Numbers of the state below it become zero.
            flushed_every: After so many steps.

        Returns:
            None where the engine has no faster way than a bound call.
        """

    def row_steps(self, pool: PoolRows, *, tiny: float, flushed_every: int) -> RowSteps | None:
        """Prepare steps of a pool in one call each, for a model of one input and one output.

        Args:
            pool: Where the states of its streams lie.
            tiny: Numbers of the state below it become zero.
            flushed_every: After so many steps of a stream.

        Returns:
            None where the engine has no faster way than `run`.
        """
