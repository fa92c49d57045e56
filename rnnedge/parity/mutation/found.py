"""Which disturbed weights a sweep has noticed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rnnedge.parity.mutation.disturbed import disturbed
from rnnedge_exporters.onnx_model.loading import load


@dataclass(frozen=True, slots=True)
class Mutation:
    """What became of disturbed weights.

    Attributes:
        tensors: Weight tensors that the file holds.
        disturbed: Copies of the file that were run, each with one tensor, or one row of a tensor,
            changed.
        unnoticed: What was changed where the copy passed all the same.
    """

    tensors: int
    disturbed: int
    unnoticed: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """Return what was noticed, and each thing that was not, one a line."""
        noticed = self.disturbed - len(self.unnoticed)
        said = (
            f"mutation: {noticed:,} of {self.disturbed:,} changes of {self.tensors:,} weight "
            "tensors were noticed"
        )
        return [said, *(f"not noticed: {what}" for what in self.unnoticed)]


def attack(
    path: str, notices: Callable[[str], bool], progress: Callable[[int, int], None] | None = None
) -> Mutation:
    """Disturb every weight tensor of a file, one at a time, in a copy.

    Args:
        path: The file; it is only read.
        notices: Whether a proof fails for the file at a path.
        progress: Called with the number of copies done and in all.

    Returns:
        What was noticed.
    """
    mutants = list(disturbed(load(path)))
    unnoticed = []
    with TemporaryDirectory(prefix="rnnedge-") as folder:
        copy = Path(folder) / "model.onnx"
        for number, mutant in enumerate(mutants, 1):
            copy.write_bytes(mutant.content())
            if not notices(str(copy)):
                unnoticed.append(mutant.name)
            if progress:
                progress(number, len(mutants))
    tensors = len({mutant.tensor for mutant in mutants})
    return Mutation(tensors, len(mutants), tuple(unnoticed))
