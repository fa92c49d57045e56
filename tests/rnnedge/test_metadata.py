"""Metadata of the user's own: kept by export and quantize, shown by inspect and the runtime."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from commands import Done
from torch import nn

import rnnedge
from rnnedge_runtime import Session
from rnnedge_runtime.__main__ import main

KEPT: dict[str, Any] = {"labels": ["yes", "no"], "sample_rate": 16000, "name": "keyword"}
ENTRIES = ['labels=["yes","no"]', "sample_rate=16000", "name=keyword"]
WORDS = [word for entry in ENTRIES for word in ("--metadata", entry)]
LINES = ['metadata labels: ["yes", "no"]', "metadata name: keyword", "metadata sample_rate: 16000"]
LAYER = ["--cell", "gru", "--input-size", "8", "--hidden-size", "16"]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("kept") / "model.onnx"
    torch.manual_seed(0)
    rnnedge.export(nn.GRU(8, 16), path, metadata=KEPT)
    return path


def test_a_session_gives_it_back(kept: Path) -> None:
    assert Session(kept).metadata == KEPT


@pytest.mark.parametrize("engine", ["onnxruntime", "native"])
def test_with_each_engine(engine: Any, kept: Path) -> None:
    if engine == "native":
        pytest.importorskip("rnnedge_native")
    assert Session(kept, engine=engine).metadata == KEPT


def test_without_any_it_is_empty(tmp_path: Path) -> None:
    rnnedge.export(nn.GRU(8, 16), tmp_path / "m.onnx", validate=False)
    assert Session(tmp_path / "m.onnx").metadata == {}


def test_it_has_a_namespace_of_its_own(kept: Path) -> None:
    keys = {entry.key for entry in onnx.load(kept).metadata_props}
    assert keys == {"rnnedge.contract", "rnnedge.metadata"}


def test_it_changes_neither_contract_nor_digest(kept: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    rnnedge.export(nn.GRU(8, 16), tmp_path / "m.onnx")
    assert Session(tmp_path / "m.onnx").contract == Session(kept).contract


def test_quantize_keeps_it(kept: Path, tmp_path: Path) -> None:
    rnnedge.quantize(kept, tmp_path / "a.onnx")
    assert Session(tmp_path / "a.onnx").metadata == KEPT
    rnnedge.quantize(kept, tmp_path / "b.onnx", metadata={"name": "other"})
    assert Session(tmp_path / "b.onnx").metadata == {"name": "other"}


@pytest.mark.parametrize("program", ["inspect", "info"])
def test_it_is_shown(
    program: str, kept: Path, rnn: Callable[..., Done], capsys: pytest.CaptureFixture[str]
) -> None:
    if program == "inspect":
        out = rnn("inspect", str(kept)).out
    else:
        assert main(["info", str(kept)]) == 0
        out = capsys.readouterr().out
    assert [line for line in out.splitlines() if line.startswith("metadata")] == LINES


def test_the_command_line_keeps_it(rnn: Callable[..., Done]) -> None:
    assert rnn("export", *LAYER, "-o", "m.onnx", "--no-validate", *WORDS).code == 0
    assert Session("m.onnx").metadata == KEPT
    assert rnn("inspect", "m.onnx", "--json").json["metadata"] == KEPT
    assert rnn("export", "m.onnx", "--quantize", "int8", "-o", "s.onnx", *WORDS[:2]).code == 0
    assert Session("s.onnx").metadata == {"labels": ["yes", "no"]}


WRONG = {
    "no value": ("labels", "expected NAME=VALUE, got 'labels'"),
    "control character": ('x="\\u001b[1m"', "expected printable text"),
    "NaN": ("x=NaN", "expected a finite number"),
}


@pytest.mark.parametrize(("entry", "words"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_kept_is_refused(entry: str, words: str, rnn: Callable[..., Done]) -> None:
    done = rnn("export", *LAYER, "-o", "m.onnx", "--metadata", entry)
    assert done.code in (1, 2)
    assert words in done.err
    assert not Path("m.onnx").exists()


def test_a_c_program_has_no_place_for_it(rnn: Callable[..., Done]) -> None:
    done = rnn("export", *LAYER, "--target", "c", "-o", "folder", "--metadata", "a=b")
    assert "metadata: a C program has no place for it: leave it out" in done.err
    assert not Path("folder").exists()
