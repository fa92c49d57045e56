"""The committed WebAssembly module: made of these sources, small, without imports of a host."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

import rnnedge

sys.path.append(str(Path(__file__).parents[2] / "tools"))

import build_wasm

SMALL = 40_000
"""Bytes that the module and a GRU 10 -> 32 may take together."""


def test_it_is_made_of_these_sources() -> None:
    record = build_wasm.read_record()
    assert record["sources"] == build_wasm.source_digests(), "run make wasm"
    assert record["module"] == hashlib.sha256(build_wasm.read_module()).hexdigest()


def test_a_source_that_changes_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_wasm, "FLAGS", (*build_wasm.FLAGS, "-DOTHER"))
    assert build_wasm.read_record()["sources"] != build_wasm.source_digests()


def test_the_compiler_makes_it_again() -> None:
    found = build_wasm.find_compiler()
    if found is None:
        pytest.skip("there is no clang with wasm-ld on the PATH")
    module = build_wasm.build(*found)
    assert module.startswith(b"\0asm")
    if build_wasm.compiler_version(found[0]) == build_wasm.read_record()["compiler"]:
        assert module == build_wasm.read_module()


def test_with_the_weights_of_a_small_gru_it_is_small(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    module = rnnedge.build(rnnedge.RNNSpec(cell="gru", input_size=10, hidden_size=32), seed=0)
    rnnedge.export(module, model, validate=False)
    assert build_wasm.MODULE.stat().st_size + model.stat().st_size < SMALL
