"""The notebook runs from top to bottom, and its output is that of such a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[2] / "examples" / "12_notebook" / "from_training_to_stream.ipynb"


@pytest.fixture(scope="module")
def cells() -> list[dict[str, Any]]:
    found = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in found if cell["cell_type"] == "code"]


def test_runs_from_top_to_bottom(
    cells: list[dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    names: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate(cells, 1):
        code = compile("".join(cell["source"]), f"cell {number}", "exec")
        exec(code, names)
    assert (tmp_path / "small.onnx").exists()
    assert "of 500 new chirps are right" in capsys.readouterr().out


def test_is_kept_with_its_output(cells: list[dict[str, Any]]) -> None:
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    kept = json.dumps([cell["outputs"] for cell in cells])
    assert "PASS: chirps.onnx computes what Chirps computes in PyTorch" in kept
    assert "Traceback" not in kept
    assert "image/png" in kept
