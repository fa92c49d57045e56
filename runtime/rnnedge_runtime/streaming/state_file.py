"""States on disk: an `.npz` file that names the model it belongs to."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rnnedge_runtime.array_file import read_arrays, write_arrays
from rnnedge_runtime.atomic_file import atomic_file
from rnnedge_runtime.binding import Array
from rnnedge_runtime.errors import StateError
from rnnedge_runtime.loaded_model import LoadedModel
from rnnedge_runtime.write_target import NPZ

DIGEST = "rnnedge.digest"
"""The name of the array with the digest of the model."""


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
    arrays: dict[str, Any] = {DIGEST: np.array(model.digest)}
    arrays |= {spec.name: array for spec, array in zip(specs, state, strict=True)}
    with atomic_file(path, NPZ, protected=[model.path], force=force) as file:
        write_arrays(file, arrays)


def read_state(path: str | os.PathLike[str], model: LoadedModel) -> tuple[Array, ...]:
    """Read a state that `write_state` wrote.

    Returns:
        The arrays in the order of `Interface.states`; the caller checks their shapes.

    Raises:
        StateError: If the file cannot be read, is not a state, or belongs to another model.
    """
    names = [spec.name for spec in model.interface.state_inputs]
    try:
        arrays = read_arrays(path)
    except OSError as error:
        raise StateError(f"{path}: the state cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise StateError(
            f"{path}: expected a state from Stream.save, found another or a damaged file: {error}"
        ) from error
    if not isinstance(arrays, dict) or not {DIGEST, *names} <= set(arrays):
        raise StateError(
            f"{path}: expected a state from Stream.save, found another or a damaged file: expected "
            f"the arrays {', '.join((DIGEST, *names))}"
        )
    check_digest(path, arrays, model)
    return tuple(arrays[name] for name in names)


def check_digest(
    path: str | os.PathLike[str], arrays: Mapping[str, Array], model: LoadedModel
) -> None:
    """Check that a state was written for a model.

    Args:
        path: Its file, for the message.
        arrays: What the file holds, with the digest of the model.
        model: The opened model.

    Raises:
        StateError: If it belongs to another model.
    """
    digest = str(arrays[DIGEST])
    if digest != model.digest:
        raise StateError(
            f"{path}: the state belongs to the model {digest[:19]}..., and this model is "
            f"{model.digest[:19]}...: open the model that it was saved with"
        )
