"""Weights that a checkpoint holds in parts: weight_norm, spectral_norm and pruned ones.

PyTorch computes such a weight each time the module runs; here it is computed once, with the same
functions. Sources: torch/nn/utils/weight_norm.py, spectral_norm.py, prune.py, parametrizations.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

import torch
from torch import Tensor

from rnnedge.errors import SourceError
from rnnedge.sources.weight_names import is_recurrent_name

T = TypeVar("T")

_SUFFIXED = re.compile(r"(?P<weight>.+)_(?P<part>g|v|u|orig|mask)")
_PARAMETRIZED = re.compile(
    r"(?P<prefix>(?:.*\.)?)parametrizations\.(?P<weight>\w+)\.(?P<part>[\w.]+)"
)
_LARGEST = ("original1", "original", "orig", "v")
"""Parts that have the shape of the weight itself, in the order to look for them."""


def parts_of(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Find the recurrent weights that are there in parts alone.

    Args:
        names: Of all weights in a checkpoint.

    Returns:
        Name of the weight to name of the part, such as `g` or `original0`, to the part's own name.
    """
    names = list(names)
    found: dict[str, dict[str, str]] = {}
    for name in names:
        match = _PARAMETRIZED.fullmatch(name) or _SUFFIXED.fullmatch(name)
        if match:
            weight = f"{match.groupdict().get('prefix') or ''}{match['weight']}"
            found.setdefault(weight, {})[match["part"]] = name
    present = set(names)
    return {
        weight: parts
        for weight, parts in found.items()
        if is_recurrent_name(weight)
        and weight not in present
        and any(part in parts for part in _LARGEST)
    }


def whole_names(state_dict: Mapping[str, T]) -> dict[str, T]:
    """Name each weight that is there in parts as what it becomes; the largest part stands for it.

    Args:
        state_dict: Weights by name.

    Returns:
        For looking at names and shapes; a weight that is not in parts is unchanged.
    """
    weights = dict(state_dict)
    for weight, parts in parts_of(state_dict).items():
        largest = next(parts[part] for part in _LARGEST if part in parts)
        weights[weight] = state_dict[largest]
        for name in parts.values():
            del weights[name]
    return weights


def compute_weight(weight: str, parts: Mapping[str, Tensor]) -> tuple[Tensor, str]:
    """Compute a weight from its parts as PyTorch does in eval mode.

    Args:
        weight: Its name, for the error.
        parts: By the name of the part, as `parts_of` has them.

    Returns:
        The weight, and which function of PyTorch computes it so.

    Raises:
        SourceError: When the parts do not say how they make a weight.
    """
    known = _KNOWN.get(frozenset(parts))
    if known is not None:
        names, how, function = known
        given = (parts[name] for name in names)
        computed = function(*(p if p.dtype == torch.float64 else p.float() for p in given))
        if computed is not None:
            return computed, how
    raise SourceError(
        f"{weight} is stored as {', '.join(parts)}, which do not say how to compute it: export the "
        "module itself, or before saving call torch.nn.utils.parametrize.remove_parametrizations "
        "or prune.remove"
    )


def _weight_norm(g: Tensor, v: Tensor) -> Tensor | None:
    for dim in (*range(v.ndim), -1):  # -1 is dim=None: one norm of the whole weight
        if torch.norm_except_dim(v, 2, dim).shape == g.shape:
            computed: Tensor = torch._weight_norm(v, g, dim)
            return computed
    return None


def _spectral_norm(weight: Tensor, u: Tensor, v: Tensor) -> Tensor | None:
    if weight.ndim == 0 or weight.numel() == 0:
        return None
    rows = weight.reshape(weight.shape[0], -1)
    fitting = [matrix for matrix in (rows, rows.T) if matrix.shape == (u.numel(), v.numel())]
    norms = [torch.dot(u, torch.mv(matrix, v)) for matrix in fitting]
    # A square weight does not distinguish dim=0, the default, from dim=1; the larger norm does.
    if not norms or any(norm > norms[0] for norm in norms[1:]):
        return None
    return weight / norms[0]


def _pruned(weight: Tensor, mask: Tensor) -> Tensor | None:
    return weight * mask if weight.shape == mask.shape else None


_Known = tuple[tuple[str, ...], str, Callable[..., Tensor | None]]
_KNOWN: dict[frozenset[str], _Known] = {
    frozenset(names): (names, how, function)
    for names, how, function in (
        (("g", "v"), "weight_norm", _weight_norm),
        (("original0", "original1"), "parametrizations.weight_norm", _weight_norm),
        (("orig", "u", "v"), "spectral_norm", _spectral_norm),
        (("original", "0._u", "0._v"), "parametrizations.spectral_norm", _spectral_norm),
        (("orig", "mask"), "prune", _pruned),
    )
}
