"""`tune`: the ONNX form and the number of threads that are the fastest on this machine."""

from __future__ import annotations

import hashlib
import math
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from rnnedge.errors import ExportError, SourceError, UnequalError
from rnnedge.measuring.machine import Machine, this_machine
from rnnedge.measuring.results import FORMAT
from rnnedge.measuring.shapes import Shape
from rnnedge.measuring.torch_outputs import TorchOutputs
from rnnedge.parity.model_under_test import OpenedModel
from rnnedge.parity.validation import validate
from rnnedge.sources.load import Source
from rnnedge_exporters import ExportResult, export
from rnnedge_exporters.lowerings import INT8_LOWERINGS, LOWERINGS
from rnnedge_runtime.atomic_file import write_file
from rnnedge_runtime.latency import time_in_turns
from rnnedge_runtime.machine import usable_cores
from rnnedge_runtime.session import Session
from rnnedge_runtime.write_target import ONNX, check_target

_WORTH = 1.03
"""How many times as fast something must be to be chosen over the exporter's choice, or over fewer
threads: two runs of the same differ by as much."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A form with a number of threads.

    Attributes:
        lowering: The ONNX form of the recurrent layers.
        threads: Threads inside one operator; None is ONNX Runtime's own choice.
        p50_ms: Median of one call, for each shape.
    """

    lowering: str
    threads: int | None
    p50_ms: tuple[float, ...]

    @property
    def mean_ms(self) -> float:
        """Geometric mean over the shapes."""
        return math.exp(sum(map(math.log, self.p50_ms)) / len(self.p50_ms))


@dataclass(frozen=True, slots=True)
class Tuning:
    """What was measured, and what was written.

    Attributes:
        output: The file that was written.
        sha256: Its digest, 64 hexadecimal digits.
        source: What it was exported from.
        shapes: What was run.
        candidates: All that was measured; the first is what one gets without tuning: the exporter's
            choice with ONNX Runtime's own number of threads.
        best: The one that was written.
        left_out: Why a form was not measured, by its name.
        machine: The machine.
    """

    output: str
    sha256: str
    source: str
    shapes: tuple[Shape, ...]
    candidates: tuple[Candidate, ...]
    best: Candidate
    left_out: Mapping[str, str]
    machine: Machine

    @property
    def default(self) -> Candidate:
        """What one gets without tuning."""
        return self.candidates[0]

    @property
    def speed(self) -> float:
        """How many times as fast the best is as the default, by the geometric mean."""
        return self.default.mean_ms / self.best.mean_ms

    def to_dict(self) -> dict[str, Any]:
        """Return values that JSON can hold, units in their names."""

        def candidate(one: Candidate) -> dict[str, Any]:
            return {**asdict(one), "geometric_mean_ms": one.mean_ms}

        return {
            "format": FORMAT,
            "written": self.output,
            "sha256": self.sha256,
            "source": self.source,
            "lowering": self.best.lowering,
            "threads": self.best.threads,
            "speed": self.speed,
            "shapes": [asdict(shape) for shape in self.shapes],
            "default": candidate(self.default),
            "best": candidate(self.best),
            "candidates": [candidate(one) for one in self.candidates],
            "left_out": dict(self.left_out),
            "machine": asdict(self.machine),
        }


def tune(
    source: Source,
    output: str | os.PathLike[str],
    shapes: Sequence[Shape],
    *,
    threads: Sequence[int] = (),
    seconds: float = 0.2,
    digest: str | None = None,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
    **options: Any,
) -> Tuning:
    """Export a source in every form that it has, measure all in turns, and write the fastest.

    The winner is the smallest geometric mean over the shapes. What does not answer as PyTorch does
    is not timed, and the winner is validated before it is written.

    Args:
        source: What to export.
        output: The `.onnx` file to write, whole or not at all; an existing one is replaced.
        shapes: What the device will run; one or more.
        threads: Numbers of threads to measure; none are 1, 2, 3, 4, and on by twos up to the cores.
        seconds: Time to measure each candidate for at each shape, above 0.
        digest: Digest that the weights must have, when the source should be that of a file.
        force: Whether a file that holds something else may be replaced.
        progress: Called with the number of shapes done and in all.
        options: What `rnnedge.export` takes besides its lowering.

    Raises:
        ExportError: When the source cannot be exported.
        WriteError: When the file must not or cannot be written.
        SourceError: When it does not take a shape, or has other weights than `digest`.
        UnequalError: When the exporter's own choice or the winner does not compute what the source
            does.
    """
    check_target(output, ONNX, force=force)
    machine = this_machine()
    with tempfile.TemporaryDirectory() as folder:
        files, left_out, default = _export_all(source, Path(folder), options)
        if digest not in (None, default.contract.weights_digest):
            raise SourceError(
                f"{source.origin}: its weights are not those of the model: name the source that it "
                "was exported from"
            )
        own = _form(default)
        keys: list[tuple[str, int | None]] = [(own, None)]
        keys += [(name, number) for name in files for number in threads or thread_counts()]
        sessions = {
            key: Session(files[key[0]], engine="onnxruntime", threads=key[1]) for key in keys
        }
        reference = TorchOutputs(default.contract.interface, source.module)
        left_out |= _check(files, sessions, reference, shapes)
        if own in left_out:
            raise UnequalError(f"{source.origin} as {own}: {left_out[own]}")
        sessions = {key: session for key, session in sessions.items() if key[0] not in left_out}
        medians: dict[tuple[str, int | None], list[float]] = {key: [] for key in sessions}
        for done, shape in enumerate(shapes, 1):
            data = reference.data(reference.answers(shape))
            names = {f"{form} {number}": (form, number) for form, number in sessions}
            calls = {name: partial(sessions[key].run, data) for name, key in names.items()}
            timed = time_in_turns(calls, seconds=seconds, settle=True)
            for name, key in names.items():
                medians[key].append(timed[name].latency().p50)
            if progress:
                progress(done, len(shapes))
        candidates = tuple(Candidate(*key, tuple(times)) for key, times in medians.items())
        best = choose(candidates)
        report = validate(files[best.lowering], against=source, quick=True)
        if not report:
            verdict = replace(report, model=os.fspath(output)).verdict
            raise UnequalError(f"{verdict}; nothing was written")
        content = files[best.lowering].read_bytes()
    write_file(output, content, ONNX, force=force)
    return Tuning(
        output=os.fspath(output),
        sha256=hashlib.sha256(content).hexdigest(),
        source=source.origin,
        shapes=tuple(shapes),
        candidates=candidates,
        best=best,
        left_out=left_out,
        machine=machine,
    )


def choose(candidates: Sequence[Candidate]) -> Candidate:
    """Return the fastest; of those that are as fast, one of few threads and of the first's form.

    Args:
        candidates: The first is the default. One that leaves the threads to ONNX Runtime is never
            chosen, since on another day that may be another number.
    """
    told = [one for one in candidates if one.threads is not None]
    limit = min(one.mean_ms for one in told) * _WORTH
    own = candidates[0].lowering
    return min(
        (one for one in told if one.mean_ms <= limit),
        key=lambda one: (one.threads, one.lowering != own, one.mean_ms),
    )


def _export_all(
    source: Source, folder: Path, options: Mapping[str, Any]
) -> tuple[dict[str, Path], dict[str, str], ExportResult]:
    """Return the files by form, why other forms are left out, and the exporter's own choice."""
    default = export(source.module, folder / "default.onnx", **options)
    files, left_out = {_form(default): default.path}, {}
    for name in _forms(options.get("quantize"), default.contract.target):
        if name in files:
            continue
        try:
            made = export(source.module, folder / f"{name}.onnx", lowering=name, **options)
        except ExportError as error:
            left_out[name] = str(error)
            continue
        files.setdefault(_form(made), made.path)  # a cell of the user's own has one form only
    return files, left_out, default


def _forms(quantize: str | None, target: str) -> list[str]:
    """Return the forms that weights of this kind may take."""
    floats = [] if quantize == "int8:all" else list(LOWERINGS)
    return floats + (list(INT8_LOWERINGS) if quantize and target != "cuda" else [])


def _form(result: ExportResult) -> str:
    return " and ".join(sorted({layer.lowering for layer in result.contract.layers}))


def thread_counts() -> list[int]:
    """Return the numbers of threads that are worth a try on this machine."""
    cores = usable_cores()
    counts = [number for number in (1, 2, 3, 4, 8, 16, 32, 64, 128, 256) if number < cores]
    return [*counts, cores]


def _check(
    files: Mapping[str, Path],
    sessions: Mapping[tuple[str, int | None], Session],
    reference: TorchOutputs,
    shapes: Sequence[Shape],
) -> dict[str, str]:
    """Say which forms answer something else than PyTorch with the weights they hold, and where."""
    faults: dict[str, str] = {}
    held = {
        form: reference.held_by(OpenedModel(path, device="cpu", worker=None))
        for form, path in files.items()
    }
    for shape in shapes:
        answers = {own: own.answers(shape) for own in set(held.values())}  # one, of float32 files
        for (form, _), session in sessions.items():
            own = held[form]
            data = own.data(answers[own])
            fault = own.fault(answers[own], session.run(data).outputs)
            if fault:
                faults.setdefault(form, f"it answers something else at {shape}: {fault}")
    return faults
