"""`rnnedge inspect model.onnx`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from rnnedge.cli.command import FILE, Command
from rnnedge.cli.options import device_option, json_option
from rnnedge.cli.output import print_json, print_lines
from rnnedge_runtime.info_lines import contract_lines, run_lines
from rnnedge_runtime.user_metadata import metadata_lines

if TYPE_CHECKING:
    from rnnedge.inspection import Inspection


@click.command(
    cls=Command,
    short_help="Show what MODEL holds, and how it runs.",
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

    check_that_it_opens(model, device=device, engine="onnxruntime", step=True)
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
    print_lines(*contract_lines(found.contract), *metadata_lines(found.metadata))


def _runs(found: Inspection) -> Iterator[str]:
    """Say how the model runs: its work, as a stream, and on which provider."""
    from rnnedge.measuring.tables import weights_read

    if found.work:
        yield f"a step   {found.work.flops:,} FLOPs a row"
        yield f"a step   {weights_read(found.work)}"
    if found.memory:
        yield (
            f"memory   {found.memory.resident / 1e6:,.1f} MB more once opened and run, "
            f"{found.memory.added / 1e6:,.1f} MB at the peak of that"
        )
    yield from run_lines(found.session, found.contract)
    for fallback in found.cuda_fallbacks:
        name = f" {fallback.node}" * bool(fallback.node)
        yield f"on cuda, {fallback.operator}{name} will fall back because {fallback.reason}"
