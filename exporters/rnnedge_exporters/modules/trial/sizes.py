"""Which sizes a file is tried at before it is written, and what is said where it fails."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from rnnedge_exporters.errors import ExportError, TrialError
from rnnedge_exporters.exported_graph import Trial, shown_sizes
from rnnedge_exporters.modules.capture import Capture
from rnnedge_exporters.modules.loops.rolled import RolledLoop
from rnnedge_exporters.modules.source_lines import environment
from rnnedge_exporters.modules.tracing import Traced
from rnnedge_exporters.modules.trial.differences import Arrays, FileSide, TorchSide, differences
from rnnedge_exporters.modules.trial.tensors import Sizes, Tensors, made, sizes_of
from rnnedge_runtime.axis_sizes import size_of

_VALUES = (2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 16, 17, 24, 32, 33, 48, 64, 65, 100, 128, 150, 257)
"""Sizes that guards are asked about; the first that a guard does not cover is tried."""
_MOST_GUARDED = 6
_MOST_ELEMENTS = 1 << 22


def try_sizes(traced: Traced, module: TorchSide, file: FileSide) -> Trial:
    """Run the module and its file at sizes that were not exported with.

    Args:
        traced: What torch saw of the module.
        module: The module.
        file: The file that was made of it.

    Raises:
        ExportError: When they differ, with the line that torch decided at the export.
    """
    tried = Trial()
    example = sizes_of(module.example, traced.input_axes)
    for number, sizes in enumerate(_sizes(traced, example)):
        _try(traced, module, file, sizes, number, tried)
    if not tried.sizes:  # the module takes no other sizes, or the file does not
        _try(traced, module, file, dict(example), 0, tried)
    if not tried.sizes and tried.refused:
        raise ExportError(f"the file takes none of the sizes that were tried: {tried.refused[-1]}")
    return tried


def _try(
    traced: Traced,
    module: TorchSide,
    file: FileSide,
    sizes: dict[str, int],
    number: int,
    tried: Trial,
) -> None:
    """Run both at some sizes, and note in `tried` what came of it."""
    ran = _expected(traced, module, file.interface.lengths, sizes, number)
    if ran is None:
        return
    tensors, expected, seen = ran
    _check_layers(traced, seen, sizes)
    try:
        answers = file.run(tensors, file.initial(tensors, sizes))
    except TrialError as error:
        if error.ended:  # a file that ends the process of its user is never right
            raise _wrong(traced, sizes, f"cannot be run: {error}") from None
        if 1 not in sizes.values():
            raise _wrong(traced, sizes, f"is refused by ONNX Runtime: {error}") from None
        tried.refused.append(f"{shown_sizes(sizes)}: {error}")
        return
    found = differences(module, tensors, expected, answers)
    if found:
        raise _wrong(traced, sizes, f"differs: {found[0]}")
    tried.sizes.append(dict(sizes))
    if 1 in sizes.values():  # a squeeze() may drop an axis there
        return
    for spec in file.interface.outputs:
        declared = zip(spec.axes, answers[spec.name].shape, strict=True)
        tried.misnamed += [
            (spec.name, number)
            for number, (axis, size) in enumerate(declared)
            if size_of(axis, sizes) not in (None, size)
            and (spec.name, number) not in tried.misnamed
        ]


def _expected(
    traced: Traced, module: TorchSide, lengths: str | None, sizes: Sizes, number: int
) -> tuple[Tensors, Arrays, Capture] | None:
    """Run the module; rows of any order of lengths in odd numbers, if it takes them.

    Returns:
        The inputs, the results, and what the layers saw; None where the module raises.
    """
    for in_order in (number % 2 == 0, True):
        tensors = made(
            module.example,
            traced.input_axes,
            sizes,
            seed=number,
            lengths=lengths,
            times=traced.times,
            longest_first=in_order,
        )
        if sum(tensor.numel() for tensor in tensors.values()) > _MOST_ELEMENTS:
            return None
        try:
            return tensors, *module.run(tensors)
        except TrialError:
            continue
    return None


def _sizes(traced: Traced, example: Sizes) -> Iterator[dict[str, int]]:
    """Yield sizes: of another kind each, then those that some guard of torch does not cover."""
    names = list(example)
    near = {name: size + 1 + number for number, (name, size) in enumerate(example.items())}
    longer = {n: min(3 * s + 1, s + 97) if traced.is_time(n) else s for n, s in example.items()}
    kinds = [
        near,
        {name: size + 2 if traced.is_time(name) else 1 for name, size in example.items()},
        {name: 1 if traced.is_time(name) else size + 1 for name, size in example.items()},
        longer,
        {name: 2 * size for name, size in example.items()},
        {
            name: max(2, size - 1) if traced.is_time(name) else size + 2
            for name, size in example.items()
        },
    ]
    kinds += _against_guards(traced, example)
    seen = [dict(example)] if names else []
    for sizes in kinds:
        if sizes not in seen:
            seen.append(sizes)
            yield sizes


def _against_guards(traced: Traced, example: Sizes) -> list[dict[str, int]]:
    """Return sizes, each of which one guard of torch does not cover."""
    found: list[dict[str, int]] = []
    for guard in _guards(traced):
        covered = any(traced.value_at(guard, sizes) is False for sizes in found)
        if covered or len(found) == _MOST_GUARDED:
            continue
        for name in {traced.names.get(str(symbol)) for symbol in guard.free_symbols}:
            tries = ({**example, str(name): value} for value in _VALUES)
            first = next((t for t in tries if traced.value_at(guard, t) is False), None)
            if first is not None:
                found.append(first)
                break
    return found


def _guards(traced: Traced) -> list[Any]:
    unique = {str(guard.expr): guard.expr for guard in environment(traced.program).guards}
    return [expr for expr in unique.values() if getattr(expr, "free_symbols", None)]


def _check_layers(traced: Traced, seen: Capture, sizes: Sizes) -> None:
    """Refuse a program whose layers are called more often than PyTorch calls them, or less.

    ONNX Runtime would end the process on a layer that is left without steps, so this comes first.
    """
    layers = traced.capture.layers
    calls = [
        path
        for path in traced.capture.calls
        if path in seen.layers and not isinstance(layers[path], RolledLoop)
    ]  # not the layers that are made of loops
    ran = seen.calls if len(calls) == len(traced.capture.calls) else _outside(seen.calls, layers)
    if calls != ran:
        counts = f"{len(calls)} calls of recurrent layers instead of"
        raise _wrong(traced, sizes, f"makes {counts} {len(ran)}")


def _outside(calls: list[str], layers: Collection[str]) -> list[str]:
    """Return the calls of layers that are not part of the body of a loop."""
    return [path for path in calls if path in layers]


def _wrong(traced: Traced, sizes: Sizes, what: str) -> ExportError:
    lines = dict.fromkeys(
        line
        for guard in _guards(traced)
        if traced.value_at(guard, sizes) is False
        and (line := traced.capture.guards.get(str(guard)))
    )
    cause = f": {'; '.join(list(lines)[:2])} is decided once, at the export" if lines else ""
    if not lines and 1 in sizes.values():
        cause = (
            ": an axis of size 1 is treated differently there (squeeze() without dim, broadcasting)"
        )
    return ExportError(
        f"at {shown_sizes(sizes)} the file {what}{cause}; write it with tensor operations, or fix "
        "the axis by leaving it out of dynamic_axes"
    )
