"""What a report holds of a comparison: results, worst cases, histograms, curves."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import nn

from rnnedge import Report, export, validate
from rnnedge.parity import Case
from rnnedge.parity.cases import default_cases
from rnnedge.parity.results import CaseResult

LAYERS, HIDDEN = 2, 4


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    torch.manual_seed(0)
    layer = nn.GRU(3, HIDDEN, LAYERS)
    model = tmp_path_factory.mktemp("report") / "model.onnx"
    export(layer, model, lengths=True)
    return validate(model, against=layer, isolated=False)


def _cases(report: Report) -> tuple[Case, ...]:
    assert report.contract is not None
    return default_cases(report.contract.interface, streams=True)


def test_results_are_every_output_in_every_case(report: Report) -> None:
    found = [(result.case, result.output) for result in report.results]
    assert found == [(case, output) for case in _cases(report) for output in ("output", "h_n")]


def test_worst_case_is_the_one_of_the_table(report: Report) -> None:
    for output in report.outputs:
        own = [result for result in report.results if result.output == output.name]
        worst = max(own, key=lambda result: result.badness)
        assert output.worst == f"{worst.case}{worst.where}"
        assert (output.max_abs, output.tolerance) == (worst.error, worst.allowed)


@pytest.mark.parametrize("side", ["model", "torch"])
def test_histogram_counts_every_value(side: str, report: Report) -> None:
    cases = _cases(report)
    output, h_n = (getattr(output.histogram, side) for output in report.outputs)
    assert sum(output) == sum(case.time * case.batch * HIDDEN for case in cases)
    assert sum(h_n) == sum(LAYERS * case.batch * HIDDEN for case in cases)


def test_histogram_has_one_more_edge_than_bins(report: Report) -> None:
    for output in report.outputs:
        assert len(output.histogram.edges) == len(output.histogram.model) + 1
        assert list(output.histogram.edges) == sorted(output.histogram.edges)


def test_curves_show_output_and_layers_over_time(report: Report) -> None:
    assert [curve.name for curve in report.curves] == ["output", "layer 0", "layer 1"]
    longest = max(result.case.time for result in report.results)
    for curve in report.curves:
        assert (curve.case.time, len(curve.model)) == (longest, longest)
        assert 0 < max(curve.model) < 1e-5


def test_curve_of_the_output_has_pytorchs_own_error(report: Report) -> None:
    output, *layers = report.curves
    assert len(output.torch) == len(output.model)
    assert 0 < max(output.torch) < 1e-5
    assert {layer.torch for layer in layers} == {()}


def test_curves_of_a_quick_sweep_are_those_of_outputs(tmp_path: Path) -> None:
    layer = nn.GRU(3, HIDDEN, LAYERS)
    export(layer, tmp_path / "model.onnx")
    report = validate(tmp_path / "model.onnx", against=layer, isolated=False, quick=True)
    assert [curve.name for curve in report.curves] == ["output"]


def test_badness_is_error_by_what_is_allowed() -> None:
    result = CaseResult(Case(1, 1), "y", 2.0, 0, 0, 1.0, 0, 0, None)
    assert (result.badness, bool(result)) == (2.0, False)
    problem = CaseResult(Case(1, 1), "y", 0.0, 0, 0, 1.0, 0, 0, None, problem="shape")
    assert (problem.badness, bool(problem)) == (math.inf, False)
