"""Which symbol follows: greedy search, and beam search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """One sequence of symbols that a decoder wrote.

    Attributes:
        tokens: The symbols, without those of the start and without the stop symbol.
        score: The sum of the log-probabilities of its symbols, the stop symbol included.
        finished: Whether it ends with a stop symbol; False where it was cut off by `max_steps`.
        frames: For a transducer, the frame at which each symbol was written; else empty.
    """

    tokens: tuple[int, ...]
    score: float
    finished: bool
    frames: tuple[int, ...] = ()


class SymbolChoice(NamedTuple):
    """What a search chose in one step.

    Attributes:
        symbols: The next symbol of each row of the stream, int64 [rows].
        parents: The row that each row continues, int64 [rows]; None if each continues itself.
    """

    symbols: Integers
    parents: Integers | None


class Search(Protocol):
    """Chooses the next symbols from the logits of a step."""

    @property
    def live(self) -> NDArray[np.bool_]:
        """Which rows of the stream still need logits, bool [rows]."""

    def advance(self, logits: NDArray[Any]) -> SymbolChoice:
        """Choose the next symbol of each row; logits are floats [rows, symbols]."""

    def hypotheses(self) -> tuple[tuple[Hypothesis, ...], ...]:
        """Return the hypotheses of each sequence, the best first."""


class GreedySearch:
    """Takes the most likely symbol, and the first of several that are equally likely."""

    def __init__(self, batch: int, stops: Integers) -> None:
        """Start with `batch` empty sequences, which end at one of `stops`."""
        self.live = np.ones(batch, bool)
        self._stops = stops
        self._scores: Floats = np.zeros(batch)
        self._steps: list[tuple[Integers, NDArray[np.bool_]]] = []

    def advance(self, logits: NDArray[Any]) -> SymbolChoice:
        """Choose the next symbol of each row; logits are floats [rows, symbols]."""
        symbols = logits.argmax(axis=1).astype(np.int64)
        self._scores[self.live] += chosen_scores(logits[self.live])
        self.live = self.live & ~(symbols[:, None] == self._stops).any(axis=1)
        self._steps.append((symbols, self.live))
        return SymbolChoice(symbols, None)

    def hypotheses(self) -> tuple[tuple[Hypothesis, ...], ...]:
        """Return the one hypothesis of each sequence."""
        return tuple(
            (
                Hypothesis(
                    tuple(int(symbols[row]) for symbols, live in self._steps if live[row]),
                    float(self._scores[row]),
                    not self.live[row],
                ),
            )
            for row in range(len(self._scores))
        )


class BeamSearch:
    """Keeps the `width` best hypotheses of each sequence; a finished one stays among them.

    A hypothesis of n symbols, the stop symbol included, ranks by `score / n**length_penalty`. Among
    equals the one whose parent ranks higher comes first, then the one with the lower symbol.
    """

    def __init__(self, batch: int, stops: Integers, width: int, length_penalty: float) -> None:
        """Start with `batch` empty sequences, each in `width` rows of the stream."""
        self._stops, self._penalty = stops, length_penalty
        self._offsets = np.arange(batch)[:, None] * width
        self._finished = np.zeros((batch, width), bool)
        self._lengths = np.zeros((batch, width), np.int64)
        self._scores: Floats = np.full((batch, width), -np.inf)
        self._scores[:, 0] = 0  # all rows are alike at first: one of them counts
        self._steps: list[tuple[Integers, Integers]] = []

    @property
    def live(self) -> NDArray[np.bool_]:
        """Which rows of the stream still need logits, bool [rows]."""
        return (~self._finished & (self._scores > -np.inf)).ravel()

    def advance(self, logits: NDArray[Any]) -> SymbolChoice:
        """Choose the best continuations; logits are floats [rows, symbols]."""
        batch, width = self._scores.shape
        count = logits.shape[1]
        live = self.live.reshape(batch, width)
        totals = np.full((batch, width, count), -np.inf)
        rows = logits.reshape(batch, width, count)
        totals[live] = self._scores[live][:, None] + log_probabilities(rows[live])
        totals[self._finished, 0] = self._scores[self._finished]  # goes on as it is
        lengths = self._lengths + live
        ranks = totals / np.maximum(lengths, 1)[:, :, None] ** self._penalty
        picked = best(ranks.reshape(batch, -1), width)
        parents, symbols = np.divmod(picked, count)

        was_finished = np.take_along_axis(self._finished, parents, 1)
        self._scores = np.take_along_axis(totals.reshape(batch, -1), picked, 1)
        self._lengths = np.take_along_axis(lengths, parents, 1)
        self._finished = was_finished | (np.isin(symbols, self._stops) & (self._scores > -np.inf))
        self._steps.append((parents, np.where(self._finished, -1, symbols)))
        return SymbolChoice(symbols.ravel(), (self._offsets + parents).ravel())

    def hypotheses(self) -> tuple[tuple[Hypothesis, ...], ...]:
        """Return the hypotheses of each sequence, the best first."""
        return tuple(
            tuple(
                Hypothesis(self._tokens(row, place), float(score), bool(finished))
                for place, (score, finished) in enumerate(zip(scores, ended, strict=True))
                if score > -np.inf
            )
            for row, (scores, ended) in enumerate(zip(self._scores, self._finished, strict=True))
        )

    def _tokens(self, row: int, place: int) -> tuple[int, ...]:
        tokens = []
        for parents, symbols in reversed(self._steps):
            if symbols[row, place] >= 0:
                tokens.append(int(symbols[row, place]))
            place = int(parents[row, place])
        return tuple(reversed(tokens))


def log_probabilities(logits: NDArray[Any]) -> Floats:
    """Return log(softmax(logits)) over the last axis, in float64."""
    shifted: Floats = logits.astype(np.float64)
    shifted -= shifted.max(axis=-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return shifted


def chosen_scores(logits: NDArray[Any]) -> Floats:
    """Return the log-probability of each row's most likely symbol, float64 [rows]."""
    shifted: Floats = logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)  # that of the most likely becomes 0
    scores: Floats = -np.log(np.exp(shifted).sum(axis=1))
    return scores


def best(ranks: Floats, count: int) -> Integers:
    """Return the places of the `count` highest numbers of each row, the highest first.

    Among equals the first comes first. Args: ranks, float64 [rows, at least count].
    """
    if ranks.shape[1] <= count:
        return np.argsort(-ranks, axis=1, kind="stable")
    lowest = np.partition(ranks, -count, axis=1)[:, -count]
    picked = np.empty((len(ranks), count), np.int64)
    for row, limit in enumerate(lowest):
        places = np.flatnonzero(ranks[row] >= limit)
        order = np.argsort(-ranks[row, places], kind="stable")
        picked[row] = places[order[:count]]
    return picked
