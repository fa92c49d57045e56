"""What runs a source in PyTorch: chosen by its kind, and again with other weights or types."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import nn

from rnnedge.parity.cases import Case, Inputs, Outputs
from rnnedge.parity.layer_runner import LayerRunner
from rnnedge.parity.module_runner import ModuleRunner
from rnnedge.parity.rounding.dynamic_quantization import Integers
from rnnedge_exporters import is_bare_layer


@contextmanager
def quiet_kernels() -> Iterator[None]:
    """Hide what PyTorch remarks on its own kernels."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class Runner(Protocol):
    """Runs one case: inputs by name to outputs by name."""

    def __call__(self, inputs: Inputs, case: Case) -> Outputs:
        """Run `inputs`."""
        ...


def runner_of(module: nn.Module) -> type[LayerRunner | ModuleRunner]:
    """Return what runs `module` in PyTorch."""
    return LayerRunner if is_bare_layer(module) else ModuleRunner


def runner_like(
    known: LayerRunner | ModuleRunner,
    module: nn.Module,
    dtype: torch.dtype,
    integers: Integers | None = None,
) -> LayerRunner | ModuleRunner:
    """Return what runs a module in another dtype, or one with other weights.

    Args:
        known: Runs the module.
        module: The module, or a copy with other weights.
        dtype: What to compute in.
        integers: Which products are made of integers; None where none are.
    """
    if isinstance(known, LayerRunner):
        return LayerRunner(module, known.interface, dtype, integers)
    return ModuleRunner(module, known.interface, dtype, integers, known.rolled)
