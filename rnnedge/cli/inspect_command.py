"""`rnnedge inspect model.onnx`."""

from __future__ import annotations

import click
from rich.table import Table

from rnnedge.cli.options import json_option
from rnnedge.cli.output import print_json, print_lines


@click.command()
@click.argument("model")
@json_option
def inspect(model: str, as_json: bool) -> None:
    """Show what MODEL holds: layers, sizes, inputs and outputs with their axes, the contract."""
    from rnnedge.inspection import inspect_model

    found = inspect_model(model)
    if as_json:
        print_json(found.to_dict())
        return
    opsets = ", ".join(f"{domain or 'ai.onnx'} {v}" for domain, v in found.opsets.items())
    print_lines(
        f"{model}: {found.bytes:,} bytes, {found.parameters:,} parameters, opset {opsets}, "
        f"IR version {found.ir_version}, made by {found.producer or 'nobody it names'}"
    )
    layers = Table(title="recurrent layers", title_justify="left")
    for heading in ("layer", "cell", "input", "hidden", "layers", "directions", "options"):
        layers.add_column(heading)
    layers.add_column("lowering")
    layers.add_column("parameters", justify="right")
    for layer in found.layers:
        layers.add_row(*layer.row())
    tensors = Table(title="inputs and outputs", title_justify="left")
    for heading in ("", "name", "dtype", "axes", "what it is"):
        tensors.add_column(heading)
    for side, specs in (("in", found.interface.inputs), ("out", found.interface.outputs)):
        for spec in specs:
            axes = ", ".join(map(str, spec.axes))
            tensors.add_row(side, spec.name, spec.dtype, axes, found.role(spec.name))
    print_lines(layers)
    print_lines(
        *(
            f"{layer.name or 'the layer'} is a {layer.lowering}: {layer.reason}"
            for layer in found.layers
            if layer.reason
        ),
        tensors,
    )
    if found.contract is None:
        print_lines("contract: none, rnnedge did not make this model")
        return
    contract = found.contract
    made = ", ".join(f"{name} {version}" for name, version in contract.versions.items())
    print_lines(
        f"contract: format {contract.format}, target {contract.target}, dtype {contract.dtype}, "
        f"quantization {contract.quantization or 'none'}",
        f"weights:  {contract.weights_digest}",
        f"made by:  {made}",
    )
