"""Builds the Android library of a GRU for this machine's Java, steps it, and compares with Python.

python check.py --out built
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import rnnedge
from rnnedge_runtime import Session

HERE = Path(__file__).resolve().parent
STEPS, INPUT_SIZE, HIDDEN_SIZE = 20, 10, 32


def export(folder: Path) -> Path:
    """Write the model as a file and as the C folder `kws`; return the file."""
    layer = rnnedge.build(
        rnnedge.RNNSpec(cell="gru", input_size=INPUT_SIZE, hidden_size=HIDDEN_SIZE), seed=0
    )
    path = folder / "gru.onnx"
    rnnedge.export(layer, path)
    rnnedge.export(layer, folder / "kws", target="c", force=True)
    return path


def build(folder: Path) -> None:
    """Compile the library and the classes, as Gradle does for a phone."""
    android = HERE / "android"
    library = folder / "library"
    _run("cmake", "-S", android, "-B", library, f"-DMODEL_FOLDER={folder / 'kws'}", *_java())
    _run("cmake", "--build", library)
    java = android / "src" / "main" / "java" / "org" / "rnnedge" / "stream" / "RnnStream.java"
    _run("javac", "-Xlint:all", "-Werror", "-d", folder / "classes", java, HERE / "Check.java")


def step(folder: Path, frames: NDArray[np.float32]) -> list[str]:
    """Step the frames in Java, and return what was printed."""
    text = folder / "frames.txt"
    np.savetxt(text, frames, fmt="%.9g")
    path = f"-Djava.library.path={folder / 'library'}"
    return _run("java", path, "-cp", folder / "classes", "Check", text).splitlines()


def _java() -> list[str]:
    """Return where CMake finds Java's headers, if `javac` lies where JDKs have it."""
    found = shutil.which("javac")
    if found is None:
        raise SystemExit("needs a JDK: apt-get install openjdk-17-jdk-headless")
    headers = Path(found).resolve().parents[1] / "include"
    places = {"JAVA_INCLUDE_PATH": headers, "JAVA_INCLUDE_PATH2": headers / "linux"}
    return [f"-D{name}={place}" for name, place in places.items()]


def _run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{command[0]} failed: {done.stdout}{done.stderr}")
    return done.stdout


def main() -> None:
    """Export, build, step and compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="a folder for what is built")
    folder = parser.parse_args().out.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    model = export(folder)
    build(folder)
    frames = np.random.default_rng(0).standard_normal((STEPS, INPUT_SIZE)).astype(np.float32)
    *lines, short, nan = step(folder, frames)
    made = np.array([line.split() for line in lines], np.float32).reshape(2, STEPS, HIDDEN_SIZE)
    stream = Session(model, threads=1).stream()
    expected = np.stack([stream.step(frame) for frame in frames])
    error = float(np.abs(made - expected).max())
    print(f"{STEPS} steps in Java as in Python: largest difference {error:.0e}")
    print(short)
    print(nan)
    if error > 1e-6:
        raise SystemExit(3)


if __name__ == "__main__":
    main()
