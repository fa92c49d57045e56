"""The weights: NaN and infinity, and the same numbers more than once."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from rnnedge.doctor.findings import Finding
from rnnedge.doctor.model_facts import Subject
from rnnedge.doctor.reading.recurrence import follow_back
from rnnedge_exporters.onnx_model.file import OnnxFile

_PRODUCTS = (
    *("MatMul", "Gemm", "Conv", "ConvTranspose", "Einsum"),
    *("BatchNormalization", "LayerNormalization", "InstanceNormalization", "GroupNormalization"),
)
_WORTH_A_WORD = 1024
"""Bytes; less than that wasted is not worth a finding."""


def check_weights(subject: Subject) -> Iterator[Finding]:
    """Look at the constants of the graph."""
    if subject.file.broken_data:
        return
    yield from _not_finite(subject)
    copies = find_copies(subject.file)
    wasted = sum(size * (len(names) - 1) for size, names in copies)
    if wasted >= _WORTH_A_WORD:
        most = max(copies, key=lambda copy: copy[0] * (len(copy[1]) - 1))
        yield Finding(
            "duplicate-weights",
            "note",
            most[1][0],
            f"{sum(len(names) - 1 for _, names in copies)} constant(s) are stored again, "
            f"{wasted:,} bytes in all; this one {len(most[1])} times",
            "store each once",
        )


def _multiplied(file: OnnxFile) -> set[str]:
    """Return the constants that are the weights of a product, moved at most, or its bias."""
    found: set[str] = set()
    for node in file.nodes():
        if node.op_type in _PRODUCTS:
            for name in node.input:
                found.update(moved for moved, _ in follow_back(file, name) if name)
    return found


def find_copies(file: OnnxFile) -> list[tuple[int, list[str]]]:
    """Return the floating constants that are stored more than once: bytes of one, and the names."""
    found: dict[tuple[tuple[int, ...], str, bytes], list[str]] = {}
    for name, _ in file.constants():
        value = file.constant(name)
        if value is not None and value.dtype.kind == "f" and value.size > 1:
            key = (value.shape, value.dtype.str, value.tobytes())
            found.setdefault(key, []).append(name)
    return [(len(key[2]), names) for key, names in found.items() if len(names) > 1]


def _not_finite(subject: Subject) -> Iterator[Finding]:
    """Name the weights that have diverged.

    A constant may not be NaN. It may be infinite: masks add it, comparisons and limits take
    it. In what is multiplied it is a weight that diverged.
    """
    recurrent = {cell.tensor(i) for cell in subject.cells for i in (1, 2, 3)}
    multiplied = recurrent | _multiplied(subject.file)
    for name, _ in subject.file.constants():
        value = subject.file.constant(name)
        if value is None or value.dtype.kind != "f" or np.isfinite(value).all():
            continue
        if name not in multiplied and not np.isnan(value).any():
            continue
        bad = int(value.size - np.isfinite(value).sum())
        hides = name in recurrent and subject.behaviour is not None and subject.behaviour.hides_nan
        yield Finding(
            "bad-weights",
            "error",
            name,
            f"{bad} of {value.size} values are NaN or infinite"
            + ("; ONNX Runtime answers them with numbers that look right" if hides else ""),
            "train again from a checkpoint before it diverged",
        )
