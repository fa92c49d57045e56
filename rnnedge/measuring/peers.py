"""Others that run the same network: PyTorch itself, its own ONNX export, OpenVINO.

Each is given what suits it, as its own documentation does it, and as many threads as the model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from rnnedge.errors import MissingPackageError, PeerError, RnnEdgeError
from rnnedge.measuring.peer_names import PEER_NAMES
from rnnedge.parity.cases import Inputs, Outputs
from rnnedge_exporters import export, is_bare_layer
from rnnedge_exporters.copying import private_copy
from rnnedge_exporters.modules.arguments import Arguments, flatten_result
from rnnedge_exporters.modules.call_structure import arguments_of
from rnnedge_exporters.modules.quiet import quiet
from rnnedge_runtime.contract import Interface
from rnnedge_runtime.engine.inference_session import open_inference_session
from rnnedge_runtime.engine.options import EngineOptions
from rnnedge_runtime.errors import one_line, pass_on_interruption

Call = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Task:
    """What a peer is to run.

    Attributes:
        module: The source.
        interface: What a model of the source takes and gives.
        inputs: Inputs of some shape, by name.
        threads: Threads inside one operator.
        folder: Where it may write files.
    """

    module: nn.Module
    interface: Interface
    inputs: Inputs
    threads: int
    folder: Path


@dataclass(frozen=True, slots=True)
class Peer:
    """One that runs the network.

    Attributes:
        label: What it is, with its version.
        bind: From inputs by name to the call that is timed.
        arrays: From what the call returns to its outputs, in the order of the interface.
    """

    label: str
    bind: Callable[[Inputs], Call]
    arrays: Callable[[Any], Sequence[NDArray[Any]]]

    def outputs(self, call: Call, interface: Interface) -> Outputs:
        """Run a call once and name what it answers.

        Raises:
            PeerError: When it raises.
        """
        with _told():
            arrays = self.arrays(call())
        names = [spec.name for spec in interface.outputs]
        return {name: np.array(array) for name, array in zip(names, arrays, strict=False)}


def make_peer(name: str, task: Task) -> Peer:
    """Make one of `PEERS` ready.

    Raises:
        PeerError: When it does not take the network.
    """
    with _told(), quiet(verbose=False):
        return PEERS[name](task)


def engine_label() -> str:
    """Return the name and version of the engine that runs ONNX files."""
    from rnnedge_runtime.engine.library import onnxruntime

    return f"ONNX Runtime {onnxruntime.__version__}"


def check_peers(names: Sequence[str]) -> None:
    """Check that what peers need is installed.

    Raises:
        MissingPackageError: When a package is missing.
    """
    if "openvino" in names and find_spec("openvino") is None:
        raise MissingPackageError("--beside openvino", "openvino", "pip install openvino")


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Give PyTorch so many threads while the block runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _torch(task: Task) -> Peer:
    module = private_copy(task.module)

    def bind(inputs: Inputs) -> Call:
        values = _arguments(module, task.interface, inputs).values

        def call() -> Any:
            with torch.inference_mode():
                return module(**values)

        return call

    def arrays(result: Any) -> list[NDArray[Any]]:
        return [tensor.numpy() for tensor in flatten_result(result)]

    return Peer(f"PyTorch {torch.__version__}, eager", bind, arrays)


def _torchscript(task: Task) -> Peer:
    path = task.folder / "torchscript.onnx"
    arguments = _arguments(task.module, task.interface, task.inputs)
    axes = {spec.name: spec.axes for spec in task.interface.inputs}
    names = list(arguments.flat())
    given = dict(zip(names, axes.values(), strict=False)) if is_bare_layer(task.module) else axes
    torch.onnx.export(
        private_copy(task.module),
        (),
        path,
        kwargs=arguments.values,
        input_names=names,
        dynamic_axes={
            name: {i: axis for i, axis in enumerate(given[name]) if isinstance(axis, str)}
            for name in names
        },
        dynamo=False,
    )
    engine, _ = open_inference_session(path, device="cpu", options=EngineOptions(task.threads))
    taken = {spec.name for spec in engine.get_inputs()}

    def bind(inputs: Inputs) -> Call:
        flat = _arguments(task.module, task.interface, inputs).flat()
        feeds = {name: tensor.numpy() for name, tensor in flat.items() if name in taken}
        return lambda: engine.run(None, feeds)

    return Peer(f"torch.onnx.export(dynamo=False), {engine_label()}", bind, lambda result: result)


def _openvino(task: Task) -> Peer:
    openvino = import_module("openvino")  # an optional package, and one without types
    path = task.folder / "openvino.onnx"
    examples = _arguments(task.module, task.interface, task.inputs)
    export(
        task.module,
        path,
        example_inputs=None if is_bare_layer(task.module) else examples.values,
        states=False,
        target="portable",
    )
    settings = {
        "INFERENCE_NUM_THREADS": task.threads,
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
    }
    model = openvino.Core().compile_model(path, "CPU", settings)
    request = model.create_infer_request()
    taken = {name for spec in model.inputs for name in spec.names}

    def bind(inputs: Inputs) -> Call:
        flat = _arguments(task.module, task.interface, inputs).flat()
        feeds = {name: tensor.numpy() for name, tensor in flat.items() if name in taken}
        return lambda: request.infer(feeds, share_inputs=True, share_outputs=True)

    label = f"OpenVINO {version('openvino')}, the source exported with target portable"
    return Peer(label, bind, lambda result: list(result.to_tuple()))


PEERS: Mapping[str, Callable[[Task], Peer]] = dict(
    zip(PEER_NAMES, (_torch, _torchscript, _openvino), strict=True)
)


def _arguments(module: nn.Module, interface: Interface, inputs: Inputs) -> Arguments:
    """Return the arguments of a forward; a layer starts from zeros, with rows that are all full."""
    tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
    if is_bare_layer(module):
        return Arguments({"input": tensors[interface.data_inputs[0].name]})
    return arguments_of(module, interface, tensors)


@contextmanager
def _told() -> Iterator[None]:
    """Turn what a peer raises into one line."""
    try:
        yield
    except RnnEdgeError as error:
        raise PeerError(str(error)) from error
    except Exception as error:  # its packages and the user's module may raise anything
        pass_on_interruption(error)
        raise PeerError(f"{type(error).__name__}: {one_line(error)}") from error
