"""A watched copy says what of a model ran: branches, bodies, steps and table rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import parser

from rnnedge.parity.coverage.found import Coverage
from rnnedge.parity.coverage.measured import measure
from rnnedge.parity.coverage.watched import watch
from rnnedge_exporters.sandbox.session_server import probe_all

BRANCHES = """
  e = Gather(table, ids)
  c = Equal(sr, k)
  z = If(c) <
    then_branch = a () => (za) { za = Add(e, e) },
    else_branch = b () => (zb) {
      c2 = Greater(sr, k)
      zb = If(c2) <
        then_branch = aa () => (zaa) { zaa = Mul(e, e) },
        else_branch = bb () => (zbb) { w = Abs(e) zbb = Neg(w) }>
    }>
"""
TWO_IFS_AND_A_LOOP = f"""<ir_version: 8, opset_import: ["" : 17]>
g (int64[batch,time] ids, int64 sr, int64 n) => (float[batch,time,2] y)
<float[4,2] table = {{0,1,2,3,4,5,6,7}}, int64 k = {{8000}}, int64 rows = {{4}}>
{{
  {BRANCHES}
  t = Constant<value = bool {{1}}>()
  y = Loop(n, t, z) <body = l (int64 i, bool cond, float[batch,time,2] acc)
    => (bool cond2, float[batch,time,2] acc2) {{
      cond2 = Identity(cond)
      r = Mod(i, rows)
      f = Gather(table, r)
      acc2 = Add(acc, f)
    }}>
}}"""
LOOKUP_IN_A_SCAN = """<ir_version: 8, opset_import: ["" : 17]>
g (float[time,batch] ids, float[batch,2] h) => (float[time,batch,2] y)
<int8[4,2] table = {0,1,2,3,4,5,6,7}, float scale = {0.5}>
{
  wide = DequantizeLinear(table, scale)
  last, y = Scan <num_scan_inputs = 1, body = l (float[batch,2] h_0, float[batch] x)
    => (float[batch,2] h_1, float[batch,2] out) {
      i = Cast <to = 7> (x)
      e = Gather(wide, i)
      h_1 = Add(h_0, e)
      out = Identity(h_1)
    }> (h, ids)
}"""
SCAN = """<ir_version: 8, opset_import: ["" : 17]>
g (float[time,batch] x, float[batch] h) => (float[time,batch] y)
{
  last, y = Scan <num_scan_inputs = 1, body = l (float[batch] h_0, float[batch] x_t)
    => (float[batch] h_1, float[batch] out) { h_1 = Add(h_0, x_t) out = Identity(h_1) }> (h, x)
}"""


def _covered(text: str, *runs: dict[str, Any], opset: int = 17) -> Coverage:
    model = parser.parse_model(text.replace(": 17]", f": {opset}]"))
    if opset == 17:
        onnx.checker.check_model(model, full_check=True)
    feeds: Sequence[Any] = [{name: np.array(value) for name, value in run.items()} for run in runs]
    return measure(watch(model), feeds, probe_all)


ONE = {"ids": [[0, 1]], "sr": 8000, "n": 0}
OTHER = {"ids": [[0, -1]], "sr": 16000, "n": 2}
REST = {"ids": [[2]], "sr": 4000, "n": 4}


def test_what_never_ran_is_named() -> None:
    coverage = _covered(TWO_IFS_AND_A_LOOP, ONE)
    assert not coverage.full
    assert coverage.seen == "5 of 14 nodes ran, 2 of 4 table rows were looked up"
    assert list(coverage.missing()) == [
        "If of z: else_branch never ran (2 nodes)",
        "Loop of y: body never ran (4 nodes)",
        "2 of 4 rows of table",
    ]


def test_branches_inside_branches() -> None:
    coverage = _covered(TWO_IFS_AND_A_LOOP, ONE, OTHER)
    assert list(coverage.missing()) == [
        "If of z: else_branch / If of zb: else_branch never ran (2 nodes)",
        "1 of 4 rows of table",
    ]


def test_all_of_it() -> None:
    coverage = _covered(TWO_IFS_AND_A_LOOP, ONE, OTHER, REST)
    assert coverage.full
    assert coverage.seen == "all 14 nodes ran, all 4 table rows were looked up"


def test_steps_of_a_loop() -> None:
    coverage = _covered(TWO_IFS_AND_A_LOOP, ONE, OTHER)
    (loop,) = (graph for graph in coverage.graphs if graph.name.startswith("Loop"))
    assert loop.steps == (0, 2)
    assert "Loop of y: body: 0 to 2 steps" in coverage.lines()


@pytest.mark.parametrize(("ids", "seen"), [([[0], [3], [3]], 2), ([[1], [2]], 2), ([[-2]], 1)])
def test_rows_looked_up_inside_a_scan(ids: list[list[int]], seen: int) -> None:
    run = {"ids": np.array(ids, np.float32), "h": np.zeros((1, 2), np.float32)}
    (table,) = _covered(LOOKUP_IN_A_SCAN, run).tables
    assert (table.name, table.rows, table.seen) == ("table", 4, seen)


def test_a_scan_alone_is_not_run_again() -> None:
    assert watch(parser.parse_model(SCAN)).content is None
    coverage = _covered(SCAN)
    assert coverage.full
    assert coverage.seen == "all 3 nodes ran"


def test_rows_of_integers_and_their_scales() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (int64[n] ids) => (float[n,2] y)
    <int8[4,2] t = {0,1,2,3,4,5,6,7}, float[4,1] s = {1,2,3,4}>
    { f = Cast<to = 1>(t) wide = Mul(f, s) y = Gather(wide, ids) }"""
    (table,) = _covered(text, {"ids": [0, 3, 3]}).tables
    assert (table.name, table.rows, table.seen) == ("t", 4, 2)


def test_constant_indices_look_up_no_rows() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17]>
    g (float[2] x) => (float[2] y) <float[4,2] t = {0,1,2,3,4,5,6,7}, int64 i = {1}>
    { e = Gather(t, i) y = Add(x, e) }"""
    assert _covered(text).full


def test_the_model_is_not_changed() -> None:
    model = parser.parse_model(TWO_IFS_AND_A_LOOP)
    before = model.SerializeToString()
    watch(model)
    assert model.SerializeToString() == before


def test_an_opset_that_cannot_be_watched() -> None:
    coverage = _covered(TWO_IFS_AND_A_LOOP, ONE, opset=10)
    assert not coverage.full
    assert coverage.lines() == [
        "coverage: an unknown part of its 14 nodes ran",
        "not covered: what ran is not known (opset 10 is older than 11)",
    ]


def test_no_answer_is_no_coverage() -> None:
    (said,) = _covered(TWO_IFS_AND_A_LOOP).missing()
    assert said == "what ran is not known (it answered none of the cases)"
