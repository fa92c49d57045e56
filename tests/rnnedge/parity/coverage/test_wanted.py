"""The sweep tries what the graph asks of its inputs: constants, rows, steps and sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import parser
from torch import Tensor, nn

from rnnedge import export, validate
from rnnedge.parity.cases import Case, further_cases, make_inputs
from rnnedge.parity.coverage.wanted import find_wanted
from rnnedge_runtime.contract import BATCH, TIME, Interface, TensorSpec

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'
SELECTOR = """g (float[batch,time] x, int64 sr) => (float[batch,time] y)
<int64 rate = {16000}, int64 low = {8000}, float one = {WEIGHT}>
{
  high = Equal(sr, rate)
  y = If(high) <
    then_branch = t () => (a) { a = Mul(x, x) },
    else_branch = e () => (b) {
      narrow = Equal(sr, low)
      b = If(narrow) <
        then_branch = tt () => (c) { c = Add(x, one) },
        else_branch = ee () => (d) { d = Sub(x, one) }>
    }>
}"""
FLOAT_IDS = """g (float[batch,time] ids) => (float[batch,time,2] y)
<float[90,2] table = {VALUES}>
{ whole = Cast<to = 7>(ids) y = Gather(table, whole) }"""
STEPS = """g (float[batch,time] x, int64 n) => (float[batch,time] y)
{
  go = Constant<value = bool {1}>()
  y = Loop(n, go, x) <
    body = l (int64 i, bool c, float[batch,time] a) => (bool d, float[batch,time] b) {
      d = Identity(c)
      b = Add(a, a)
    }>
}"""
MASKED = """g (float[batch,time] x, bool[batch,time] mask) => (float[batch,time] y)
<int64[2] all = {0, 1}>
{
  f = Cast<to = 1>(mask)
  m = ReduceMax<keepdims = 0>(f)
  some = Cast<to = 9>(m)
  y = If(some) <
    then_branch = t () => (a) { a = Mul(x, f) }, else_branch = e () => (b) { b = Neg(x) }>
}"""
WINDOW = """g (float[batch,time] x) => (float[batch,time] y)
<int64 one = {1}, int64 window = {160}>
{
  shape = Shape(x)
  length = Gather(shape, one)
  whole = Equal(length, window)
  y = If(whole) <
    then_branch = t () => (a) { a = Neg(x) }, else_branch = e () => (b) { b = Identity(x) }>
}"""
VALUES = ", ".join(map(str, range(180)))
TEXTS = {
    "selector": SELECTOR.replace("WEIGHT", "1.5"),
    "ids declared as float": FLOAT_IDS.replace("VALUES", VALUES),
    "steps of a loop": STEPS,
    "mask": MASKED,
    "size of a window": WINDOW,
}


def _saved(text: str, path: Path) -> Path:
    model = parser.parse_model(HEAD + text)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("kind", TEXTS)
def test_all_is_seen(kind: str, tmp_path: Path) -> None:
    path = _saved(TEXTS[kind], tmp_path / "m.onnx")
    report = validate(path, against=path)
    assert report
    assert report.covered, report
    assert report.word == "PASS"


def test_a_wrong_branch_fails(tmp_path: Path) -> None:
    right = _saved(TEXTS["selector"], tmp_path / "right.onnx")
    wrong = _saved(SELECTOR.replace("WEIGHT", "1.25"), tmp_path / "wrong.onnx")
    assert not validate(wrong, against=right)


def test_a_wrong_row_fails(tmp_path: Path) -> None:
    right = _saved(TEXTS["ids declared as float"], tmp_path / "right.onnx")
    other = FLOAT_IDS.replace("VALUES", VALUES.replace("178", "-178"))
    assert not validate(_saved(other, tmp_path / "wrong.onnx"), against=right)


def test_loops_run_for_several_steps(tmp_path: Path) -> None:
    path = _saved(STEPS, tmp_path / "m.onnx")
    wanted = find_wanted(onnx.load(path))
    assert wanted.values == {"n": {1, 2, 5}}


def test_rows_of_a_table_against_torch(tmp_path: Path) -> None:
    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.gru = nn.Embedding(1_500, 3), nn.GRU(3, 4)

        def forward(self, ids: Tensor) -> Tensor:
            y: Tensor = self.gru(self.embed(ids))[0]
            return y

    torch.manual_seed(0)
    module, path = Reader(), tmp_path / "reader.onnx"
    export(module, path, example_inputs=(torch.zeros(4, 2, dtype=torch.int64),), validate=False)
    report = validate(path, against=module, isolated=False)
    assert report.covered, report
    with torch.no_grad():
        module.embed.weight[1_499] += 0.1
    assert not validate(path, against=module, isolated=False)


def test_what_is_wanted() -> None:
    wanted = find_wanted(parser.parse_model(HEAD + TEXTS["selector"]))
    assert wanted.values == {"sr": {7999, 8000, 8001, 15999, 16000, 16001}}
    assert wanted.choices == 6
    assert find_wanted(parser.parse_model(HEAD + WINDOW)).sizes == {159, 160, 161}
    assert find_wanted(parser.parse_model(HEAD + TEXTS["ids declared as float"])).rows == {
        "ids": 90
    }


def test_every_row_is_drawn() -> None:
    wanted = find_wanted(parser.parse_model(HEAD + TEXTS["ids declared as float"]))
    interface = Interface((TensorSpec("ids", "float32", (BATCH, TIME)),), (), (), None)
    cases = further_cases(interface, wanted)
    drawn = np.concatenate([make_inputs(interface, c, 1, wanted)["ids"].ravel() for c in cases])
    assert set(drawn) == set(range(90))


def test_other_cases_are_as_ever() -> None:
    interface = Interface((TensorSpec("sr", "int64", ()),), (), (), None)
    wanted = find_wanted(parser.parse_model(HEAD + TEXTS["selector"]))
    plain, tried = (make_inputs(interface, Case(3, 2), 1, w)["sr"] for w in (None, wanted))
    assert plain == tried
