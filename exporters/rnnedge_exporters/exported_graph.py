"""What the builders of graphs are asked for, and what they give to `export`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TypeAlias

import onnx_ir as ir

from rnnedge_exporters.calibration.moments import Moments
from rnnedge_exporters.option_values import DType, Quantize, Storage, Target, storage_of
from rnnedge_exporters.quantization.report import LayerQuantization
from rnnedge_runtime.contract import Contract

LOWEST_OPSET, HIGHEST_OPSET = 17, 23
"""The operator sets that the tests export and run."""

States: TypeAlias = bool | Mapping[str, str] | None


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """The options of `export` that decide what the graph looks like; see there.

    Attributes:
        lengths: Whether a bare layer takes `lengths`.
        states: Which states are inputs.
        target: What the lowerings are chosen for.
        lowering: The one that every layer takes, or None to choose.
        quantize: How weights become integers, or None.
        dtype: What the weights are stored in.
        keep_float32: Layers whose weights stay as they are.
        moments: What the caller's sequences show of the module, or None.
        opset: Version of the operator set, or None for the lowest possible.
        verbose: Whether torch's own remarks are shown.
        validate: Whether the file is run and compared with the module before it is written.
    """

    lengths: bool = False
    states: States = None
    target: Target = "cpu"
    lowering: str | None = None
    quantize: Quantize | None = None
    dtype: DType = "float32"
    keep_float32: Collection[str] = ()
    moments: Moments | None = None
    opset: int | None = None
    verbose: bool = False
    validate: bool = True

    @property
    def storage(self) -> Storage:
        """How the weights are written that are not multiplied as integers."""
        return storage_of(self.quantize, self.dtype, self.target)

    @property
    def is_float32(self) -> bool:
        """Whether the file holds the weights as they are."""
        return self.quantize is None and self.dtype == "float32"


@dataclass(slots=True)
class Trial:
    """What was run before a file was written.

    Attributes:
        sizes: The sizes, by axis, at which the file gave what the module gives.
        refused: Sizes that the module takes and the file does not, with the reason.
        chunks: Whether chunks gave what the whole gives; None where no state is handed on.
        misnamed: Output and axis of each size that torch worked out wrongly, which then gets
            a separate name.
    """

    sizes: list[dict[str, int]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    misnamed: list[tuple[str, int]] = field(default_factory=list)
    chunks: bool | None = None

    def __str__(self) -> str:
        """Return one line."""
        if not self.sizes:
            return "the file was not run at other sizes"
        same = "; ".join(shown_sizes(sizes) for sizes in self.sizes)
        cut = {None: "", True: ", and so do chunks", False: "; chunks do not"}[self.chunks]
        return f"the file gives what the module gives at {same}{cut}"


@dataclass(frozen=True, slots=True)
class ExportedGraph:
    """A graph, ready to be written.

    Attributes:
        graph: The graph.
        contract: What the file promises.
        notes: What the caller should know.
        quantization: What was done to the weights of each layer; empty in float32.
        trial: What was run.
    """

    graph: ir.Graph
    contract: Contract
    notes: tuple[str, ...]
    quantization: tuple[LayerQuantization, ...]
    trial: Trial


def shown_sizes(sizes: Mapping[str, int]) -> str:
    """Return `batch 3, time 7`."""
    return ", ".join(f"{name} {size}" for name, size in sizes.items())


def versions() -> dict[str, str]:
    """Return the versions of the packages that decide what an exported file looks like."""
    return {name: version(name) for name in ("rnnedge", "torch", "onnx", "onnx-ir")}
