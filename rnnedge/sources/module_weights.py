"""Loading the weights of a whole module from a checkpoint."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from rnnedge.errors import SourceError
from rnnedge.sources.checkpoint_layers import listed
from rnnedge.sources.checkpoints import read_checkpoint
from rnnedge.sources.weight_names import without_wrappers
from rnnedge_runtime.errors import one_line


def load_weights(
    module: nn.Module,
    name: str,
    path: str | os.PathLike[str],
    *,
    key: str | None = None,
    prefix: str | None = None,
) -> list[str]:
    """Load the weights of a whole module, and return notes.

    A module that was an attribute of another when the checkpoint was written, as `self.model` of a
    Lightning module, has a prefix there. It is found where all of the checkpoint has it.

    Args:
        module: The module.
        name: What to call it in messages.
        path: The checkpoint.
        key: The dictionary inside a training checkpoint.
        prefix: What the names of the module's weights begin with in the checkpoint, such as
            `model.`; other weights are left out.

    Raises:
        SourceError: When names or shapes differ.
    """
    path = os.fspath(path)
    checkpoint = read_checkpoint(path, key=key)
    own = without_wrappers({name: name for name in module.state_dict()})
    if prefix is None:
        chosen = _prefix(path, name, checkpoint.weights, own)
    else:
        chosen = prefix if not prefix or prefix.endswith(".") else f"{prefix}."
    found, left = _below(checkpoint.weights, chosen)
    if not found:
        first = list(dict.fromkeys(n.partition(".")[0] for n in checkpoint.weights))
        raise SourceError(
            f"{path}: no weight has the prefix {chosen!r}; their names begin with {listed(first)}"
        )
    weights = {own.get(name, name): weight for name, weight in found.items()}
    differing = _differing(module.state_dict(), weights)
    try:
        if not differing:
            module.load_state_dict(weights)
    except RuntimeError as error:  # of a module that overrides loading
        differing = one_line(error)
    if differing:
        raise SourceError(f"{path} does not fit {name}: {differing}")
    left += checkpoint.beside
    notes = [f"the weights of {name} are those named {chosen}* in {path}"] if chosen else []
    return notes + [f"{path} also holds {listed(left)}, which {name} does not take"] * bool(left)


def _prefix(path: str, name: str, weights: Mapping[str, Tensor], own: Mapping[str, str]) -> str:
    """Return the prefix under which all of a checkpoint is the module; empty where none is.

    Raises:
        SourceError: When there are several, or one that would leave out other weights.
    """
    if not own or weights.keys() >= own.keys():
        return ""
    fitting = [p for p in _prefixes(weights) if _below(weights, p)[0].keys() >= own.keys()]
    if len(fitting) > 1:
        options = " or ".join(f"--prefix {prefix}" for prefix in fitting)
        raise SourceError(f"{path}: holds {len(fitting)} sets of weights of {name}: {options}")
    left = _below(weights, fitting[0])[1] if fitting else []
    if left:
        raise SourceError(
            f"{path} does not fit {name}: --prefix {fitting[0]} takes the weights of that name, "
            f"and leaves out {listed(left)}"
        )
    return fitting[0] if fitting else ""


def _below(weights: Mapping[str, Tensor], prefix: str) -> tuple[dict[str, Tensor], list[str]]:
    """Return the weights below a prefix, without it, and the names of the others."""
    found = {n.removeprefix(prefix): w for n, w in weights.items() if n.startswith(prefix)}
    return found, [name for name in weights if not name.startswith(prefix)]


def _prefixes(weights: Mapping[str, Tensor]) -> list[str]:
    """Return everything in front of a dot of the names, in their order."""
    parts = [name.split(".")[:-1] for name in weights]
    return list(dict.fromkeys(f"{'.'.join(p[:n])}." for p in parts for n in range(1, len(p) + 1)))


def _differing(expected: Mapping[str, Any], got: Mapping[str, Tensor]) -> str:
    """Say which names and shapes of weights differ; nothing where none do."""
    missing = [name for name in expected if name not in got]
    unknown = [name for name in got if name not in expected]
    shapes = [
        f"{name} has shape {list(got[name].shape)}, expected {list(weight.shape)}"
        for name, weight in expected.items()
        if name in got and isinstance(weight, Tensor) and not is_lazy(weight)
        if weight.shape != got[name].shape
    ]
    some = shapes[:2] + ([f"{len(shapes) - 2} more shapes differ"] if len(shapes) > 2 else [])
    some += [f"it lacks {listed(missing)}"] if missing else []
    some += [f"the module lacks {listed(unknown)}"] if unknown else []
    return "; ".join(some)
