"""The comparison of what two commits write finds every kind of difference."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from benchmarks.same_bytes import compare, differences

FILE: dict[str, Any] = {
    "bytes": "1f",
    "graph": "2e",
    "operators": {"LSTM": 1, "Squeeze": 1},
    "contract": {"layers": [{"cell": "lstm"}]},
}
COMMAND: dict[str, Any] = {"json": {"exit code": 0, "answer": {"passed": True}}}


def test_the_same_is_no_difference() -> None:
    assert list(differences(FILE, copy.deepcopy(FILE))) == []


CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "operator": (
        FILE | {"graph": "3d", "bytes": "2f", "operators": {"LSTM": 1}},
        "graph: -1 Squeeze",
    ),
    "weights": (FILE | {"graph": "3d", "bytes": "2f"}, "graph: other numbers, names or shapes"),
    "contract": (
        FILE | {"bytes": "2f", "contract": {"layers": [{"cell": "gru"}]}},
        'contract.layers[].cell: "lstm" is now "gru"',
    ),
    "number of layers": (
        FILE | {"bytes": "2f", "contract": {"layers": []}},
        "contract.layers: 1 items are now 0",
    ),
    "order of fields": (FILE | {"bytes": "2f"}, "bytes, and neither graph nor contract"),
    "refused": ({"error": "no such lowering"}, "refused: 'written' is now 'no such lowering'"),
}


@pytest.mark.parametrize(("changed", "words"), CHANGES.values(), ids=CHANGES)
def test_what_differs_is_named(changed: dict[str, Any], words: str) -> None:
    assert list(differences(FILE, changed)) == [words]


def test_json_that_is_added() -> None:
    after = {"json": {"exit code": 0, "answer": {"passed": True, "against": "PyTorch"}}}
    assert list(differences(COMMAND, after)) == ["json.answer.against: only in the new one"]


def test_a_case_of_one_commit_alone() -> None:
    assert list(differences(FILE, None)) == ["the case is only in the old one"]


def test_counts_of_a_report() -> None:
    old = {"layer/a": FILE, "layer/b": FILE}
    new = {"layer/a": FILE, "layer/b": CHANGES["contract"][0]}
    report = compare(old, new, ("before", "after"))
    assert "| layer | 2 | 0 | 1 | 1 | 2 |" in report
    assert report.endswith('contract.layers[].cell: "lstm" is now "gru": layer/b')
