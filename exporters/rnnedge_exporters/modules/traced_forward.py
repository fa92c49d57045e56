"""The forward that `torch.export` runs: its calls as they are, but for those that torch fixes.

- Pooling: `pooling` says how.
- Numbers that do not depend on the inputs (`torch.arange(1, x.ndim).tolist()`) are tensors without
  numbers while torch traces. They are computed alongside.
- A result that is a dataclass is a class that torch does not know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import wraps
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map

from rnnedge_exporters.modules.arguments import flatten_result, plain_result
from rnnedge_exporters.modules.pooling import Pooling

_MAKERS = {
    *(torch.arange, torch.tensor, torch.as_tensor, torch.linspace, torch.logspace, torch.eye),
    *(torch.zeros, torch.ones, torch.full),
}
"""What makes tensors of numbers alone."""
_READERS = {
    *(Tensor.tolist, Tensor.item, Tensor.numpy, Tensor.__int__, Tensor.__float__),
    *(Tensor.__bool__, Tensor.__index__),
}
"""What makes numbers of tensors."""
_WRITERS = {
    "__setitem__",
    *(f"__i{name}__" for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow")),
    *(f"__i{name}__" for name in ("and", "or", "xor", "lshift", "rshift")),
}
_RANDOM = ("rand", "normal", "bernoulli", "multinomial", "dropout", "exponential", "uniform")
_MOST = 2**16
"""Elements of the largest tensor that is computed alongside the trace."""


def traced_forward(module: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
    """Return a forward that computes the same, and that torch can trace.

    Args:
        module: The private copy; its buffers hold numbers while this is called, and none while
            torch traces.
        forward: Its forward.
    """
    small = [(name, b) for name, b in module.named_buffers() if b.numel() <= _MOST]
    buffers = {name: buffer.clone() for name, buffer in small}

    @wraps(forward)
    def traced(*args: Any, **kwargs: Any) -> Any:
        constants = _Constants(module, buffers)
        token = _running.set(constants)
        try:
            with Pooling(), constants:
                result = plain_result(forward(*args, **kwargs))
        finally:
            _running.reset(token)
        tensors = flatten_result(result)
        return result if len(tensors) == len(tree_leaves(result)) else tuple(tensors)

    return traced


def known_numbers(tensor: Tensor) -> NDArray[Any] | None:
    """Return the numbers of a tensor that is being traced, where they are known."""
    constants = _running.get()
    known = None if constants is None else constants.known(tensor)
    if known is None:
        return None
    with _disable_current_modes():
        array: NDArray[Any] = known.numpy()
    return array


class _Constants(TorchFunctionMode):
    """Computes what is made of numbers alone during the trace, and answers with it where asked."""

    def __init__(self, module: nn.Module, buffers: Mapping[str, Tensor]) -> None:
        super().__init__()
        self._known: dict[int, tuple[Tensor, Tensor]] = {}
        for name, traced in module.named_buffers():
            if name in buffers:
                self._keep(traced, buffers[name])

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        real = self._numbers_of(func, args, kwargs)
        if real is not None and func in _READERS:
            with _disable_current_modes():
                return func(*real[0], **real[1])
        result = func(*args, **kwargs)
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        if real is not None and made and not any(map(_is_large, made)):
            with _disable_current_modes():
                numbers = tree_leaves(func(*real[0], **real[1]))
            for traced, number in zip(tree_leaves(result), numbers, strict=True):
                self._keep(traced, number)
        return result

    def known(self, tensor: Tensor) -> Tensor | None:
        """Return the numbers of a tensor, where they are known."""
        return self._known[id(tensor)][1] if id(tensor) in self._known else None

    def _keep(self, traced: Any, number: Any) -> None:
        if isinstance(traced, Tensor):
            self._known[id(traced)] = (traced, number)

    def _numbers_of(self, func: Any, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        """Return the arguments with known numbers in them; None where some are not known."""
        leaves = tree_leaves((args, kwargs))
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        known = all(id(tensor) in self._known for tensor in tensors)
        name = getattr(func, "__name__", "")
        if (name.endswith("_") and not name.endswith("__")) or name in _WRITERS:
            if any(id(tensor) in self._known for tensor in tensors):
                self._known.clear()  # others may be views of what is written to
            return None
        if not known or not (tensors or func in _MAKERS) or "out" in kwargs:
            return None
        if name == "__get__" or any(word in name for word in _RANDOM):
            return None
        if any(isinstance(leaf, torch.SymInt | torch.SymFloat | torch.SymBool) for leaf in leaves):
            return None
        numbers: tuple[Any, Any] = tree_map(
            lambda leaf: self._known[id(leaf)][1] if isinstance(leaf, Tensor) else leaf,
            (args, kwargs),
        )
        return numbers


def _is_large(tensor: Tensor) -> bool:
    size = tensor.numel()
    return not isinstance(size, int) or size > _MOST


_running: ContextVar[_Constants | None] = ContextVar("_running", default=None)
