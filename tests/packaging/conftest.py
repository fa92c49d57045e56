"""Builds both wheels once; needs the `build` and `hatchling` packages, and no network."""

import subprocess
import sys
from dataclasses import dataclass
from email.message import Message
from email.parser import Parser
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Wheel:
    """A built wheel.

    Attributes:
        files: Content by name.
        info: Name of its `.dist-info` folder.
        metadata: Its METADATA.
    """

    files: dict[str, bytes]
    info: str
    metadata: Message


def build(project: Path, folder: Path) -> Wheel:
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    done = subprocess.run(
        [*command, str(project)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob("*.whl")
    with ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    (metadata,) = (name for name in files if name.endswith(".dist-info/METADATA"))
    parsed = Parser().parsestr(files[metadata].decode())
    return Wheel(files, metadata.removesuffix("/METADATA"), parsed)


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def toolkit(tmp_path_factory: pytest.TempPathFactory) -> Wheel:
    return build(ROOT, tmp_path_factory.mktemp("toolkit"))


@pytest.fixture(scope="session")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Wheel:
    return build(ROOT / "runtime", tmp_path_factory.mktemp("runtime"))
