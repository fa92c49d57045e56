"""For the test suites of those who use rnnedge: `assert_parity`."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import nn

from rnnedge.parity import Report, Tolerance, validate
from rnnedge.sources.load import Source
from rnnedge_exporters import export


def assert_parity(
    source: nn.Module | Source | str | os.PathLike[str],
    model: str | os.PathLike[str] | None = None,
    *,
    quick: bool = False,
    tolerance: Tolerance | None = None,
    device: str = "cpu",
    report: str | os.PathLike[str] | None = None,
    **options: Any,
) -> Report:
    """Fail a test when a model does not compute what its source computes in PyTorch float64.

    Args:
        source: A live layer or module, or what the command line takes as SOURCE.
        model: The `.onnx` file; None exports `source`, which has to be live, to a temporary one.
        quick: Whether the sweep is the short one.
        tolerance: How far an output may be off; None is `Tolerance()`.
        device: Where the file runs: `cpu`, `cuda` or `auto`.
        report: Where to write a report when it fails: `.html`, `.json` or `.xml`.
        options: What `rnnedge.export` takes, such as `example_inputs` and `lengths`, where there is
            no `model`.

    Returns:
        The report, which passed.

    Raises:
        AssertionError: With the table of outputs and, as far as it is known, the cause.
        TypeError: For options besides a `model`, or a source that is not live without one.
    """
    if model is not None and options:
        raise TypeError(f"{', '.join(options)}: how to export, and there is a model already")
    if model is None and not isinstance(source, nn.Module):
        raise TypeError(
            f"source: expected an nn.Module to export, got {type(source).__name__}; give model= too"
        )
    with TemporaryDirectory() as folder:
        path = model
        if isinstance(source, nn.Module) and path is None:
            path = Path(folder) / "model.onnx"
            export(source, path, **options)
        assert path is not None
        found = validate(path, against=source, quick=quick, tolerance=tolerance, device=device)
    if not found:
        if report is not None:
            from rnnedge.reports import write_report

            write_report(found, report, command=f"rnnedge validate {path} --against ...")
        raise AssertionError(f"\n{found}")
    return found
