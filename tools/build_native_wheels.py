"""Wheels of rnnedge-native for x86-64 and 64-bit Arm, on any machine: `make native-wheels`.

Zig compiles the extension by its own meson.build for each processor, against glibc 2.28, which the
Linux distributions of the last years have. The wheels are for the Python that runs this program,
and lie in `dist/`. It takes the packages ziglang, meson and ninja.

    python tools/build_native_wheels.py [x86_64] [aarch64]
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import tomllib

ROOT = Path(__file__).resolve().parent.parent
NATIVE, DIST = ROOT / "native", ROOT / "dist"
PROCESSORS = ("x86_64", "aarch64")
GLIBC = "2.28"
NEEDED = ("ziglang", "mesonbuild")
_WHEN = (2020, 1, 1, 0, 0, 0)
"""In the archive, so that the same sources give the same bytes."""
_CROSS = """\
[binaries]
c = [{python!r}, '-m', 'ziglang', 'cc', '-target', '{processor}-linux-gnu.{glibc}']
ar = [{python!r}, '-m', 'ziglang', 'ar']
[built-in options]
c_link_args = ['-s']
[host_machine]
system = 'linux'
cpu_family = '{processor}'
cpu = '{processor}'
endian = 'little'
"""


def missing() -> Iterator[str]:
    """Yield what keeps the wheels from being built here."""
    if not sys.platform.startswith("linux"):
        yield f"the wheels are for Linux, and Python.h here is that of {sys.platform}"
    if sys.version_info < (3, 11):
        yield "Python 3.11 or newer"
    names = {"ziglang": "ziglang", "mesonbuild": "meson"}
    for module in NEEDED:
        if find_spec(module) is None:
            yield f"pip install {names[module]}"
    if shutil.which("ninja") is None:
        yield "pip install ninja"


def build(processor: str, target: Path) -> Path:
    """Build the wheel of one processor.

    Args:
        processor: One of `PROCESSORS`.
        target: The folder for it.

    Returns:
        The wheel.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        cross = place / "cross.ini"
        cross.write_text(
            _CROSS.format(python=sys.executable, processor=processor, glibc=GLIBC), "utf-8"
        )
        meson = [sys.executable, "-m", "mesonbuild.mesonmain"]
        _call(*meson, "setup", f"--cross-file={cross}", "--prefix=/", place / "build", NATIVE)
        _call(*meson, "compile", "-C", place / "build")
        _call(*meson, "install", "--quiet", "-C", place / "build", "--destdir", place / "made")
        (package,) = (place / "made").rglob("rnnedge_native")
        return pack(package, processor, target)


def pack(package: Path, processor: str, target: Path) -> Path:
    """Put an installed package into a wheel.

    https://packaging.python.org/specifications/binary-distribution-format

    Args:
        package: The folder `rnnedge_native`, with the extension module in it.
        processor: What it was compiled for.
        target: The folder for the wheel.

    Returns:
        The wheel.
    """
    project = tomllib.loads((NATIVE / "pyproject.toml").read_text("utf-8"))["project"]
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    tag = f"{python}-{python}-manylinux_{GLIBC.replace('.', '_')}_{processor}"
    name = f"rnnedge_native-{project['version']}"
    files = {
        f"rnnedge_native/{_renamed(path.name, processor)}": path.read_bytes()
        for path in sorted(package.iterdir())
        if path.is_file()
    }
    files[f"{name}.dist-info/licenses/LICENSE"] = (NATIVE / "LICENSE").read_bytes()
    files[f"{name}.dist-info/METADATA"] = _metadata(project).encode()
    files[f"{name}.dist-info/WHEEL"] = (
        "Wheel-Version: 1.0\n"
        f"Generator: {Path(__file__).name}\n"
        "Root-Is-Purelib: false\n"
        f"Tag: {tag}\n"
    ).encode()
    record = f"{name}.dist-info/RECORD"
    lines = [f"{path},sha256={_digest(content)},{len(content)}" for path, content in files.items()]
    files[record] = "\n".join([*lines, f"{record},,", ""]).encode()
    target.mkdir(parents=True, exist_ok=True)
    wheel = target / f"{name}-{tag}.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, content in files.items():
            info = zipfile.ZipInfo(path, _WHEN)
            info.external_attr = 0o644 << 16
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)
    return wheel


def _renamed(name: str, processor: str) -> str:
    """Return the name of a file there: that of an extension module has the processor in it."""
    here = sysconfig.get_config_var("EXT_SUFFIX")
    there = here.replace(os.uname().machine, processor)
    return f"{name.removesuffix(here)}{there}" if name.endswith(here) else name


def _metadata(project: dict[str, object]) -> str:
    lines = [
        "Metadata-Version: 2.4",
        f"Name: {project['name']}",
        f"Version: {project['version']}",
        f"Summary: {project['description']}",
        f"License-Expression: {project['license']}",
        "License-File: LICENSE",
    ]
    lines += [f"Classifier: {name}" for name in _texts(project["classifiers"])]
    lines += [f"Requires-Python: {project['requires-python']}"]
    lines += [f"Requires-Dist: {name}" for name in _texts(project["dependencies"])]
    lines += ["Description-Content-Type: text/markdown", ""]
    return "\n".join(lines) + "\n" + (NATIVE / "README.md").read_text("utf-8")


def _texts(values: object) -> list[str]:
    return [str(value) for value in values] if isinstance(values, list) else []


def _digest(content: bytes) -> str:
    digest = hashlib.sha256(content).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _call(*command: str | os.PathLike[str]) -> None:
    texts = [os.fspath(part) for part in command]
    done = subprocess.run(texts, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)


def main(processors: Sequence[str]) -> int:
    """Build the wheels, and print where they lie; the exit code is 1 where something is missing."""
    unknown = set(processors) - set(PROCESSORS)
    if unknown:
        raise SystemExit(f"{', '.join(sorted(unknown))}: expected {' or '.join(PROCESSORS)}")
    found = list(missing())
    if found:
        print(f"no wheels are built without: {'; '.join(found)}", file=sys.stderr)
        return 1
    for processor in processors or PROCESSORS:
        print(build(processor, DIST).relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
