"""Another file next to a model: compared first, with a tolerance that suits what it holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from commands import Done
from torch import nn

import rnnedge
from rnnedge import Source
from rnnedge.measuring.measuring import bench_shapes
from rnnedge.measuring.shapes import Shape
from rnnedge_runtime.errors import InputError

SHAPES = (Shape(1, 1), Shape(5, 2))
FAST: dict[str, Any] = {"count": 2, "warmup": 0}


@pytest.fixture
def small(tmp_path: Path, layer: nn.GRU) -> str:
    rnnedge.export(layer, tmp_path / "small.onnx", quantize="int8:all")
    return str(tmp_path / "small.onnx")


def test_both_are_timed_and_differ(model: Path, small: str) -> None:
    found = bench_shapes(small, SHAPES, against=[str(model)], **FAST)
    assert list(found.sides) == ["rnnedge", str(model)]
    for result in found.shapes:
        assert result.latency[str(model)].count == 2
        assert 1e-5 < result.differences[str(model)] < 0.05


def test_difference_is_that_of_the_answers(model: Path, small: str) -> None:
    from rnnedge_runtime import Session
    from rnnedge_runtime.latency import random_inputs

    (result,) = bench_shapes(small, SHAPES[1:], against=[str(model)], **FAST).shapes
    one, other = Session(small, threads=1), Session(model, threads=1)
    inputs = random_inputs(one, 5, 2)
    difference = np.abs(one.run(inputs).output - other.run(inputs).output).max()
    assert result.differences[str(model)] == pytest.approx(float(difference))


def test_file_of_other_weights_is_not_timed(model: Path, small: str, tmp_path: Path) -> None:
    other = str(tmp_path / "other.onnx")
    rnnedge.export(nn.GRU(3, 4), other)
    for subject in (str(model), small):
        (result,) = bench_shapes(subject, SHAPES[1:], against=[other], **FAST).shapes
        assert set(result.latency) == {"rnnedge"}
        assert result.not_timed[other].startswith("it answers something else: off by ")


def test_float32_is_held_to_less(model: Path, layer: nn.GRU, tmp_path: Path) -> None:
    """What passes next to int8 does not between two files of float32."""
    with torch.no_grad():
        layer.bias_ih_l0 += 0.02
    other = str(tmp_path / "other.onnx")
    rnnedge.export(layer, other)
    (result,) = bench_shapes(model, SHAPES[1:], against=[other], **FAST).shapes
    assert "0.001 of the largest number" in result.not_timed[other]


def test_beside_its_source_too(model: Path, small: str, source: Source) -> None:
    against = ["torch", str(model)]
    found = bench_shapes(small, SHAPES, source=source, against=against, **FAST)
    assert all(set(r.latency) == {"rnnedge", *against} for r in found.shapes)


def test_quantized_file_of_another_source(small: str) -> None:
    from rnnedge.errors import UnequalError

    with pytest.raises(UnequalError, match=r"small.onnx does not compute what another computes"):
        bench_shapes(small, SHAPES, source=Source(nn.GRU(3, 4), "another"), against=[], **FAST)


def test_file_that_takes_something_else(model: Path, tmp_path: Path) -> None:
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["x"], ["y"])],
        "g",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["a"])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["a"])],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    path = tmp_path / "other.onnx"
    onnx.save(onnx.helper.make_model(graph, ir_version=8, opset_imports=opset), path)
    with pytest.raises(
        InputError,
        match=r"^--beside \S+other.onnx: expected the inputs of \S+model.onnx, input "
        r"float32\[time, batch, 3\], got x float32\[a\]$",
    ):
        bench_shapes(model, SHAPES, against=[str(path)], **FAST)


def test_command(rnn: Callable[..., Done], model: Path, small: str) -> None:
    given = ("--shape", "4x2", "--count", "2")
    done = rnn("bench", "small.onnx", "--beside", "model.onnx", *given)
    assert done.code == 0
    assert "model.onnx: its answers differ by up to " in done.out
    done = rnn("bench", "small.onnx", "--beside", "model.onnx", *given, "--json")
    assert set(done.json["shapes"][0]["differences"]) == {"model.onnx"}


def test_command_needs_a_source_for_torch(rnn: Callable[..., Done], model: Path) -> None:
    done = rnn("bench", "model.onnx", "--beside", "model.onnx,torch")
    assert done.code == 2
    assert "run a source: --against SOURCE" in done.err


def test_file_that_is_not_there(rnn: Callable[..., Done], model: Path) -> None:
    done = rnn("bench", "model.onnx", "--beside", "no.onnx")
    assert (done.code, len(done.err.splitlines())) == (1, 1)
    assert done.err.startswith("rnnedge: no.onnx: ")
