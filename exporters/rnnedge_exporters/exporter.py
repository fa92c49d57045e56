"""`export`: from a PyTorch module to an `.onnx` file with its contract."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from torch import nn
from typing_extensions import TypeIs

from rnnedge_exporters.bare_layer import build_layer_graph
from rnnedge_exporters.errors import ExportError
from rnnedge_exporters.lowerings import Target, choose
from rnnedge_exporters.model_file import serialize, staged
from rnnedge_exporters.weights import digest, read_layer
from rnnedge_runtime.contract import Contract

LOWEST_OPSET, HIGHEST_OPSET = 17, 23
"""The operator sets that the tests export and run."""


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What an export wrote.

    Attributes:
        path: The file.
        contract: What the file promises.
        bytes: Size of the file.
    """

    path: Path
    contract: Contract
    bytes: int

    def __str__(self) -> str:
        """Return one line with file, size and digest."""
        digest = self.contract.weights_digest[:19]
        return f"{self.path} ({self.bytes:,} bytes, opset {self.contract.opset}, {digest}…)"


def export(
    model: nn.Module,
    path: str | os.PathLike[str],
    *,
    lengths: bool = False,
    states: bool = True,
    target: Target = "cpu",
    opset: int | None = None,
) -> ExportResult:
    """Export a recurrent layer to ONNX with dynamic batch and time.

    The file is written whole or not at all. The same weights and options give the same bytes.

    Args:
        model: An `nn.RNN`, `nn.LSTM` or `nn.GRU`; it is read, never changed.
        path: The `.onnx` file to write; an existing one is replaced.
        lengths: Whether the model takes `lengths`, int64 [batch]: each row ends at its length as
            in a `PackedSequence`.
        states: Whether the initial states `h_0` (and `c_0`) are inputs.
        target: `cpu`, `cuda` or `portable`: what the ONNX form of the layer is chosen for.
        opset: Version of the ONNX operator set, from `LOWEST_OPSET` to `HIGHEST_OPSET`; None
            takes the lowest, which the most runtimes load.

    Raises:
        ExportError: When the module, an option or the path does not serve.

    Warns:
        WeightsWarning: When a weight holds NaN or infinity.
    """
    path = Path(path)
    opset = LOWEST_OPSET if opset is None else opset
    if not isinstance(opset, int) or not LOWEST_OPSET <= opset <= HIGHEST_OPSET:
        raise ExportError(f"opset: expected {LOWEST_OPSET} to {HIGHEST_OPSET}, got {opset!r}")
    if target not in ("cpu", "cuda", "portable"):
        raise ExportError(f"target: expected 'cpu', 'cuda' or 'portable', got {target!r}")
    if not is_bare_layer(model):
        raise ExportError(
            f"expected an nn.RNN, nn.LSTM or nn.GRU, got {type(model).__name__}: "
            "export the recurrent layer inside it"
        )
    layer = read_layer(model)
    lowering = choose(layer, target)
    graph, interface = build_layer_graph(
        layer, lowering, lengths=lengths, states=states, opset=opset
    )
    contract = Contract(
        interface=interface,
        layers=(layer.info(lowering),),
        dtype="float32",
        quantization=None,
        target=target,
        opset=opset,
        weights_digest=digest((layer,)),
        versions={name: version(name) for name in ("rnnedge", "torch", "onnx", "onnx-ir")},
    )
    content = serialize(graph, contract)
    with staged(path) as temporary:
        temporary.write_bytes(content)
    return ExportResult(path, contract, len(content))


def is_bare_layer(module: nn.Module) -> TypeIs[nn.RNNBase]:
    """Whether `module` computes just what `nn.RNN`, `nn.LSTM` or `nn.GRU` does."""
    own = type(module).forward
    return any(own is layer.forward for layer in (nn.RNN, nn.LSTM, nn.GRU))
