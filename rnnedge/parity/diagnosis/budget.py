"""How long a diagnosis may search, and what it left undone."""

from __future__ import annotations

import time


class Budget:
    """Seconds for a diagnosis, shared by its searches.

    Args:
        seconds: How long all of them may take together, 0 or more.

    Attributes:
        seconds: The same.
        unfinished: The searches that ended with the budget, and how far each got.
    """

    def __init__(self, seconds: float) -> None:
        """Start the clock."""
        self.seconds = seconds
        self.unfinished: list[str] = []
        self._began = time.monotonic()

    def left(self, share: float = 1.0) -> bool:
        """Whether less than a share of the budget is spent.

        Args:
            share: What the searches up to and with this one may take, 0 to 1.
        """
        return time.monotonic() - self._began < share * self.seconds

    def stopped(self, search: str, done: str) -> None:
        """Note a search that ended with the budget.

        Args:
            search: What was searched for.
            done: How far it got, such as `12 of 80 cases run`.
        """
        self.unfinished.append(f"{search}: {done} when its share of {self.seconds:g} s was spent")
