"""The error for a SOURCE that cannot be read: what it is, and what to type instead."""

from __future__ import annotations

import ast
import os
import re
from pathlib import Path

from rnnedge.errors import SourceError
from rnnedge.sources.checkpoints import SUFFIXES, some_files
from rnnedge_runtime.missing_file import no_such_file

_SHOWN = 3
"""Classes of a file that are named."""
_LONGEST = 2**20
"""Bytes of a Python file that is looked into."""
_PYTHON = re.compile(r"(?P<path>.+\.py)(?::(?P<name>[A-Za-z_][\w.]*.*))?", re.DOTALL)
_DOTTED = re.compile(r"(?P<module>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)")


def unknown_source(name: str) -> SourceError:
    """Return the error for a text that is not a specification, checkpoint or `package.module:name`.

    Args:
        name: What was given as SOURCE.

    Returns:
        An error that names what is meant, where something like it is there.
    """
    path = Path(name)
    if (path / ".metadata").is_file():
        return SourceError(
            f"{name}: is a folder of torch.distributed.checkpoint: make one file of it, "
            f"python -m torch.distributed.checkpoint.format_utils dcp_to_torch {name} weights.pt"
        )
    if path.is_dir():
        return SourceError(f"{name}: is a folder{files_in(path)}")
    if path.suffix.lower() == ".onnx":
        return SourceError(
            f"{name}: expected a source in PyTorch, got an ONNX file: rnnedge validate MODEL "
            f"--against {name} compares two files, rnnedge bench MODEL --beside {name} their speed"
        )
    return python_file(name) or _without_colon(name) or _nothing(name)


def files_in(folder: Path) -> str:
    """Say which files of a folder may be a SOURCE, to end a sentence with."""
    return f": name a file in it{some_files(folder, (*SUFFIXES, '.toml', '.json', '.onnx'))}"


def python_file(name: str) -> SourceError | None:
    """Return the error for `net.py` and `net.py:Net`: how the class in it is named.

    Args:
        name: What was given as SOURCE.

    Returns:
        None where the text does not name a Python file.
    """
    match = _PYTHON.fullmatch(name)
    if match is None:
        return None
    path = Path(match["path"])
    if not path.is_file():
        return SourceError(f"{path}: expected a Python file, {no_such_file(path, ('.py',))}")
    folder, module = _importable(path)
    classes = [match["name"]] if match["name"] else _modules_in(path) or ["Class"]
    objects = " or ".join(f"{module}:{one}" for one in classes[:_SHOWN])
    cwd = Path.cwd()
    first = "" if folder == cwd else f"cd {folder} first; "
    return SourceError(f"{name}: is a Python file: {first}the SOURCE in it is written {objects}")


def _without_colon(name: str) -> SourceError | None:
    """Return the error for `net` and `net.Net`, where there is a file `net.py`."""
    match = _DOTTED.fullmatch(name)
    if match is None:
        return None
    module, _, last = name.rpartition(".")
    whole, upper = Path(*name.split(".")), Path(*module.split("."))
    if whole.with_suffix(".py").is_file():
        return python_file(str(whole.with_suffix(".py")))
    if module and (upper.with_suffix(".py").is_file() or (upper / "__init__.py").is_file()):
        return SourceError(f"{name}: write it with a colon, {module}:{last}")
    return None


def _nothing(name: str) -> SourceError:
    missing = ""
    if Path(name).suffix or Path(name).name != name:  # a path rather than a name
        missing = f"; {no_such_file(name)}"
    return SourceError(
        f"{name}: expected a specification (.toml, .json), a checkpoint ({', '.join(SUFFIXES)}, or "
        f"any other name of a file that is there) or package.module:name{missing}"
    )


def _importable(path: Path) -> tuple[Path, str]:
    """Return the folder from which a Python file is imported, and the name it has there."""
    folder, parts = Path(os.path.abspath(path)).parent, [path.stem]
    while (folder / "__init__.py").is_file():
        folder, parts = folder.parent, [folder.name, *parts]
    cwd = Path.cwd()
    if folder != cwd and folder.is_relative_to(cwd):  # a namespace package
        inner = folder.relative_to(cwd).parts
        if all(part.isidentifier() for part in inner):
            return cwd, ".".join([*inner, *parts])
    return folder, ".".join(parts)


def _modules_in(path: Path) -> list[str]:
    """Return the classes of a file that have a forward, in its order; the file is not run."""
    try:
        with path.open("rb") as file:
            tree = ast.parse(file.read(_LONGEST))
    except (OSError, SyntaxError, ValueError, MemoryError, RecursionError):
        return []
    return [
        node.name
        for node in tree.body
        if isinstance(node, ast.ClassDef)
        and any(isinstance(n, ast.FunctionDef) and n.name == "forward" for n in node.body)
    ]
