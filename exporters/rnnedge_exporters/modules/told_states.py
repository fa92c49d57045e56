"""Whether a module whose states its user has paired can be run chunk after chunk: it is tried.

What connects two steps is read in the program (`streaming.py`), and a module that keeps a context
of its own, joined to the next chunk in front, looks just like one that cannot be streamed.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rnnedge_exporters.modules.arguments import Arguments, flatten_result
from rnnedge_exporters.modules.attributes import unchanged
from rnnedge_runtime.contract import TIME, Interface, TensorSpec

CHUNKS = (1, 2, 7, 190)
"""Steps of each chunk. What is picked by a position within all of them is seen."""
_ALLOWED = 1e-4
"""Difference in float32, as a part of the largest value where that is above one."""


def chunks_equal_the_whole(module: nn.Module, arguments: Arguments, interface: Interface) -> bool:
    """Run random numbers whole and in chunks that hand their states on, and compare.

    Args:
        module: A private copy, in eval mode.
        arguments: The example, whose integers and sizes are taken.
        interface: Says which outputs feed which inputs, and where time is.

    Returns:
        False, too, where the module refuses one of the chunks.
    """
    random = torch.Generator().manual_seed(0)
    flat = arguments.flat()
    timed = {spec.name: spec.axes.index(TIME) for spec in interface.data_inputs if _timed(spec)}
    if not timed or any(spec.name not in flat for spec in interface.inputs):
        return False
    inputs = {name: _made(tensor, timed.get(name), random) for name, tensor in flat.items()}

    def run(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        with unchanged(module), torch.inference_mode():
            result = module(**arguments.with_tensors(tensors).values)
        names = [spec.name for spec in interface.outputs]
        return dict(zip(names, flatten_result(result), strict=True))

    parts: list[dict[str, Tensor]] = []
    states = {pair.input: inputs[pair.input] for pair in interface.states}
    cut = {name: torch.split(inputs[name], list(CHUNKS), axis) for name, axis in timed.items()}
    try:
        whole = run(inputs)
        for index in range(len(CHUNKS)):
            pieces = {name: tensors[index] for name, tensors in cut.items()}
            parts.append(run(inputs | pieces | states))
            states = {pair.input: parts[-1][pair.output] for pair in interface.states}
    except Exception:  # whatever a forward raises at a length that it does not take
        return False
    for spec in interface.outputs:
        answers = [part[spec.name] for part in parts]
        joined = _joined(answers, spec.axes.index(TIME)) if _timed(spec) else answers[-1]
        if not _close(joined, whole[spec.name]):
            return False
    return True


def _timed(spec: TensorSpec) -> bool:
    return TIME in spec.axes


def _made(example: Tensor, time: int | None, random: torch.Generator) -> Tensor:
    """Make a tensor of many steps: random numbers, or the example's integers again and again."""
    if time is not None:
        steps = torch.arange(sum(CHUNKS)) % example.shape[time]
        example = example.index_select(time, steps)
    if not example.is_floating_point():
        return example
    return torch.randn(example.shape, generator=random)


def _joined(pieces: list[Tensor], time: int) -> Tensor | None:
    """Join the answers to chunks over time; None where they do not fit each other elsewhere."""
    others = {piece.shape[:time] + piece.shape[time + 1 :] for piece in pieces}
    return torch.cat(pieces, time) if len(others) == 1 else None


def _close(one: Tensor | None, other: Tensor) -> bool:
    if one is None or one.shape != other.shape:
        return False
    if not other.is_floating_point():
        return torch.equal(one, other)
    size = max(1.0, float(other.abs().max())) if other.numel() else 1.0
    return torch.allclose(one, other, rtol=0, atol=_ALLOWED * size)
