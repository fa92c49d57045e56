"""States on disk: an `.npz` file that names the model that it belongs to."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from rnnedge_runtime.binding import Array
from rnnedge_runtime.errors import StateError
from rnnedge_runtime.loaded_model import LoadedModel

_DIGEST = "rnnedge.digest"


def write_state(path: str | os.PathLike[str], model: LoadedModel, state: Sequence[Array]) -> None:
    """Write a state, whole or not at all.

    Args:
        path: The file; an existing one is replaced.
        model: The model that it belongs to.
        state: The arrays in the order of `Interface.states`.

    Raises:
        StateError: When the file cannot be written.
    """
    path = Path(path)
    specs = model.interface.state_inputs
    arrays: dict[str, Any] = {_DIGEST: np.array(model.digest)}
    arrays |= {spec.name: array for spec, array in zip(specs, state, strict=True)}
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())  # or a loss of power may leave an empty file under the name
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        raise StateError(f"{path}: the state cannot be written: {error.strerror}") from error


def read_state(path: str | os.PathLike[str], model: LoadedModel) -> tuple[Array, ...]:
    """Read a state that `write_state` wrote.

    Returns:
        The arrays in the order of `Interface.states`; of which batch, the caller checks.

    Raises:
        StateError: When the file cannot be read, is none, or belongs to another model.
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
    # Numpy and zipfile have a dozen exceptions for what is no archive, is cut or has wrong bytes.
    except Exception as error:
        raise StateError(f"{path}: is no state that Stream.save wrote, or is damaged") from error
    if state is None:
        raise StateError(
            f"{path}: holds a state of the model {digest[:19]}..., and this one is "
            f"{model.digest[:19]}...: open the model that it was saved with"
        )
    return state
