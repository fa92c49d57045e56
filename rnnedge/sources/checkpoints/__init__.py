"""Reading the weights of a checkpoint file, without running any code that it may carry.

    files         what a file is, by its content: safetensors, npz, or written by torch
    torch_files   the archive of `torch.save`, and its older form
    unpickling    a pickle as plain data, which runs nothing
    stored        a tensor whose numbers are still in the file
    dictionaries  which of the dictionaries in a training checkpoint holds the weights

`read_checkpoint` goes through them in this order.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from rnnedge.errors import SourceError
from rnnedge.sources.checkpoints.dictionaries import choose
from rnnedge.sources.checkpoints.files import SUFFIXES as SUFFIXES
from rnnedge.sources.checkpoints.files import opened
from rnnedge.sources.checkpoints.files import some_files as some_files
from rnnedge.sources.checkpoints.stored import read_tensors
from rnnedge.sources.weight_names import without_wrappers
from rnnedge_runtime.missing_file import no_such_file


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The weights of a checkpoint file.

    Attributes:
        weights: By name, each a tensor on the CPU; without what `torch.compile`, `DataParallel`
            and the like put into names.
        beside: Names of other tensors in the file that a model may need; none of an optimizer.
        module: The class of the module that was pickled whole, such as `app.Net`; empty for weights
            by name.
        attributes: Of a pickled module, the attributes of the modules inside by path, such as
            `lstm.`; `class` is where a class is imported from.
    """

    weights: dict[str, Tensor]
    beside: tuple[str, ...] = ()
    module: str = ""
    attributes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def read_checkpoint(path: str | os.PathLike[str], *, key: str | None = None) -> Checkpoint:
    """Read the dictionary of weights that holds a recurrent layer.

    Args:
        path: A safetensors file, an npz archive, or what `torch.save` or `pickle` wrote; the
            content decides, whatever the name.
        key: Which dictionary inside a training checkpoint, with dots for deeper ones, such as
            `model_state`; None takes the only one that holds a recurrent layer.

    Raises:
        SourceError: When the file cannot be read, or holds no such dictionary, or several.
    """
    path = Path(path)
    if path.is_dir():
        raise SourceError(f"{path}: expected a checkpoint, got a folder{_named(path)}")
    if not path.is_file():
        raise SourceError(f"{path}: expected a checkpoint, {no_such_file(path, SUFFIXES)}")
    try:
        with opened(path) as content:
            chosen, beside = choose(content, key)
            _check_names([*chosen.tensors, *beside, chosen.module])
            weights = read_tensors(without_wrappers(chosen.tensors))
    except SourceError as error:
        raise SourceError(f"{path}: {error}") from error
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error.strerror or error}") from error
    return Checkpoint(weights, beside, chosen.module, chosen.attributes)


def _named(folder: Path) -> str:
    """Name a few checkpoints of a folder, to end a sentence with."""
    some = some_files(folder, SUFFIXES)
    return f": name a file in it{some}" if some else ""


def _check_names(names: list[str]) -> None:
    for name in names:
        if not name.isprintable():
            raise SourceError(f"expected printable names, got {name!a}")
