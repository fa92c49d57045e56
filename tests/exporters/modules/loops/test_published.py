"""Twenty published recurrences, exported from their plain Python loops."""

import copy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import rnnedge
from rnnedge_runtime import Session

sys.path.append(str(Path(__file__).parents[1] / "helpers"))

from published_recurrences import NOT_STREAMED, RECURRENCES

SIZES = ((2, 1), (3, 2), (1, 7), (3, 40), (5, 13))
"""Batch and time."""


def in_float64(module: nn.Module, inputs: list[Tensor]) -> list[Tensor]:
    twin = copy.deepcopy(module).double().eval()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.inference_mode():
            result = twin(*(x.double() for x in inputs))
    finally:
        torch.set_default_dtype(torch.float32)
    return torch.utils._pytree.tree_leaves(result)


@pytest.mark.parametrize("kind", RECURRENCES, ids=lambda kind: kind.__name__)
def test_right_at_every_size_and_in_chunks(kind: type[nn.Module], tmp_path: Path) -> None:
    torch.manual_seed(0)
    module, example, path = kind().eval(), RECURRENCES[kind], tmp_path / "m.onnx"
    rnnedge.export(module, path, example_inputs=example)
    session = Session(path, threads=1)
    specs = session.interface.data_inputs
    for batch, time in SIZES:
        sizes = {"batch": batch, "time": time}
        shapes = [[a if isinstance(a, int) else sizes[a] for a in spec.axes] for spec in specs]
        inputs = [torch.rand(shape) for shape in shapes]
        arrays = {spec.name: x.numpy() for spec, x in zip(specs, inputs, strict=True)}
        answers = session.run(arrays).outputs
        for wanted, spec in zip(
            in_float64(module, inputs), session.interface.outputs, strict=False
        ):
            np.testing.assert_allclose(answers[spec.name], wanted.numpy(), rtol=0, atol=5e-6)
    assert bool(session.interface.states) == (kind not in NOT_STREAMED)
    if kind not in NOT_STREAMED:
        assert_chunks_equal_the_whole(session, arrays, answers[session.interface.outputs[0].name])


def assert_chunks_equal_the_whole(
    session: Session, arrays: dict[str, np.ndarray], whole: np.ndarray
) -> None:
    output = session.interface.outputs[0]
    axes = {spec.name: spec.axes for spec in session.interface.data_inputs}
    stream, parts = session.stream(batch=SIZES[-1][0]), []
    for start, end in ((0, 4), (4, 5), (5, 13)):
        chunk = {
            name: x.take(range(start, end), axes[name].index("time")) if "time" in axes[name] else x
            for name, x in arrays.items()
        }
        parts.append(stream.step(chunk if len(chunk) > 1 else next(iter(chunk.values()))))
    joined = np.concatenate(parts, output.axes.index("time"))
    np.testing.assert_allclose(joined, whole, rtol=0, atol=5e-6)
