"""The machine, its peak, and the memory of the process."""

from __future__ import annotations

from dataclasses import asdict, replace

import numpy as np
import pytest

from rnnedge.measuring.machine import Machine, peak_gflops, this_machine
from rnnedge.measuring.memory import with_memory
from rnnedge.measuring.shapes import Shape
from rnnedge_runtime.errors import InputError
from rnnedge_runtime.machine import usable_cores


def test_machine_names_processor_cores_and_versions() -> None:
    machine = this_machine(["torch", "no-such-package"])
    assert machine.cpu
    assert machine.cores == usable_cores() >= 1
    assert {"python", "numpy", "onnxruntime", "rnnedge", "torch"} <= set(machine.versions)
    assert "no-such-package" not in machine.versions
    assert str(machine).startswith(f"{machine.cpu}, {machine.cores} core(s), ")


def test_machine_is_read_back() -> None:
    machine = this_machine()
    assert Machine.from_mapping(asdict(machine)) == machine


def test_machine_of_another_kernel_and_versions_is_the_same() -> None:
    machine = this_machine()
    other = replace(machine, system="Linux 9", load_1min=3.0, versions={})
    assert machine.differences(other) == []


@pytest.mark.parametrize("change", [{"cpu": "Cortex-A76"}, {"cores": 99}, {"architecture": "arm"}])
def test_another_machine(change: dict[str, object]) -> None:
    machine = this_machine()
    (difference,) = machine.differences(replace(machine, **change))  # type: ignore[arg-type]
    (name,) = change
    assert difference.startswith(f"{name} ")
    assert difference.endswith(f"{change[name]!r} now")


def test_peak_is_a_number_of_operations() -> None:
    assert peak_gflops(1) > 0


def test_memory_holds_what_the_work_took() -> None:
    done, memory = with_memory(lambda: float(np.ones(8_000_000).sum()))
    assert done == 8_000_000
    assert memory is not None
    assert memory.peak >= memory.before > 0
    assert memory.added >= 60_000_000  # too large to come from what was freed before


def test_shape_is_read() -> None:
    assert Shape.parse(" 100x8 ") == Shape(100, 8)
    assert str(Shape(100, 8)) == "time 100, batch 8"


@pytest.mark.parametrize("text", ["", "100", "0x1", "1x00", "-1x2", "1x2x3", "ax1", "1.5x2"])
def test_shape_that_is_none(text: str) -> None:
    with pytest.raises(InputError, match=r"expected steps and rows, each 1 or more, such as 1"):
        Shape.parse(text)
