"""What another size of an input's axis does to a module, found by running it.

torch says which axes it could keep dynamic, not what the others are for. An axis of weights takes
one size only; an axis that a Python loop walks takes any, and would be unrolled at the example's.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rnnedge_exporters.errors import ExportError
from rnnedge_exporters.modules.arguments import Arguments
from rnnedge_exporters.modules.capture import Capture

Axes = frozenset[tuple[str, int]]
"""Axes of inputs, by name and number."""
Run = Callable[[nn.Module, Arguments], Capture]

_MOST_TRIES = 24


@dataclass(frozen=True, slots=True)
class Effect:
    """What a module did when some axes of its inputs were longer.

    Attributes:
        axes: The axes, which were changed together.
        looped: Paths of the layers and cells that were called more or less often.
        time: Steps that each call of a layer was given.
        batch: Rows that each call of a layer or a cell was given.
        lines: The line of the user's code that calls a layer or a cell, by path.
    """

    axes: Axes
    looped: tuple[str, ...]
    time: tuple[Any, ...]
    batch: tuple[Any, ...]
    lines: Mapping[str, str]


def probe(
    module: nn.Module, arguments: Arguments, seen: Capture, candidates: Iterable[Axes], run: Run
) -> list[Effect]:
    """Run `module` with longer axes, and say what became of it.

    Args:
        module: The private copy.
        arguments: The example.
        seen: What the layers saw of the example.
        candidates: Axes to change together. Those that are part of axes which the module has run
            with are left out.
        run: Runs the module and returns what its layers saw, or raises ExportError.

    Returns:
        One effect for each of the candidates that the module runs with.
    """
    found: list[Effect] = []
    for axes in itertools.islice(candidates, _MOST_TRIES):
        if any(axes <= effect.axes for effect in found):
            continue
        effect = _effect(module, arguments, seen, axes, run)
        if effect is not None:
            found.append(effect)
    return found


def groups(
    arguments: Arguments, fixed: Mapping[str, Iterable[int]], dynamic: Iterable[Axes]
) -> Iterator[Axes]:
    """Yield the axes that may belong together: those of one size, the most of them first.

    Args:
        arguments: The example.
        fixed: Axes that torch fixed, by input.
        dynamic: Axes that torch kept dynamic, those of one symbol together.
    """
    flat = arguments.flat()
    by_size: dict[int, list[tuple[str, int]]] = {}
    for name, axes in fixed.items():
        for axis in axes:
            by_size.setdefault(flat[name].shape[axis], []).append((name, axis))
    for size, alike in by_size.items():
        others = [tied for tied in dynamic if any(flat[n].shape[a] == size for n, a in tied)]
        for count in range(len(alike), 0, -1):
            for chosen in itertools.combinations(alike, count):
                yield frozenset(chosen)
                for tied in others:
                    yield frozenset(chosen) | tied


def resized(tensor: Tensor, axis: int, size: int) -> Tensor:
    """Return a tensor with `size` entries along an axis: its own, again and again."""
    return tensor.index_select(axis, torch.arange(size) % tensor.shape[axis])


def _effect(
    module: nn.Module, arguments: Arguments, seen: Capture, axes: Axes, run: Run
) -> Effect | None:
    flat = arguments.flat()
    sizes = {flat[name].shape[axis] for name, axis in axes}
    if len(sizes) != 1 or sizes <= {0, 1}:
        return None
    size, found = sizes.pop(), None
    for longer in (size + 1, 2 * size, 3 * size):
        tensors = dict(flat)
        for name, axis in axes:
            tensors[name] = resized(tensors[name], axis, longer)
        try:
            after = run(module, arguments.with_tensors(tensors))
        except ExportError:
            continue
        looped = _looped(seen, after)
        found = Effect(axes, looped, tuple(after.time), tuple(after.batch), after.lines)
        if looped or seen.time != after.time or seen.batch != after.batch:
            break  # a size that Python rounds shows at some only
    return found


def _looped(before: Capture, after: Capture) -> tuple[str, ...]:
    """Return the paths of the layers and cells that were called more or less often."""
    old, new = (Counter(capture.calls) + Counter(capture.cells) for capture in (before, after))
    return tuple(path for path in {**old, **new} if old[path] != new[path])
