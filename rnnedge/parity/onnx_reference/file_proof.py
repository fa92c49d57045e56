"""Whether a proof against an ONNX file fails for another file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rnnedge.parity.compare import Tolerance
from rnnedge.parity.onnx_reference.comparison import Comparison
from rnnedge.parity.onnx_reference.interface_matching import Match, NamedFile
from rnnedge.parity.onnx_reference.model_under_test import OpenedFile
from rnnedge.parity.onnx_reference.reference import Reference, make_reference
from rnnedge.parity.onnx_reference.sweep import Sweep
from rnnedge_exporters.sandbox.onnx_runtime import Sandbox
from rnnedge_runtime.errors import RnnEdgeError


@dataclass(frozen=True, slots=True)
class FileProof:
    """A proof that passed, to be made again of other files.

    Attributes:
        sandbox: Where files run.
        against: The original.
        match: What the inputs and outputs of the files are called.
        reference: What the first file was compared with.
        sweep: What was run.
        tolerance: What counts as equal.
    """

    sandbox: Sandbox
    against: Path
    match: Match
    reference: Reference
    sweep: Sweep
    tolerance: Tolerance

    def fails(self, path: str) -> bool:
        """Whether the file at a path is refused, or answers something else in a case."""
        try:
            file = NamedFile(OpenedFile(self.sandbox, path), self.match)
            reference = self.reference
            if reference.dtypes:  # the reference holds what the file does
                reference = make_reference(self.against, Path(path))
            interface = self.sweep.interface
            comparison = Comparison(self.sandbox, reference, file, self.tolerance, interface)
        except RnnEdgeError:
            return True
        for answers in sorted(self.sweep.collected, key=lambda a: a.case.time * a.case.batch):
            expected = self.sweep.expected[answers.case]
            if not all(comparison.run(answers.case, answers.inputs, expected)[1]):
                return True
        return False
