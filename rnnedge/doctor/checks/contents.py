"""The file itself: versions, domains, external data, and what it reveals of its maker's machine."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress

import onnx

from rnnedge.doctor.findings import Finding
from rnnedge.doctor.model_facts import Subject
from rnnedge.doctor.reading.versions import (
    DOMAINS,
    LAYER_OPSET,
    LOWEST_OPSET,
    MODULE_OPSET,
    USUAL_IR,
    USUAL_OPSET,
    first_release,
)
from rnnedge.doctor.repairs.reexport import read_layer_back
from rnnedge.errors import NotMendedError
from rnnedge_exporters.onnx_model.nodes import all_graphs, label
from rnnedge_runtime.errors import pass_on_interruption

_CODE = "py|ipynb|c|cc|cpp|cu|h|so|onnx|pt|pth|ckpt|safetensors|json|ya?ml|txt"
LOCAL_PATH = re.compile(
    rf"(?<![\w./:])(?:"
    rf"(?:/(?:[\w.@+-]+/)+|[A-Za-z]:\\(?:[^\\\s\"']+\\)+)[\w.@+-]+\.(?:{_CODE})\b"
    rf"|(?<=[\"'])/[^\"'\n]*\.(?:{_CODE})(?=[\"']))"
)
"""An absolute path of a file, as a stack trace names it; no part of a relative path or address."""


def check_contents(subject: Subject) -> Iterator[Finding]:
    """Look at the file without running it."""
    yield from _external_data(subject)
    yield from _versions(subject)
    yield from _domains(subject)
    yield from _validity(subject)
    yield from _paths(subject)


def _external_data(subject: Subject) -> Iterator[Finding]:
    for wrong in subject.file.broken_data:
        yield Finding(
            "external-data",
            "error",
            "external data",
            f"the weights are in another file, and {wrong}",
            "put the data file next to the .onnx file, or save the model again as one file",
        )


def _versions(subject: Subject) -> Iterator[Finding]:
    opset, version = subject.file.opset, subject.file.proto.ir_version
    if not opset:
        yield Finding(
            *("opset", "warning", "opset", "the file does not say which ONNX operators it uses"),
            "export it again with a current exporter",
        )
    elif opset < LOWEST_OPSET:
        yield Finding(
            "opset",
            "warning",
            f"opset {opset}",
            f"ONNX Runtime supports opset {LOWEST_OPSET} and newer",
            "export it again, or convert it with onnx.version_converter",
        )
    if opset <= USUAL_OPSET and version <= USUAL_IR:
        return
    release = first_release(opset, version)
    needs = f"ONNX Runtime {release} or newer" if release else "an ONNX Runtime not known here"
    where, problem = f"opset {opset}, IR {version}", f"only {needs} loads it"
    could = first_release(opset, 0)
    if could is not None and could != release:
        remedy = f"lower the IR version: opset {opset} alone needs {could}"
        yield Finding("ir-version", "note", where, problem, remedy)
        return
    remedy = f"check the device's version{_older(subject, release)}"
    yield Finding("versions", "note", where, problem, remedy)


def _older(subject: Subject, release: str | None) -> str:
    """Say which older release a new export would serve, where it would."""
    lowest = _lowest_opset(subject)
    could = None if lowest is None else first_release(lowest, 0)
    if could is None or could == release:
        return ""
    return f"; rnnedge export writes such a model in opset {lowest}, for ONNX Runtime {could}"


def _lowest_opset(subject: Subject) -> int | None:
    """Return the lowest operator set that `rnnedge export` writes such a model in."""
    contract = subject.file.contract
    if contract is not None:
        alone = len(contract.layers) == 1 and not contract.layers[0].name
        return LAYER_OPSET if alone else MODULE_OPSET
    if not subject.cells and not subject.chains:
        return None
    if subject.behaviour is not None and subject.behaviour.base is not None:
        with suppress(NotMendedError):
            read_layer_back(subject, by_names=False)
            return LAYER_OPSET
    return MODULE_OPSET


def _domains(subject: Subject) -> Iterator[Finding]:
    nodes: dict[str, onnx.NodeProto] = {}
    for node in subject.file.nodes():
        nodes.setdefault(node.domain, node)
    for domain, node in nodes.items():
        known = DOMAINS.get(domain)
        if known == "":
            continue
        yield Finding(
            "domain",
            "error" if domain == "org.pytorch.aten" else "warning",
            label(node),
            f"operator {node.op_type} of the domain {domain}"
            + (f": {known}" if known else ", which no runtime is known to have"),
            "export without it, or register the operator on the device",
        )


def _validity(subject: Subject) -> Iterator[Finding]:
    """Run ONNX's own checker; what ONNX Runtime refuses too is reported in its own words."""
    if subject.file.broken_data or (subject.opened and not subject.opened.ok):
        return
    if any(node.domain not in ("", "ai.onnx", "ai.onnx.ml") for node in subject.file.nodes()):
        return  # the checker knows no others
    try:
        onnx.checker.check_model(str(subject.file.path), full_check=True)
    except Exception as error:  # the checker and shape inference have an exception each
        pass_on_interruption(error)
        said = next(filter(None, str(error).splitlines()), type(error).__name__)
        yield Finding(
            "invalid",
            "warning",
            "the file",
            f"onnx.checker refuses it: {said[:200]}",
            "export it again: ONNX Runtime takes it, stricter runtimes will not",
        )


def _paths(subject: Subject) -> Iterator[Finding]:
    found = [path for text in texts(subject.file.stored) for path in LOCAL_PATH.findall(text)]
    if found:
        yield Finding(
            "local-paths",
            "note",
            "metadata",
            f"{len(found)} absolute path(s) of the machine that made it, such as {found[0]}",
            "strip them before you give the file away",
        )


def texts(model: onnx.ModelProto) -> Iterator[str]:
    """Yield every text in a model that no runtime reads."""
    yield model.doc_string
    yield from (entry.value for entry in model.metadata_props)
    for graph in all_graphs(model.graph):
        yield from _graph_texts(graph)
    for function in model.functions:
        yield function.doc_string
        yield from (entry.value for entry in function.metadata_props)
        yield from _node_texts(function.node)


def _graph_texts(graph: onnx.GraphProto) -> Iterator[str]:
    yield graph.doc_string
    yield from (entry.value for entry in graph.metadata_props)
    yield from _node_texts(graph.node)
    for info in (*graph.input, *graph.output, *graph.value_info, *graph.initializer):
        yield info.doc_string
        yield from (entry.value for entry in info.metadata_props)


def _node_texts(nodes: Iterable[onnx.NodeProto]) -> Iterator[str]:
    for node in nodes:
        yield node.doc_string
        yield from (entry.value for entry in node.metadata_props)
