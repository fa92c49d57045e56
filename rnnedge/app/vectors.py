"""The vectors of a page: those of a folder, or answers of this machine."""

from __future__ import annotations

import hashlib
import os
from importlib.metadata import version
from pathlib import Path

import numpy as np

from rnnedge.golden_vectors import write_golden
from rnnedge_runtime.binding import Array
from rnnedge_runtime.errors import GoldenError, RnnEdgeError
from rnnedge_runtime.latency import random_inputs
from rnnedge_runtime.proof.golden import Golden, GoldenSet, read_golden
from rnnedge_runtime.session import Session

SHAPES = ((1, 1), (12, 1), (7, 3))
"""The (time, batch) pairs that a model is run at here."""
ALLOWED = 2e-6
"""The largest difference that is allowed from the answers of this machine, relative to the largest
value, or to 1."""
_ROUNDED = 0.05
"""The same where activations are rounded to 8 bits."""


def read_vectors(folder: str | os.PathLike[str], model: Path) -> Golden:
    """Read vectors that `rnnedge validate --golden` wrote.

    Raises:
        GoldenError: If they cannot be read, or were made with another model file.
    """
    golden = read_golden(folder)
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    if golden.model_sha256 not in (None, digest):
        raise GoldenError(
            f"{folder}: the vectors were made with another file than {model}: make them again with "
            f"rnnedge validate {model} --against SOURCE --golden {folder}"
        )
    return golden


def write_vectors(folder: Path, golden: Golden, model: Path) -> None:
    """Write vectors into a new folder, without a copy of the model."""
    sets = golden.sets
    if any(vectors.allowed is None for vectors in sets):
        raise GoldenError("the vectors have no golden.json with the error that is allowed")
    reference = golden.reference or "an unknown source"
    write_golden(folder, model=model, sets=sets, reference=reference, made=golden.made)
    (folder / "model.onnx").unlink()


def answer_here(session: Session, *, rounded: bool) -> Golden:
    """Run a model on this machine, and take what it gives for what is expected.

    Args:
        session: The opened model.
        rounded: Whether it rounds activations to 8 bits.

    Raises:
        GoldenError: If it runs at none of the shapes.
    """
    sets, refused = [], ""
    for seed, (time, batch) in enumerate(SHAPES):
        try:
            sets.append(_one_call(session, time, batch, seed, _ROUNDED if rounded else ALLOWED))
        except RnnEdgeError as error:
            refused = refused or str(error)
    if not sets:
        raise GoldenError(f"the model cannot be run here: {refused}")
    engine = {"onnxruntime": "onnxruntime", "native": "rnnedge-native"}[session.engine.name]
    reference = f"{engine} {version(engine)} on the machine that made this page"
    return Golden(sets=tuple(sets), reference=reference, model_sha256=None, versions={})


def _one_call(session: Session, time: int, batch: int, seed: int, allowed: float) -> GoldenSet:
    face = session.interface
    random = np.random.default_rng(seed)
    inputs: dict[str, Array] = random_inputs(session, time, batch, seed)
    lengths = None
    if face.lengths is not None:
        lengths = random.integers(1, time + 1, batch)
        lengths[0] = time
        inputs[face.lengths] = lengths
    state = None
    if face.states:
        zeros = session.zero_state(batch)
        state = [(0.5 * random.standard_normal(h.shape)).astype(h.dtype) for h in zeros]
        inputs |= {pair.input: h for pair, h in zip(face.states, state, strict=True)}
    data = {spec.name: inputs[spec.name] for spec in face.data_inputs}
    result = session.run(data, lengths=lengths, state=state)
    outputs = dict(result.outputs)
    sizes = {name: float(np.abs(y).max(initial=0.0)) for name, y in outputs.items()}
    return GoldenSet(
        case=f"time {time}, batch {batch}",
        inputs=inputs,
        outputs=outputs,
        allowed={name: allowed * max(1.0, size) for name, size in sizes.items()},
    )
