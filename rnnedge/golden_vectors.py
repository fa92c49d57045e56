"""Writes golden vectors: what a device needs to prove a model again without PyTorch.

The layout is the one of ONNX's own tests (`rnnedge_runtime.proof.golden` draws it), so that
`onnx_test_runner` and other runtimes read the vectors too.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from rnnedge_runtime.atomic_file import atomic_folder
from rnnedge_runtime.errors import GoldenError, ModelError, WriteError, pass_on_interruption
from rnnedge_runtime.not_a_model import not_a_model
from rnnedge_runtime.proof.golden import MODEL, RECORD, SET, Golden, GoldenSet
from rnnedge_runtime.tensor_file import SUPPORTED
from rnnedge_runtime.write_target import check_folder, folder_names

_PACKAGES = ("rnnedge", "numpy", "onnx")
_SETS = re.compile(rf"{SET}[0-9]+")
_TENSOR = re.compile(r"(input|output)_[0-9]+\.pb")


def write_golden(
    directory: str | os.PathLike[str],
    *,
    model: str | os.PathLike[str],
    sets: Sequence[GoldenSet],
    reference: str,
    made: Mapping[str, str] | None = None,
) -> None:
    """Write the vectors of `model` into a folder, whole or not at all.

    The same arguments give the same bytes.

    Args:
        directory: The folder to make, in one that exists. What is there is replaced when it is
            empty or holds vectors and nothing else.
        model: The `.onnx` file; a copy of it is put next to the vectors.
        sets: One or more, each with every input and output of the graph and the allowed error.
            Their order numbers them; tensors are written in the order of the graph.
        reference: What gave the expected outputs, such as `PyTorch 2.13.0 float64`.
        made: When, where, by which command and from which source they were made, by name.

    Raises:
        ModelError: When `model` is missing or not ONNX.
        GoldenError: When the sets do not fit the model.
        WriteError: When the folder holds something else, or cannot be written.
    """
    check_golden_folder(directory)
    content, inputs, outputs = _read_model(Path(model))
    if not sets:
        raise GoldenError("sets: expected one set of golden vectors or more, got none")
    golden = Golden(
        sets=tuple(
            _in_order(replace(vectors, directory=f"{SET}{index}"), inputs, outputs)
            for index, vectors in enumerate(sets)
        ),
        reference=reference,
        model_sha256=hashlib.sha256(content).hexdigest(),
        versions={name: version(name) for name in _PACKAGES},
        made=made or {},
    )
    with atomic_folder(directory) as folder:
        (folder / MODEL).write_bytes(content)
        (folder / RECORD).write_text(golden.to_json(), encoding="utf-8", newline="\n")
        for vectors in golden.sets:
            (folder / vectors.directory).mkdir()
            for kind, tensors in (("input", vectors.inputs), ("output", vectors.outputs)):
                for index, (name, values) in enumerate(tensors.items()):
                    tensor = onnx.numpy_helper.from_array(values, name)
                    path = folder / vectors.directory / f"{kind}_{index}.pb"
                    path.write_bytes(tensor.SerializeToString(deterministic=True))
        check_golden_folder(directory)


def _read_model(path: Path) -> tuple[bytes, list[str], list[str]]:
    """Return the bytes of a model and the names of its inputs and outputs."""
    try:
        content = path.read_bytes()
        graph = onnx.load_model_from_string(content).graph
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
    except Exception as error:  # protobuf's DecodeError: its class depends on the implementation
        pass_on_interruption(error)
        raise not_a_model(path) or ModelError(
            f"{path}: expected an ONNX file, got something else"
        ) from error
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value.name for value in graph.input if value.name not in constants]
    outputs = [value.name for value in graph.output]
    if not outputs:
        raise ModelError(f"{path}: expected an ONNX file, got a graph without outputs")
    return content, inputs, outputs


def _in_order(vectors: GoldenSet, inputs: list[str], outputs: list[str]) -> GoldenSet:
    """Return the set in the order of the graph, each array as it is to be written."""
    if vectors.allowed is None:
        raise GoldenError(f"{vectors}: expected the allowed error of each output, got none")
    by_row = vectors.allowed_by_row
    return replace(
        vectors,
        inputs=_sorted(vectors, "inputs", vectors.inputs, inputs),
        outputs=_sorted(vectors, "outputs", vectors.outputs, outputs),
        allowed={name: float(vectors.allowed[name]) for name in outputs},
        allowed_by_row=by_row and {name: float(by_row[name]) for name in outputs},
    )


def _sorted(
    vectors: GoldenSet, kind: str, tensors: Mapping[str, NDArray[Any]], names: list[str]
) -> dict[str, NDArray[Any]]:
    if set(tensors) != set(names):
        raise GoldenError(
            f"{vectors}: expected the {kind} {', '.join(names)} of the model, "
            f"got {', '.join(tensors) or 'none'}"
        )
    for name, values in tensors.items():
        if values.dtype.name not in SUPPORTED:
            raise GoldenError(
                f"{vectors}: {name}: expected {', '.join(SUPPORTED)}, got {values.dtype}"
            )
    # onnx refuses the byte order of another machine.
    return {name: tensors[name].astype(np.dtype(tensors[name].dtype.name)) for name in names}


def check_golden_folder(directory: str | os.PathLike[str]) -> None:
    """Refuse a folder that vectors must not replace, before the work that they come from.

    Raises:
        WriteError: When there is something else, or no folder around it.
    """
    folder = check_folder(directory)
    if not folder.is_dir():
        return
    found = folder_names(folder)
    others = [name for name in found if name not in (MODEL, RECORD)]
    others = [name for name in others if not _SETS.fullmatch(name) or _has_more(folder / name)]
    if found == [MODEL]:
        others = found  # a model alone is not one that vectors were written next to
    if others:
        raise WriteError(
            f"{directory}: expected an empty folder or one with golden vectors only, found "
            f"{others[0]} in it: give another folder, or empty this one"
        )


def _has_more(folder: Path) -> bool:
    """Whether something named like a folder of vectors is not one, or holds more than tensors."""
    return not folder.is_dir() or not all(map(_TENSOR.fullmatch, folder_names(folder)))
