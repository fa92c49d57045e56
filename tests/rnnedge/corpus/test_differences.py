"""What is added up of two sets of answers."""

import math
from itertools import pairwise

import numpy as np
import pytest

from rnnedge.corpus.differences import EACH_STEP, Differences, SideAnswers, bin_edge, step_ranges

NONE = [None] * 40


@pytest.fixture(scope="module")
def answers():
    random = np.random.default_rng(0)
    lengths = random.integers(1, 90, 40)
    a = random.standard_normal((lengths.sum(), 4)).astype(np.float32)
    b = a + np.float32(1e-2) * random.standard_normal(a.shape).astype(np.float32)
    return lengths, a, b


def added(lengths, a, b, batches=1):
    found = Differences(["y"])
    stops = np.cumsum(lengths)
    for rows in np.array_split(np.arange(len(lengths)), batches):
        steps = slice(stops[rows[0]] - lengths[rows[0]], stops[rows[-1]])
        one, two = (SideAnswers(side[steps], lengths[rows]) for side in (a, b))
        none = [None] * len(rows)
        found.add([f"r{row}" for row in rows], {"y": one}, {"y": two}, (none, none))
    return found


def test_each_number_is_that_of_the_rows_one_by_one(answers):
    lengths, a, b = answers
    output = added(lengths, a, b).outputs["y"]
    rows_a, rows_b = (np.split(side, np.cumsum(lengths)[:-1]) for side in (a, b))
    apart = [np.abs(x.astype(float) - y).max() for x, y in zip(rows_a, rows_b, strict=True)]
    last = [x[-1].argmax() != y[-1].argmax() for x, y in zip(rows_a, rows_b, strict=True)]
    assert output.rows_differ == sum(last)
    assert output.steps_differ == (a.argmax(1) != b.argmax(1)).sum() > 0
    assert output.largest == max(apart)
    assert (output.rows, output.steps) == (40, len(a))
    assert sum(output.histogram) == 40
    assert np.median(apart) <= output.quantile(0.5) <= np.median(apart) * 10 ** (2 / 8)
    at = np.concatenate([np.arange(n) for n in lengths])
    steps = np.abs(a.astype(float) - b).max(1)
    for (first, end), (largest, total, count) in zip(
        step_ranges(len(output.over_time)), output.over_time, strict=True
    ):
        there = steps[(at >= first) & (at <= end)]
        assert (largest, count) == (there.max(), len(there))
        assert total == pytest.approx(there.sum())


def test_the_worst_rows_are_named(answers):
    lengths, a, b = answers
    b = b.copy()
    start = lengths[:7].sum()
    b[start + 1, 2] += 5
    worst = added(lengths, a, b, batches=6).worst
    assert len(worst) == 10
    assert (worst[0].id, worst[0].row, worst[0].step) == ("r7", 7, 1)
    assert worst[0].steps == lengths[7]
    top = b[start + 1].argmax()
    assert worst[0].b == f"[{top}] {b[start + 1, top]:.6g}"
    assert [row.difference for row in worst] == sorted((r.difference for r in worst), reverse=True)


def test_how_rows_come_in_batches_does_not_matter(answers):
    one, other = (added(*answers, batches=count) for count in (1, 11))
    assert one.worst == other.worst
    first, second = one.outputs["y"], other.outputs["y"]
    np.testing.assert_array_equal(first.histogram, second.histogram)
    np.testing.assert_allclose(first.over_time, second.over_time, rtol=1e-12)
    assert first.rows_differ == second.rows_differ


def test_ranges_of_steps_are_without_gaps():
    ranges = step_ranges(200)
    assert ranges[:2] == [(0, 0), (1, 1)]
    assert all(end + 1 == start for (_, end), (start, _) in pairwise(ranges))
    assert ranges[EACH_STEP + 7][1] == 2 * EACH_STEP - 1


NAN, INF = math.nan, math.inf


@pytest.mark.parametrize(
    ("a", "b", "difference"),
    [(NAN, NAN, 0), (INF, INF, 0), (NAN, 1, INF), (1, INF, INF), (INF, -INF, INF), (2, 2.5, 0.5)],
)
def test_what_is_not_finite(a, b, difference):
    one, two = (np.array([[x, 0.0]], np.float32) for x in (a, b))
    output = added(np.array([1]), one, two).outputs["y"]
    assert output.largest == difference
    assert output.histogram[-1] == math.isinf(difference)


def test_a_row_that_one_side_answered(answers):
    lengths, a, b = answers
    found = Differences(["y"])
    bad_a, bad_b = list(NONE), list(NONE)
    bad_a[3] = bad_b[3] = "empty"
    bad_b[5] = "too long"
    one, two = ({"y": SideAnswers(side, lengths)} for side in (a, b))
    found.add([str(row) for row in range(40)], one, two, (bad_a, bad_b))
    assert (found.rows, found.compared, found.one_sided, found.failed) == (40, 38, 1, 1)
    assert found.worst[0].id == "5"
    assert (found.worst[0].a, found.worst[0].b) == ("an answer", "too long")
    assert found.worst[0].difference == math.inf


def test_a_row_with_other_steps_on_one_side():
    found = Differences(["y"])
    one, two = np.ones((5, 2), np.float32), np.ones((6, 2), np.float32)
    a, b = SideAnswers(one, np.array([2, 3])), SideAnswers(two, np.array([2, 4]))
    found.add(["x", "z"], {"y": a}, {"y": b}, ([None] * 2, [None] * 2))
    assert (found.compared, found.one_sided, found.outputs["y"].largest) == (1, 1, 0.0)
    assert found.worst[0].b == "y: 4 steps"


def test_integers_are_compared_as_they_are():
    one = np.array([[1, 2], [3, 4]])
    output = added(np.array([1, 1]), one, one + np.array([[0, 0], [0, 1]])).outputs["y"]
    assert (output.kind, output.rows_differ, output.largest) == ("values", 1, 1)


def test_a_single_number_has_no_largest_score():
    one = np.array([0.1, 0.9], np.float32)
    output = added(np.array([1, 1]), one, one[::-1]).outputs["y"]
    assert (output.kind, output.rows_differ) == ("number", 0)


def test_bins_hold_what_their_edges_say():
    edge = bin_edge(50)
    for difference, at in ((edge * 0.99, 50), (edge * 1.01, 51)):
        one, two = (np.array([[x, 0]], np.float64) for x in (0.0, difference))
        assert added(np.array([1]), one, two).outputs["y"].histogram[at] == 1
