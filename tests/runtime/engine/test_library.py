"""ONNX Runtime is imported with its telemetry off: no file in the user's home, no socket."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from time import monotonic, sleep

import pytest
from tiny_models import Tiny

VARIABLE = "ORT_DISABLE_TELEMETRY"
STREAM = (
    "import numpy as np\n"
    "from rnnedge_runtime import Session\n"
    "Session('model.onnx').stream().step(np.zeros((1, 2), np.float32))\n"
)
BARE = "import onnxruntime\nonnxruntime.InferenceSession('model.onnx')\n"
"""What writes files and looks up a host, from ONNX Runtime 1.32 on."""
NO_GOODBYE = "import os\nos._exit(0)\n"  # at a usual exit it would wait for the host
LIMIT = 60.0
"""Seconds in which ONNX Runtime's telemetry opens a socket; it took 12."""
needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "home"
    folder.mkdir()
    (tmp_path / "model.onnx").write_bytes(Tiny("lstm").content)
    return folder


def environment(home: Path, value: str | None = None) -> dict[str, str]:
    """Return the variables of a user whose home is `home`."""
    own = {VARIABLE, "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"}
    kept = {name: text for name, text in os.environ.items() if name not in own}
    return kept | {"HOME": str(home)} | ({} if value is None else {VARIABLE: value})


def run(home: Path, code: str, value: str | None = None) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=home.parent,
        env=environment(home, value),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def files(home: Path) -> list[Path]:
    return [path for path in home.rglob("*") if path.is_file()]


def test_a_stream_leaves_the_home_folder_empty(home):
    run(home, STREAM)
    assert files(home) == []


def test_a_command_leaves_the_home_folder_empty(home):
    code = "from rnnedge_runtime.__main__ import main\nmain(['info', 'model.onnx'])\n"
    assert "input    input float32[time, batch, 2]" in run(home, code)
    assert files(home) == []


def test_the_look_at_the_home_folder_can_fail(home):
    run(home, BARE + NO_GOODBYE)
    if not files(home):
        pytest.skip("this ONNX Runtime has no telemetry")
    assert any("onnxruntime" in str(path) for path in files(home))


@pytest.mark.parametrize(("value", "seen"), [(None, "1"), ("1", "1"), ("0", "0")])
def test_the_variable_is_set_before_the_import_unless_the_user_has_set_it(home, value, seen):
    stand_in = "import os\nprint('imported with', os.environ.get('ORT_DISABLE_TELEMETRY'))\n"
    (home.parent / "onnxruntime.py").write_text(stand_in)
    out = run(home, "from rnnedge_runtime.engine import library\n", value)
    assert out == f"imported with {seen}\n"


def test_importing_the_runtime_alone_sets_no_variable(home):
    assert run(home, f"import os, rnnedge_runtime\nprint({VARIABLE!r} in os.environ)") == "False\n"


def test_a_process_that_a_session_s_process_starts_inherits_it(home):
    code = STREAM + f"import subprocess, sys\nsubprocess.run(['printenv', {VARIABLE!r}])\n"
    assert run(home, code) == "1\n"


@needs_strace
@pytest.mark.skipif(sys.platform != "linux", reason="strace is Linux's")
def test_no_socket_is_opened_until_a_bare_one_opens_its(home, tmp_path):
    """Two processes wait: one of ours, and one whose telemetry shows how long to wait for it."""
    run(home, BARE + NO_GOODBYE)
    if not files(home):
        pytest.skip("this ONNX Runtime has no telemetry")
    wait = "import sys\nprint(flush=True)\nsys.stdin.read()\n"
    codes = {"ours": STREAM + wait, "bare": BARE + wait + NO_GOODBYE}
    traces = {name: tmp_path / f"{name}.trace" for name in codes}
    # Whatever the bare one has to tell stays here: it gets no socket.
    inject = ["-e", "trace=socket", "-e", "inject=socket:error=EACCES"]
    started = []
    try:
        for name, code in codes.items():
            process = subprocess.Popen(
                ["strace", "-f", *inject, "-o", traces[name], sys.executable, "-c", code],
                cwd=tmp_path,
                env=environment(home),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            started.append(process)
            assert process.stdout.readline() == b"\n"  # ours waits before the bare one starts
        end = monotonic() + LIMIT
        while not opened(traces["bare"]) and monotonic() < end:
            assert all(process.poll() is None for process in started), "strace did not run"
            sleep(0.1)
    finally:
        for process in started:
            process.communicate(b"", timeout=LIMIT)
    assert opened(traces["bare"]), "the telemetry of a bare ONNX Runtime was not seen"
    assert opened(traces["ours"]) == []


def opened(trace: Path) -> list[str]:
    """Return the calls that ask for a socket."""
    if not trace.exists():
        return []
    return [line for line in trace.read_text().splitlines() if "socket(" in line]
