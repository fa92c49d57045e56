"""torch's functions for packed sequences, and the lists of its traced tensors, during a trace.

The functions are replaced in themselves, so it does not matter under which name a module imported
them. In a thread that traces nothing they do what they always did.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import RLock
from types import FunctionType
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.nn import functional
from torch.nn.utils import rnn
from torch.nn.utils.rnn import PackedSequence
from torch.overrides import TorchFunctionMode

from rnnedge_exporters.errors import ExportError
from rnnedge_exporters.modules.lengths import Listed
from rnnedge_exporters.modules.packing import PackedSequences
from rnnedge_exporters.modules.source_lines import calling_line
from rnnedge_exporters.modules.traced_forward import known_numbers

_traced: ContextVar[PackedSequences | None] = ContextVar("traced", default=None)
_lock = RLock()
_traces = 0
"""Traces under way in all threads."""


@contextmanager
def packing_traced(seen: PackedSequences) -> Iterator[None]:
    """Let `seen` make the packed sequences of what this thread runs in the block."""
    token = _traced.set(seen)
    _count(+1)
    try:
        with _Calls(seen):
            yield
    finally:
        _count(-1)
        _traced.reset(token)


def _count(change: int) -> None:
    """Replace the functions at the first trace, and put them back after the last."""
    global _traces
    with _lock:
        _traces += change
        if _traces == 1 and change == 1:
            for function, ours in _REPLACED.items():
                function.__code__ = ours.__code__
            _fake.tolist, _fake.numpy, _fake.__array__ = _tolist, _numpy, _array
        elif _traces == 0:
            for function, original in _ORIGINALS.items():
                function.__code__ = original.__code__
            _fake.tolist = _fake_tolist
            del _fake.numpy, _fake.__array__


def pack(input: Tensor, lengths: Any, batch_first: bool, enforce_sorted: bool) -> PackedSequence:
    """Do what `torch.nn.utils.rnn.pack_padded_sequence` does."""
    seen = _traced.get()
    if seen is None:
        original: Any = _ORIGINALS[rnn.pack_padded_sequence]
        return original(input, lengths, batch_first, enforce_sorted)  # type: ignore[no-any-return]
    return seen.pack(input, lengths, batch_first=batch_first, enforce_sorted=enforce_sorted)


def pad(
    sequence: PackedSequence, batch_first: bool, padding_value: float, total_length: Any
) -> tuple[Tensor, Tensor]:
    """Do what `torch.nn.utils.rnn.pad_packed_sequence` does."""
    seen = _traced.get()
    if seen is None:
        original: Any = _ORIGINALS[rnn.pad_packed_sequence]
        return original(sequence, batch_first, padding_value, total_length)  # type: ignore[no-any-return]
    return seen.pad(
        sequence, batch_first=batch_first, padding_value=padding_value, total_length=total_length
    )


def invert(permutation: Tensor | None) -> Tensor | None:
    """Do what `torch.nn.utils.rnn.invert_permutation` does."""
    seen = _traced.get()
    known = None if seen is None else seen.inverse(permutation)
    original: Any = _ORIGINALS[rnn.invert_permutation]
    return original(permutation) if known is None else known


# The code of these three runs among torch's globals: it finds this module where Python keeps it.
def _pack_padded_sequence(
    input: Any, lengths: Any, batch_first: bool = False, enforce_sorted: bool = True
) -> Any:
    import sys

    ours: Any = sys.modules["rnnedge_exporters.modules.packed_functions"]
    return ours.pack(input, lengths, batch_first, enforce_sorted)


def _pad_packed_sequence(
    sequence: Any, batch_first: bool = False, padding_value: float = 0.0, total_length: Any = None
) -> Any:
    import sys

    ours: Any = sys.modules["rnnedge_exporters.modules.packed_functions"]
    return ours.pad(sequence, batch_first, padding_value, total_length)


def _invert_permutation(permutation: Any) -> Any:
    import sys

    ours: Any = sys.modules["rnnedge_exporters.modules.packed_functions"]
    return ours.invert(permutation)


class _Calls(TorchFunctionMode):
    """Sees the calls of torch's other functions."""

    def __init__(self, seen: PackedSequences) -> None:
        super().__init__()
        self._seen = seen

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        options = kwargs or {}
        if func in _FROM_NUMBERS and args and isinstance(args[0], Listed):
            return args[0].tensor.to(**options)
        if func in _FROM_NUMBERS and args and isinstance(args[0], Tensor):
            return args[0].detach().to(**options).clone()
        if func == Tensor.__deepcopy__:  # of a tensor without numbers, there is nothing to copy
            return args[0].clone()
        if func == _DATA:  # torch.export takes what it gives for a constant
            return args[0].detach()
        if func is functional.dropout and not _argument(args, options, 2, "training"):
            given = _argument(args, options, 0, "input")
            if self._seen.is_data(given):
                return given  # so that a layer that takes it takes what it was gathered from
        return func(*args, **options)


_FROM_NUMBERS = (torch.tensor, torch.as_tensor)
_DATA = vars(torch._C.TensorBase)["data"].__get__


def _argument(args: Any, options: dict[str, Any], position: int, name: str) -> Any:
    return args[position] if len(args) > position else options.get(name, True)


def _tolist(tensor: Tensor) -> Any:
    known = known_numbers(tensor)
    if known is not None:
        return known.tolist()
    return Listed(tensor, _fake_tolist) if _is_list(tensor) else _fake_tolist(tensor)


def _numpy(tensor: Tensor, **options: Any) -> Any:
    if _traced.get() is None:
        return _fake_numpy(tensor, **options)
    known = known_numbers(tensor)
    if known is not None:
        return known
    return Listed(tensor, _refuse_array) if _is_list(tensor) else _refuse_array(tensor)


def _array(tensor: Tensor, *options: Any) -> Any:
    return _fake_array(tensor, *options) if _traced.get() is None else _refuse_array(tensor)


def _refuse_array(_: Tensor) -> NoReturn:
    raise ExportError(
        f"{calling_line()}: an array of numpy would hold the example's numbers: compute with "
        "tensors; pack_padded_sequence takes lengths as a tensor"
    )


def _is_list(tensor: Tensor) -> bool:
    whole = not tensor.is_floating_point() and tensor.dtype is not torch.bool
    return _traced.get() is not None and tensor.dim() == 1 and whole


_fake: Any = FakeTensor
_fake_tolist, _fake_numpy, _fake_array = _fake.tolist, _fake.numpy, _fake.__array__
_REPLACED: dict[Any, Any] = {
    rnn.pack_padded_sequence: _pack_padded_sequence,
    rnn.pad_packed_sequence: _pad_packed_sequence,
    rnn.invert_permutation: _invert_permutation,
}
_ORIGINALS = {
    function: FunctionType(function.__code__, function.__globals__, argdefs=function.__defaults__)
    for function in _REPLACED
}
