"""Greedy and beam search over tables of logits."""

import itertools

import numpy as np
import pytest

from rnnedge_runtime.decoding.search import BeamSearch, GreedySearch, best, log_probabilities

SYMBOLS, STOP = 4, 3
STOPS = np.array([STOP])


def table(seed, steps=4):
    """Return logits [steps, symbols] that do not depend on what was written."""
    return np.random.default_rng(seed).normal(size=(steps, SYMBOLS)).astype(np.float32)


def every_sequence(logits, length_penalty):
    """Return all sequences of a table that end at a stop or at its end, the best first."""
    gains = log_probabilities(logits)
    found = set()
    for path in itertools.product(range(SYMBOLS), repeat=len(logits)):
        end = path.index(STOP) + 1 if STOP in path else len(path)
        score = sum(gains[step, symbol] for step, symbol in enumerate(path[:end]))
        found.add((score / end**length_penalty, score, path[:end]))
    return sorted(found, reverse=True)


@pytest.mark.parametrize("length_penalty", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_a_beam_that_holds_everything_finds_the_best_of_all(seed, length_penalty):
    logits = table(seed)
    width = SYMBOLS ** len(logits)
    search = BeamSearch(1, STOPS, width, length_penalty)
    for step in logits:
        search.advance(np.repeat(step[None], width, 0))
    (found,) = search.hypotheses()
    expected = every_sequence(logits, length_penalty)
    assert len(found) == len(expected)
    np.testing.assert_allclose([one.score for one in found], [score for _, score, _ in expected])
    for one, (_, _, path) in zip(found, expected, strict=True):
        assert one.tokens == tuple(symbol for symbol in path if symbol != STOP)
        assert one.finished == (path[-1] == STOP)


def test_rows_of_a_batch_do_not_see_each_other():
    tables = [table(seed, 6) for seed in range(3)]
    together = BeamSearch(3, STOPS, 2, 0.5)
    alone = [BeamSearch(1, STOPS, 2, 0.5) for _ in tables]
    for step in range(6):
        together.advance(np.repeat([rows[step] for rows in tables], 2, 0))
        for search, rows in zip(alone, tables, strict=True):
            search.advance(np.repeat(rows[step][None], 2, 0))
    assert together.hypotheses() == sum((search.hypotheses() for search in alone), ())


def test_a_beam_wider_than_the_symbols_has_no_doubles():
    search = BeamSearch(1, STOPS, 10, 0.0)
    search.advance(np.repeat(table(0)[:1], 10, 0))
    (found,) = search.hypotheses()
    assert sorted(one.tokens for one in found) == [(), (0,), (1,), (2,)]


def test_a_beam_of_one_is_greedy():
    logits = table(3, 8)
    beam, greedy = BeamSearch(1, STOPS, 1, 0.0), GreedySearch(1, STOPS)
    for step in logits:
        assert beam.advance(step[None]).symbols == greedy.advance(step[None]).symbols
        if not greedy.live.any():
            break
    assert beam.hypotheses() == greedy.hypotheses()


def test_among_equals_the_lowest_symbol_is_taken():
    equal = np.zeros((2, SYMBOLS), np.float32)
    assert GreedySearch(2, STOPS).advance(equal).symbols.tolist() == [0, 0]
    chosen = BeamSearch(1, STOPS, 2, 0.0).advance(equal)
    assert chosen.symbols.tolist() == [0, 1]


def test_a_masked_symbol_is_never_written():
    logits = table(1)
    logits[:, :2] = -np.inf
    search = BeamSearch(1, STOPS, 8, 0.0)
    for step in logits:
        search.advance(np.repeat(step[None], 8, 0))
    (found,) = search.hypotheses()
    assert {symbol for one in found for symbol in one.tokens} == {2}
    assert len(found) == 5  # a stop after each of 0 to 3 symbols, and none


@pytest.mark.parametrize("count", [1, 2, 7, 20])
def test_best_is_a_stable_sort(count):
    ranks = np.random.default_rng(count).integers(0, 4, (3, 20)).astype(float)
    expected = np.argsort(-ranks, axis=1, kind="stable")[:, :count]
    np.testing.assert_array_equal(best(ranks, count), expected)


def test_huge_logits_keep_finite_scores():
    scores = log_probabilities(np.array([[3e38, -3e38, 3e38]], np.float32))
    np.testing.assert_allclose(scores, [[-np.log(2), -6e38, -np.log(2)]], rtol=1e-6)
