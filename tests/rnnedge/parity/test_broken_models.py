"""Every model of the broken set fails, its mistake is named, and what it was made from passes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import onnx
import pytest
from breaking.broken import Broken, Source
from breaking.originals import Original
from broken_models import BROKEN, UNSEEN, mistake_of, options_of
from pairwise import pairwise

from rnnedge import Report, validate
from rnnedge.parity import Case
from rnnedge.parity.results import Diagnosis

ALSO = {"frozen length": "frozen batch"}
"""A second name for a label: its models fix the axis of the batch, or both."""
NEAR_ZERO = ("zero", "tiny")
"""Values of states that nobody can tell from zeros."""
RANDOM = ("Dropout", "RandomUniformLike", "Bernoulli")
ORIGINALS = {str(broken.original): broken.original for broken in (*BROKEN, *UNSEEN)}

every = pytest.mark.parametrize(
    "broken",
    pairwise(BROKEN, mistake_of),
    indirect=True,
    scope="module",
    ids=lambda broken: broken.name,
)


@dataclass(frozen=True)
class Found:
    """What `validate` found in a file."""

    path: Path
    report: Report

    @property
    def diagnosis(self) -> Diagnosis:
        assert self.report.diagnosis is not None
        return self.report.diagnosis


@pytest.fixture(scope="module")
def broken(request: pytest.FixtureRequest) -> Broken:
    return request.param


@pytest.fixture(scope="module")
def found(broken: Broken, tmp_path_factory: pytest.TempPathFactory) -> Found:
    path = tmp_path_factory.mktemp("broken") / "model.onnx"
    broken.write(path)
    return Found(path, validate(path, against=broken.layer, isolated=False))


@every
def test_cause_is_named(broken: Broken, found: Found) -> None:
    assert not found.report
    assert found.diagnosis.cause in (broken.cause, ALSO.get(broken.cause)), found.diagnosis


@every
def test_place_is_named(broken: Broken, found: Found) -> None:
    place = found.diagnosis.place
    if broken.cause == "dropout left on":
        assert place in _random_nodes(found.path)
    elif broken.place is None:  # one layer, or all that there are
        assert "layer" not in place or _layers(broken) == 1
    else:
        assert broken.place in place


@every
def test_smallest_case_is_minimal(
    broken: Broken, found: Found, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = "rnnedge.parity.diagnosis.diagnose"
    monkeypatch.setattr(f"{module}.diagnose", lambda *_: None)  # the case alone
    smallest = found.diagnosis.smallest

    def passes(case: Case) -> bool:
        more = {"isolated": False, "quick": True, "cases": [case]}
        return bool(validate(found.path, against=broken.layer, **more))

    assert not passes(smallest)
    assert [case for case in _simpler(smallest) if not passes(case)] == []


@every
def test_diagnosis_says_what_to_do(broken: Broken, found: Found) -> None:
    assert found.diagnosis.remedy
    assert found.diagnosis.evidence
    assert found.diagnosis.first


def test_labels_and_names_of_axes_are_both_found() -> None:
    """The second name is not a way out: it stands for models that fix the batch."""
    frozen = [broken for broken in BROKEN if broken.cause in ALSO]
    assert 0 < sum("batch" in broken.name.split("-")[-1] for broken in frozen) < len(frozen)


@pytest.mark.parametrize("broken", UNSEEN, ids=lambda broken: broken.name)
def test_what_onnx_runtime_mends_passes(broken: Broken, tmp_path: Path) -> None:
    """ONNX Runtime takes the dropout out of the graph, so that its answers are right.

    `rnnedge doctor` is for what other engines make of such files.
    """
    broken.write(tmp_path / "model.onnx")
    report = validate(tmp_path / "model.onnx", against=broken.layer, isolated=False)
    assert report, report


@pytest.mark.parametrize("original", pairwise(ORIGINALS.values(), options_of), ids=str)
def test_original_passes(original: Source, tmp_path: Path) -> None:
    onnx.save(original.model(), tmp_path / "model.onnx")
    report = validate(tmp_path / "model.onnx", against=original.layer, isolated=False)
    if _loses_states(original):
        _only_empty_rows_fail(report)
    else:
        assert report, report


@pytest.mark.parametrize(
    "original",
    [original for original in ORIGINALS.values() if original.model().metadata_props],
    ids=str,
)
def test_original_passes_without_its_contract(original: Source, tmp_path: Path) -> None:
    model = original.model()
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "model.onnx")
    report = validate(tmp_path / "model.onnx", against=original.layer, isolated=False, quick=True)
    assert report, report
    assert report.contract is None


def _loses_states(original: Source) -> bool:
    """Whether a row of length 0 ends in zeros: ONNX's operators do that, rnnedge mends it."""
    return (
        isinstance(original, Original)
        and original.lengths
        and original.states
        and original.producer not in ("operator", "scan")
    )


def _only_empty_rows_fail(report: Report) -> None:
    assert report.diagnosis is not None
    assert report.diagnosis.cause == "empty rows lose their state"
    failing = {result.case for result in report.results if not result}
    cases = {result.case for result in report.results}
    assert failing == {case for case in cases if case.ragged and case.values not in NEAR_ZERO}


def _random_nodes(path: Path) -> list[str]:
    nodes = onnx.load(path).graph.node
    return [node.name or node.output[0] for node in nodes if node.op_type in RANDOM]


def _layers(broken: Broken) -> int:
    return getattr(broken.original, "num_layers", 1)


def _simpler(case: Case) -> Iterator[Case]:
    """Yield the cases that are one step nearer to time 1, batch 1 and nothing special."""
    plain = Case(1, 1)
    if case.time > 1:
        yield replace(case, time=case.time - 1)
    if case.batch > 1 + case.ragged:  # the last of ragged rows is empty, and PyTorch needs another
        yield replace(case, batch=case.batch - 1)
    for special in ("random_state", "ragged", "chunk", "values", "way"):
        if getattr(case, special) != getattr(plain, special):
            yield replace(case, **{special: getattr(plain, special)})
