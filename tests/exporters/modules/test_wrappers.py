"""Modules that are compiled, distributed or averaged, exported as the module inside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

import rnnedge
from rnnedge_exporters.modules.wrappers import unwrapped

# Importing torch._dynamo, which torch.compile does, warns of its own TorchScript.
pytestmark = pytest.mark.filterwarnings(
    "ignore:`torch.jit.script_method` is deprecated:DeprecationWarning"
)

WRAPPERS: dict[str, Callable[[nn.Module], nn.Module]] = {
    "compiled": torch.compile,
    "distributed": nn.DataParallel,
    "averaged": AveragedModel,
    "both": lambda module: nn.DataParallel(torch.compile(module)),
    "other_way_round": lambda module: torch.compile(nn.DataParallel(module)),
}


class Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.fc = nn.GRU(3, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.rnn(x)[0])


@pytest.fixture(params=WRAPPERS.values(), ids=WRAPPERS)
def wrap(request: pytest.FixtureRequest) -> Callable[[nn.Module], nn.Module]:
    return request.param


def test_unwrapped(wrap: Callable[[nn.Module], nn.Module]) -> None:
    assert type(unwrapped(wrap(nn.GRU(3, 4)))) is nn.GRU


def test_bare_layer(wrap: Callable[[nn.Module], nn.Module], tmp_path: Path) -> None:
    layer = nn.GRU(3, 4)
    rnnedge.export(layer, tmp_path / "layer.onnx")
    rnnedge.export(wrap(layer), tmp_path / "wrapped.onnx")
    assert (tmp_path / "wrapped.onnx").read_bytes() == (tmp_path / "layer.onnx").read_bytes()


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tagger, Path]:
    path = tmp_path_factory.mktemp("tagger") / "tagger.onnx"
    tagger = Tagger()
    rnnedge.export(tagger, path, example_inputs=(torch.zeros(2, 5, 3),))
    return tagger, path


@pytest.mark.parametrize("name", ["compiled", "distributed"])
def test_module(name: str, tagger: tuple[Tagger, Path], tmp_path: Path) -> None:
    module, path = tagger
    wrapped = WRAPPERS[name](module)
    rnnedge.export(wrapped, tmp_path / "w.onnx", example_inputs=(torch.zeros(2, 5, 3),))
    assert (tmp_path / "w.onnx").read_bytes() == path.read_bytes()


def test_validated_against_a_wrapped_module(
    wrap: Callable[[nn.Module], nn.Module], tagger: tuple[Tagger, Path]
) -> None:
    module, path = tagger
    report = rnnedge.validate(path, against=wrap(module), quick=True)
    assert report, report
    assert report.source == "Tagger"


class Halved(nn.DataParallel):
    """A wrapper of a user that computes something."""

    def forward(self, *inputs: Tensor) -> Tensor:
        return super().forward(*inputs) / 2


@pytest.mark.parametrize("module", [nn.GRU(3, 4), Halved(nn.GRU(3, 4)), nn.Sequential()])
def test_other_modules_are_left_as_they_are(module: nn.Module) -> None:
    assert unwrapped(module) is module
