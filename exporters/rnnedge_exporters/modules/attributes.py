"""Modules that keep their state in an attribute (`out, self.hidden = self.rnn(x, self.hidden)`)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def unchanged(module: nn.Module) -> Iterator[None]:
    """Put every attribute, parameter and buffer of `module` back after the block."""
    attributes = {inner: dict(vars(inner)) for inner in module.modules()}
    parameters = {inner: dict(inner._parameters) for inner in attributes}
    buffers = {
        inner: {name: (b, None if b is None else b.clone()) for name, b in inner._buffers.items()}
        for inner in attributes
    }
    try:
        yield
    finally:
        with torch.no_grad():
            for inner, saved in attributes.items():
                vars(inner).clear()
                vars(inner).update(saved)
                inner._parameters.clear()
                inner._parameters.update(parameters[inner])
                inner._buffers.clear()
                for name, (buffer, value) in buffers[inner].items():
                    inner._buffers[name] = buffer
                    if buffer is not None and value is not None and not torch.equal(buffer, value):
                        buffer.copy_(value)


def kept_in_attributes(module: nn.Module, run: Any) -> dict[str, tuple[nn.Module, str]]:
    """Return the attributes that hold other tensors after `run()`, by path, and put them back."""
    before = {inner: (dict(vars(inner)), dict(inner._buffers)) for inner in module.modules()}
    found = {}
    with unchanged(module):
        run()
        for path, inner in module.named_modules():
            for name, value in vars(inner).items():
                # A weight that is computed anew at each call is no state.
                if name.startswith("_") or name in vars(inner).get("_flat_weights_names", ()):
                    continue
                if value is not before[inner][0].get(name):
                    leaves = torch.utils._pytree.tree_leaves(value)
                    if any(isinstance(leaf, Tensor) for leaf in leaves):
                        found[f"{path}.{name}" if path else name] = (inner, name)
            for name, buffer in inner._buffers.items():
                if buffer is not before[inner][1].get(name):
                    found[f"{path}.{name}" if path else name] = (inner, name)
    return found
