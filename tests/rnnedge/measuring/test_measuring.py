"""Measuring a model alone: shapes, streams, and what is reported for them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from torch import nn

import rnnedge
from rnnedge.measuring.measuring import bench_shapes
from rnnedge.measuring.results import Benchmark
from rnnedge.measuring.shapes import Shape
from rnnedge.measuring.streaming import bench_stream, missed_share
from rnnedge.strict_json import finite
from rnnedge_runtime.errors import InputError, StateError

SHAPES = (Shape(1, 1), Shape(4, 2))


@pytest.fixture
def found(model: Path) -> Benchmark:
    return bench_shapes(model, SHAPES, seconds=0.001, rate=100)


def test_every_shape_is_measured(found: Benchmark) -> None:
    assert tuple(result.shape for result in found.shapes) == SHAPES
    assert all(set(result.latency) == {"rnnedge"} for result in found.shapes)
    assert all(result.own.count >= 10 for result in found.shapes)


def test_units_follow_from_the_median(found: Benchmark) -> None:
    result = found.shapes[1]
    milliseconds = result.own.p50_ms
    assert result.us_per_step == pytest.approx(milliseconds * 1e3 / 4)
    assert result.real_time_factor(100) == pytest.approx(milliseconds / 40)
    assert result.work is not None
    assert result.gflops == pytest.approx(result.work.flops / (milliseconds / 1e3) / 1e9)
    assert found.peak_gflops is not None
    assert found.share_of_peak(result) == pytest.approx(result.gflops / found.peak_gflops)


def test_without_a_rate_there_is_no_real_time_factor(found: Benchmark) -> None:
    assert found.shapes[0].real_time_factor(None) is None


def test_json_is_strict_and_its_names_have_units(found: Benchmark) -> None:
    values = json.loads(json.dumps(finite(found.to_dict()), allow_nan=False))
    assert values["format"] == 1
    assert values["threads"] == 1
    assert values["memory_peak_bytes"] >= values["memory_before_bytes"] > 0
    row = values["shapes"][1]
    assert (row["time"], row["batch"]) == (4, 2)
    assert set(row["latency"]["rnnedge"]) == {
        *("count", "p50_ms", "p90_ms", "p99_ms", "p99_9_ms", "largest_ms", "cpu_ms", "cpu_cores"),
    }
    assert row["flops"] == 2 * 4 * 2 * 12 * (3 + 4)
    assert row["weight_bytes_per_step"] > 0


@pytest.mark.parametrize("count", [1, 30])
def test_count(count: int, model: Path) -> None:
    found = bench_shapes(model, SHAPES, count=count, warmup=0)
    assert [result.own.count for result in found.shapes] == [count, count]


def test_progress(model: Path) -> None:
    seen: list[tuple[int, int]] = []
    bench_shapes(model, SHAPES, count=1, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]


def test_shape_that_a_fixed_axis_has_not(tmp_path: Path) -> None:
    rnnedge.export(nn.GRU(3, 4), tmp_path / "m.onnx", states=False)
    model = onnx.load(tmp_path / "m.onnx")
    del model.metadata_props[:]
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 6
    onnx.save(model, tmp_path / "m.onnx")
    assert bench_shapes(tmp_path / "m.onnx", [Shape(6, 2)], count=1).shapes[0].own.count == 1
    with pytest.raises(InputError, match=r"^--time 5: no input has an axis that can be 5: inp"):
        bench_shapes(tmp_path / "m.onnx", [Shape(5, 2)], count=1)


def test_stream(model: Path) -> None:
    found = bench_stream(model, (1, 3), count=1000, rate=50)
    assert [result.batch for result in found.streams] == [1, 3]
    assert found.shapes == ()
    for result in found.streams:
        assert result.latency.count == 1000
        assert result.latency.p99_9_ms is not None
        assert result.real_time_factor is not None
        assert result.missed_share is not None
        assert 0 <= result.missed_share <= 1


def test_stream_without_a_rate_has_no_deadline(model: Path) -> None:
    (result,) = bench_stream(model, (1,), count=2).streams
    assert (result.real_time_factor, result.missed_share) == (None, None)


def test_stream_of_a_model_that_reads_the_future(tmp_path: Path) -> None:
    rnnedge.export(nn.GRU(3, 4, bidirectional=True), tmp_path / "m.onnx")
    with pytest.raises(StateError, match="the layer is bidirectional"):
        bench_stream(tmp_path / "m.onnx", (1,), count=1)


@pytest.mark.parametrize(
    ("seconds", "share"),
    [
        ([0.5, 0.5, 0.5, 0.5], 0.0),
        ([0.5, 1.5, 0.2, 0.5], 0.25),  # the third is done before its own deadline
        ([2.5, 0.9, 0.9, 0.9], 1.0),  # every one waits for those before it
        ([1.5, 1.5, 1.5, 1.5], 1.0),
        ([0.1, 2.5, 0.1, 0.1], 0.5),
    ],
    ids=["in_time", "once", "backlog", "too_slow", "caught_up"],
)
def test_missed_deadlines(seconds: list[float], share: float) -> None:
    assert missed_share(np.array(seconds), 1.0) == share


def test_missed_deadlines_of_a_queue_that_is_walked_through() -> None:
    seconds = np.random.default_rng(0).exponential(0.8, 500)
    done, late = 0.0, 0
    for number, taken in enumerate(seconds):
        done = max(done, float(number)) + taken
        late += done > number + 1
    assert missed_share(seconds, 1.0) == pytest.approx(late / 500)
