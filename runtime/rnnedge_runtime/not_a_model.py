"""What lies where an ONNX file was expected, and what to type instead."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

from rnnedge_runtime.errors import ModelError
from rnnedge_runtime.missing_file import no_such_file

_SHOWN = 3
"""Files of a folder that are named."""
_START = 512
"""Bytes that tell the kind of a file."""
_MAGIC = (
    (b"\x93NUMPY", "a NumPy array (.npy): rnnedge run MODEL --input {path} feeds it to a model"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes: tf2onnx makes an ONNX file of it"),
    (b"%PDF-", "a PDF document"),
    (b"\x89PNG", "a picture"),
    (b"\x1f\x8b", "a gzip archive: gunzip {path}"),
)
_TORCH = "{what}: rnnedge export {path} -o {stem}.onnx makes an ONNX file of it"


def not_a_model(path: object) -> ModelError | None:
    """Return the error for what is known to be no ONNX file.

    Args:
        path: What was given as the path of a model.

    Returns:
        None for bytes, and for a file whose kind is not recognised, which may be a damaged model.
    """
    if isinstance(path, bytes):
        return None
    if not isinstance(path, str | os.PathLike):
        remedy = ": rnnedge.export(model, path) writes one" * hasattr(path, "state_dict")
        return ModelError(
            f"expected the path of an .onnx file or its bytes, got {type(path).__name__}{remedy}"
        )
    found = describe_path(path)
    return ModelError(f"{os.fspath(path)}: expected an ONNX file, {found}") if found else None


def describe_path(path: str | os.PathLike[str]) -> str:
    """Say what is at a path that is not an ONNX file, and what to do about it.

    Args:
        path: The path as it was given.

    Returns:
        The end of a sentence that begins with `expected an ONNX file, `; empty for a file whose
        kind is not recognised, which may be a damaged model.
    """
    found = Path(path)
    try:
        if found.is_dir():
            return _folder(found)
        if not found.is_file():
            return no_such_file(path, (".onnx",))
        return _kind(found).format(path=path, stem=found.stem)
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _folder(folder: Path) -> str:
    models = sorted(folder.glob("*.onnx"))
    if not models:
        return "got a folder without .onnx files: name the file itself"
    more = f" (and {len(models) - _SHOWN} more)" if len(models) > _SHOWN else ""
    return f"got a folder: name a file in it: {', '.join(map(str, models[:_SHOWN]))}{more}"


def _kind(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(_START)
    if not start:
        return "got an empty file"
    for magic, what in _MAGIC:
        if start.startswith(magic):
            return f"got {what}"
    if start[4:8] == b"TFL3":
        return "got a TensorFlow Lite model: tf2onnx --tflite {path} makes an ONNX file of it"
    if start.startswith(b"PK\x03\x04"):
        return f"got {_archive(path)}"
    if start[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        return f"got {_TORCH.replace('{what}', 'a pickle, as torch.save once wrote')}"
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 1 << 32:
        return f"got {_TORCH.replace('{what}', 'a safetensors checkpoint')}"
    return _text(start)


def _archive(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return "a zip archive that is cut short"
    if any(name.endswith("data.pkl") for name in names):
        return _TORCH.replace("{what}", "a PyTorch checkpoint")
    if names and all(name.endswith(".npy") for name in names):
        return _TORCH.replace("{what}", "arrays of NumPy (.npz)")
    return "a zip archive: unpack it, and name the .onnx file in it"


def _text(start: bytes) -> str:
    try:
        text = start.decode()
    except UnicodeDecodeError as error:
        if error.start < len(start) - 4:  # a character that is cut in two is still text
            return ""
        text = start[: error.start].decode()
    if not all(c.isprintable() or c in "\t\r\n" for c in text):
        return ""
    if text.startswith("version https://git-lfs"):
        return "got a pointer of Git LFS: git lfs pull fetches the file"
    if text.lstrip().lower().startswith(("<!doctype html", "<html")):
        return "got a web page: download the file itself"
    return "got a text file"
