"""Running an example as a user would."""

import os
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[3] / "examples"


def run(folder: Path, script: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run an example in an empty folder, as a user would."""
    return subprocess.run(
        [sys.executable, str(EXAMPLES / script), *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        encoding="utf-8",
        capture_output=True,
        timeout=600,
    )


def output_of(folder: Path, script: str, *arguments: str) -> str:
    done = run(folder, script, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def without(banned: tuple[str, ...], script: str) -> "subprocess.CompletedProcess[str]":
    """Run an example for a folder that is not there, where some packages cannot be imported."""
    # None in sys.modules makes an import fail, wherever it is.
    hook = f"import sys, runpy; sys.modules.update(dict.fromkeys({banned!r})); "
    hook += "sys.argv = ['x', 'nowhere']; "
    hook += f"runpy.run_path({str(EXAMPLES / script)!r}, run_name='__main__')"
    return subprocess.run([sys.executable, "-c", hook], capture_output=True, text=True)
