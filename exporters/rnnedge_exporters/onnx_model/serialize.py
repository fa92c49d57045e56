"""The model file: graph and contract as the bytes of one `.onnx`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir

from rnnedge_exporters.errors import ExportError
from rnnedge_runtime.contract import METADATA_KEY, Contract
from rnnedge_runtime.errors import one_line, pass_on_interruption
from rnnedge_runtime.user_metadata import USER_KEY, to_json

LARGEST = 2**31 - 1
"""Bytes that one ONNX file may have."""


def serialize(
    graph: ir.Graph, contract: Contract, metadata: Mapping[str, Any] | None = None
) -> bytes:
    """Return the model as bytes that depend on the arguments alone.

    Args:
        graph: The graph.
        contract: What the file promises.
        metadata: What the user keeps in it, by name.

    Raises:
        ExportError: When the model is larger than the 2 GiB that one ONNX file can hold.
    """
    proto = _model(
        graph,
        producer_name="rnnedge",
        producer_version=contract.versions["rnnedge"],
        metadata_props={METADATA_KEY: contract.to_json(), **user_entry(metadata)},
    )
    return _bounded(proto)


def user_entry(metadata: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the entry of `metadata_props` that holds what the user keeps; empty for nothing.

    Raises:
        OptionError: For what cannot be kept.
    """
    return {USER_KEY: to_json(metadata)} if metadata else {}


def serialize_model(model: ir.Model) -> bytes:
    """Return a whole model as bytes that depend on it alone.

    Raises:
        ExportError: As in `serialize`, or for a part that ONNX has no form of.
    """
    try:
        proto = ir.to_proto(model)
    except Exception as error:  # onnx-ir's own, which says which part at its end
        pass_on_interruption(error)
        raise ExportError(
            f"the model cannot be written as ONNX: {one_line(first_cause(error))[:200]}"
        ) from error
    return _bounded(proto)


def first_cause(error: BaseException) -> BaseException:
    """Return what an exception of onnx-ir was raised from in the end, which says what is wrong.

    Args:
        error: The exception that was caught.
    """
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def serialize_graph(graph: ir.Graph) -> bytes:
    """Return a graph without a contract as the bytes of a model, to be run at once."""
    content: bytes = _model(graph).SerializeToString()
    return content


def save_model(model: onnx.ModelProto, path: Path) -> None:
    """Write a model, with its weights next to it when one file cannot hold them."""
    if model.ByteSize() > LARGEST:
        onnx.save(model, path, save_as_external_data=True, location=f"{path.name}.data")
    else:
        path.write_bytes(model.SerializeToString(deterministic=True))


def _bounded(proto: onnx.ModelProto) -> bytes:
    if proto.ByteSize() > LARGEST:
        raise ExportError(
            f"the model takes {proto.ByteSize():,} bytes, and one ONNX file holds at most "
            f"{LARGEST:,}"
        )
    content: bytes = proto.SerializeToString(deterministic=True)
    return content


def _model(graph: ir.Graph, **described: Any) -> onnx.ModelProto:
    opsets = [onnx.helper.make_opsetid(domain, v) for domain, v in graph.opset_imports.items()]
    # The oldest IR version that may carry the opset, so that older device runtimes load it.
    oldest = onnx.helper.find_min_ir_version_for(opsets, ignore_unknown=True)
    return ir.to_proto(ir.Model(graph, ir_version=oldest, **described))
