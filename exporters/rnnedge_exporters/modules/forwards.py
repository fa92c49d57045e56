"""The forward of torch's recurrent layers in private copies, exchanged one layer at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from torch import nn

from rnnedge_exporters.errors import ExportError
from rnnedge_exporters.layers.recurrent import Recurrent
from rnnedge_exporters.modules.loops.rolled import RolledLoop

Forward: TypeAlias = Callable[..., Any]

_EXCHANGED = "_rnnedge_forward"
_KINDS = (nn.RNN, nn.LSTM, nn.GRU, Recurrent, RolledLoop)


def exchange_forward(layer: nn.Module, wrap: Callable[[Forward], Forward]) -> Callable[[], None]:
    """Let something else answer for a layer's forward, also where a subclass calls it by `super()`.

    Args:
        layer: An `nn.RNN`, `nn.LSTM`, `nn.GRU`, `Recurrent` or `RolledLoop`, or of a class made
            from one, inside a private copy.
        wrap: Takes the forward that the layer has, and returns what answers in its place.

    Returns:
        What puts the forward back.
    """
    inner: Any = layer
    kind = next(cls for cls in _KINDS if isinstance(layer, cls))
    if not has_own_forward(layer):
        inner.forward = wrap(inner.forward)
        return lambda: vars(layer).pop("forward", None)
    before = vars(layer).get(_EXCHANGED)
    if before is None:
        cls = type(layer)
        # Behind the subclass and in front of the layer in the order in which methods are sought.
        between = type(kind.__name__, (kind,), {"forward": _exchanged})
        inner.__class__ = type(cls.__name__, (cls, between), {"__module__": cls.__module__})
    vars(layer)[_EXCHANGED] = wrap(before or kind.forward.__get__(layer))

    def put_back() -> None:
        if before is not None:
            vars(layer)[_EXCHANGED] = before
            return
        vars(layer).pop(_EXCHANGED, None)
        inner.__class__ = cls

    return put_back


def has_own_forward(layer: nn.Module) -> bool:
    """Whether the class of a recurrent layer overrides the forward of the layer."""
    return type(layer).forward not in _STOCK


def refuse_exchanged(module: nn.Module) -> None:
    """Refuse a module of the user's whose recurrent layers have another forward on the instance.

    Raises:
        ExportError: When one has: a copy of it would still call the user's own layer.
    """
    for path, inner in module.named_modules():
        if isinstance(inner, nn.RNNBase) and "forward" in vars(inner):
            raise ExportError(
                f"{path or 'the layer'}: another forward was assigned to this "
                f"{type(inner).__name__}: put it into a subclass, or into the module around it"
            )


_STOCK = {cls.forward for cls in _KINDS}


def _exchanged(self: Any, *args: Any, **more: Any) -> Any:
    return getattr(self, _EXCHANGED)(*args, **more)
