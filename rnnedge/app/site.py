"""`write_site`: a folder that any web server serves, with a model, its vectors and a page."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from rnnedge.app.vectors import answer_here, read_vectors, write_vectors
from rnnedge.app.wasm_engine import why_not_wasm
from rnnedge_runtime.atomic_file import atomic_folder
from rnnedge_runtime.errors import MissingPackageError, ModelError, OptionError, WriteError
from rnnedge_runtime.session import Session
from rnnedge_runtime.write_target import check_folder, folder_names

MARK = "Made by rnnedge app"
"""In `about.json` of every site; a folder with it is replaced."""
_ABOUT, _MODEL, _VECTORS = "about.json", "model.onnx", "vectors"
_PACKAGE, _LIBRARY = "rnnedge", "onnxruntime-web"
_PAGE = ("index.html", "page.css", "page.js", "live.js", "plot.js", "signals.js", "microphone.js")
_THEME = "theme.css"
_LIBRARY_FILES = (
    "ort.wasm.min.mjs",
    "ort-wasm-simd-threaded.mjs",
    "ort-wasm-simd-threaded.wasm",
)


@dataclass(frozen=True, slots=True)
class Site:
    """A page that was written.

    Attributes:
        folder: The folder to serve.
        engine: `wasm`, the engine of the JavaScript package; or `onnxruntime`, onnxruntime-web.
        why: Why that engine.
        reference: What gave the expected answers of the vectors.
        sets: How many calls the page proves.
        bytes: Of all files.
    """

    folder: Path
    engine: str
    why: str
    reference: str
    sets: int
    bytes: int

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can hold of it."""
        return {
            "written": str(self.folder),
            "engine": self.engine,
            "why": self.why,
            "reference": self.reference,
            "sets": self.sets,
            "bytes": self.bytes,
        }


def write_site(
    model: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    vectors: str | os.PathLike[str] | None = None,
    onnxruntime_web: str | os.PathLike[str] | None = None,
) -> Site:
    """Write a static page for a model, whole or not at all.

    The page opens from any web server and asks no other host for anything. It runs the vectors in
    the browser and shows whether they hold, and steps a stream live.

    Args:
        model: An `.onnx` file with a contract.
        folder: The folder to make, in one that exists; one that this function wrote is replaced.
        vectors: A folder of golden vectors, as `rnnedge validate --golden` writes it; None takes
            what this machine answers for what is expected.
        onnxruntime_web: The folder of the npm package onnxruntime-web, for a model that the engine
            of the JavaScript package does not know; None looks in `node_modules`.

    Returns:
        What was written.

    Raises:
        ModelError: If the file cannot be opened, or has no contract.
        GoldenError: If the vectors cannot be read, or belong to another file.
        MissingPackageError: If the model needs onnxruntime-web and it is not there.
        OptionError: If `onnxruntime_web` is another folder.
        WriteError: If the folder must not or cannot be written.
    """
    source = Path(model)
    _check_place(folder, [source, vectors])
    session = Session(source, threads=1)
    if session.contract is None:
        raise ModelError(
            f"{model} has no contract, which the page reads: rnnedge export {model} -o NEW.onnx "
            "writes a file with one"
        )
    content = source.read_bytes()
    rounded = session.contract.quantization == "int8:all"
    golden = (
        answer_here(session, rounded=rounded) if vectors is None else read_vectors(vectors, source)
    )
    hindrance = why_not_wasm(content, [vectors.inputs for vectors in golden.sets])
    library = _find_library(str(model), hindrance, onnxruntime_web) if hindrance else None
    engine = "wasm" if library is None else "onnxruntime"
    why = hindrance or "rnnedge's own kernels know every part of the model"
    about = {
        "made": MARK,
        "title": source.name,
        "model": _MODEL,
        "vectors": _VECTORS,
        "engine": engine,
        "why": why,
        "bytes": len(content),
    }
    with atomic_folder(folder) as new:
        (new / _MODEL).write_bytes(content)
        (new / _ABOUT).write_text(json.dumps(about, indent=2) + "\n", "utf-8")
        write_vectors(new / _VECTORS, golden, source)
        _copy_page(new)
        if library is not None:
            (new / _LIBRARY).mkdir()
            for name in _LIBRARY_FILES:
                shutil.copyfile(library / name, new / _LIBRARY / name)
        size = sum(path.stat().st_size for path in new.rglob("*") if path.is_file())
        _check_place(folder, [source, vectors])
    reference = golden.reference or "an unknown source"
    return Site(Path(folder), engine, why, reference, len(golden.sets), size)


def _check_place(
    folder: str | os.PathLike[str], read: list[str | os.PathLike[str] | Path | None]
) -> None:
    """Refuse a folder that holds anything but a page that was written here."""
    path = check_folder(folder)
    if not path.is_dir():
        return
    for other in read:
        if other is not None and path.resolve() in (
            Path(other).resolve(),
            *Path(other).resolve().parents,
        ):
            raise WriteError(f"{folder}: holds {other}, which is read here: give another folder")
    there = set(folder_names(path))
    ours = {*_PAGE, _THEME, _ABOUT, _MODEL, _VECTORS, _PACKAGE, _LIBRARY}
    others = sorted(there - ours)
    if not there or (not others and _is_ours(path / _ABOUT)):
        return
    found = others[0] if others else sorted(there)[0]
    raise WriteError(
        f"{folder}: expected an empty folder or one that rnnedge app wrote, found {found} in it: "
        "give another folder"
    )


def _is_ours(about: Path) -> bool:
    try:
        return bool(json.loads(about.read_text("utf-8"))["made"] == MARK)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _find_library(model: str, hindrance: str, given: str | os.PathLike[str] | None) -> Path:
    """Return the folder of onnxruntime-web's modules."""
    place = Path("node_modules", _LIBRARY) if given is None else Path(given)
    for folder in (place, place / "dist"):
        if all((folder / name).is_file() for name in _LIBRARY_FILES):
            return folder
    if given is not None:
        raise OptionError(
            f"onnxruntime_web: expected the folder of the npm package, with dist/"
            f"{_LIBRARY_FILES[0]}, found none in {given}"
        )
    raise MissingPackageError(
        f"a page for {model} ({hindrance}, which rnnedge's own engine leaves to it)",
        _LIBRARY,
        f"npm install {_LIBRARY}, or give its folder (--onnxruntime-web)",
    )


def _copy_page(folder: Path) -> None:
    """Copy the page, and the JavaScript package that it imports."""
    page = files("rnnedge.app").joinpath("page")
    for name in _PAGE:
        (folder / name).write_bytes(page.joinpath(name).read_bytes())
    (folder / _THEME).write_bytes(files("rnnedge").joinpath(_THEME).read_bytes())
    package = _package_folder()
    for path in sorted(package.rglob("*")):
        if path.suffix in (".js", ".gz"):
            target = folder / _PACKAGE / path.relative_to(package)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def _package_folder() -> Path:
    """Return the sources of the JavaScript package: in the wheel, or in the repository."""
    here = Path(str(files("rnnedge.app")))
    for folder in (here / "javascript", here.parents[1] / "javascript" / "src"):
        if (folder / "index.js").is_file():
            return folder
    raise MissingPackageError(
        "rnnedge app", "the JavaScript package", "pip install --force-reinstall rnnedge"
    )
