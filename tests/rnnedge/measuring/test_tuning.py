"""Tuning: what is measured, what wins, what is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import rnnedge
from rnnedge import Source
from rnnedge.errors import SourceError, UnequalError
from rnnedge.measuring import tuning
from rnnedge.measuring.shapes import Shape
from rnnedge.measuring.tuning import Candidate, Tuning, choose, tune
from rnnedge.strict_json import finite
from rnnedge_exporters.lowerings import LOWERINGS
from rnnedge_runtime import Session

SHAPES = (Shape(1, 1), Shape(4, 2))
FAST: dict[str, Any] = {"threads": [1, 2], "seconds": 0.001}


class User(nn.Module):
    """A layer with something behind it."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.rnn = nn.RNN(3, 4, batch_first=True)
        self.head = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.rnn(x)[0])


def _layer() -> nn.GRU:
    torch.manual_seed(0)
    return nn.GRU(3, 4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tuning")


@pytest.fixture(scope="module")
def found(folder: Path) -> Tuning:
    return tune(Source(_layer(), "gru(3->4)"), folder / "best.onnx", SHAPES, **FAST)


def test_every_form_with_every_number_of_threads(found: Tuning) -> None:
    told = {(c.lowering, c.threads) for c in found.candidates[1:]}
    assert told == {(name, threads) for name in LOWERINGS for threads in (1, 2)}
    assert all(len(c.p50_ms) == len(SHAPES) for c in found.candidates)


def test_the_default_is_the_exporters_choice_with_threads_left_open(
    found: Tuning, tmp_path: Path
) -> None:
    result = rnnedge.export(_layer(), tmp_path / "default.onnx")
    assert found.default.lowering == result.contract.layers[0].lowering
    assert found.default.threads is None
    assert found.speed == pytest.approx(found.default.mean_ms / found.best.mean_ms)


def test_the_winner_is_written(found: Tuning, folder: Path) -> None:
    assert [path.name for path in folder.iterdir()] == ["best.onnx"]
    session = Session(folder / "best.onnx", threads=found.best.threads)
    assert session.contract is not None
    assert [info.lowering for info in session.contract.layers] == [found.best.lowering]
    assert rnnedge.validate(folder / "best.onnx", against=_layer(), quick=True)


def test_json_is_strict(found: Tuning) -> None:
    values = json.loads(json.dumps(finite(found.to_dict()), allow_nan=False))
    assert values["threads"] == found.best.threads
    assert values["lowering"] == found.best.lowering
    assert values["shapes"] == [{"time": 1, "batch": 1}, {"time": 4, "batch": 2}]
    assert values["best"] in values["candidates"]
    assert values["default"] == values["candidates"][0]
    assert values["machine"]["cpu"]


def test_candidates_are_timed_in_one_go_and_wait_for_each_others_threads(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, bool]] = []
    original = tuning.time_in_turns

    def watched(calls: Any, **options: Any) -> Any:
        seen.append((len(calls), options["settle"]))
        return original(calls, **options)

    monkeypatch.setattr(tuning, "time_in_turns", watched)
    tune(source, tmp_path / "best.onnx", SHAPES, threads=[1], seconds=0.001)
    assert seen == [(1 + len(LOWERINGS), True)] * len(SHAPES)


def test_options_of_the_export_are_kept(source: Source, tmp_path: Path) -> None:
    tune(source, tmp_path / "best.onnx", SHAPES[:1], lengths=True, opset=20, **FAST)
    contract = Session(tmp_path / "best.onnx").contract
    assert contract is not None
    assert (contract.interface.lengths, contract.opset) == ("lengths", 20)


def test_form_that_a_layer_has_not_is_said(tmp_path: Path) -> None:
    source = Source(nn.LSTM(3, 4, proj_size=2), "lstm")
    found = tune(source, tmp_path / "best.onnx", SHAPES[:1], **FAST)
    assert {c.lowering for c in found.candidates} == {"scan"}
    assert set(found.left_out) == set(LOWERINGS) - {"scan"}
    assert "projection" in found.left_out["operator"]


def test_module(tmp_path: Path) -> None:
    found = tune(
        Source(User(), "User"),
        tmp_path / "best.onnx",
        SHAPES,
        example_inputs=(torch.zeros(2, 5, 3),),
        **FAST,
    )
    assert {c.lowering for c in found.candidates} == set(LOWERINGS)
    assert rnnedge.validate(tmp_path / "best.onnx", against=User(), quick=True)


def _candidate(lowering: str, threads: int | None, *times: float) -> Candidate:
    return Candidate(lowering, threads, times)


DEFAULT = _candidate("operator", None, 4.0, 1.0)


def test_mean_is_geometric() -> None:
    assert DEFAULT.mean_ms == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("candidates", "best"),
    [
        ([("operator", 1, 4.0, 1.0), ("scan", 1, 1.0, 2.0)], ("scan", 1)),
        ([("operator", 1, 4.0, 1.0), ("scan", 1, 3.95, 1.0)], ("operator", 1)),
        ([("operator", 1, 1.02, 1.0), ("operator", 2, 1.0, 1.0)], ("operator", 1)),
        ([("operator", 1, 2.0, 1.0), ("operator", 2, 1.0, 1.0)], ("operator", 2)),
        ([("scan", 4, 1.0, 1.0), ("operator", 2, 1.0, 1.01)], ("operator", 2)),
    ],
    ids=["by_shape", "not_worth_it", "few_threads", "more_threads", "both"],
)
def test_winner(candidates: list[tuple[Any, ...]], best: tuple[str, int]) -> None:
    won = choose([DEFAULT, *(_candidate(*values) for values in candidates)])
    assert (won.lowering, won.threads) == best


def test_default_with_threads_left_open_never_wins() -> None:
    fast = _candidate("operator", None, 0.1, 0.1)
    assert choose([fast, _candidate("operator", 2, 1.0, 1.0)]).threads == 2


def _break(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Export one form with other weights."""
    original = tuning.export

    def export(module: nn.Module, path: Path, **options: Any) -> Any:
        result = original(module, path, **options)
        if form != "lowering" and result.contract.layers[0].lowering == form:
            torch.manual_seed(9)
            original(nn.GRU(3, 4), path, lowering=form)
        return result

    monkeypatch.setattr(tuning, "export", export)


def test_form_that_answers_something_else_is_not_timed(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _break("scan", monkeypatch)
    found = tune(source, tmp_path / "best.onnx", SHAPES, **FAST)
    assert "scan" not in {c.lowering for c in found.candidates}
    assert found.left_out["scan"].startswith("it answers something else at time 1, batch 1: ")


def test_exporters_choice_that_answers_something_else(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _break("operator", monkeypatch)
    with pytest.raises(UnequalError, match=r"^gru\(3->4\) as operator: it answers something else"):
        tune(source, tmp_path / "best.onnx", SHAPES, **FAST)
    assert list(tmp_path.iterdir()) == []


def test_winner_that_fails_validation_is_not_written(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(model: Path, **options: Any) -> Any:
        return rnnedge.validate(model, against=nn.GRU(3, 4), quick=True)

    monkeypatch.setattr(tuning, "validate", failing)
    rnnedge.export(nn.RNN(3, 4), tmp_path / "best.onnx")
    before = (tmp_path / "best.onnx").read_bytes()
    with pytest.raises(UnequalError, match=r"best\.onnx is not .*; nothing was written$"):
        tune(source, tmp_path / "best.onnx", SHAPES[:1], **FAST)
    assert [path.name for path in tmp_path.iterdir()] == ["best.onnx"]
    assert (tmp_path / "best.onnx").read_bytes() == before


def test_digest_of_other_weights(source: Source, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="its weights are not those of the model"):
        tune(source, tmp_path / "best.onnx", SHAPES, digest="sha256:0", **FAST)


def test_folder_that_does_not_exist(source: Source, tmp_path: Path) -> None:
    with pytest.raises(rnnedge.WriteError, match="expected an existing folder"):
        tune(source, tmp_path / "no" / "best.onnx", SHAPES, **FAST)


@pytest.mark.parametrize(
    ("cores", "counts"),
    [(1, [1]), (2, [1, 2]), (4, [1, 2, 3, 4]), (6, [1, 2, 3, 4, 6]), (16, [1, 2, 3, 4, 8, 16])],
)
def test_numbers_of_threads(cores: int, counts: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "usable_cores", lambda: cores)
    assert tuning.thread_counts() == counts


def test_same_bytes_as_an_export_of_the_winner(found: Tuning, folder: Path, tmp_path: Path) -> None:
    default = found.best.lowering == found.default.lowering
    rnnedge.export(_layer(), tmp_path / "a.onnx", lowering=None if default else found.best.lowering)
    assert (tmp_path / "a.onnx").read_bytes() == (folder / "best.onnx").read_bytes()


@pytest.mark.parametrize(
    ("options", "floats"),
    [({"quantize": "int8"}, True), ({"quantize": "int8:all"}, False)],
    ids=["int8", "int8-all"],
)
def test_forms_that_compute_in_int8(options: dict[str, Any], floats: bool, tmp_path: Path) -> None:
    source = Source(_layer(), "gru(3->4)")
    found = tune(source, tmp_path / "best.onnx", SHAPES[:1], **FAST, **options)
    expected = {"scan_int8", "scan_nbits"} | (set(LOWERINGS) if floats else set())
    assert {c.lowering for c in found.candidates} == expected
    assert list(found.left_out) == ["operator_int8"]
    contract = Session(tmp_path / "best.onnx").contract
    assert contract is not None
    assert contract.quantization == options["quantize"]
    assert contract.layers[0].lowering == found.best.lowering


def test_cuda_has_no_form_in_int8(tmp_path: Path) -> None:
    source = Source(_layer(), "gru(3->4)")
    options = {"quantize": "int8", "target": "cuda"}
    found = tune(source, tmp_path / "best.onnx", SHAPES[:1], **FAST, **options)
    assert {c.lowering for c in found.candidates} == set(LOWERINGS)
