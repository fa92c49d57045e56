"""With which options a model was exported: read in its contract, to export its source again."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from rnnedge.errors import ModelError
from rnnedge.parity.cases import Case, largest_index, make_inputs
from rnnedge_exporters import is_bare_layer
from rnnedge_exporters.modules.call_structure import arguments_of
from rnnedge_runtime.contract import Contract

_EXAMPLE = Case(11, 3)


def options_of(model: str, contract: Contract | None, module: nn.Module) -> dict[str, Any]:
    """Return what `rnnedge.export` was given.

    Args:
        model: What to call the file.
        contract: Its contract.
        module: Its source.

    Raises:
        ModelError: When rnnedge did not make the file, or its weights are not float32.
        ExportError: When the module takes other inputs.
    """
    if contract is None:
        raise ModelError(
            f"{model}: rnnedge did not export this model, so it cannot be exported again: tune "
            "its source alone"
        )
    if contract.quantization is not None or contract.dtype != "float32":
        raise ModelError(
            f"{model}: expected float32 weights, got {contract.quantization or contract.dtype}; "
            "which layers were kept in float32 it does not say: tune its source, with --quantize"
        )
    face = contract.interface
    options: dict[str, Any] = {"target": contract.target, "opset": contract.opset}
    if is_bare_layer(module):
        return {**options, "lengths": face.lengths is not None, "states": bool(face.states)}
    inputs = make_inputs(face, _EXAMPLE, largest_index(module))
    tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}
    lifted = all("." in pair.input for pair in face.states)
    arguments = arguments_of(module, face, tensors)
    names = set(arguments.flat())
    return {
        **options,
        "example_inputs": arguments.values,
        "dynamic_axes": {
            spec.name: {i: axis for i, axis in enumerate(spec.axes) if isinstance(axis, str)}
            for spec in face.inputs
            if spec.name in names
        },
        "states": bool(face.states) if lifted else {p.output: p.input for p in face.states},
    }
