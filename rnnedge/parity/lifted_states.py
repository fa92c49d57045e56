"""The states of a file that were lifted from one call of a layer or loop, put into its source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from rnnedge_exporters.modules.constant_starts import STARTED
from rnnedge_runtime.contract import StatePair


class LiftedStates:
    """States to start from.

    Args:
        pairs: Those of the call, the flag of rows that have started among them.
        given: What the file is given, by name.

    Attributes:
        pairs: The states without the flag.
        given: Their values.
    """

    def __init__(self, pairs: Sequence[StatePair], given: Mapping[str, Tensor]) -> None:
        """Take the flag apart."""
        flags = [pair for pair in pairs if _is_flag(pair)]
        self._flag = flags[0] if flags else None
        self._started = given[flags[0].input] if flags else None
        self.pairs = [pair for pair in pairs if not _is_flag(pair)]
        self.given = [given[pair.input] for pair in self.pairs]

    def begun(self, own: Sequence[Tensor], axes: Sequence[int]) -> list[Tensor]:
        """Return what the call starts from.

        Args:
            own: What the source starts from by itself, of the shapes of the states.
            axes: Which axis of each is the batch.
        """
        if self._started is None:
            return list(self.given)
        chosen = []
        for given, start, axis in zip(self.given, own, axes, strict=True):
            rows = (self._started > 0).reshape(-1, *[1] * (given.dim() - 1 - axis))
            chosen.append(torch.where(rows, given, start))
        return chosen

    def finals(self, states: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return the final states by name."""
        named = {pair.output: one for pair, one in zip(self.pairs, states, strict=True)}
        if self._flag is not None and self._started is not None:
            named[self._flag.output] = torch.ones_like(self._started)
        return named


def _is_flag(pair: StatePair) -> bool:
    return pair.input.rpartition(".")[2] == f"{STARTED}_0"
