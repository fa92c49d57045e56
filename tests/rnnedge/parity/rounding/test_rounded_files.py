"""Files with rounded weights must compute with what they store, and no error hides behind."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import rounded_files
import torch
from pairwise import pairwise
from rounded_files import FORMS, HIDDEN, change
from torch import Tensor, nn

from rnnedge import Tolerance, export, validate
from rnnedge.parity import Case

LAYERS = {
    "rnn": lambda **options: nn.RNN(1, HIDDEN, nonlinearity="relu", **options),
    "narrow": lambda **options: nn.RNN(5, HIDDEN, **options),  # stored in int8 and float16
    "gru": lambda **options: nn.GRU(5, HIDDEN, **options),
    "lstm": lambda **options: nn.LSTM(5, HIDDEN, **options),
    "proj": lambda **options: nn.LSTM(5, HIDDEN, proj_size=3, **options),
}


def _layer(cell: str, **options: object) -> nn.RNNBase:
    torch.manual_seed(1)
    return LAYERS[cell](**options)


@pytest.mark.parametrize(
    ("form", "cell", "lengths"), pairwise(itertools.product(FORMS, LAYERS, (False, True)))
)
def test_right_file_passes(form: str, cell: str, lengths: bool, tmp_path: Path) -> None:
    layer = _layer(cell, num_layers=2, bidirectional=True, batch_first=True)
    export(layer, tmp_path / "m.onnx", lengths=lengths, **FORMS[form])
    report = validate(tmp_path / "m.onnx", against=layer, isolated=False, quick=True)
    assert report, report
    assert report.rounding
    assert report.rounding.missing == ()
    assert bool(report.rounding.integers) == form.startswith("computed")
    assert report.rounding.costs[0].max_abs > 1e-5  # the float32 weights are others


@pytest.mark.parametrize("cell", LAYERS)
@pytest.mark.parametrize("form", FORMS)
def test_one_step_is_held_to_the_rounding_of_float32(form: str, cell: str, tmp_path: Path) -> None:
    layer = _layer(cell)
    export(layer, tmp_path / "m.onnx", **FORMS[form])
    case = Case(1, 3, random_state=True)
    report = validate(tmp_path / "m.onnx", against=layer, isolated=False, cases=[case])
    exact = Tolerance().floor(2 * HIDDEN)
    # What a projection takes was computed, and may be rounded up or down.
    computed = cell == "proj" and form.startswith("computed")
    assert all(r.allowed <= exact * 3 for r in report.results if not computed or r.output == "c_n")


MISTAKES = ("swap_gates", "swap_directions", "move_scales", "one_scale", "no_bias")
BROKEN_FORMS = ("stored", "computed_by_operator", "computed", "computed_in_blocks")


@pytest.mark.parametrize(
    ("form", "cell", "mistake"),
    pairwise(
        (form, cell, mistake)
        for form, cell, mistake in itertools.product(BROKEN_FORMS, ("gru", "lstm"), MISTAKES)
        # Other forms have no constant that holds both directions.
        if mistake != "swap_directions" or (form, cell) == ("stored", "gru")
    ),
)
def test_broken_file_fails(form: str, cell: str, mistake: str, tmp_path: Path) -> None:
    layer = _layer(cell, bidirectional=True)
    path = tmp_path / "m.onnx"
    export(layer, path, **FORMS[form])
    assert validate(path, against=layer, isolated=False, quick=True)
    change(path, getattr(rounded_files, mistake))
    report = validate(path, against=layer, isolated=False, quick=True)
    assert not report
    assert report.outputs[0].failed >= report.outputs[0].cases - 1


@pytest.mark.parametrize("mistake", ["weights_of_the_rounding", "larger_rounding"])
def test_an_input_in_wrong_parts_fails(mistake: str, tmp_path: Path) -> None:
    layer, path = _layer("lstm"), tmp_path / "m.onnx"
    export(layer, path, **FORMS["computed_by_operator"])
    change(path, getattr(rounded_files, mistake))
    assert not validate(path, against=layer, isolated=False, quick=True)


@pytest.mark.parametrize("form", ["stored", "computed"])
def test_ignored_lengths_fail(form: str, tmp_path: Path) -> None:
    layer, path = _layer("gru"), tmp_path / "m.onnx"
    export(layer, path, lengths=True, **FORMS[form])
    rounded_files.ignore_lengths(path)
    report = validate(path, against=layer, isolated=False, quick=True)
    assert {r.case.ragged for r in report.results if not r} == {True}


def test_mistake_is_named(tmp_path: Path) -> None:
    layer, path = _layer("gru"), tmp_path / "m.onnx"
    export(layer, path, quantize="int8")
    change(path, rounded_files.swap_gates)
    report = validate(path, against=layer, isolated=False, quick=True)
    assert report.diagnosis
    assert report.diagnosis.cause == "gate order"


@pytest.mark.parametrize("quantize", ["int8", "int8:all"])
def test_other_weights_fail(quantize: str, tmp_path: Path) -> None:
    export(_layer("gru"), tmp_path / "m.onnx", quantize=quantize)
    report = validate(tmp_path / "m.onnx", against=nn.GRU(5, HIDDEN), isolated=False, quick=True)
    assert not report
    assert report.diagnosis
    assert report.diagnosis.cause == "other weights"


class Tagger(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.embed, self.rnn = nn.Embedding(40, 16), nn.GRU(16, 24, batch_first=True)
        self.head = nn.Linear(24, 12)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.rnn(self.embed(tokens))[0])


def _exported(tagger: Tagger, path: Path, **options: object) -> Path:
    export(tagger, path, example_inputs=(torch.zeros(1, 7, dtype=torch.long),), **options)
    return path


@pytest.mark.parametrize("form", FORMS)
def test_module_passes(form: str, tmp_path: Path) -> None:
    tagger = Tagger()
    path = _exported(tagger, tmp_path / "m.onnx", **FORMS[form])
    report = validate(path, against=tagger, isolated=False, quick=True)
    assert report, report
    assert report.rounding
    scores = report.rounding.costs[0]
    assert scores.name == "output"
    assert scores.agreement
    assert scores.agreement > 0.9


def test_module_of_another_head_fails(tmp_path: Path) -> None:
    tagger = Tagger()
    path = _exported(tagger, tmp_path / "m.onnx", quantize="int8")
    with torch.no_grad():
        tagger.head.weight[0, 0] += 0.1
    report = validate(path, against=tagger, isolated=False, quick=True)
    assert not report
    assert report.notes[0] == "not held in fewer bits: head.weight"


@pytest.mark.parametrize("per_channel", [False, True])
def test_file_that_another_tool_quantized(per_channel: bool, tmp_path: Path) -> None:
    quantization = pytest.importorskip("onnxruntime.quantization")
    tagger = Tagger()
    path, other = _exported(tagger, tmp_path / "m.onnx"), tmp_path / "other.onnx"
    quantization.quantize_dynamic(path, other, per_channel=per_channel, reduce_range=True)
    report = validate(other, against=tagger, isolated=False, quick=True)
    assert report, report
    assert report.rounding
    assert "head.weight" in report.rounding.integers
    # Nothing was done to the GRU, without a word; now there is one.
    assert report.notes[0].startswith("not held in fewer bits: ")
    assert "rnn.weight_hh_l0" in report.notes[0]


def test_verdict_says_what_was_proven(tmp_path: Path) -> None:
    layer, path = _layer("gru"), tmp_path / "m.onnx"
    export(layer, path, quantize="int8:all")
    report = validate(path, against=layer, isolated=False, cases=[Case(3, 2)])
    assert report.verdict.startswith(
        "PASS: m.onnx computes what gru(5->8) computes in PyTorch with the weights that it holds "
        "in int8, and activations rounded to 8 bits, in 1 of 1 cases; all "
    )
    assert " nodes ran; the rounding moves " in report.verdict


def test_scores_are_what_the_caller_says(tmp_path: Path) -> None:
    layer, path = _layer("gru"), tmp_path / "m.onnx"
    export(layer, path, quantize="int8")

    def decisions(scores: bool | None) -> list[int]:
        report = validate(path, against=layer, isolated=False, cases=[Case(3, 2)], scores=scores)
        assert report.rounding
        return [cost.decisions for cost in report.rounding.costs]

    assert decisions(None) == decisions(False) == [0, 0]
    assert decisions(True) == [6, 0]
