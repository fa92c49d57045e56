"""`validate`: run the exported file and its source over the sweep, then compare."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from torch import nn

from rnnedge.errors import ModelError, SourceError
from rnnedge.parity.cases import Case, default_cases
from rnnedge.parity.collect import collect
from rnnedge.parity.compare import Tolerance, compare
from rnnedge.parity.report import Report
from rnnedge.sources import Source, load_source
from rnnedge.spec import RNNSpec
from rnnedge_exporters import is_bare_layer
from rnnedge_exporters.bare_layer import layer_interface
from rnnedge_exporters.weights import read_layer
from rnnedge_runtime import Session


def validate(
    model: str | os.PathLike[str],
    *,
    against: nn.Module | Source | str | os.PathLike[str],
    cases: Sequence[Case] | None = None,
    tolerance: Tolerance | None = None,
    device: str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Check that an exported file computes what its source computes in PyTorch.

    The file runs in ONNX Runtime, the source in PyTorch in float64, over lengths and batches from 1
    up, zero and random states, ragged lengths and chunks, as far as the file takes them.

    Args:
        model: The `.onnx` file.
        against: The source: a live layer or module, or what the command line takes as SOURCE.
            It is copied, never changed.
        cases: What to run; None is the sweep that fits the model.
        tolerance: How far an output may be off; None is `Tolerance()`.
        device: Where the file runs: `cpu`, `cuda` or `auto`.
        progress: Called with the number of cases done and in all.

    Returns:
        A report that is truthy when every output is inside tolerance in every case.

    Raises:
        ModelError: When the file cannot be opened.
        SourceError: When the source cannot be read, or takes other inputs than the file.
    """
    if isinstance(against, nn.Module):
        source = Source(against, type(against).__name__)
        if is_bare_layer(against):
            source = Source(against, str(RNNSpec.from_layer(against)))
    else:
        source = against if isinstance(against, Source) else load_source(against)
    session = Session(model, device=device)  # type: ignore[arg-type]  # checked by Session
    if is_bare_layer(source.module):
        _check_fit(str(model), session, source.origin, source.module)
    if cases is None:
        hindered = (
            bool(session.contract.hindrances)
            if session.contract
            else bool(getattr(source.module, "bidirectional", False))
        )
        cases = default_cases(session.interface, streams=not hindered)
    if not cases:
        raise ModelError("cases: expected one or more, got none")
    collected, notes = collect(session, source.module, cases, progress)
    import onnxruntime

    return Report(
        model=os.fspath(model),
        source=source.origin,
        outputs=compare(collected, session.interface, tolerance or Tolerance()),
        engine=f"ONNX Runtime {onnxruntime.__version__}",
        device=session.device,
        notes=tuple(notes),
    )


def _check_fit(model: str, session: Session, origin: str, layer: nn.RNNBase) -> None:
    """Compare number, axes and dtypes of inputs and outputs before anything runs."""
    face = session.interface
    expected = layer_interface(
        read_layer(layer), lengths=face.lengths is not None, states=bool(face.states)
    )
    for kind in ("inputs", "outputs"):
        given, wanted = getattr(face, kind), getattr(expected, kind)
        fits = len(given) == len(wanted) and all(
            g.dtype == w.dtype and len(g.axes) == len(w.axes) and _same_sizes(g.axes, w.axes)
            for g, w in zip(given, wanted, strict=True)
        )
        if not fits:
            raise SourceError(
                f"{model} does not fit {origin}: its {kind} are "
                f"{', '.join(map(str, given))}; the source's are {', '.join(map(str, wanted))}"
            )


def _same_sizes(given: tuple[int | str, ...], wanted: tuple[int | str, ...]) -> bool:
    pairs = zip(given, wanted, strict=True)
    return all(g == w or isinstance(g, str) or isinstance(w, str) for g, w in pairs)
