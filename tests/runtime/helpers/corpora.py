"""Corpora of random rows, as Arrow tables, and what a session answers to each row alone."""

from collections.abc import Sequence

import numpy as np

from rnnedge_runtime import Session


def rows_of(lengths: Sequence[int], features: int = 2, seed: int = 0) -> list[np.ndarray]:
    """Return float32 [time, features] for each length."""
    random = np.random.default_rng(seed)
    return [random.standard_normal((n, features)).astype(np.float32) for n in lengths]


def log_normal(count: int, *, middle: float = 3.5, longest: int = 400, seed: int = 0) -> list[int]:
    """Return lengths as recordings have them: most short, some many times as long."""
    random = np.random.default_rng(seed)
    return np.clip(np.exp(random.normal(middle, 1, count)), 1, longest).astype(int).tolist()


def table_of(rows: Sequence[object], **columns: object):
    """Return a table with a column `frames`, `list<list<float32>>`, and others."""
    import pyarrow as pa

    kind = pa.list_(pa.list_(pa.float32()))
    frames = [row.tolist() if isinstance(row, np.ndarray) else row for row in rows]
    return pa.table({**columns, "frames": pa.array(frames, kind)})


def alone(session: Session, row: np.ndarray) -> dict[str, np.ndarray]:
    """Return each output of one row, run alone, without its batch axis."""
    interface = session.interface
    spec = interface.data_inputs[0]
    found = session.run(np.expand_dims(row, spec.axes.index("batch"))).outputs
    return {
        spec.name: found[spec.name].take(0, axis=spec.axes.index("batch"))
        for spec in interface.outputs
    }
