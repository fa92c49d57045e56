"""`NativeEngine`: a model run by rnnedge-native, without ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

import rnnedge_native
from rnnedge_native import Plan, step_through
from rnnedge_runtime.binding import Array
from rnnedge_runtime.contract import TensorSpec
from rnnedge_runtime.engine.native_rows import NativeRowSteps, takes_rows
from rnnedge_runtime.engine.options import EngineOptions, Model
from rnnedge_runtime.errors import OptionError
from rnnedge_runtime.version import __version__

if TYPE_CHECKING:
    from rnnedge_runtime.engine.node import ExecutedNode
    from rnnedge_runtime.engine.protocol import PoolRows, RowSteps, Stepper, StepTensor
    from rnnedge_runtime.onnx_file import ValueInfo


MEASURED = {"avx512vnni": 512, "avx512": 512}
"""Set of instructions to the widest hidden size at which the native engine was as fast as ONNX
Runtime, both on one thread: by `python -m benchmarks.native`, for single steps and for sequences of
100 steps, rnn, lstm and gru from hidden 8 on, two modules, and batches of 1 to 32, it took 0.06 to
0.88 of the time, and by `python -m benchmarks.native_grid` up to 0.95 of that of the best of three
engines. With AVX2 alone nothing was compared with ONNX Runtime on AVX2 alone."""


class NativeTensor:
    """An array, which the kernels read and write where it is.

    Attributes:
        array: The array.
        handle: The same.
    """

    __slots__ = ("array", "handle")

    def __init__(self, array: Array) -> None:
        """Use the memory of `array`."""
        self.array = self.handle = array

    def read(self) -> Array:
        """Return a copy of the values."""
        copied: Array = self.array.copy()
        return copied

    def write(self, array: Array) -> None:
        """Set the values to those of an array with the same shape and dtype."""
        self.array[...] = array


class NativeEngine:
    """The `Engine` that runs a plan of rnnedge-native on the CPU.

    Attributes:
        plan: The model as the native engine reads it.
        reason: Why it was chosen.
        options: The options that the model was opened with; only `threads` changes anything.
        inputs: The inputs of the graph.
        outputs: The outputs of the graph.
        metadata: The model's `metadata_props`.
        rounds_rows: Whether it computes in int8, with each row over its own range.
    """

    name = "native"
    title = "The native engine"
    device: Literal["cpu"] = "cpu"

    def __init__(self, plan: Plan, *, options: EngineOptions, reason: str) -> None:
        """Take a plan."""
        self.plan, self.options, self.reason = plan, options, reason
        self.inputs = tuple(map(_spec, plan.inputs))
        self.outputs = tuple(map(_spec, plan.outputs))
        self.metadata: Mapping[str, str] = plan.metadata
        self.rounds_rows = plan.rounds_rows
        self._names = tuple(spec.name for spec in self.inputs)
        self._output_names = [spec.name for spec in self.outputs]
        self._narrow = tuple(spec.name for spec in self.inputs if spec.dtype == "int32")

    @property
    def providers(self) -> tuple[str, ...]:
        """The set of instructions in use, such as `native avx2`."""
        return (f"native {self.plan.instructions}",)

    def nodes(self) -> tuple[ExecutedNode, ...] | None:
        """Return None: a plan has kernel calls, which differ from the nodes of the file."""
        return None

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Array]) -> Sequence[Array]:
        """Run the model once and return its outputs, as `Engine.run` describes."""
        arrays = [feeds[name] for name in self._names]
        layout = self.plan.layout([array.shape for array in arrays])
        if self._narrow:
            arrays = [self._widened(array) for array in arrays]
        values = layout.run(arrays)
        if outputs == self._output_names:
            return values
        by_name = dict(zip(self._output_names, values, strict=True))
        return [by_name[name] for name in outputs]

    def tensor(self, array: Array, *, on_device: bool) -> NativeTensor:
        """Return a tensor that can be bound, as `Engine.tensor` describes."""
        return NativeTensor(array)

    def bind(
        self, inputs: Mapping[str, StepTensor], outputs: Mapping[str, StepTensor]
    ) -> Callable[[], object]:
        """Return a function that runs the model on these tensors, as `Engine.bind` describes."""
        given = [inputs[name].handle for name in self._names]
        layout = self.plan.layout([array.shape for array in given])
        wide = [self._widened(array) for array in given]
        made = [
            outputs[name].handle if name in outputs else np.empty(shape, dtype)
            for name, shape, dtype in layout.outputs
        ]
        run = layout.program().bind(*wide, *made).run
        if not self._narrow:
            return run

        def widen_and_run() -> None:
            for source, target in zip(given, wide, strict=True):
                if target is not source:
                    target[...] = source
            run()

        return widen_and_run

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
        """Return steps in one call each, as `Engine.stepper` describes."""
        if not self._has_one_of_each(dict(zip(states[0], finals[1], strict=True))):
            return None
        halves = [tuple(tensor.handle for tensor in half.values()) for half in states]
        layout = self.plan.layout([shape, *(array.shape for array in halves[0])])
        stepper: Stepper = step_through(
            layout, frame, output, *halves, tiny=tiny, flushed_every=flushed_every
        )
        return stepper

    def row_steps(self, pool: PoolRows, *, tiny: float, flushed_every: int) -> RowSteps | None:
        """Return steps in one call each, as `Engine.row_steps` describes."""
        if not self._has_one_of_each(pool.states) or not takes_rows(pool):
            return None
        return NativeRowSteps(self.plan, pool, tiny=tiny, flushed_every=flushed_every)

    def _has_one_of_each(self, states: Mapping[str, str]) -> bool:
        """Whether there are but one input, one output and states, in this order, of float32."""
        data, others = self.inputs[0], (*self.inputs[1:], *self.outputs)
        return (
            self._names[1:] == tuple(states)
            and self._output_names[1:] == list(states.values())
            and data.dtype in ("float32", "int64")
            and {spec.dtype for spec in others} == {"float32"}
        )

    @staticmethod
    def _widened(array: Array) -> Array:
        return array.astype(np.int64) if array.dtype == np.int32 else array


def _spec(info: ValueInfo) -> TensorSpec:
    axes = tuple(
        f"{info.name}.{position}" if axis is None or axis == "" else axis
        for position, axis in enumerate(info.axes)
    )
    return TensorSpec(info.name, info.dtype, axes)


def read_plan(model: Model, threads: int | None) -> Plan:
    """Read a model into a plan.

    Args:
        model: Path or bytes.
        threads: How many threads share the rows of a batch; None is 1.

    Raises:
        ModelError: If the model is missing or damaged, or is not supported by the native engine.
        OptionError: If rnnedge-native is of another version than this package.
    """
    if rnnedge_native.__version__ != __version__:
        raise OptionError(
            f"rnnedge-native {rnnedge_native.__version__} does not fit rnnedge-runtime "
            f"{__version__}: pip install 'rnnedge-native=={__version__}'"
        )
    return Plan(model, threads=threads or 1)


def why_not(plan: Plan) -> str:
    """Return why the native engine is not known to be as fast as ONNX Runtime, or nothing.

    Nor is it taken where its answers are not those of ONNX Runtime but for float32's rounding.
    """
    if plan.rounds_rows:
        return (
            "the model computes in int8, where the native engine rounds each row by itself instead "
            "of all rows at once: engine='native' takes it"
        )
    widest = MEASURED.get(plan.instructions)
    if widest is None:
        return f"the native engine was not compared on a processor with {plan.instructions} alone"
    if not plan.hidden_sizes:
        return "the native engine was compared on recurrent layers, and finds none"
    if max(plan.hidden_sizes) > widest:
        return f"the native engine was compared up to hidden size {widest}"
    return ""
