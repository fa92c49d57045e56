"""What `make test` leaves out of the full matrices, `make test-all` runs; every pair stays in."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pairwise import covering, pairwise

ROOT = Path(__file__).resolve().parents[2]
GRID = list(itertools.product("abc", "xyz", (1, 2, 3), (False, True)))


def _combinations(rows: list[tuple[object, ...]], together: int) -> set[object]:
    return {one for row in rows for one in itertools.combinations(enumerate(row), together)}


@given(st.sets(st.sampled_from(GRID), min_size=1), st.integers(1, 4))
def test_every_combination_stays_in(rows: set[tuple[object, ...]], together: int) -> None:
    given = sorted(rows)
    kept = [given[at] for at in covering(given, together)]
    assert _combinations(kept, together) == _combinations(given, together)


def test_pairs_need_few_rows() -> None:
    assert 9 <= len(covering(GRID)) <= 12
    assert len(GRID) == 54


def test_same_rows_are_chosen_each_time() -> None:
    assert covering(GRID, 2) == covering(GRID, 2)


def test_no_case_is_lost() -> None:
    cases = pairwise(GRID)
    assert [getattr(case, "values", case) for case in cases] == GRID
    left_out = [case for case in cases if hasattr(case, "marks")]
    assert len(left_out) == len(GRID) - len(covering(GRID))
    assert {mark.name for case in left_out for mark in case.marks} == {"full"}


def test_cases_that_are_marked_already_are_refused() -> None:
    with pytest.raises(TypeError, match="expected plain values"):
        pairwise([pytest.param("a", 1, marks=pytest.mark.skip)])


INNER = """
import pytest
from pairwise import pairwise

CASES = [(a, b, c) for a in "xyz" for b in "xyz" for c in "xyz"]

@pytest.mark.parametrize(("a", "b", "c"), pairwise(CASES))
def test_it(a, b, c):
    pass
"""


@pytest.mark.parametrize(
    ("options", "result"),
    [([], "10 passed, 17 deselected"), (["--full"], "27 passed")],
    ids=["default", "full"],
)
def test_option_runs_the_full_matrix(options: list[str], result: str, tmp_path: Path) -> None:
    (tmp_path / "helpers").mkdir()
    for name in ("conftest.py", "helpers/forked.py", "helpers/pairwise.py"):
        shutil.copy(ROOT / "tests" / name, tmp_path / name)
    (tmp_path / "test_inner.py").write_text(INNER)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = full\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1].startswith(result), done.stdout + done.stderr


def test_command_for_everything_asks_for_it() -> None:
    done = subprocess.run(
        ["make", "--dry-run", "--always-make", "test-all"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    (line,) = [line for line in done.stdout.splitlines() if "-m pytest" in line and "-n 2" in line]
    assert "--full" in line.split()


def test_quick_tests_exist_and_are_named_once() -> None:
    names = (ROOT / "tests" / "quick.txt").read_text("utf-8").splitlines()
    assert names == sorted(set(names))
    assert [name for name in names if not (ROOT / name).exists()] == []
