"""Recurrent layers in runtimes that take PyTorch's layers, not ONNX files.

    python -m benchmarks.claims.without_onnx

Each layer is exported by `torch.export` and converted: by ExecuTorch without a backend, and by
LiteRT's converter. Needs `pip install executorch litert-torch`; a missing one is left out.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stdout
from importlib import metadata
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

LAYERS: Mapping[str, nn.Module] = {
    "nn.RNN": nn.RNN(5, 12),
    "nn.RNN with relu": nn.RNN(5, 12, nonlinearity="relu"),
    "nn.LSTM": nn.LSTM(5, 12),
    "nn.LSTM with proj_size": nn.LSTM(5, 12, proj_size=4),
    "nn.GRU": nn.GRU(5, 12),
    "nn.GRU in both directions": nn.GRU(5, 12, bidirectional=True),
}
DYNAMIC: Mapping[str, dict[int, Any]] = {
    "fixed sizes": {},
    "a dynamic batch": {1: torch.export.Dim("batch", min=2, max=8)},
    "a dynamic time": {0: torch.export.Dim("time", min=2, max=64)},
}
STEPS, BATCH = 6, 2
ALLOWED = 1e-5
Run = Callable[[Tensor], Sequence[Any]]


class Outputs(nn.Module):
    """A layer whose outputs are one tuple of tensors."""

    def __init__(self, layer: nn.Module) -> None:
        """Keep the layer."""
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the output and the states."""
        output, state = self.layer(x)
        return (output, state) if isinstance(state, Tensor) else (output, *state)


def executorch(model: nn.Module, x: Tensor, sizes: dict[int, Any]) -> Run:
    """Return a layer as ExecuTorch runs it."""
    from executorch.exir import to_edge
    from executorch.runtime import Runtime

    exported = torch.export.export(model, (x,), dynamic_shapes=(sizes,) if sizes else None)
    program = to_edge(exported).to_executorch()
    method = Runtime.get().load_program(program.buffer).load_method("forward")
    return lambda given: method.execute([given])


def litert(model: nn.Module, x: Tensor, sizes: dict[int, Any]) -> Run:
    """Return a layer as LiteRT runs it."""
    import litert_torch

    converted = litert_torch.convert(model, (x,), dynamic_shapes=(sizes,) if sizes else None)
    return lambda given: converted(given)


RUNTIMES: Mapping[str, tuple[str, str, Callable[[nn.Module, Tensor, dict[int, Any]], Run]]] = {
    "ExecuTorch": ("executorch", "executorch", executorch),
    "LiteRT": ("litert_torch", "ai-edge-litert", litert),
}
"""The module, the distribution of the runtime, and what converts a layer."""


def outcome(
    convert: Callable[[nn.Module, Tensor, dict[int, Any]], Run],
    layer: nn.Module,
    sizes: dict[int, Any],
) -> str:
    """Return what becomes of a layer, run at sizes that it is exported for."""
    model = Outputs(layer).eval()
    more = STEPS + 3 * (0 in sizes), BATCH + (1 in sizes)
    try:
        run = convert(model, torch.randn(STEPS, BATCH, 5), sizes)
        answers = [(x, run(x)) for x in (torch.randn(*s, 5) for s in ((STEPS, BATCH), more))]
    except Exception:  # the export, the conversion and the run have errors of many kinds
        return "refuses"
    for x, found in answers:
        for given, right in zip(found, model(x), strict=True):
            made = torch.as_tensor(given)
            if made.shape != right.shape or float((made - right).abs().max()) > ALLOWED:
                return "runs wrongly"
    return "runs"


def claims() -> Iterator[str]:
    """Yield a sentence for each runtime that is installed, and each kind of sizes."""
    for name, (module, distribution, convert) in RUNTIMES.items():
        if find_spec(module) is None:
            continue
        version = metadata.version(distribution)
        for sizes, dynamic in DYNAMIC.items():
            with open(os.devnull, "w") as silence, redirect_stdout(silence):
                found = {one: outcome(convert, layer, dynamic) for one, layer in LAYERS.items()}
            for verb in dict.fromkeys(found.values()):
                layers = ", ".join(layer for layer, one in found.items() if one == verb)
                yield (
                    f"{name} {version} with torch {torch.__version__} {verb}, with {sizes}: "
                    f"{layers}."
                )


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for claim in claims():
        print(claim, file=sys.stdout, flush=True)
