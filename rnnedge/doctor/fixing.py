"""`fix`: repair what can be repaired, and prove it before the file is written."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rnnedge.doctor.examination import check_arguments, diagnose
from rnnedge.doctor.findings import Examination
from rnnedge.doctor.model_facts import Subject, observe
from rnnedge.doctor.repairs import clean, expose, reexport, reopen, unfreeze
from rnnedge.doctor.repairs.base import Mended, Repair
from rnnedge.errors import NotMendedError, RepairError
from rnnedge_exporters.sandbox.onnx_runtime import TIME_LIMIT, Sandbox
from rnnedge_runtime.atomic_file import write_file
from rnnedge_runtime.write_target import ONNX, check_target

_Way = tuple[str, frozenset[str], Callable[[Subject, Path], Mended]]

_AGAIN: _Way = ("export again", reexport.CALLED_FOR_BY, reexport.export_again)
_IN_PLACE: tuple[_Way, ...] = (
    ("take sizes out", unfreeze.MENDS, unfreeze.unfreeze),
    ("declare axes", reopen.MENDS, reopen.reopen_axes),
    ("expose states", expose.MENDS, expose.expose_states),
    ("clean", clean.MENDS, clean.clean),
)


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
    repairs: tuple[Repair, ...]
    reasons: tuple[str, ...]
    before: Examination
    after: Examination

    def __bool__(self) -> bool:
        """Whether the new file has no error left."""
        return bool(self.after)

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
        before = diagnose(subject, os.fspath(model), runtimes)
        repairs, reasons, path = _treat(subject, before, folder)
        if not repairs:
            raise RepairError(_why_not(before, reasons))
        if path.with_name(f"{path.name}.data").exists():
            raise RepairError(f"{before.model}: is larger than the 2 GiB that one ONNX file holds")
        healed = observe(path, sandbox)
        after = diagnose(healed, os.fspath(output), runtimes)
        content = path.read_bytes()
        write_file(output, content, ONNX, protected=[model], force=force)
    return Treatment(
        model=os.fspath(model),
        output=os.fspath(output),
        sha256=hashlib.sha256(content).hexdigest(),
        repairs=tuple(repairs),
        reasons=tuple(reasons),
        before=before,
        after=after,
    )


def _treat(
    subject: Subject, before: Examination, folder: Path
) -> tuple[list[Repair], list[str], Path]:
    """Make the repairs that are called for; return them, and why others were not made."""
    reasons: list[str] = []
    name, mends, repair = _AGAIN
    if _called_for(before, mends):
        try:
            mended = repair(subject, folder)
            return [mended.repair], reasons, mended.path
        except NotMendedError as reason:
            reasons.append(f"{name}: {reason}")
    repairs: list[Repair] = []
    path, diagnosis = subject.file.path, before
    for name, mends, repair in _IN_PLACE:
        if not _called_for(diagnosis, mends):
            continue
        try:
            mended = repair(subject, folder)
        except NotMendedError as reason:
            reasons.append(f"{name}: {reason}")
            continue
        repairs.append(mended.repair)
        path = mended.path
        subject = observe(path, subject.sandbox)
        diagnosis = diagnose(subject, before.model)
    return repairs, reasons, path


def _called_for(diagnosis: Examination, kinds: frozenset[str]) -> bool:
    return any(finding.kind in kinds for finding in diagnosis.findings)


def _why_not(before: Examination, reasons: list[str]) -> str:
    if not before.general:
        return f"{before.model}: nothing found, so there is nothing to repair"
    if not reasons:
        return (
            f"{before.model}: nothing of what was found can be repaired in the file; what matters "
            "has to be exported again from its source"
        )
    return f"{before.model}: cannot be repaired: {'; '.join(reasons)}"
