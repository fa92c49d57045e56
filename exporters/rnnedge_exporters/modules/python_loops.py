"""Python loops over an axis of the inputs in a module without recurrent layers: where they are."""

from __future__ import annotations

import ast
import linecache
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from rnnedge_exporters.modules.arguments import Arguments
from rnnedge_exporters.modules.source_lines import running_lines, shown_line
from rnnedge_runtime.errors import pass_on_interruption

_MOST_AXES = 12
_LOOPS = (ast.For, ast.While, ast.ListComp, ast.GeneratorExp, ast.SetComp, ast.DictComp)


@dataclass(frozen=True, slots=True)
class AxisLoop:
    """A Python loop that runs once for each entry of an axis.

    Attributes:
        line: Where it is.
        name: The input.
        axis: Its axis.
    """

    line: str
    name: str
    axis: int

    def __str__(self) -> str:
        """Return where it is, and the axis."""
        return f"{self.line}, over axis {self.axis} of {self.name}"


def loop_over_an_axis(arguments: Arguments, run: Callable[[Arguments], Any]) -> AxisLoop | None:
    """Find a Python loop that runs once for each entry of an axis.

    The module is run with one entry more along each axis in turn: a line that then runs more often
    is in such a loop.

    Args:
        arguments: The example.
        run: Runs the module.

    Returns:
        The loop and the axis, or None when there is none.
    """
    flat = arguments.flat()
    try:
        before = _times(run, arguments)
    except Exception as error:  # what does not run while it is watched
        pass_on_interruption(error)
        return None
    axes = [(name, axis) for name, tensor in flat.items() for axis in range(tensor.dim())]
    for name, axis in axes[:_MOST_AXES]:
        longer = arguments.with_tensors(flat | {name: _longer(flat[name], axis)})
        try:
            after = _times(run, longer)
        except Exception as error:  # an axis that takes one size only
            pass_on_interruption(error)
            continue
        often = [place for place, times in after.items() if times > before[place] > 0]
        loop = next(filter(None, (_loop_around(*place) for place in often)), None)
        if loop:
            return AxisLoop(loop, name, axis)
    return None


class _Count(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts how often each line of the user's code runs an operator."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.times: Counter[tuple[str, int]] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.times.update(running_lines())
        return func(*args, **(kwargs or {}))


def _times(run: Callable[[Arguments], Any], arguments: Arguments) -> Counter[tuple[str, int]]:
    count = _Count()
    with count:
        run(arguments)
    return count.times


def _longer(tensor: Tensor, axis: int) -> Tensor:
    size = tensor.shape[axis]
    return tensor.index_select(axis, torch.arange(size + 1) % max(1, size))


def _loop_around(file: str, number: int) -> str | None:
    """Say where the outermost loop or comprehension around a line is; None where there is none."""
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except SyntaxError:
        return None
    starts = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, _LOOPS) and node.lineno <= number <= (node.end_lineno or node.lineno)
    ]
    return shown_line(file, min(starts)) if starts else None
