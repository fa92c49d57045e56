"""The end of the page: what was compared, on what, and how to do it again."""

from __future__ import annotations

import hashlib
from pathlib import Path
from xml.etree.ElementTree import Element

from rnnedge.parity.report import Report
from rnnedge.reports.page.markup import Child, Column, facts, section, table, tag
from rnnedge_runtime.contract import Contract, LayerInfo, TensorSpec

_PACKAGES = ("rnnedge", "torch", "onnx", "onnxruntime", "onnxruntime-gpu", "numpy")
"""Keys of a report's machine that are packages to install."""


def contract(report: Report) -> Element | None:
    """Return what the file promises, or None for a file that rnnedge did not make."""
    promised = report.contract
    if promised is None:
        return None
    face = promised.interface
    return section(
        "contract",
        "Contract",
        tag("p", "What the file itself promises to those who run it.", class_="lead"),
        facts(_promises(promised)),
        tag("h3", "Inputs and outputs"),
        table(
            "tensors-table",
            "Inputs and outputs of the model",
            (Column("Name"), Column("Kind"), Column("Type"), Column("Axes")),
            [
                *(_tensor_row(spec, _input_kind(spec, promised)) for spec in face.inputs),
                *(_tensor_row(spec, _output_kind(spec, promised)) for spec in face.outputs),
            ],
        ),
        tag("h3", "Recurrent layers") if promised.layers else None,
        _layers(promised) if promised.layers else None,
    )


def _promises(promised: Contract) -> dict[str, Child]:
    return {
        "Weights": ", ".join(filter(None, (promised.dtype, promised.quantization))),
        "Target": promised.target,
        "ONNX opset": str(promised.opset),
        "Digest of the weights": tag("code", promised.weights_digest),
        "Exported by": ", ".join(f"{name} {v}" for name, v in promised.versions.items()),
        "Contract format": str(promised.format),
        "Run in chunks": _streaming(promised),
    }


def _streaming(promised: Contract) -> str:
    if not promised.interface.states:
        return "no state to hand on"
    reasons = ", ".join(promised.hindrances)
    return f"not what the whole sequence gives: {reasons}" if reasons else "as the whole sequence"


def _tensor_row(spec: TensorSpec, kind: str) -> list[Child]:
    axes = ", ".join(map(str, spec.axes))
    return [tag("code", spec.name), kind, spec.dtype, tag("code", f"[{axes}]")]


def _input_kind(spec: TensorSpec, promised: Contract) -> str:
    face = promised.interface
    pairs = {pair.input: pair.output for pair in face.states}
    if spec.name in pairs:
        return f"initial state, next from {pairs[spec.name]}"
    return "lengths of the rows" if spec.name == face.lengths else "input"


def _output_kind(spec: TensorSpec, promised: Contract) -> str:
    final = {pair.output for pair in promised.interface.states}
    return "final state" if spec.name in final else "output"


def _layers(promised: Contract) -> Element:
    columns = (
        Column("Layer"),
        Column("Cell"),
        Column("Input", "features", number=True),
        Column("Hidden", "features", number=True),
        Column("Layers", number=True),
        Column("Directions", number=True),
        Column("Options"),
        Column("Lowering", "its ONNX form"),
        Column("Weights", "numbers", number=True),
    )
    rows: list[list[Child]] = [
        [
            tag("code", layer.name) if layer.name else "the model itself",
            layer.cell,
            str(layer.input_size),
            str(layer.hidden_size),
            str(layer.num_layers),
            str(1 + layer.bidirectional),
            _options(layer),
            tag("code", layer.lowering),
            f"{layer.weights:,}",
        ]
        for layer in promised.layers
    ]
    return table("layers-table", "Recurrent layers in the model", columns, rows)


def _options(layer: LayerInfo) -> str:
    words = ["relu"] * (layer.nonlinearity == "relu") + ["no bias"] * (not layer.bias)
    words += ["batch first"] * layer.batch_first
    words += [f"projection to {layer.proj_size}"] * bool(layer.proj_size)
    return ", ".join(words) or "—"


def machine(report: Report) -> Element | None:
    """Return what the comparison ran on, or None where the report does not say."""
    if not report.machine:
        return None
    named: dict[str, Child] = {
        key if key in _PACKAGES else key.capitalize(): value
        for key, value in report.machine.items()
    }
    return section("machine", "Machine", facts(named))


def reproduce(report: Report, command: str) -> Element:
    """Return what to install and what to run, and the digest of the file it was run on."""
    versions = {name: report.machine[name] for name in _PACKAGES if name in report.machine}
    # `2.13.0+cpu` is a build that only PyTorch's own index has; the release is the same.
    needs = [f"{name}=={version.partition('+')[0]}" for name, version in versions.items()]
    digest = _sha256(Path(report.model))
    return section(
        "reproduce",
        "How to reproduce",
        tag("pre", tag("code", f"pip install {' '.join(needs)}"), tabindex="0") if needs else None,
        tag("pre", tag("code", command), tabindex="0"),
        tag("p", "SHA-256 of the model file: ", tag("code", digest), class_="digest")
        if digest
        else None,
    )


def _sha256(path: Path) -> str | None:
    """Return the digest of a file, or None when it is not there any more."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None
