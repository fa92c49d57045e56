"""A report says how much of the file its cases have seen, and a strict one fails for the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest
import torch
from commands import Done
from onnx import helper, numpy_helper
from torch import Tensor, nn

from rnnedge import Report, export, validate
from rnnedge.parity.coverage.found import Coverage, GraphCoverage, TableCoverage
from rnnedge.reports import write_report

IN_PART = Coverage(
    9,
    5,
    (GraphCoverage("If_3: else_branch", 4, ran=False),),
    (TableCoverage("embed.weight", 400, 388),),
)


class Reader(nn.Module):
    """Ids to scores."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(rows, 3)
        self.gru = nn.GRU(3, 4)
        self.head = nn.Linear(4, 5)

    def forward(self, ids: Tensor) -> Tensor:
        y: Tensor = self.head(self.gru(self.embed(ids))[0])
        return y


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("coverage")


@pytest.fixture(scope="module")
def plain(folder: Path) -> Report:
    torch.manual_seed(0)
    layer = nn.GRU(3, 4)
    export(layer, folder / "layer.onnx", validate=False)
    return validate(folder / "layer.onnx", against=layer, quick=True)


@pytest.fixture(scope="module")
def reader(folder: Path) -> tuple[Path, nn.Module]:
    torch.manual_seed(0)
    module, path = Reader(20_000), folder / "reader.onnx"
    export(module, path, example_inputs=(torch.zeros(4, 2, dtype=torch.int64),), validate=False)
    return path, module


def test_a_layer_is_seen_whole(plain: Report) -> None:
    assert plain.coverage is not None
    assert plain.covered
    assert plain.word == "PASS"
    assert plain.verdict.endswith(f"; {plain.coverage.seen}")


def test_rows_never_looked_up(reader: tuple[Path, nn.Module]) -> None:
    path, module = reader
    report = validate(path, against=module, quick=True)
    assert report
    assert report.coverage is not None
    (table,) = report.coverage.tables
    assert (table.name, table.rows) == ("embed.weight", 20_000)
    assert 1 < table.seen < 20_000
    assert report.word == "PASS IN PART"
    missing = f"{20_000 - table.seen:,} of 20,000 rows of embed.weight"
    assert report.verdict.endswith(f"; not covered: {missing}")
    assert f"not covered: {missing}" in str(report)


def test_strict_coverage_fails(reader: tuple[Path, nn.Module]) -> None:
    path, module = reader
    report = validate(path, against=module, quick=True, strict_coverage=True)
    assert report.equal
    assert not report
    assert report.diagnosis is None
    assert report.verdict.startswith("FAIL: reader.onnx computes what Reader computes in PyTorch")


def test_a_branch_never_taken(folder: Path) -> None:
    """The bias of a layer is wrong for one length of the time axis alone."""
    torch.manual_seed(0)
    layer = nn.GRU(3, 4)
    export(layer, folder / "one.onnx", validate=False)
    model = onnx.load(folder / "one.onnx")
    _wrong_at(model, steps=5_555)
    onnx.save(model, folder / "branch.onnx")
    report = validate(folder / "branch.onnx", against=folder / "one.onnx", quick=True)
    assert report
    assert report.verdict.endswith("; not covered: chosen: then_branch never ran (1 node)")
    assert not validate(
        folder / "branch.onnx", against=folder / "one.onnx", quick=True, strict_coverage=True
    )


def _wrong_at(model: onnx.ModelProto, *, steps: int) -> None:
    graph = model.graph
    output = graph.output[0].name
    for node in graph.node:
        node.output[:] = [f"{name}.own" if name == output else name for name in node.output]
        node.input[:] = [f"{name}.own" if name == output else name for name in node.input]
    branches = {
        name: helper.make_graph(
            [helper.make_node(op, [f"{output}.own"], [f"{name}.y"])],
            name,
            [],
            [helper.make_tensor_value_info(f"{name}.y", onnx.TensorProto.FLOAT, None)],
        )
        for name, op in {"then_branch": "Neg", "else_branch": "Identity"}.items()
    }
    length = np.array([steps], np.int64)
    graph.initializer.append(numpy_helper.from_array(length, "steps"))
    graph.node.extend(
        [
            helper.make_node("Shape", [f"{output}.own"], ["length"], start=0, end=1),
            helper.make_node("Equal", ["length", "steps"], ["same"]),
            helper.make_node("If", ["same"], [output], "chosen", **branches),
        ]
    )


# --- in every form of a report --------------------------------------------------------------------


@pytest.fixture(params=[False, True], ids=["lenient", "strict"])
def in_part(plain: Report, request: pytest.FixtureRequest) -> Report:
    return replace(plain, coverage=IN_PART, strict_coverage=request.param)


def test_text(in_part: Report) -> None:
    word = "FAIL" if in_part.strict_coverage else "PASS IN PART"
    assert in_part.verdict.startswith(f"{word}: layer.onnx computes what gru(3->4) computes")
    assert in_part.verdict.endswith(
        "; not covered: If_3: else_branch never ran (4 nodes) and 1 more"
    )


def test_json(in_part: Report) -> None:
    values = in_part.to_dict()
    assert values["passed"] is not in_part.strict_coverage
    assert values["coverage"]["full"] is False
    assert (values["coverage"]["nodes"], values["coverage"]["ran"]) == (9, 5)
    assert len(values["coverage"]["missing"]) == 2


def test_junit(in_part: Report, tmp_path: Path) -> None:
    write_report(in_part, tmp_path / "r.xml", command="x")
    root = ElementTree.parse(tmp_path / "r.xml").getroot()
    named = {p.get("name"): p.get("value") for p in root.iter("property")}
    assert named["coverage"] == "5 of 9 nodes ran, 388 of 400 table rows were looked up"
    assert root.get("failures") == str(int(in_part.strict_coverage))
    assert len(list(root.iter("testcase"))) == int(root.get("tests") or 0)
    failures = [failure.text or "" for failure in root.iter("failure")]
    assert ["12 of 400 rows of embed.weight" in text for text in failures] == (
        [True] * in_part.strict_coverage
    )


def test_html(in_part: Report, tmp_path: Path) -> None:
    write_report(in_part, tmp_path / "r.html", command="x")
    text = (tmp_path / "r.html").read_text()
    assert "not covered: 12 of 400 rows of embed.weight" in text
    assert f"<title>{in_part.word}: layer.onnx" in text


# --- on the command line --------------------------------------------------------------------------


def test_exit_code(
    rnn: Callable[..., Done], tmp_path: Path, reader: tuple[Path, nn.Module]
) -> None:
    path, _ = reader
    quick = ("validate", str(path), "--against", str(path), "--quick")
    done = rnn(*quick)
    assert done.code == 0
    assert done.out.splitlines()[-1].startswith("PASS IN PART: reader.onnx")
    strict = rnn(*quick, "--strict-coverage")
    assert strict.code == 3
    assert "rows of embed.weight" in strict.err
