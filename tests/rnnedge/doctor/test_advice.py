"""What the doctor advises can be done: with this kind of model, by this exporter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import handmade
import onnx
import pytest
import torch
from onnx import helper
from torch import Tensor, nn

import rnnedge
from rnnedge.doctor import Finding
from rnnedge.doctor.reading.versions import LAYER_OPSET, MODULE_OPSET
from rnnedge_exporters.exporter import LOWEST_OPSET
from rnnedge_exporters.modules import translation

Found = Callable[..., dict[str, Finding]]
Make = Callable[..., onnx.ModelProto]
X = torch.zeros(7, 2, 3)


class Head(nn.Module):
    """A layer and something behind it; with `centre`, something that looks at all steps."""

    def __init__(self, *, centre: bool = False) -> None:
        super().__init__()
        self.rnn, self.head, self.centre = nn.GRU(3, 4), nn.Linear(4, 2), centre

    def forward(self, x: Tensor) -> Tensor:
        x = x - x.mean(0, keepdim=True) if self.centre else x
        return self.head(self.rnn(x)[0])  # type: ignore[no-any-return]


@pytest.fixture
def exported(tmp_path: Any) -> Make:
    """A function that gives what the exporter writes."""

    def export(module: nn.Module, **options: Any) -> onnx.ModelProto:
        options["validate"] = False  # that is not looked at here
        if isinstance(module, Head):
            options["example_inputs"] = (X,)
        return onnx.load(rnnedge.export(module, tmp_path / "exported.onnx", **options).path)

    return export


def product(exported: Make) -> onnx.ModelProto:
    """Make a model without a recurrent layer."""
    return handmade.build(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [handmade.value("x", ["time", "batch", 3])],
        [handmade.value("y", ["time", "batch", 4])],
        {"w": handmade.random(3, 4)},
        opset=19,
    )


LAYER = "; rnnedge export writes such a model in opset 17, for ONNX Runtime 1.12"
MODULE = "; rnnedge export writes such a model in opset 18, for ONNX Runtime 1.14"
VERSIONS: dict[str, tuple[Callable[[Make], onnx.ModelProto], str]] = {
    "layer": (lambda export: handmade.plain("RNN", states=True, opset=19), LAYER),
    "layer_18": (lambda export: handmade.plain("LSTM", states=True, opset=18), LAYER),
    "module": (lambda export: handmade.with_head(opset=19), MODULE),
    "module_18": (lambda export: handmade.with_head(opset=18), ""),
    "no_layer": (product, ""),
    "own_layer": (lambda export: export(nn.GRU(3, 4), opset=20), LAYER),
    "own_switch": (lambda export: export(nn.RNN(3, 4), opset=20, lowering="switch"), LAYER),
    "own_module": (lambda export: export(Head()), ""),
    "own_module_20": (lambda export: export(Head(), opset=20), MODULE),
}


@pytest.mark.parametrize(("make", "advice"), VERSIONS.values(), ids=VERSIONS)
def test_older_release(
    make: Callable[[Make], onnx.ModelProto], advice: str, found: Found, exported: Make
) -> None:
    assert found(make(exported))["versions"].remedy == f"check the device's version{advice}"


def test_opsets_are_those_of_the_exporter() -> None:
    assert (LAYER_OPSET, MODULE_OPSET) == (LOWEST_OPSET, translation.MODULE_OPSET)


STATES: dict[str, tuple[Callable[[Make], onnx.ModelProto], str]] = {
    "theirs": (
        lambda export: handmade.plain("GRU"),
        "export with the states as inputs and outputs",
    ),
    "left_out": (
        lambda export: export(nn.GRU(3, 4), states=False),
        "export it again with states=T",
    ),
    "hindered": (lambda export: export(Head(centre=True)), "run whole sequences: mean "),
}


@pytest.mark.parametrize(("make", "advice"), STATES.values(), ids=STATES)
def test_hidden_states(
    make: Callable[[Make], onnx.ModelProto], advice: str, found: Found, exported: Make
) -> None:
    assert found(make(exported))["states-hidden"].remedy.startswith(advice)


def test_contract_that_cannot_be_read_is_none(found: Found, exported: Make) -> None:
    model = exported(nn.GRU(3, 4), opset=20)
    model.metadata_props[0].value = "{"
    assert found(model)["versions"].remedy == f"check the device's version{LAYER}"
