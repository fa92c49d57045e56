"""Weights that are computed at each call: parametrizations, and the hooks that came before them.

`weight_norm`, `spectral_norm` and `prune` of torch compute a weight in a forward pre-hook, and keep
it in an attribute. After `load_state_dict` that attribute holds what the weights were
before, until the next call. So weights are computed before they are read, everywhere.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from rnnedge_exporters.copying import private_copy
from rnnedge_exporters.errors import ExportError
from rnnedge_runtime.errors import pass_on_interruption

_PARTS: dict[type, tuple[str, ...]] = {
    WeightNorm: ("_g", "_v"),
    SpectralNorm: ("_orig", "_u", "_v"),
    BasePruningMethod: ("_orig", "_mask"),
}
"""The hooks of torch that compute a weight, and the endings of what they compute it from."""


def compute_weights(module: nn.Module) -> None:
    """Put computed weights in place of what computes them.

    PyTorch's own `remove_parametrizations` also changes the class, which a copy has in common with
    the module of the user.

    Args:
        module: A private copy, in eval mode; it is changed.
    """
    inner: Any
    for inner in list(module.modules()):
        computed: dict[str, Any] = {}
        if parametrize.is_parametrized(inner):
            computed = {name: getattr(inner, name) for name in inner.parametrizations}
            del inner.parametrizations
            inner.__class__ = type(inner).__bases__[0]
        for key, hook in list(inner._forward_pre_hooks.items()):
            parts = _parts_of(hook)
            if parts:
                name = _weight_of(hook)
                with torch.no_grad():
                    hook(inner, ())
                computed[name] = getattr(inner, name)
                del inner._forward_pre_hooks[key]
                for part in ("", *parts):
                    for kept in (inner._parameters, inner._buffers, vars(inner)):
                        kept.pop(f"{name}{part}", None)
        for name, weight in computed.items():
            setattr(inner, name, nn.Parameter(weight.detach().clone(), requires_grad=False))


def with_computed_weights(layer: nn.RNNBase) -> nn.RNNBase:
    """Return a layer whose weights can be read: itself where nothing computes them, else a copy."""
    if not parametrize.is_parametrized(layer) and not any(
        map(_parts_of, layer._forward_pre_hooks.values())
    ):
        return layer
    copied: Any = private_copy(layer)
    compute_weights(copied)
    return copied  # type: ignore[no-any-return]


def refuse_hooks(layer: nn.RNNBase) -> None:
    """Refuse a bare layer with hooks of the user's own that change what it computes.

    Args:
        layer: The layer; a copy is run with its hooks and without.

    Raises:
        ExportError: When the two answer differently, or the hooks do not run.
    """
    hooks = [*layer._forward_pre_hooks.values(), *layer._forward_hooks.values()]
    if all(map(_parts_of, hooks)):
        return
    hooked, plain = (private_copy(layer) for _ in range(2))
    for copied in (hooked, plain):
        compute_weights(copied)
    plain._forward_pre_hooks.clear()
    plain._forward_hooks.clear()
    x = torch.rand(3, 2, layer.input_size, generator=torch.Generator().manual_seed(0))
    try:
        with torch.no_grad():
            same = all(map(torch.equal, _tensors(hooked(x)), _tensors(plain(x))))
    except Exception as error:  # whatever a hook raises at these sizes, or returns
        pass_on_interruption(error)
        same = False
    if not same:
        own = [hook for hook in hooks if not _parts_of(hook)]
        called = ", ".join(getattr(hook, "__name__", type(hook).__name__) for hook in own)
        raise ExportError(
            f"{type(layer).__name__}: the forward hook {called} changes what the layer computes: "
            "put the layer inside a module whose forward does what the hook does"
        )


def _parts_of(hook: Any) -> tuple[str, ...]:
    """Return the endings of what a hook of torch computes a weight from; () for any other hook."""
    return next((parts for kind, parts in _PARTS.items() if isinstance(hook, kind)), ())


def _weight_of(hook: Any) -> str:
    return str(hook._tensor_name if isinstance(hook, BasePruningMethod) else hook.name)


def _tensors(result: Any) -> list[torch.Tensor]:
    leaves: list[torch.Tensor] = torch.utils._pytree.tree_leaves(result)
    return leaves
