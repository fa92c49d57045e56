"""What the tests of the toolkit share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from rnnedge.cli import main

# `--import-mode=importlib` puts no folder on sys.path: this one is for `import broken_models`.
sys.path.append(str(Path(__file__).parent / "helpers"))
# And this one for `import onnx_files`, of the tests of what is proven here.
sys.path.append(str(Path(__file__).parents[1] / "exporters" / "quantization" / "helpers"))

from browser import NAMES, Browser, find_browser
from commands import Done


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def rnn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Done]:
    """A function that runs one command in the test's own folder, in this process."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> Done:
        with pytest.raises(SystemExit) as stopped:
            main(list(arguments))
        captured = capsys.readouterr()
        return Done(int(stopped.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser for all tests that look at a page; they are skipped where there is none."""
    program = find_browser()
    if program is None:
        pytest.skip(f"needs a browser: none of {', '.join(NAMES)} is on PATH")
    with Browser(program, tmp_path_factory.mktemp("chromium") / "profile") as browser:
        yield browser
