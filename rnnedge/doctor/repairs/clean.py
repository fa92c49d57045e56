"""What can be put right without touching what the model computes, Dropout left running aside."""

from __future__ import annotations

from pathlib import Path

import onnx

from rnnedge.doctor.checks.contents import LOCAL_PATH
from rnnedge.doctor.checks.weights import find_copies
from rnnedge.doctor.model_facts import Subject
from rnnedge.doctor.repairs.base import MadeRepair, Mended, Repair, difference, listed, runs, told
from rnnedge.doctor.running.probe_runs import ProbeRuns
from rnnedge.errors import NotMendedError
from rnnedge_exporters.onnx_model.file import OnnxFile
from rnnedge_exporters.onnx_model.nodes import all_graphs, all_nodes
from rnnedge_exporters.onnx_model.serialize import save_model

_EXPORTERS_OWN = ("pkg.", "namespace")
"""What the keys begin with that torch's exporter writes for itself."""
_NEWEST_PLAIN_TYPE = onnx.TensorProto.BFLOAT16
"""Element types after this one came with separate IR versions."""


def _clean(subject: Subject, folder: Path) -> Mended:
    """Strip local paths, lower the IR version, store weights once, turn Dropout off.

    Args:
        subject: The model.
        folder: Where to put the new file.

    Raises:
        NotMendedError: When there is nothing to do, or the proof fails.
    """
    model = onnx.ModelProto()
    model.CopyFrom(subject.file.proto)
    dropout = _turn_off_dropout(model, subject.file)
    done = (_strip(model), _store_once(model, subject.file), dropout, _lower_ir_version(model))
    changes = tuple(change for change in done if change)
    if not changes:
        raise NotMendedError("there is nothing to clean")
    path = folder / "cleaned.onnx"
    save_model(model, path)
    return Mended(
        path, MadeRepair("cleaned", changes, (_prove(subject, path, dropout=bool(dropout)),))
    )


def _prove(subject: Subject, path: Path, *, dropout: bool) -> str:
    behaviour = subject.behaviour
    if behaviour is None or behaviour.base is None:
        raise NotMendedError("it does not run, so nothing can be proven")
    answers = dict(subject.seen)
    largest = 0.0
    trial = ProbeRuns(subject.sandbox, path, subject.roles)
    if dropout:
        first, second = trial.at(behaviour.base), trial.again(behaviour.base)
        if not (first.ok and second.ok):
            raise NotMendedError(f"the new file is refused: {first.trouble or second.trouble}")
        largest = difference(first.outputs, second.outputs, first.outputs)
        return f"two runs now give the same at {behaviour.base}: {told(largest)}"
    declared = [sizes for sizes in behaviour.right if trial.at(sizes).ok]
    for sizes in declared:
        before = answers[sizes].outputs
        largest = max(largest, difference(before, trial.at(sizes).outputs, before))
    if not declared:
        raise NotMendedError("the new file ran at none of the sizes of the old one")
    return f"answers as before at {listed(declared)}: {told(largest)}"


def _strip(model: onnx.ModelProto) -> str:
    """Take out what the exporter noted for itself, and every text with a local path."""
    number = _strip_entries(model)
    for graph in all_graphs(model.graph):
        number += _strip_entries(graph)
        for item in (
            *graph.node,
            *graph.input,
            *graph.output,
            *graph.value_info,
            *graph.initializer,
        ):
            number += _strip_entries(item)
    return f"{number} text(s) with paths, or of the exporter, are gone" if number else ""


def _strip_entries(
    item: onnx.ModelProto
    | onnx.GraphProto
    | onnx.NodeProto
    | onnx.ValueInfoProto
    | onnx.TensorProto,
) -> int:
    entries = list(item.metadata_props)
    kept = [
        entry
        for entry in entries
        if not entry.key.startswith(_EXPORTERS_OWN) and not LOCAL_PATH.search(entry.value)
    ]
    gone = len(entries) - len(kept)
    del item.metadata_props[:]
    item.metadata_props.extend(kept)
    if LOCAL_PATH.search(item.doc_string):
        item.ClearField("doc_string")
        gone += 1
    return gone


def _store_once(model: onnx.ModelProto, file: OnnxFile) -> str:
    """Let all nodes use the first of equal initializers."""
    stored = {tensor.name for tensor in model.graph.initializer}
    names = {info.name for info in (*model.graph.input, *model.graph.output)}
    first: dict[str, str] = {}
    saved = 0
    for size, copies in find_copies(file):
        own = [name for name in copies if name in stored and name not in names]
        first |= {name: own[0] for name in own[1:]}
        saved += size * max(len(own) - 1, 0)
    if not first:
        return ""
    for node in all_nodes(model.graph):
        for index, name in enumerate(node.input):
            node.input[index] = first.get(name, name)
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in first]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    return f"{len(first)} weight(s) were stored again: {saved:,} bytes less"


def _turn_off_dropout(model: onnx.ModelProto, file: OnnxFile) -> str:
    off = 0
    for node in model.graph.node:
        if node.op_type == "Dropout" and len(node.input) > 2 and node.input[2]:
            value = file.constant(node.input[2])
            if value is not None and value.all():
                del node.input[1:]
                off += 1
    return f"training mode of {off} Dropout(s) is off" if off else ""


def _lower_ir_version(model: onnx.ModelProto) -> str:
    """Write the oldest IR version that may carry the opset, where nothing needs a newer one."""
    before = model.ir_version
    needed = onnx.helper.find_min_ir_version_for(list(model.opset_import), ignore_unknown=True)
    tensors = [*model.graph.initializer]
    tensors += [a.t for n in model.graph.node for a in n.attribute if a.HasField("t")]
    newer = any(tensor.data_type > _NEWEST_PLAIN_TYPE for tensor in tensors)
    noted = any(node.metadata_props for node in model.graph.node)
    if needed >= before or newer or noted or model.functions:
        return ""
    model.ir_version = needed
    return f"IR version {before} is now {needed}"


CLEAN = Repair(
    "clean",
    frozenset({"local-paths", "ir-version", "duplicate-weights", "dropout"}),
    may=runs,
    apply=_clean,
)
