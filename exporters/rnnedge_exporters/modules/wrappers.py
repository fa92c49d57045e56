"""Modules around the user's module that compute nothing themselves."""

from __future__ import annotations

import sys

from torch import nn

_LATER = {
    "torch._dynamo.eval_frame": ("OptimizedModule", "_orig_mod"),
    "torch.optim.swa_utils": ("AveragedModel", "module"),
}
"""Wrappers whose code is slow to import; where it is not imported, there is none of them."""


def unwrapped(module: nn.Module) -> nn.Module:
    """Return the module inside `torch.compile`, `DataParallel` and the like.

    Args:
        module: Any module; it is left as it is.

    Returns:
        The module that was compiled, distributed or averaged, however often; else `module` itself,
        as for a user's own subclass of a wrapper.
    """
    inside: dict[type, str] = {
        nn.DataParallel: "module",
        nn.parallel.DistributedDataParallel: "module",
    }
    for name, (kind, attribute) in _LATER.items():
        if name in sys.modules:
            inside[getattr(sys.modules[name], kind)] = attribute
    while type(module) in inside:
        module = module.get_submodule(inside[type(module)])
    return module
