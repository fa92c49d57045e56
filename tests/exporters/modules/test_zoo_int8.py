"""Modules of the zoo whose weights are reached in some other way, in int8."""

from __future__ import annotations

from pathlib import Path

import module_zoo
import pytest

from rnnedge import export, validate

NAMES = (
    "packed_data",
    "parametrized",
    "policy",
    "self_attention",
    "seq2seq",
    "shared",
    "weight_norm",
)


@pytest.mark.parametrize("quantize", ["int8", "int8:all"])
@pytest.mark.parametrize("name", NAMES)
def test_it_is_proved(name: str, quantize: str, tmp_path: Path) -> None:
    module, example = module_zoo.MODULES[name]
    export(module, tmp_path / "m.onnx", example_inputs=example, quantize=quantize)
    report = validate(tmp_path / "m.onnx", against=module, isolated=False, quick=True)
    assert report, report
    assert report.rounding
    assert report.rounding.dtypes == ("int8",)
