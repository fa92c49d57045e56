"""Reports to write: two that `validate` gave, and one that holds everything awkward."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

import rnnedge
from rnnedge.parity.report import Report
from rnnedge.parity.results import Diagnosis, Timing
from rnnedge.reports import write_report

AWKWARD = "a <b>&\"ö'状\udcff\x1b[1m"
"""What a name may hold: markup, quotes, letters of other alphabets, bytes that are not text."""
COMMAND = "rnnedge validate model.onnx --against 'a <b>.toml' --report report.html"
Page = Callable[[Report], str]


def layer() -> nn.LSTM:
    torch.manual_seed(0)
    return nn.LSTM(3, 5, num_layers=2, bidirectional=True)


def swapped() -> nn.LSTM:
    """Return the same layer with two gates swapped, backward in its second layer."""
    wrong = layer()
    i, f, g, o = wrong.weight_hh_l1_reverse.split(5)
    with torch.no_grad():
        wrong.weight_hh_l1_reverse.copy_(torch.cat([i, g, f, o]))
    return wrong


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reports")


@pytest.fixture(scope="session")
def passing(folder: Path) -> Report:
    rnnedge.export(layer(), folder / "right.onnx")
    return rnnedge.validate(folder / "right.onnx", against=layer())


@pytest.fixture(scope="session")
def failing(folder: Path) -> Report:
    rnnedge.export(swapped(), folder / "wrong.onnx")
    return rnnedge.validate(folder / "wrong.onnx", against=layer())


@pytest.fixture(scope="session")
def awkward(failing: Report) -> Report:
    """Names with markup in them, problems next to the numbers, steps that are exact or NaN."""
    results = list(failing.results)
    for number, result in enumerate(results):
        if result.case.time == 31:
            shape = {"error": math.inf, "at": None, "problem": "shape [5, 2, 10], expected [31]"}
            results[number] = replace(result, **shape)
        elif result.case.time == 64:
            raised = {"error": math.inf, "at": None, "problem": f"raised: {AWKWARD} {'x' * 400}"}
            results[number] = replace(result, **raised)
        elif result.case.time == 7:
            results[number] = replace(result, error=math.inf, ulps=math.inf)
        elif result.case.time == 13:
            results[number] = replace(result, error=0.0, remark=f"NaN on both sides, {AWKWARD}")
    first = failing.curves[0]
    model = (0.0,) * 50 + (math.inf,) * 3 + first.model[53:]
    one = replace(first, name=AWKWARD, model=(1e-8,), torch=(0.0,))
    return replace(
        failing,
        model=f"/nowhere/{AWKWARD}.onnx",
        source=AWKWARD,
        outputs=(
            replace(failing.outputs[0], problem=f"shape [5], {AWKWARD}", max_abs=math.inf),
            *(replace(output, name=AWKWARD + output.name) for output in failing.outputs[1:]),
        ),
        notes=(AWKWARD,),
        results=tuple(results),
        curves=(replace(first, model=model), *[one] * 8),
        diagnosis=Diagnosis(AWKWARD, AWKWARD, AWKWARD, first.case, "", AWKWARD),
        timings=(Timing(1, 1, 0.0123, 0.0871), Timing(50, 32, 3.2, 2.9)),
    )


@pytest.fixture(scope="session")
def beside_file(folder: Path) -> Report:
    """Of a file with rounded weights against another file than the one it was made of."""
    for name, module in (("one", layer()), ("other", swapped())):
        rnnedge.export(module, folder / f"{name}.onnx")
    rnnedge.quantize(folder / "one.onnx", folder / "small.onnx", quantize="int8:all")
    return rnnedge.validate(folder / "small.onnx", against=folder / "other.onnx")


@pytest.fixture(params=["passing", "failing", "awkward", "beside_file"])
def report(request: pytest.FixtureRequest) -> Report:
    given: Report = request.getfixturevalue(request.param)
    return given


@pytest.fixture(scope="session")
def page(folder: Path) -> Page:
    """Return what writes a report, once, and gives back the text of its page."""
    written: list[tuple[Report, str]] = []

    def write(report: Report) -> str:
        for known, text in written:
            if known is report:
                return text
        write_report(report, folder / "page.html", command=COMMAND)
        written.append((report, (folder / "page.html").read_text("utf-8")))
        return written[-1][1]

    return write
