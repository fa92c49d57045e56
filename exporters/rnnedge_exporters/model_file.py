"""The model file: graph and contract in one `.onnx`, written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
import onnx_ir as ir

from rnnedge_exporters.errors import ExportError
from rnnedge_runtime.contract import METADATA_KEY, Contract

_PROTOBUF_LIMIT = 2**31 - 1


def serialize(graph: ir.Graph, contract: Contract) -> bytes:
    """Return the model as bytes that depend on `graph` and `contract` alone.

    Raises:
        ExportError: When the model is larger than the 2 GiB that one ONNX file can hold.
    """
    opsets = [onnx.helper.make_opsetid(domain, v) for domain, v in graph.opset_imports.items()]
    model = ir.Model(
        graph,
        # The oldest IR version that may carry the opset, so that older device runtimes load it.
        ir_version=onnx.helper.find_min_ir_version_for(opsets),
        producer_name="rnnedge",
        producer_version=contract.versions["rnnedge"],
        metadata_props={METADATA_KEY: contract.to_json()},
    )
    proto = ir.to_proto(model)
    if proto.ByteSize() > _PROTOBUF_LIMIT:
        raise ExportError(
            f"the model takes {proto.ByteSize():,} bytes, and one ONNX file holds at most "
            f"{_PROTOBUF_LIMIT:,}"
        )
    content: bytes = proto.SerializeToString(deterministic=True)
    return content


@contextmanager
def staged(path: Path) -> Iterator[Path]:
    """Give a temporary file beside `path`, renamed to `path` when the block ends without an error.

    On an error the temporary file is removed, and what was at `path` before stays.

    Raises:
        ExportError: When the folder does not exist or cannot be written.
    """
    if not path.parent.is_dir():
        raise ExportError(
            f"{path}: expected an existing folder, found no folder {path.parent}: create it"
        )
    if path.is_dir():
        raise ExportError(f"{path}: expected the name of a file to write, found a folder")
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        os.close(handle)
    except OSError as error:
        raise ExportError(f"{path}: cannot be written: {error.strerror}") from error
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes the file private; a model is as readable as any file its maker writes.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except OSError as error:
        raise ExportError(f"{path}: cannot be written: {error.strerror}") from error
    finally:
        temporary.unlink(missing_ok=True)
