"""Reading the weights of a checkpoint file, without running any code that it may carry."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnnedge.errors import SourceError
from rnnedge.weight_names import find_layers

SUFFIXES = (".safetensors", ".npz", ".pt", ".pth", ".ckpt", ".bin")


def read_weights(path: str | Path, *, key: str | None = None) -> dict[str, Tensor]:
    """Read the dictionary of weights that holds a recurrent layer.

    Args:
        path: A `.safetensors`, `.npz`, or a file written by `torch.save` (`.pt`, `.pth`, `.ckpt`,
            `.bin`), which is read with `weights_only=True`.
        key: Which dictionary inside a training checkpoint, with dots for deeper ones, such as
            `model_state`; None takes the only one that holds a recurrent layer.

    Returns:
        Weights by name, each a tensor on the CPU.

    Raises:
        SourceError: When the file cannot be read as what its name says, needs code to be unpickled,
            or holds no such dictionary, or several.
    """
    path = Path(path)
    if not path.is_file():
        raise SourceError(f"{path}: expected a checkpoint, found no such file")
    return _pick(_READERS.get(path.suffix.lower(), _read_torch)(path), key, path)


def _read_safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return dict(load_file(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise _unreadable(path, "a safetensors file", error) from error


def _read_npz(path: Path) -> dict[str, Any]:
    if not zipfile.is_zipfile(path):  # np.load would take it for a pickle, and say so
        raise _unreadable(path, "an npz archive", "it is not one, or cut short")
    weights = {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            for name in archive.files:
                array = archive[name]
                if array.dtype.kind in "fiub":
                    weights[name] = torch.from_numpy(np.array(array))
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise _unreadable(path, "an npz archive", error) from error
        raise SourceError(
            f"{path}: holds pickled objects, which can run code and are not read: save plain "
            "arrays, np.savez('weights.npz', **{name: array, ...})"
        ) from error
    except Exception as error:  # zipfile and zlib raise a dozen kinds for a damaged archive
        raise _unreadable(path, "an npz archive", error) from error
    return weights


def _read_torch(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch.load, on files that are refused below
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the zip reader and the unpickler raise many kinds for damage
        blocked = re.search(r"GLOBAL ([\w.]+)", str(error))
        script = "TorchScript" in str(error)
        if not blocked and not script:
            raise _unreadable(path, "a torch checkpoint", _what_torch_minds(path)) from error
        what = "is a TorchScript archive" if script else f"needs the code of {blocked[1]}"  # type: ignore[index]
        raise SourceError(
            f"{path}: {what}, which could do anything when it is loaded and is not run; convert it "
            "where it was made: torch.save(model.state_dict(), 'weights.pt')"
        ) from error


def _what_torch_minds(path: Path) -> str:
    """Say why a file is no checkpoint; what torch.load says of one is a key, or a page."""
    with path.open("rb") as file:
        start = file.read(2)
    if not start:
        return "it is empty"
    if start == b"PK":
        return "it is damaged, or cut short"
    if start[:1] == b"\x80":
        return "it is cut short, or a pickle that torch.save did not write"
    return "it does not begin like one"


_READERS: dict[str, Callable[[Path], Any]] = {
    ".safetensors": _read_safetensors,
    ".npz": _read_npz,
}


def _unreadable(path: Path, kind: str, error: Exception | str) -> SourceError:
    reason = " ".join(str(error).split())[:160]
    return SourceError(f"{path}: expected {kind}: {reason}")


def _pick(content: Any, key: str | None, path: Path) -> dict[str, Tensor]:
    if not isinstance(content, Mapping):
        raise SourceError(f"{path}: expected weights by name, got a {type(content).__name__}")
    nested = dict(_dictionaries(content))
    if key is not None:
        if key not in nested:
            names = ", ".join(name for name in nested if name) or "none"
            raise SourceError(f"{path}: no dictionary {key!r} (--key) inside; there are: {names}")
        return _tensors(nested[key])
    holding = {name: found for name, found in nested.items() if find_layers(_tensors(found))}
    if len(holding) == 1:
        return _tensors(next(iter(holding.values())))
    if holding:
        names = ", ".join(repr(name) for name in holding)
        raise SourceError(
            f"{path}: {len(holding)} dictionaries hold recurrent weights: {names}: choose one with "
            "key= (--key)"
        )
    some = ", ".join(map(str, list(content)[:4]))
    raise SourceError(
        f"{path}: expected weights named like weight_ih_l0 and weight_hh_l0, found "
        f"{some or 'nothing'}{', ...' if len(content) > 4 else ''}"
    )


def _dictionaries(content: Mapping[Any, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    yield path, content
    for name, value in content.items():
        if isinstance(value, Mapping):
            yield from _dictionaries(value, f"{path}.{name}" if path else str(name))


def _tensors(content: Mapping[Any, Any]) -> dict[str, Tensor]:
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
