"""The end of the page: what was compared, on what, and how to do it again."""

from __future__ import annotations

import os
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


def left_out(report: Report) -> Element:
    """Return what was not run."""
    return section(
        "not-run",
        "Not run",
        tag("p", "What this comparison says nothing of, and how to include it.", class_="lead"),
        tag("ul", *(tag("li", what) for what in report.not_run())),
    )


def evidence(report: Report) -> Element | None:
    """Return when the comparison was made and of which files, or None where that is not known."""
    found = report.evidence
    if found is None:
        return None
    rows: list[list[Child]] = [["the model", os.path.basename(report.model), found.model_sha256]]
    rows += [["the source", name, digest] for name, digest in found.source_sha256.items()]
    return section(
        "evidence",
        "Evidence",
        facts({"Date": found.date}),
        table(
            "evidence-table",
            "Digests of what was compared",
            (Column("What"), Column("Name"), Column("SHA-256")),
            [[what, name, tag("code", digest or "not read")] for what, name, digest in rows],
        ),
        tag(
            "p",
            "To sign: sign the .json report of the same run, for example with ssh-keygen -Y sign; "
            "it holds these digests and every number of this page.",
            class_="digest",
        ),
    )


def reproduce(report: Report, command: str) -> Element:
    """Return what to install and what to run, one instruction after the other."""
    versions = {name: report.machine[name] for name in _PACKAGES if name in report.machine}
    # `2.13.0+cpu` is a build that only PyTorch's own index has; the release is the same.
    needs = [f"{name}=={version.partition('+')[0]}" for name, version in versions.items()]
    steps: list[Child] = []
    if needs:
        steps += [_step("Install the same versions:", f"pip install {' '.join(needs)}")]
    digest = report.evidence.model_sha256 if report.evidence else ""
    if digest:
        check = f"echo '{digest}  {report.model}' | sha256sum --check"
        steps += [_step("Check that the file is the same:", check)]
    steps += [_step("In the folder of the model and its source, compare again:", command)]
    return section("reproduce", "How to reproduce", tag("ol", *steps))


def _step(words: str, command: str) -> Element:
    return tag("li", words, tag("pre", tag("code", command), tabindex="0"))
