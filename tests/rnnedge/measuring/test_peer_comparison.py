"""Measuring next to others: who is checked, who is timed, who is not and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import rnnedge
from rnnedge import Source
from rnnedge.errors import MissingPackageError, PeerError, SourceError, UnequalError
from rnnedge.measuring import measuring, peers
from rnnedge.measuring.measuring import bench_shapes
from rnnedge.measuring.peers import PEERS, Peer, Task
from rnnedge.measuring.shapes import Shape

SHAPES = (Shape(1, 1), Shape(5, 2))
FAST: dict[str, Any] = {"count": 2, "warmup": 0}


class Named(nn.Module):
    """A module with its own state, that it takes and gives."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(9, 3)
        self.rnn = nn.GRU(3, 4)

    def forward(self, tokens: Tensor, h_in: Tensor) -> tuple[Tensor, Tensor]:
        y, h_out = self.rnn(self.table(tokens), h_in)
        return y, h_out


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Task], Peer]], None]:
    """A function that puts something else in place of the peer `torch`."""

    def put(make: Callable[[Task], Peer]) -> None:
        monkeypatch.setattr(peers, "PEERS", {**PEERS, "torch": make})

    return put


@pytest.mark.parametrize("peer", PEERS)
def test_peer_is_timed(peer: str, model: Path, source: Source) -> None:
    if peer == "openvino":
        pytest.importorskip("openvino")
    found = bench_shapes(model, SHAPES, source=source, against=[peer], **FAST)
    for result in found.shapes:
        assert result.not_timed == {}
        assert result.latency[peer].count == 2
        assert result.ratio(peer) == pytest.approx(result.latency[peer].p50_ms / result.own.p50_ms)
    assert list(found.sides) == ["rnnedge", peer]
    package = {"torchscript": "torch"}.get(peer, peer)
    assert found.machine.versions[package]


@pytest.mark.parametrize("peer", PEERS)
def test_peer_of_a_module(peer: str, tmp_path: Path) -> None:
    if peer == "openvino":
        pytest.importorskip("openvino")
    module = Named()
    examples = (torch.ones(6, 2, dtype=torch.int64), torch.zeros(1, 2, 4))
    rnnedge.export(module, tmp_path / "m.onnx", example_inputs=examples, states={"h_out": "h_in"})
    found = bench_shapes(
        tmp_path / "m.onnx", SHAPES, source=Source(module, "Named"), against=[peer], **FAST
    )
    assert all(set(result.latency) == {"rnnedge", peer} for result in found.shapes)


def test_all_run_with_the_same_threads(
    model: Path, source: Source, use: Callable[..., None]
) -> None:
    seen: list[int] = []

    def watched(task: Task) -> Peer:
        seen.extend([task.threads, torch.get_num_threads()])
        return PEERS["torch"](task)

    use(watched)
    before = torch.get_num_threads()
    bench_shapes(model, SHAPES[:1], source=source, against=["torch"], threads=2, **FAST)
    assert seen == [2, 2]
    assert torch.get_num_threads() == before


def test_sides_are_timed_in_one_go(
    model: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    original = measuring.time_in_turns

    def watched(calls: Any, **options: Any) -> Any:
        seen.append(list(calls))
        return original(calls, **options)

    monkeypatch.setattr(measuring, "time_in_turns", watched)
    bench_shapes(model, SHAPES, source=source, against=["torch", "torchscript"], **FAST)
    assert seen == [["rnnedge", "torch", "torchscript"]] * 2


def test_peer_that_answers_something_else_is_not_timed(
    model: Path, source: Source, use: Callable[..., None]
) -> None:
    calls: list[int] = []

    def wrong(task: Task) -> Peer:
        right = PEERS["torch"](task)

        def bind(inputs: Any) -> Callable[[], Any]:
            call = right.bind(inputs)
            return lambda: (calls.append(len(inputs)), call())[1]

        return replace(right, bind=bind, arrays=lambda result: [result[0].numpy() + 0.01])

    use(wrong)
    found = bench_shapes(model, SHAPES, source=source, against=["torch"], **FAST)
    for result in found.shapes:
        assert set(result.latency) == {"rnnedge"}
        assert result.ratio("torch") is None
        assert result.not_timed["torch"].startswith("it answers something else: output off by ")
    assert len(calls) == len(SHAPES)  # to be compared, and never again


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((5, 2), "shape [5, 2], expected [5, 2, 4]"),
        ((2, 5, 4), "shape [2, 5, 4], expected [5, 2, 4]"),
    ],
)
def test_peer_that_answers_another_shape_is_not_timed(
    shape: tuple[int, ...], words: str, model: Path, source: Source, use: Callable[..., None]
) -> None:
    def wrong(task: Task) -> Peer:
        return replace(PEERS["torch"](task), arrays=lambda result: [np.zeros(shape, np.float32)])

    use(wrong)
    (result,) = bench_shapes(model, SHAPES[1:], source=source, against=["torch"], **FAST).shapes
    assert result.not_timed["torch"] == f"it answers something else: output: {words}"


def test_peer_that_refuses_a_shape_is_not_timed_there(
    model: Path, source: Source, use: Callable[..., None]
) -> None:
    def picky(task: Task) -> Peer:
        right = PEERS["torch"](task)

        def bind(inputs: Any) -> Callable[[], Any]:
            def call() -> Any:
                if len(inputs["input"]) > 1:
                    raise RuntimeError("one step\nonly")
                return right.bind(inputs)()

            return call

        return replace(right, bind=bind)

    use(picky)
    one, more = bench_shapes(model, SHAPES, source=source, against=["torch"], **FAST).shapes
    assert set(one.latency) == {"rnnedge", "torch"}
    assert more.not_timed == {"torch": "RuntimeError: one step only"}


def test_peer_that_does_not_take_the_source(
    model: Path, source: Source, use: Callable[..., None]
) -> None:
    def refuse(task: Task) -> Peer:
        raise PeerError("no such operator")

    use(refuse)
    found = bench_shapes(model, SHAPES, source=source, against=["torch"], **FAST)
    assert [result.not_timed for result in found.shapes] == [{"torch": "no such operator"}] * 2
    assert list(found.sides) == ["rnnedge"]


def test_projection_that_torchs_own_export_has_not(tmp_path: Path) -> None:
    layer = nn.LSTM(3, 4, proj_size=2)
    rnnedge.export(layer, tmp_path / "m.onnx")
    found = bench_shapes(
        tmp_path / "m.onnx",
        SHAPES,
        source=Source(layer, "lstm"),
        against=["torch", "torchscript"],
        **FAST,
    )
    assert {tuple(result.latency) for result in found.shapes} == {("rnnedge", "torch")}
    assert "LSTMs with projections" in found.shapes[0].not_timed["torchscript"]


def test_missing_package(model: Path, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "find_spec", lambda name: None)
    with pytest.raises(
        MissingPackageError,
        match=r"^--beside openvino needs openvino, which is not installed: pip install openvino$",
    ):
        bench_shapes(model, SHAPES, source=source, against=["openvino"], **FAST)


def test_source_of_other_weights_is_not_timed(model: Path) -> None:
    other = Source(nn.GRU(3, 4), "another")
    with pytest.raises(
        UnequalError, match=r"^\S+model.onnx does not compute what another computes, at time 1, "
    ):
        bench_shapes(model, SHAPES, source=other, against=["torch"], **FAST)


def test_source_of_other_sizes(model: Path) -> None:
    with pytest.raises(SourceError, match=r"model.onnx does not fit another: its inputs are "):
        bench_shapes(model, SHAPES, source=Source(nn.GRU(3, 5), "another"), **FAST)


def test_what_a_checkpoint_does_not_tell_is_what_the_model_answers(tmp_path: Path) -> None:
    layer = nn.RNN(3, 4, nonlinearity="relu", batch_first=True)
    torch.save(layer.state_dict(), tmp_path / "w.pt")
    rnnedge.export(layer, tmp_path / "m.onnx")
    loaded = rnnedge.load_source(tmp_path / "w.pt")
    found = bench_shapes(tmp_path / "m.onnx", SHAPES, source=loaded, against=["torch"], **FAST)
    assert all("torch" in result.latency for result in found.shapes)


def test_model_with_lengths(tmp_path: Path) -> None:
    layer = nn.GRU(3, 4)
    rnnedge.export(layer, tmp_path / "m.onnx", lengths=True)
    found = bench_shapes(
        tmp_path / "m.onnx", SHAPES, source=Source(layer, "gru"), against=["torch"], **FAST
    )
    assert all("torch" in result.latency for result in found.shapes)
