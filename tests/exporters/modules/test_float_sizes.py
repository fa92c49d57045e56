"""Sizes that a module computes with a fraction: a file rounds them as Python does."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import rnnedge
from rnnedge_runtime import Session


class Parts(nn.Module):
    """Parts of the steps of a recurrent layer, by computations of the length."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(3, 4, batch_first=True)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        steps = x.shape[1]
        y = self.rnn(x)[0]
        return (
            y[:, : math.floor(steps * 0.29) + 1],  # 28 at 100 steps, and 29 in float32
            y[:, : math.ceil((steps - 0.5) * 0.07 / 1.4) + 1],
            y[:, : math.trunc(steps**0.5) + 1],
            y[:, : math.ceil(steps / 3)] * (steps * 0.29),
        )


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Session]:
    module = Parts().eval()
    path = tmp_path_factory.mktemp("parts") / "parts.onnx"
    rnnedge.export(module, path, example_inputs=(torch.zeros(2, 7, 3),))
    return module, Session(path, threads=1)


@pytest.mark.parametrize("steps", [1, 2, 7, 21, 99, 100, 101, 200, 300, 361])
def test_are_those_of_python(parts: tuple[nn.Module, Session], steps: int) -> None:
    module, session = parts
    x = torch.randn(1, steps, 3, generator=torch.Generator().manual_seed(steps))
    with torch.inference_mode():
        expected = [part.numpy() for part in module(x)]
    answered = list(session.run(x.numpy()).outputs.values())
    assert [part.shape for part in answered] == [part.shape for part in expected]
    for given, wanted in zip(answered, expected, strict=True):
        assert abs(given - wanted).max() < 1e-5 * max(1, abs(wanted).max())


def test_names_of_axes_say_how_they_are_computed(parts: tuple[nn.Module, Session]) -> None:
    _, session = parts
    assert session.interface.outputs[0].axes[1] == "FloorToInt(0.29*ToFloat(time)) + 1"


class Rounded(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.GRU(3, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.rnn(x)[0]
        return y[:, : round(x.shape[1] / 3)]


def test_round_is_refused_with_its_remedy(tmp_path: Path) -> None:
    with pytest.raises(rnnedge.ExportError, match=r"round at line \d+ of .*math\.floor\(size \+"):
        rnnedge.export(Rounded(), tmp_path / "m.onnx", example_inputs=(torch.zeros(2, 7, 3),))
