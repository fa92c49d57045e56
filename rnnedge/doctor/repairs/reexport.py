"""Exporting again: a file that is nothing but one layer of PyTorch is read back and written anew.

What is read is proven in three ways: the new file reproduces the old one at every size where that
ran correctly, it computes what the layer computes in PyTorch float64 at other sizes, and its chunks
give what the whole gives.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rnnedge.doctor.findings import Kind
from rnnedge.doctor.model_facts import Subject, trial_of
from rnnedge.doctor.repairs.base import MadeRepair, Mended, Repair, difference, listed, runs, told
from rnnedge.doctor.repairs.from_operators import layer_from_operators
from rnnedge.doctor.repairs.from_unrolled import layer_from_chains, layer_from_names
from rnnedge.doctor.repairs.recovered import Recovered
from rnnedge.doctor.running.probe_runs import Sizes, make_feeds
from rnnedge.errors import NotMendedError
from rnnedge_exporters.sandbox.onnx_runtime import Arrays
from rnnedge_runtime.errors import RnnEdgeError

if TYPE_CHECKING:
    from rnnedge.sources.spec import RNNSpec

_KINDS: frozenset[Kind] = frozenset(
    {
        *("frozen-time", "frozen-batch", "some-time", "some-batch"),
        *("declared-time", "declared-batch", "declared-shape", "fixed-lengths"),
        *("unrolled", "duplicate-weights", "states-hidden"),
        *("versions", "ir-version", "opset", "local-paths"),
    }
)
"""Kinds of findings that a new export has none of."""
_IN_PLACE: frozenset[Kind] = frozenset(
    {
        *("versions", "ir-version", "local-paths", "duplicate-weights"),
        *("declared-time", "declared-batch", "declared-shape"),
    }
)
"""Kinds that do not justify a file with other names: they are repaired in place, if alone."""


@dataclass(frozen=True, slots=True)
class _Outputs:
    """Which output of the new file each output of the old one is."""

    new: dict[str, str]

    def renamed(self, outputs: Arrays, like: Arrays) -> Arrays:
        """Return the new file's outputs under the old names, with the old axes of size 1."""
        return {
            old: outputs[name].reshape(like[old].shape)
            if np.squeeze(outputs[name]).shape == np.squeeze(like[old]).shape
            else outputs[name]
            for old, name in self.new.items()
        }


def read_layer_back(subject: Subject, *, by_names: bool = True) -> Recovered:
    """Read the one layer that a file computes, without proof.

    Args:
        subject: The model.
        by_names: Whether the names of weights are asked, for which PyTorch is imported.

    Raises:
        NotMendedError: When it is not one layer of PyTorch, as far as can be read.
    """
    if subject.cells and subject.chains:
        raise NotMendedError("it has both recurrent operators and unrolled recurrences")
    if subject.cells:
        return layer_from_operators(subject)
    if not subject.chains:
        raise NotMendedError("no recurrent layer was found in it")
    if by_names:
        with suppress(NotMendedError):
            return layer_from_names(subject)
    return layer_from_chains(subject)


def _export_again(subject: Subject, folder: Path) -> Mended:
    """Write the layer that a file computes with rnnedge.

    Args:
        subject: The model.
        folder: Where to put the new file.

    Raises:
        NotMendedError: When it is not one layer, or the proof fails.
    """
    layer = read_layer_back(subject)
    spec, behaviour = layer.spec(), subject.behaviour
    if behaviour is None or behaviour.base is None:
        raise NotMendedError("it does not run, so nothing can be proven")
    path = folder / "exported.onnx"
    exported = _write(layer, spec, path)
    sizes = behaviour.right[:6]
    error, outputs = _reproduce(subject, layer, spec, path, sizes)
    names = {layer.input.name: "input"} | {
        old.name: new for old, new in zip(layer.states, ("h_0", "c_0"), strict=False)
    }
    changes = [f"one {spec}, from {layer.how}"]
    changes += [f"input {old} is now {new}" for old, new in names.items() if old != new]
    changes += [f"output {old} is now {new}" for old, new in outputs.new.items() if old != new]
    if not layer.states:
        added = "h_0 and c_0 are new inputs" if spec.cell == "lstm" else "h_0 is a new input"
        changes.append(f"{added}: zeros are what the file started from")
    proofs = (f"reproduces the file at {listed(sizes)}: {told(error)}", exported)
    return Mended(path, MadeRepair("exported again", tuple(changes), proofs))


def _write(layer: Recovered, spec: RNNSpec, path: Path) -> str:
    """Export, and prove that the new file computes what PyTorch computes; say how far apart."""
    import torch

    from rnnedge.parity import validate
    from rnnedge.sources.builder import build
    from rnnedge_exporters import export

    module = build(spec, seed=0)
    module.load_state_dict({name: torch.from_numpy(w) for name, w in layer.weights.items()})
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NaN in weights is a separate finding
            export(module, path, lengths=layer.lengths is not None)
            report = validate(path, against=module)
    except RnnEdgeError as error:
        raise NotMendedError(str(error)) from error
    if not report:
        raise NotMendedError(
            f"the new file does not compute what PyTorch computes: {report.verdict}"
        )
    cases = max(output.cases for output in report.outputs)
    chunks = "" if spec.bidirectional else ", in chunks as whole"
    return f"is what {spec} computes in PyTorch float64{chunks}: all {cases} cases of validate"


def _reproduce(
    subject: Subject, layer: Recovered, spec: RNNSpec, path: Path, sizes: Sequence[Sizes]
) -> tuple[float, _Outputs]:
    """Run old and new at the sizes where the old one is right."""
    largest = 0.0
    outputs: _Outputs | None = None
    with trial_of(subject.file, subject.roles, subject.sandbox) as old:
        # The largest first: there every axis has a distinct size to be recognized by.
        for size in sorted(sizes, key=lambda s: (s.batch > 1, s.time > 1, s.time), reverse=True):
            before = old.at(size)
            after = subject.sandbox.run(path, _feeds(subject, layer, spec, size))
            if not before.ok or not after.ok:
                raise NotMendedError(f"at {size}: {before.trouble or after.trouble}")
            if outputs is None:
                outputs = _match(before.outputs, after.outputs)
            renamed = outputs.renamed(after.outputs, before.outputs)
            largest = max(largest, difference(before.outputs, renamed, outputs.new))
    if outputs is None:
        raise NotMendedError("it ran correctly at none of the sizes, so nothing can be proven")
    return largest, outputs


def _feeds(subject: Subject, layer: Recovered, spec: RNNSpec, sizes: Sizes) -> Arrays:
    given = make_feeds(subject.roles, sizes)
    feeds = {"input": given[layer.input.name]}
    rows = spec.num_layers * spec.num_directions
    for index, name in enumerate(("h_0", "c_0") if spec.cell == "lstm" else ("h_0",)):
        zeros = np.zeros((rows, sizes.batch, spec.hidden_size), np.float32)
        feeds[name] = given[layer.states[index].name] if layer.states else zeros
    if layer.lengths is not None:
        feeds["lengths"] = given[layer.lengths].astype(np.int64)
    return feeds


def _match(before: Arrays, after: Arrays) -> _Outputs:
    """Find the output of the new file that each output of the old one is, axes of 1 aside."""
    found = {}
    for old, value in before.items():
        for new, candidate in after.items():
            try:
                difference({old: np.squeeze(value)}, {old: np.squeeze(candidate)}, [old])
            except NotMendedError:
                continue
            found[old] = new
            break
        else:
            raise NotMendedError(
                f"its output {old} {list(value.shape)} is not one of those of the layer that was "
                "read: the file computes more than one layer, or another"
            )
    return _Outputs(found)


def _may(subject: Subject) -> bool:
    try:
        read_layer_back(subject, by_names=False)
    except NotMendedError:
        return False
    return runs(subject)


EXPORT_AGAIN = Repair(
    "export again", _KINDS, may=_may, apply=_export_again, called_for_by=_KINDS - _IN_PLACE
)
