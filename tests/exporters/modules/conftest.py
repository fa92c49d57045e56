"""What the tests of whole modules share: the zoo, each member exported once."""

import copy
import functools
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

import rnnedge
from rnnedge_exporters.sandbox.session import Worker
from rnnedge_runtime import Session

# `--import-mode=importlib` puts no folder on sys.path: this one is for `import module_zoo`.
sys.path.append(str(Path(__file__).parent / "helpers"))

import module_zoo

Array = NDArray[Any]


@dataclass
class Exported:
    """A member of the zoo with its file, and PyTorch's own answer in float64."""

    name: str
    module: nn.Module
    example: tuple[Any, ...]
    path: Path
    result: rnnedge.ExportResult
    session: Session

    def inputs(self, time: int, batch: int) -> dict[str, Array]:
        """Make data inputs of a shape; integers are valid for every module of the zoo."""
        sizes = {"time": time, "batch": batch, "time_1": time + 2, "batch_1": batch + 1}
        random = np.random.default_rng([time, batch])
        made: dict[str, Array] = {}
        for spec in self.session.interface.inputs:
            shape = [axis if isinstance(axis, int) else sizes[axis] for axis in spec.axes]
            if spec.name == "lengths":
                made[spec.name] = np.sort(random.integers(1, time + 1, shape))[::-1].copy()
            elif spec.dtype == "int64":
                made[spec.name] = random.integers(0, 50, shape)
            elif spec.dtype == "bool":
                made[spec.name] = random.random(shape) < 0.5
            else:
                made[spec.name] = random.standard_normal(shape).astype(np.float32)
        for pair in self.lifted:
            made[pair] = np.zeros_like(made[pair])  # PyTorch starts these from zeros
        return made

    @property
    def lifted(self) -> list[str]:
        """The states that the module itself knows nothing of."""
        names = [pair.input for pair in self.session.interface.states]
        return [name for name in names if "." in name]

    def in_torch(self, inputs: dict[str, Array]) -> list[NDArray[np.float64]]:
        """Answer with the module itself, in float64, flattened in the order of its results."""
        twin = copy.deepcopy(self.module).double().eval()
        tensors = {
            name: torch.from_numpy(a).double() if a.dtype == np.float32 else torch.from_numpy(a)
            for name, a in inputs.items()
            if name not in self.lifted
        }
        arguments: list[Any] = []
        remaining = list(tensors.values())
        for given in self.example:
            if isinstance(given, tuple):
                arguments.append(tuple(remaining.pop(0) for _ in given))
            else:
                arguments.append(remaining.pop(0))
        torch.set_default_dtype(torch.float64)  # what a forward makes with torch.zeros(...)
        try:
            with torch.inference_mode():
                result = twin(*arguments)
        finally:
            torch.set_default_dtype(torch.float32)
        return [leaf.numpy() for leaf in torch.utils._pytree.tree_leaves(result)]

    def in_onnx(self, inputs: dict[str, Array]) -> dict[str, Array]:
        """Answer with the exported file."""
        face = self.session.interface
        states = {pair.input: inputs[pair.input] for pair in face.states}
        data = {spec.name: inputs[spec.name] for spec in face.data_inputs}
        lengths = inputs[face.lengths] if face.lengths else None
        return self.session.run(data, lengths=lengths, state=states or None).outputs


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _operators_are_looked_up_once() -> Iterator[None]:
    """torch reads the names of all operators in C++ 27 times in each export; they never change."""
    from torch._export import utils

    name = "_materialize_cpp_cia_ops"
    with pytest.MonkeyPatch.context() as patched:
        if hasattr(utils, name):
            patched.setattr(utils, name, functools.cache(getattr(utils, name)))
        yield


@pytest.fixture(scope="session")
def worker() -> Iterator[Worker]:
    """One process for the models of all tests: to start it takes longer than most sweeps."""
    with Worker() as process:
        yield process


@pytest.fixture(scope="session", params=sorted(module_zoo.MODULES))
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    name = request.param
    module, example = module_zoo.MODULES[name]
    path = tmp_path_factory.mktemp("zoo") / f"{name}.onnx"
    result = rnnedge.export(module, path, example_inputs=example)
    return Exported(name, module, example, path, result, Session(path, threads=1))
