"""Layers that are left in float32 by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, nn

from rnnedge_exporters import export
from rnnedge_exporters.exporter import ExportResult

LAYERS = ("first", "second", "head.weight")


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.RNN(8, 32), nn.GRU(32, 32)
        self.head = nn.Linear(32, 16)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.first(x)[0])[0])


def _exported(path: Path, *kept: str, **how: Any) -> ExportResult:
    example = (torch.zeros(5, 1, 8),)
    return export(Two(), path, example_inputs=example, keep_float32=kept, **how)


def _float32_matrices(path: Path) -> set[str]:
    """Return the layers that hold a float32 matrix, scales aside."""

    def names(graph: onnx.GraphProto) -> set[str]:
        own = {
            tensor.name.split("/")[0].split(".")[0]
            for tensor in graph.initializer
            if tensor.data_type == onnx.TensorProto.FLOAT
            and len(tensor.dims) > 1
            and min(tensor.dims[-2:]) > 1
            and not tensor.name.rsplit("/", 1)[-1].startswith("B")
        }
        inner = [a.g for n in graph.node for a in n.attribute if a.type == a.GRAPH]
        return own.union(*map(names, inner))

    return names(onnx.load(path).graph)


@pytest.mark.parametrize(
    "how", [{"quantize": "int8"}, {"quantize": "int8:all"}, {"dtype": "float16"}]
)
def test_nothing_is_kept_by_itself(how: dict[str, Any], tmp_path: Path) -> None:
    result = _exported(tmp_path / "m.onnx", **how)
    assert [layer.name for layer in result.quantization] == list(LAYERS)
    assert _float32_matrices(tmp_path / "m.onnx") == set()


@pytest.mark.parametrize(
    "how", [{"quantize": "int8"}, {"quantize": "int8:all"}, {"dtype": "float16"}]
)
@pytest.mark.parametrize("kept", ["first", "second"])
def test_layer_is_kept(kept: str, how: dict[str, Any], tmp_path: Path) -> None:
    result = _exported(tmp_path / "m.onnx", kept, **how)
    assert _float32_matrices(tmp_path / "m.onnx") == {kept}
    done = {layer.name: layer for layer in result.quantization}
    assert set(done) == set(LAYERS)
    assert done[kept].done == "kept in float32"
    assert done[kept].bytes_after == done[kept].bytes_before
    assert (done[kept].weight_error, done[kept].output_error) == (0, 0)
    assert all(done[name].done != "kept in float32" for name in LAYERS if name != kept)


def test_head_is_kept(tmp_path: Path) -> None:
    result = _exported(tmp_path / "m.onnx", "head.weight", quantize="int8")
    assert result.quantization[-1].done == "kept in float32"
    whole = _exported(tmp_path / "n.onnx", quantize="int8")
    assert result.bytes > whole.bytes


def test_bare_layer_that_is_kept_is_a_float32_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layer = nn.GRU(3, 4)
    kept = export(layer, tmp_path / "a.onnx", quantize="int8:all", keep_float32=[""])
    export(layer, tmp_path / "b.onnx")
    assert kept.path.read_bytes() == (tmp_path / "b.onnx").read_bytes()
    assert [one.done for one in kept.quantization] == ["kept in float32"]
