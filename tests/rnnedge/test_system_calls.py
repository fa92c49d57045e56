"""What the system is asked for: files are written where they were asked for, and no socket is made.

The commands run under strace, in one process after the other; a temporary folder and a home folder
are the test's own, so that a file anywhere shows.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")

CALLS = (
    "openat,open,creat,rename,renameat,renameat2,link,linkat,symlink,symlinkat,mkdir,mkdirat,socket"
)
COMMANDS = (
    "export --cell gru --input-size 2 --hidden-size 3 -o out/m.onnx",
    "validate out/m.onnx --cell gru --input-size 2 --hidden-size 3 --quick --report out/r.json",
    "doctor out/m.onnx",
    "run out/m.onnx --input x.npy -o out/y.npz",
)
STREAM = (
    "import numpy as np; from rnnedge_runtime import Session; "
    "stream = Session('out/m.onnx', threads=1).stream(); "
    "stream.step(np.ones((1, 2), np.float32)); stream.save('out/s.npz'); stream.load('out/s.npz'); "
    "pool = stream._model.pool(max_delay_ms=0); "
    "pool.submit(pool.open(), np.ones(2, np.float32)).result()"
)
WRITTEN = re.compile(r'\bopen(?:at)?\([^"]*"([^"]*)", [A-Z_|]*O_(?:WRONLY|RDWR)')
CREATED = re.compile(
    r'\b(?:creat|mkdir|mkdirat|link|linkat|symlink|symlinkat)\(.*"([^"]*)"[^"]*\)\s+= 0'
)
RENAMED = re.compile(r'\brename(?:at2?)?\(.*"([^"]*)"[^"]*\)\s+= 0')
FAMILY = re.compile(r"\bsocket\((AF_\w+)")
DEVICES = ("/dev/null", "/dev/tty", "/proc/", "/dev/shm/", "/sys/")


def traced(arguments: list[str], folder: Path) -> tuple[set[str], set[str]]:
    """Run Python; return the files that it wrote or made, and the kinds of its sockets."""
    (folder / "tmp").mkdir(exist_ok=True)
    (folder / "home").mkdir(exist_ok=True)
    done = subprocess.run(
        [
            "strace",
            "-f",
            "-qq",
            "-e",
            f"trace={CALLS}",
            "-o",
            "calls.txt",
            sys.executable,
            *arguments,
        ],
        cwd=folder,
        env=os.environ
        | {
            "HOME": str(folder / "home"),
            "TMPDIR": str(folder / "tmp"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "MPLCONFIGDIR": str(folder / "tmp"),
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    calls = (folder / "calls.txt").read_text(errors="replace")
    made = set(WRITTEN.findall(calls)) | set(CREATED.findall(calls)) | set(RENAMED.findall(calls))
    files = {path for path in made if not path.startswith(DEVICES)}
    return files, set(FAMILY.findall(calls))


def elsewhere(files: set[str], folder: Path) -> list[str]:
    """Return the files that lie neither in `out` nor among temporary ones."""
    absolute = {os.path.normpath(folder / path) for path in files}
    own = (str(folder / "out"), str(folder / "tmp"))
    return sorted(path for path in absolute if not path.startswith(own))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("traced")
    (made / "out").mkdir()
    np.save(made / "x.npy", np.ones((4, 1, 2), np.float32))
    return made


def test_commands_write_where_they_are_asked_to_and_make_no_socket(
    folder: Path, request: pytest.FixtureRequest
) -> None:
    full = request.config.getoption("--full", default=False)
    for command in COMMANDS if full else (COMMANDS[0], COMMANDS[-1]):
        files, sockets = traced(["-m", "rnnedge", *command.split()], folder)
        assert elsewhere(files, folder) == [], command
        assert sockets == set(), command
        assert any("out" in path for path in files) or "doctor" in command, command
    assert [path for path in (folder / "tmp").rglob("*") if path.is_file()] == []
    assert [path for path in (folder / "home").rglob("*")] == []
    written = {"m.onnx", "y.npz", *(["r.json"] if full else [])}
    assert {path.name for path in (folder / "out").iterdir()} == written


def test_streams_and_pools_write_what_is_saved(folder: Path) -> None:
    if not (folder / "out" / "m.onnx").exists():
        pytest.skip("the commands did not run")
    files, sockets = traced(["-c", STREAM], folder)
    assert elsewhere(files, folder) == []
    assert sockets == set()
    assert any(path.endswith("s.npz") for path in files)


def test_the_trace_sees_files_and_sockets(folder: Path) -> None:
    code = (
        "import socket, os; socket.socket(socket.AF_INET).close(); open('a.txt', 'w').close(); "
        "os.mkdir('home/b'); os.rename('a.txt', 'home/c')"
    )
    files, sockets = traced(["-c", code], folder)
    shutil.rmtree(folder / "home")
    names = [Path(path).name for path in elsewhere(files, folder)]
    assert {"a.txt", "b", "c"} <= set(names)
    assert sockets == {"AF_INET"}
