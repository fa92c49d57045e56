import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from running import EXAMPLES

EXAMPLE = EXAMPLES / "13_phone"
NEEDED = ("cc", "cmake", "javac", "java")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """What `check.py` wrote and printed."""
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    folder = tmp_path_factory.mktemp("phone")
    command = [sys.executable, str(EXAMPLE / "check.py"), "--out", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, done.stdout


def test_java_steps_as_python_does(built: tuple[Path, str]) -> None:
    shown = (EXAMPLE / "README.md").read_text(encoding="utf-8")
    for line in built[1].splitlines():
        assert re.sub(r"\d+e-\d+$", "", line) in shown
    assert len(built[1].splitlines()) == 3


def test_the_swift_package_names_every_file_of_a_model(built: tuple[Path, str]) -> None:
    package = (EXAMPLE / "swift" / "Package.swift").read_text(encoding="utf-8")
    lists = re.findall(r"(?:exclude|sources): \[(.*)\]", package)
    named = {name for each in lists for name in re.findall(r'"(.*?)"', each)}
    assert named | {"kws.h"} == {path.name for path in (built[0] / "kws").iterdir()}
