"""`OnnxRuntimeEngine`: a model opened by ONNX Runtime, on the CPU or with CUDA."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np

from rnnedge_runtime.binding import Array
from rnnedge_runtime.engine.inference_session import open_inference_session
from rnnedge_runtime.engine.library import onnxruntime
from rnnedge_runtime.engine.options import Device, EngineOptions, Model
from rnnedge_runtime.engine.tensor_info import tensor_spec
from rnnedge_runtime.errors import ModelError, engine_errors

if TYPE_CHECKING:
    from rnnedge_runtime.engine.node import ExecutedNode
    from rnnedge_runtime.engine.protocol import PoolRows, StepTensor


class OnnxRuntimeTensor:
    """An `OrtValue` and the memory behind it.

    Attributes:
        handle: The `OrtValue`.
        array: Its memory as an array; None if the device is not the CPU.
    """

    __slots__ = ("array", "handle")

    def __init__(self, array: Array, device: Literal["cpu", "cuda"]) -> None:
        """Use the memory of `array` on the CPU; copy it to any other device."""
        self.handle = onnxruntime.OrtValue.ortvalue_from_numpy(array, device, 0)
        self.array = array if device == "cpu" else None

    def read(self) -> Array:
        """Return a copy of the values."""
        copied: Array = self.handle.numpy() if self.array is None else self.array.copy()
        return copied

    def write(self, array: Array) -> None:
        """Set the values to those of an array with the same shape and dtype."""
        if self.array is None:
            self.handle.update_inplace(np.ascontiguousarray(array))
        else:
            self.array[...] = array


class OnnxRuntimeEngine:
    """The `Engine` that runs every ONNX model.

    Attributes:
        session: The opened `InferenceSession`.
        reason: Why this engine was chosen.
        device: The device in use.
        options: The options that it was opened with.
        inputs: The inputs of the graph.
        outputs: The outputs of the graph.
        metadata: The model's `metadata_props`.
    """

    name = "onnxruntime"
    title = "ONNX Runtime"
    rounds_rows = False

    def __init__(
        self,
        model: Model,
        *,
        device: Device,
        options: EngineOptions,
        reason: str = "it runs any ONNX model",
    ) -> None:
        """Open `model`.

        Args:
            model: Path of an `.onnx` file, or its bytes.
            device: `cpu`, `cuda` or `auto`.
            options: The options for ONNX Runtime.
            reason: Why this engine was chosen.

        Raises:
            RnnEdgeError: As `open_inference_session` raises it.
        """
        self.session, self.device = open_inference_session(model, device=device, options=options)
        self.options, self.reason = options, reason
        name = "the model" if isinstance(model, bytes) else os.fspath(model)
        with engine_errors(f"{name} cannot be read", ModelError):
            self.metadata: Mapping[str, str] = self.session.get_modelmeta().custom_metadata_map
            self.inputs = tuple(map(tensor_spec, self.session.get_inputs()))
            self.outputs = tuple(map(tensor_spec, self.session.get_outputs()))
        # `InferenceSession.run` looks in Python for missing names, values of its own class, and a
        # provider to fall back to: 1.5 to 4 microseconds per call for what cannot occur here.
        self._run = getattr(self.session, "_sess", self.session).run

    @property
    def providers(self) -> tuple[str, ...]:
        """The execution providers that were opened, in order of preference."""
        return tuple(self.session.get_providers())

    def nodes(self) -> tuple[ExecutedNode, ...] | None:
        """Return where each node runs; None before ONNX Runtime 1.24, which does not report it."""
        ask = getattr(self.session, "get_provider_graph_assignment_info", None)
        if ask is None:
            return None
        from rnnedge_runtime.engine.node import ExecutedNode

        return tuple(
            ExecutedNode(node.name, node.op_type, part.ep_name)
            for part in ask()
            for node in part.get_nodes()
        )

    def run(self, outputs: Sequence[str], feeds: Mapping[str, Array]) -> Sequence[Array]:
        """Run the model once and return its outputs, as `Engine.run` describes."""
        values: Sequence[Array] = self._run(outputs, feeds, None)
        return values

    def tensor(self, array: Array, *, on_device: bool) -> OnnxRuntimeTensor:
        """Return a tensor that can be bound, as `Engine.tensor` describes."""
        return OnnxRuntimeTensor(array, self.device if on_device else "cpu")

    def bind(
        self, inputs: Mapping[str, StepTensor], outputs: Mapping[str, StepTensor]
    ) -> Callable[[], object]:
        """Return a function that runs the model on these tensors, as `Engine.bind` describes."""
        binding = self.session.io_binding()
        for name, tensor in outputs.items():
            binding.bind_ortvalue_output(name, tensor.handle)
        feeds = [(name, tensor.handle) for name, tensor in inputs.items()]
        for name, value in feeds:
            binding.bind_ortvalue_input(name, value)
        if self.device != "cpu":

            def run_and_wait() -> None:
                # ONNX Runtime copies CPU tensors to the device when they are bound, not when the
                # model runs.
                for name, value in feeds:
                    binding.bind_ortvalue_input(name, value)
                self.session.run_with_iobinding(binding)
                binding.synchronize_outputs()

            return run_and_wait
        # The Python method adds a microsecond to each call, for WebGPU. The call of the library
        # under it has been the same from version 1.20 to 1.32; without it, the method does.
        inner = getattr(self.session, "_sess", None)
        bound = getattr(binding, "_iobinding", None)
        if inner is None or bound is None:
            return partial(self.session.run_with_iobinding, binding)
        return partial(inner.run_with_iobinding, bound, None)

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
    ) -> None:
        """Return None: a bound call is ONNX Runtime's fastest."""
        return None

    def row_steps(self, pool: PoolRows, *, tiny: float, flushed_every: int) -> None:
        """Return None: ONNX Runtime takes a batch whose rows lie side by side."""
        return None
