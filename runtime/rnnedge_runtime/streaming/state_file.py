"""States on disk: an `.npz` file that names the model it belongs to."""

from __future__ import annotations

import os
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from rnnedge_runtime.atomic_file import atomic_file
from rnnedge_runtime.binding import Array
from rnnedge_runtime.errors import StateError
from rnnedge_runtime.loaded_model import LoadedModel
from rnnedge_runtime.write_target import NPZ

_DIGEST = "rnnedge.digest"


def write_state(
    path: str | os.PathLike[str],
    model: LoadedModel,
    state: Sequence[Array],
    *,
    force: bool = False,
) -> None:
    """Write a state, whole or not at all.

    Args:
        path: The `.npz` file; an existing one is replaced.
        model: The model that it belongs to.
        state: The arrays in the order of `Interface.states`.
        force: Whether a file that holds something else may be replaced.

    Raises:
        WriteError: When the file must not or cannot be written.
    """
    specs = model.interface.state_inputs
    arrays: dict[str, Any] = {_DIGEST: np.array(model.digest)}
    arrays |= {spec.name: array for spec, array in zip(specs, state, strict=True)}
    with atomic_file(path, NPZ, protected=[model.path], force=force) as file:
        np.savez(file, **arrays)


def read_state(path: str | os.PathLike[str], model: LoadedModel) -> tuple[Array, ...]:
    """Read a state that `write_state` wrote.

    Returns:
        The arrays in the order of `Interface.states`; the caller checks their shapes.

    Raises:
        StateError: If the file cannot be read, is not a state, or belongs to another model.
    """
    names = [spec.name for spec in model.interface.state_inputs]
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise StateError(f"{path}: the state cannot be read: {error.strerror}") from error
    try:
        file = np.load(BytesIO(content), allow_pickle=False)
        digest = str(file[_DIGEST])
        state = tuple(file[name] for name in names) if digest == model.digest else None
    # numpy and zipfile raise a dozen kinds of exceptions for damaged archives.
    except Exception as error:
        raise StateError(
            f"{path}: expected a state from Stream.save, found another or a damaged file"
        ) from error
    if state is None:
        raise StateError(
            f"{path}: the state belongs to the model {digest[:19]}..., and this model is "
            f"{model.digest[:19]}...: open the model that it was saved with"
        )
    return state
