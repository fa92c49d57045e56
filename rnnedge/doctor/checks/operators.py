"""The recurrent operators themselves, and operators that do not belong in a deployed model."""

from __future__ import annotations

from collections.abc import Iterator

from rnnedge.doctor.findings import Finding
from rnnedge.doctor.model_facts import Subject
from rnnedge.doctor.reading.recurrence import RecurrentNode
from rnnedge_exporters.onnx_model.nodes import RANDOM, attributes, label
from rnnedge_exporters.onnx_model.recurrent_nodes import peculiarities


def check_operators(subject: Subject) -> Iterator[Finding]:
    """Look at each node."""
    for cell in subject.cells:
        yield from _not_pytorch(cell)
        yield from _fixed_lengths(subject, cell)
        if cell.options.get("layout"):
            yield Finding(
                "layout",
                "error",
                cell.name,
                "layout=1 (batch first), which ONNX Runtime refuses on its CPU",
                "transpose around the node and use layout=0",
            )
    yield from _training(subject)
    yield from _random(subject)


def _not_pytorch(cell: RecurrentNode) -> Iterator[Finding]:
    """Say where a node computes something else than the PyTorch layer of its name."""
    differs = [one.text for one in peculiarities(cell.node)]
    if differs:
        yield Finding(
            "not-pytorch",
            "note",
            cell.name,
            f"is not what nn.{cell.op} computes: {'; '.join(differs)}",
            "do not load its weights into PyTorch's layer; compare with what made the file",
        )


def _fixed_lengths(subject: Subject, cell: RecurrentNode) -> Iterator[Finding]:
    value = subject.file.constant(cell.lengths) if cell.lengths else None
    if value is not None:
        yield Finding(
            "fixed-lengths",
            "warning",
            cell.name,
            f"sequence_lens is the constant {value.tolist()}: it fixes the batch and each length",
            "leave sequence_lens out, or make it an input",
        )


def _training(subject: Subject) -> Iterator[Finding]:
    for node in subject.file.nodes():
        if node.op_type == "Dropout" and len(node.input) > 2 and node.input[2]:
            value = subject.file.constant(node.input[2])
            if value is not None and bool(value.all()):
                yield Finding(
                    "dropout",
                    "error",
                    label(node),
                    "Dropout with training_mode true drops at random while it runs",
                    "export in eval mode: model.eval()",
                )
        if node.op_type == "BatchNormalization" and attributes(node).get("training_mode"):
            yield Finding(
                "training",
                "error",
                label(node),
                "BatchNormalization with training_mode=1 mixes the rows of a batch",
                "export in eval mode: model.eval()",
            )


def _random(subject: Subject) -> Iterator[Finding]:
    for node in subject.file.nodes():
        if node.op_type in RANDOM:
            yield Finding(
                "random",
                "warning",
                label(node),
                f"{node.op_type} draws numbers while the model runs",
                "make the noise an input, so that answers can be repeated",
            )
