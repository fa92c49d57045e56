"""Tests of the runtime and of the native engine on Arm64, emulated: `make test-arm64`.

A Debian root file system for Arm64, the wheels of PyPI and a cross-compiled rnnedge-native are put
into `build/arm64`; qemu runs its Python there: tests of `tests/runtime`, and int8 models on NEON
dot products (`arm64_integers.py`). It takes root, for chroot, and these packages of Debian:
qemu-user-static, mmdebstrap, arch-test, gcc-aarch64-linux-gnu, meson, ninja-build. Where one is
missing, that is said, and nothing is run.

    python tools/run_on_arm64.py [PATH in tests/runtime ...]
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

import rnnedge
from rnnedge_runtime import Session

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / "build" / "arm64"
SYSTEM, WHEELS, BUILD = PLACE / "rootfs", PLACE / "wheels", PLACE / "native"
SITE = SYSTEM / "opt" / "site"
QEMU = "/usr/bin/qemu-aarch64-static"
TOOLS = ("qemu-aarch64-static", "mmdebstrap", "aarch64-linux-gnu-gcc", "meson", "ninja")
DEBIAN = "python3-minimal,python3,libpython3-stdlib,libstdc++6,libgomp1,libc6"
PACKAGES = ("onnxruntime", "numpy", "flatbuffers", "protobuf", "packaging")
TESTERS = ("pytest", "iniconfig", "pluggy", "pygments")
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64")
TESTS = ("test_run.py", "test_lengths.py", "streaming", "proof")
"""Of `tests/runtime`, what is run unless others are named: emulated, all of it takes long."""
CROSS = """\
[binaries]
c = 'aarch64-linux-gnu-gcc'
strip = 'aarch64-linux-gnu-strip'
[host_machine]
system = 'linux'
cpu_family = 'aarch64'
cpu = 'aarch64'
endian = 'little'
"""
LAYERS = {
    "rnn": {"cell": "rnn"},
    "relu": {"cell": "rnn", "nonlinearity": "relu", "bidirectional": True},
    "gru": {"cell": "gru", "num_layers": 2},
    "lstm": {"cell": "lstm"},
    "projected": {"cell": "lstm", "proj_size": 5},
}


def missing() -> Iterator[str]:
    """Yield what keeps the tests from being run here.

    Yields:
        One reason each.
    """
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        yield "chroot takes root on Linux"
    yield from (f"there is no {tool}" for tool in TOOLS if shutil.which(tool) is None)
    if sys.version_info[:2] != (3, 11):
        yield "rnnedge-native is compiled for the Python 3.11 of Debian 12, with its headers"


def prepare() -> None:
    """Make the root file system, once, and put what is tested into it."""
    if not (SYSTEM / "usr" / "bin" / "python3.11").exists():
        PLACE.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(SYSTEM, ignore_errors=True)
        _call(
            *("mmdebstrap", "--variant=extract", "--skip=check/qemu", "--architectures=arm64"),
            *("--mode=root", f"--include={DEBIAN}", "bookworm", os.fspath(SYSTEM)),
        )
        shutil.copy2(QEMU, SYSTEM / "usr" / "bin")
    if not WHEELS.is_dir():
        platforms = [word for name in PLATFORMS for word in ("--platform", name)]
        _call(
            *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"),
            *("--only-binary=:all:", "--python-version", "311", "--dest", os.fspath(WHEELS)),
            *("--constraint", os.fspath(ROOT / "constraints.txt")),
            *(*platforms, *PACKAGES, *TESTERS),
        )
    shutil.rmtree(SITE, ignore_errors=True)
    for wheel in WHEELS.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(SITE)
    shutil.copytree(ROOT / "runtime" / "rnnedge_runtime", SITE / "rnnedge_runtime")
    shutil.copytree(ROOT / "native" / "rnnedge_native", SITE / "rnnedge_native")
    shutil.copy2(_engine(), SITE / "rnnedge_native" / "_engine.so")
    tests = SYSTEM / "opt" / "tests"
    shutil.rmtree(tests, ignore_errors=True)
    shutil.copytree(ROOT / "tests" / "runtime", tests)


def _engine() -> Path:
    """Compile rnnedge-native for Arm64 by its own meson.build."""
    shutil.rmtree(BUILD, ignore_errors=True)
    cross = PLACE / "cross.ini"
    cross.write_text(CROSS, encoding="utf-8")
    _call("meson", "setup", "--cross-file", os.fspath(cross), os.fspath(BUILD), "native")
    _call("ninja", "-C", os.fspath(BUILD))
    (engine,) = BUILD.glob("_engine*.so")  # its name is that of the Python here
    return engine


def export_models(folder: Path) -> None:
    """Export models that compute in int8, with what the native engine answers here.

    Args:
        folder: Where to write them.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    numbers = np.random.default_rng(0)
    for name, options in LAYERS.items():
        spec = rnnedge.RNNSpec(input_size=7, hidden_size=21, **options)  # type: ignore[arg-type]
        path = folder / f"{name}.onnx"
        model = rnnedge.build(spec, seed=0)
        rnnedge.export(model, path, quantize="int8:all", lowering="scan_int8", validate=False)
        session = Session(path, engine="native")
        x = numbers.standard_normal((9, 2, 7)).astype(np.float32)
        states = {
            spec.name: np.zeros([n if isinstance(n, int) else 2 for n in spec.axes], np.float32)
            for spec in session.interface.state_inputs
        }
        expected = session.run(x).output
        arrays = {"input": x, **states, "expected": expected}
        np.savez(path.with_suffix(".npz"), **arrays)  # type: ignore[arg-type]


def run_there(*arguments: str) -> int:
    """Run the Python of the root file system.

    Args:
        *arguments: Of that Python.

    Returns:
        Its exit code.
    """
    environment = {
        "PYTHONPATH": "/opt/site",
        "PYTHONDONTWRITEBYTECODE": "1",
        "ORT_DISABLE_TELEMETRY": "1",
        "OMP_NUM_THREADS": "1",
        "HOME": "/tmp",
    }
    given = [word for item in environment.items() for word in ("-E", "=".join(item))]
    command = ["chroot", os.fspath(SYSTEM), QEMU, *given, "/usr/bin/python3.11", *arguments]
    return subprocess.run(command, check=False).returncode


def main(tests: Sequence[str]) -> int:
    """Run the tests, or say why not.

    Args:
        tests: Paths in `tests/runtime`; none for `TESTS`.

    Returns:
        An exit code.
    """
    reasons = list(missing())
    if reasons:
        print(f"test-arm64: skipped: {'; '.join(reasons)}")
        return 0
    prepare()
    export_models(SYSTEM / "opt" / "models")
    shutil.copy2(Path(__file__).with_name("arm64_integers.py"), SYSTEM / "opt")
    codes = [run_there("/opt/arm64_integers.py", "/opt/models")]
    paths = [f"/opt/tests/{path}" for path in tests or TESTS]
    pytest = ("-m", "pytest", "-q", "-c", "/opt/tests/pytest.ini", "--rootdir", "/opt/tests")
    codes.append(run_there(*pytest, "-p", "no:cacheprovider", *paths))
    return max(codes)


def _call(*command: str) -> None:
    subprocess.run(command, cwd=ROOT, check=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
