"""`rnnedge inspect model.onnx`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from rnnedge.cli.command import FILE, Command
from rnnedge.cli.options import device_option, json_option
from rnnedge.cli.output import print_json, print_lines

if TYPE_CHECKING:
    from rnnedge.inspection import Inspection


@click.command(
    cls=Command,
    examples=("rnnedge inspect model.onnx", "rnnedge inspect model.onnx --device auto --json"),
    extra="one MODEL is shown at a time",
)
@click.argument("model", type=FILE)
@device_option
@json_option
def inspect(model: str, device: Any, *, as_json: bool) -> None:
    """Show what MODEL holds, and where it runs: layers, inputs and outputs, states, the contract.

    --device says where it is opened, to see where its nodes run.
    """
    from rnnedge.inspection import inspect_model
    from rnnedge_runtime.engine.trial_opening import check_that_it_opens

    check_that_it_opens(model, device=device, engine="onnxruntime")
    found = inspect_model(model, device=device)
    if as_json:
        print_json(found.to_dict())
        return
    opsets = ", ".join(f"{domain or 'ai.onnx'} {v}" for domain, v in found.opsets.items())
    print_lines(
        f"{model}: {found.bytes:,} bytes, {found.parameters:,} parameters, opset {opsets}, "
        f"IR version {found.ir_version}, made by {found.producer or 'nobody it names'}"
    )
    layers = Table(title="recurrent layers", title_justify="left")
    for heading in ("layer", "cell"):
        layers.add_column(heading)
    for heading in ("input", "hidden", "layers", "directions"):
        layers.add_column(heading, justify="right")
    layers.add_column("options")
    layers.add_column("lowering")
    layers.add_column("parameters", justify="right")
    for layer in found.layers:
        layers.add_row(*layer.row())
    tensors = Table(title="inputs and outputs", title_justify="left")
    for heading in ("side", "name", "dtype", "axes", "what it is"):
        tensors.add_column(heading)
    for side, specs in (("in", found.interface.inputs), ("out", found.interface.outputs)):
        for spec in specs:
            axes = ", ".join(map(str, spec.axes))
            tensors.add_row(side, spec.name, spec.dtype, axes, found.role(spec.name))
    print_lines(layers)
    print_lines(
        *(
            f"{layer.name or 'the layer'}: lowering {layer.lowering}: {layer.reason}"
            for layer in found.layers
            if layer.reason
        ),
        tensors,
        *_runs(found),
    )
    if found.contract is None:
        print_lines("contract: none, rnnedge did not export this model")
        return
    contract = found.contract
    made = ", ".join(f"{name} {version}" for name, version in contract.versions.items())
    print_lines(
        f"contract: format {contract.format}, target {contract.target}, dtype {contract.dtype}, "
        f"quantization {contract.quantization or 'none'}",
        f"digest:   {contract.weights_digest}, of the weights",
        f"made by:  {made}",
    )


def _runs(found: Inspection) -> Iterator[str]:
    """Say how the model runs: its work, as a stream, and on which provider."""
    from rnnedge.measuring.tables import weights_read

    session = found.session
    if found.work:
        yield f"a step:   {found.work.flops:,} FLOPs a row"
        yield f"weights:  {weights_read(found.work)}"
    if found.memory:
        yield (
            f"memory:   {found.memory.resident / 1e6:,.1f} MB resident once opened and run, "
            f"{found.memory.added / 1e6:,.1f} MB at the peak of that"
        )
    if session.delay is None:
        yield f"stream:   no, {'; '.join(session.hindrances)}"
    else:
        size = "?" if session.state_bytes is None else f"{session.state_bytes:,}"
        known = "" if found.contract else ", where it does not read ahead"
        yield f"stream:   {size} bytes of state for a row, delay {session.delay} step(s){known}"
    counts = ", ".join(f"{n} on {provider}" for provider, n in session.nodes_by_provider.items())
    yield f"nodes:    {counts or 'this ONNX Runtime does not report where they run'}"
    for node in session.fell_back:
        yield f"fell back to the CPU: {node.operator} {node.name}"
    yield from (f"note:     {remark}" for remark in session.remarks)
    for fallback in found.cuda_fallbacks:
        name = f" {fallback.node}" * bool(fallback.node)
        yield f"on cuda, {fallback.operator}{name} will fall back because {fallback.reason}"
