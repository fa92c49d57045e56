"""Files that compute in int8 on the native engine, which rounds each row by itself, are proven."""

import dataclasses

import numpy as np
import pytest

pytest.importorskip(
    "rnnedge_native",
    reason="rnnedge-native is not built, which takes a C compiler",
    exc_type=ImportError,
)
import torch

import rnnedge
from rnnedge.parity.rounding.dynamic_quantization import Rounder
from rnnedge.parity.rounding.row_quantization import RowIntegers
from rnnedge_runtime import GoldenError, Session
from rnnedge_runtime.proof.golden import Golden, read_golden
from rnnedge_runtime.proof.golden_check import check_golden


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_file_passes(tmp_path, cell):
    spec = rnnedge.RNNSpec(cell=cell, input_size=5, hidden_size=19, num_layers=2)
    layer = rnnedge.build(spec, seed=0).eval()
    path = tmp_path / "model.onnx"
    rnnedge.export(layer, path, quantize="int8:all", validate=False)
    report = rnnedge.validate(path, against=layer, engine="native")
    assert report, report


def test_weights_of_another_layer_do_not_pass(tmp_path):
    spec = rnnedge.RNNSpec(cell="gru", input_size=5, hidden_size=19)
    layer, path = rnnedge.build(spec, seed=0).eval(), tmp_path / "model.onnx"
    rnnedge.export(layer, path, quantize="int8:all", validate=False)
    with torch.no_grad():
        layer.bias_hh_l0[3] += 0.05
    assert not rnnedge.validate(path, against=layer, engine="native")


def test_each_row_is_rounded_as_if_it_were_alone():
    rows = torch.randn(3, 4, 9, generator=torch.Generator().manual_seed(0))
    rows[1] *= 1e-3
    rows[2, 0] = 0
    made = RowIntegers(frozenset()).rounder()(rows)
    alone = [[Rounder(None)(row) for row in part] for part in rows]
    assert np.array_equal(made.numpy(), torch.stack([torch.stack(part) for part in alone]).numpy())


@pytest.fixture(scope="module")
def lstm(tmp_path_factory):
    """A layer, its file, and the folder of its golden vectors."""
    folder = tmp_path_factory.mktemp("lstm")
    layer = rnnedge.build(rnnedge.RNNSpec(cell="lstm", input_size=5, hidden_size=19), seed=0).eval()
    path = folder / "model.onnx"
    rnnedge.export(layer, path, quantize="int8:all", validate=False)
    assert rnnedge.validate(path, against=layer, golden=folder / "vectors", quick=True)
    return layer, path, folder / "vectors"


def outputs(findings):
    return [finding.passed for finding in findings if "matches" in finding.name]


@pytest.mark.parametrize("engine", ["native", "onnxruntime"])
def test_golden_vectors_pass_on_both_engines(lstm, engine):
    _, path, vectors = lstm
    findings = check_golden(Session(path, engine=engine), read_golden(vectors), model=path)
    assert all(finding.passed for finding in findings), findings


@pytest.mark.parametrize("engine", ["native", "onnxruntime"])
def test_golden_vectors_of_other_weights_fail_on_both_engines(lstm, tmp_path, engine):
    _, _, vectors = lstm
    other = rnnedge.build(rnnedge.RNNSpec(cell="lstm", input_size=5, hidden_size=19), seed=0).eval()
    with torch.no_grad():
        other.bias_hh_l0[3] += 0.05
    path = tmp_path / "model.onnx"
    rnnedge.export(other, path, quantize="int8:all", validate=False)
    findings = check_golden(Session(path, engine=engine), read_golden(vectors))
    assert False in outputs(findings)


def test_vectors_that_do_not_know_of_rows_say_so(lstm):
    _, path, vectors = lstm
    sets = [dataclasses.replace(one, allowed_by_row=None) for one in read_golden(vectors).sets]
    findings = check_golden(Session(path, engine="native"), Golden(tuple(sets)))
    failing = [finding for finding in findings if finding.passed is False]
    assert failing
    assert all("over its own range" in finding.detail for finding in failing)


def test_golden_vectors_are_not_written_by_rows(lstm, tmp_path):
    layer, path, _ = lstm
    with pytest.raises(GoldenError, match="expected engine 'onnxruntime'"):
        rnnedge.validate(
            path, against=layer, engine="native", golden=tmp_path / "vectors", quick=True
        )
