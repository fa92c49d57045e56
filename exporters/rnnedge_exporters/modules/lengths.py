"""The lengths of a packed sequence, which a module may turn into a list or an array of numpy.

`lengths.tolist()` and `lengths.cpu().numpy()` are the tensor all the same, and stay it here: a list
of numbers would be those of the example.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor

from rnnedge_exporters.errors import ExportError
from rnnedge_exporters.modules.source_lines import calling_line

CONSTANT = (
    "the lengths of a packed sequence are constants, and would be those of every sequence: give "
    "them as a tensor that is an argument of forward, example_inputs=(x, torch.tensor([7, 4, 2]))"
)


class Listed(Sequence[Any]):
    """What `tensor.tolist()` and `tensor.numpy()` return while a module is traced.

    Attributes:
        tensor: The tensor, int [entries].
    """

    def __init__(self, tensor: Tensor, listing: Callable[[Tensor], Any]) -> None:
        """Stand for a tensor; `listing` makes the real list where a module looks into it."""
        self.tensor = tensor
        self._listing = listing

    def __len__(self) -> int:
        """Return the number of entries, which fixes it."""
        return len(self._listing(self.tensor))

    def __getitem__(self, index: Any) -> Any:
        """Return entries of the real list."""
        return self._listing(self.tensor)[index]

    def __iter__(self) -> Iterator[Any]:
        """Go through the real list."""
        return iter(self._listing(self.tensor))

    def __getattr__(self, name: str) -> NoReturn:
        """Refuse what lists and arrays of numpy have besides."""
        raise ExportError(
            f"{calling_line()}: .{name} of a list or numpy array is computed at export only: "
            "compute it with tensors"
        )


def as_lengths(given: Any, rows: int | torch.SymInt, steps: int | torch.SymInt) -> Tensor:
    """Return the lengths that `pack_padded_sequence` was given as int64 [batch].

    Args:
        given: A tensor, or a list or array of numbers.
        rows: Rows of the sequence that is packed, symbolic where they are an open axis.
        steps: Its steps.

    Raises:
        ExportError: When they are a list of numbers where rows or steps are an open axis.
    """
    if isinstance(given, Listed):
        given = given.tensor
    if isinstance(given, Tensor):
        return given.to(dtype=torch.int64)
    items = list(given)
    if all(isinstance(item, Tensor | torch.SymInt) for item in items):
        if isinstance(rows, torch.SymInt):
            raise ExportError(
                f"{calling_line()}: a list with a number for each row fixes the batch to "
                f"{len(items)}: give pack_padded_sequence the tensor itself (lengths, "
                "lengths.cpu() or lengths.tolist()), or torch.full((x.size(0),), x.size(1))"
            )
        numbers = [n if isinstance(n, Tensor) else torch.full((), n) for n in items]
        return torch.stack(numbers).to(dtype=torch.int64)
    if isinstance(rows, torch.SymInt) or isinstance(steps, torch.SymInt):
        raise ExportError(f"{calling_line()}: {CONSTANT}")
    return torch.as_tensor(items, dtype=torch.int64)
