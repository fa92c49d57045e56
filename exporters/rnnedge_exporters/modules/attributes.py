"""Modules that keep their state in an attribute (`out, self.hidden = self.rnn(x, self.hidden)`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

Kept: TypeAlias = "Mapping[str, tuple[nn.Module, str]]"
"""Attributes that hold a state: the module that has each, and its name, by path."""

_ABSENT = object()
"""Stands for the value of an attribute that a module gets when its forward runs."""


def held(kept: Kept) -> list[Any]:
    """Return what attributes hold, as `put` takes it."""
    return [getattr(inner, name, _ABSENT) for inner, name in kept.values()]


def nothing(kept: Kept) -> list[Any]:
    """Return what attributes hold when a sequence starts from nothing, as `put` takes it."""
    return [None if hasattr(inner, name) else _ABSENT for inner, name in kept.values()]


def put(kept: Kept, values: Sequence[Any]) -> None:
    """Set attributes, or take away those that the module did not have."""
    for (inner, name), value in zip(kept.values(), values, strict=True):
        inner._buffers.pop(name, None)  # a state that starts from nothing is not a buffer
        if value is not _ABSENT:
            setattr(inner, name, value)
        elif hasattr(inner, name):
            delattr(inner, name)


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
                # A weight that is computed anew at each call is not a state.
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
