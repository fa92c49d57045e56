"""What `info` here and `inspect` of the toolkit say of a model, in the same lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rnnedge_runtime.contract import Contract
    from rnnedge_runtime.engine.info import SessionInfo

_UNKNOWN = ", if it does not read ahead: there is no contract that says so"


def run_lines(info: SessionInfo, contract: Contract | None) -> Iterator[str]:
    """Yield how a model runs: as a stream, on which providers, and what to know of this device.

    Args:
        info: What `Session.info` gives.
        contract: The contract of the model, or None.
    """
    yield from (f"stream   not possible: {why}" for why in info.hindrances)
    if info.delay is not None:
        size = "depends on the call" if info.state_bytes is None else f"{info.state_bytes:,}"
        yield f"stream   bytes of state for a row: {size}"
        yield f"stream   delay {info.delay} step(s)" + _UNKNOWN * (contract is None)
    if info.nodes is None:
        yield "nodes    this engine does not report where they run"
    yield from (f"nodes    {count} on {name}" for name, count in info.nodes_by_provider.items())
    yield from (f"on CPU   {node.operator} {node.name}" for node in info.fell_back)
    yield from (f"note     {remark}" for remark in info.remarks)


def contract_lines(contract: Contract | None) -> Iterator[str]:
    """Yield what the exporter promised, or that there is no contract."""
    if contract is None:
        yield "contract none: rnnedge did not export this model"
        return
    kind = f"quantization {contract.quantization or 'none'}"
    yield f"contract format {contract.format}, target {contract.target}, {kind}"
    yield f"weights  {contract.dtype}, {contract.weights_digest}"
    yield f"opset    {contract.opset}"
    yield from (f"made by  {name} {version}" for name, version in contract.versions.items())
