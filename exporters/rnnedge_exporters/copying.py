"""A private copy of the user's module: what is exported or compared is never theirs."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from rnnedge_exporters.errors import ExportError
from rnnedge_runtime.errors import one_line, pass_on_interruption


def private_copy(module: nn.Module, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Copy `module` to the CPU, in eval mode, with its floating weights in `dtype`.

    Args:
        module: Any module; it is left as it is.
        dtype: What the copy computes in.

    Raises:
        ExportError: When it cannot be copied, or is scripted or quantized.
    """
    name = type(module).__name__
    if isinstance(module, torch.jit.ScriptModule):
        raise ExportError(f"{name}: expected an nn.Module, got a scripted one: export its source")
    for path, inner in module.named_modules():
        if "quantized" in type(inner).__module__:
            raise ExportError(
                f"{name}: {path or 'it'} is a quantized {type(inner).__name__}: export the float "
                "module"
            )
        for parameter in inner.parameters(recurse=False):
            if parameter.is_meta:
                raise ExportError(f"{name}: {path or 'it'} has weights on the meta device")
    # A weight that was computed (weight_norm) has a history, which deepcopy refuses to copy; a
    # recurrent layer keeps it in a list too.
    memo = {
        id(value): value.detach().clone()
        for inner in module.modules()
        for value in torch.utils._pytree.tree_leaves(list(vars(inner).values()))
        if isinstance(value, Tensor) and value.grad_fn is not None
    }
    # A recurrent layer computes the weights that it is parametrized with to be copied, and spectral
    # norm takes a step of its iteration at each computation while it trains.
    training = [inner for inner in module.modules() if inner.training]
    try:
        for inner in training:
            inner.training = False
        copied = copy.deepcopy(module, memo)
    except Exception as error:  # whatever an attribute raises when it is copied
        pass_on_interruption(error)
        raise ExportError(
            f"{name} cannot be copied ({type(error).__name__}: {one_line(error)}): "
            "keep everything that is not part of the network out of the module"
        ) from error
    finally:
        for inner in training:
            inner.training = True
    copied = copied.to("cpu").eval()
    for parameter in copied.parameters():
        parameter.requires_grad = False
    return copied.to(dtype)
