"""`fix`: repair what can be repaired, and prove it before the file is written."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rnnedge.doctor.examination import check_arguments, diagnose
from rnnedge.doctor.findings import Examination
from rnnedge.doctor.model_facts import Subject, observe
from rnnedge.doctor.repairs.base import MadeRepair, Repair
from rnnedge.doctor.repairs.fixable import IN_PLACE
from rnnedge.doctor.repairs.reexport import EXPORT_AGAIN
from rnnedge.errors import RepairError
from rnnedge_exporters.sandbox.onnx_runtime import TIME_LIMIT, Sandbox
from rnnedge_runtime.atomic_file import write_file
from rnnedge_runtime.errors import RnnEdgeError
from rnnedge_runtime.notebook import html_table
from rnnedge_runtime.write_target import ONNX, check_target


@dataclass(frozen=True, slots=True)
class Treatment:
    """What `fix` did.

    Attributes:
        model: The file that was repaired.
        output: The new file.
        sha256: Digest of the new file, 64 hexadecimal digits.
        repairs: What was done, each with its proof.
        reasons: Why other repairs were not made, one line each.
        before: What was wrong.
        after: What still is.
    """

    model: str
    output: str
    sha256: str
    repairs: tuple[MadeRepair, ...]
    reasons: tuple[str, ...]
    before: Examination
    after: Examination

    def __bool__(self) -> bool:
        """Whether the new file has no error left."""
        return bool(self.after)

    def __str__(self) -> str:
        """Return one line with the new file, the number of repairs, and what is left."""
        made = ", ".join(repair.name for repair in self.repairs) or "nothing repaired"
        return f"{self.output} (sha256 {self.sha256[:12]}) from {self.model}: {made}"

    def __repr__(self) -> str:
        """Return the line of `str`."""
        return f"Treatment({self})"

    def _repr_html_(self) -> str:
        """Return what a notebook shows: each repair with its proof, and what is left."""
        rows = [
            (repair.name, "; ".join(repair.changes), "; ".join(repair.proofs))
            for repair in self.repairs
        ]
        rows += [("not repaired", reason, "") for reason in self.reasons]
        rows += [(f.severity, f.where, f.problem) for f in self.after.findings]
        return html_table(str(self), ("repair", "what changed", "proof"), rows)

    def to_dict(self) -> dict[str, Any]:
        """Return values that JSON can hold."""
        return {
            **asdict(self),
            "before": self.before.to_dict(),
            "after": self.after.to_dict(),
            "healthy": bool(self),
        }


def fix(
    model: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    runtimes: Collection[str] = (),
    time_limit: float = TIME_LIMIT,
    force: bool = False,
    examined: Callable[[Examination], None] | None = None,
) -> Treatment:
    """Repair an ONNX model with recurrent layers, as far as that can be proven.

    A file that is nothing but one layer of PyTorch is exported again. Any other is changed in
    place: sizes of the example taken out, axes declared as they are, states exposed, and what
    betrays its maker's machine stripped. The file is written when every repair is proven, whole or
    not at all.

    Args:
        model: The `.onnx` file; it is not changed.
        output: The `.onnx` file to write; an existing one is replaced, but not `model` itself.
        runtimes: As for `examine`.
        time_limit: As for `examine`.
        force: Whether a file that holds something else than a model may be replaced.
        examined: Called with what is wrong before anything is repaired; an error may follow.

    Raises:
        RepairError: When nothing has to be repaired, or nothing can be.
        ModelError: When the file is missing, not ONNX, or cut short.
        WriteError: When `output` must not or cannot be written.
        InputError: When a runtime is unknown, or the time limit is not above 0.
        MissingPackageError: When onnxruntime is not installed.
    """
    check_arguments(runtimes, time_limit)
    check_target(output, ONNX, protected=[model], force=force)
    with tempfile.TemporaryDirectory(prefix="rnnedge-") as name, Sandbox(time_limit) as sandbox:
        folder = Path(name)
        subject = observe(model, sandbox)
        before = diagnose(subject, os.fspath(model), runtimes, time_limit)
        if examined is not None:
            examined(before)
        repairs, reasons, path = _treat(subject, before, folder)
        if not repairs:
            raise RepairError(_why_not(before, reasons))
        if path.with_name(f"{path.name}.data").exists():
            raise RepairError(f"{before.model}: is larger than the 2 GiB that one ONNX file holds")
        healed = observe(path, sandbox)
        after = diagnose(healed, os.fspath(output), runtimes, time_limit)
        content = path.read_bytes()
        write_file(output, content, ONNX, protected=[model], force=force)
    return Treatment(
        model=os.fspath(model),
        output=os.fspath(output),
        sha256=hashlib.sha256(content).hexdigest(),
        repairs=tuple(repairs),
        reasons=tuple(reasons),
        before=_as_tried(before, after),
        after=after,
    )


def _as_tried(before: Examination, after: Examination) -> Examination:
    """Return what was wrong, `fixable` where it is gone."""
    left = {finding.kind for finding in after.findings}
    findings = [replace(f, fixable=f.fixable and f.kind not in left) for f in before.findings]
    return replace(before, findings=tuple(findings))


def _treat(
    subject: Subject, before: Examination, folder: Path
) -> tuple[list[MadeRepair], list[str], Path]:
    """Make the repairs that are called for; return them, and why others were not made."""
    reasons: list[str] = []
    if _calls_for(before, EXPORT_AGAIN):
        try:
            mended = EXPORT_AGAIN.apply(subject, folder)
            return [mended.repair], reasons, mended.path
        except RnnEdgeError as reason:
            reasons.append(f"{EXPORT_AGAIN.name}: {reason}")
    repairs: list[MadeRepair] = []
    path, diagnosis = subject.file.path, before
    for repair in IN_PLACE:
        if not _calls_for(diagnosis, repair):
            continue
        try:
            mended = repair.apply(subject, folder)
        except RnnEdgeError as reason:
            reasons.append(f"{repair.name}: {reason}")
            continue
        repairs.append(mended.repair)
        path = mended.path
        subject = observe(path, subject.sandbox)
        diagnosis = diagnose(subject, before.model)
    return repairs, reasons, path


def _calls_for(diagnosis: Examination, repair: Repair) -> bool:
    return repair.is_called_for([finding.kind for finding in diagnosis.findings])


def _why_not(before: Examination, reasons: list[str]) -> str:
    if not before.general:
        return f"{before.model}: nothing found, so there is nothing to repair"
    if not reasons:
        return (
            f"{before.model}: nothing of what was found can be repaired in the file; what matters "
            "has to be exported again from its source"
        )
    return f"{before.model}: cannot be repaired: {'; '.join(reasons)}"
