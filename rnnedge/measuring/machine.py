"""The machine that something was measured on: what it is, and what it can."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from time import perf_counter
from typing import Any

import numpy as np

from rnnedge_runtime.engine.inference_session import open_inference_session
from rnnedge_runtime.engine.options import EngineOptions
from rnnedge_runtime.machine import cpu_name, package_versions, usable_cores

_PACKAGES = ("numpy", "onnxruntime", "onnxruntime-gpu", "rnnedge", "rnnedge-runtime")
_PEAK_SIZES = (512, 1024)
_PEAK_SECONDS = 0.15


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine, as far as the system tells.

    Attributes:
        cpu: Name of the processor.
        architecture: Such as `x86_64` or `aarch64`.
        cores: Cores that this process may use.
        system: Operating system with its version.
        load_1min: Processes that wanted to run in the minute before, or None.
        versions: Package name to version, including Python.
    """

    cpu: str
    architecture: str
    cores: int
    system: str
    load_1min: float | None
    versions: Mapping[str, str]

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Machine:
        """Read what `asdict` gave.

        Raises:
            KeyError: When something is missing.
        """
        return cls(**{field.name: values[field.name] for field in fields(cls)})

    def __str__(self) -> str:
        """Return one line."""
        versions = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        return f"{self.cpu}, {self.cores} core(s), {self.system}; {versions}"

    def differences(self, other: Machine) -> list[str]:
        """Say in what the machine of now is another one; versions and load may differ."""
        return [
            f"{name} {getattr(self, name)!r} then, {getattr(other, name)!r} now"
            for name in ("cpu", "architecture", "cores")
            if getattr(self, name) != getattr(other, name)
        ]


def this_machine(packages: Iterable[str] = ()) -> Machine:
    """Describe this machine.

    Args:
        packages: What to name the version of, besides the engine and what is in any measurement.
    """
    versions = package_versions((*_PACKAGES, *packages))
    return Machine(
        cpu=cpu_name(),
        architecture=platform.machine(),
        cores=usable_cores(),
        system=f"{platform.system()} {platform.release()}",
        load_1min=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        versions={"python": platform.python_version(), **versions},
    )


def peak_gflops(threads: int) -> float:
    """Measure how many float32 operations a large product does in a second, in units of 1e9.

    Args:
        threads: Threads inside the product, 1 or more.

    Returns:
        The best of several runs of ONNX Runtime's `MatMul` on the CPU.
    """
    from onnx import TensorProto, helper, numpy_helper

    best = 0.0
    for size in _PEAK_SIZES:
        matrix = np.random.default_rng(0).random((size, size), np.float32)
        graph = helper.make_graph(
            [helper.make_node("MatMul", ["a", "b"], ["y"])],
            "product",
            [helper.make_tensor_value_info("a", TensorProto.FLOAT, [size, size])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [size, size])],
            [numpy_helper.from_array(matrix, "b")],
        )
        opset = helper.make_opsetid("", 17)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
        engine, _ = open_inference_session(
            model.SerializeToString(), device="cpu", options=EngineOptions(threads)
        )
        engine.run(None, {"a": matrix})
        end, runs = perf_counter() + _PEAK_SECONDS, 0
        while runs < 3 or perf_counter() < end:
            start = perf_counter()
            engine.run(None, {"a": matrix})
            best = max(best, 2 * size**3 / (perf_counter() - start) / 1e9)
            runs += 1
    return best
