"""Compiles the native engine to WebAssembly for the JavaScript package: `make wasm`.

The module is committed, compressed, so that nobody needs the compiler to use or to test the
package; a record next to it says which sources and which compiler it was made of. `--check` says
whether the sources have changed since.

It is text in a JavaScript module, not a file next to it: some bundlers leave such a file behind.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NATIVE = ROOT / "native"
FOLDER = ROOT / "javascript" / "src" / "wasm"
MODULE = FOLDER / "module.js"
RECORD = FOLDER / "rnnedge.wasm.json"
SOURCES = (
    *("wasm/engine.c", "wasm/memory.c", "wasm/multiply.c", "wasm/no_integers.c"),
    *("src/finals.c", "src/kernels.c", "src/program.c"),
)
"""What is compiled, below `native/`."""
FLAGS = (
    *("--target=wasm32", "-std=c11", "-Os", "-msimd128", "-mbulk-memory"),
    *("-fno-vectorize", "-fno-slp-vectorize", "-fno-math-errno", "-fno-trapping-math"),
    *("-Wall", "-Wextra", "-Wno-missing-field-initializers", "-DKERNELS=kernels_baseline"),
    *("-nostdinc", "-Iwasm/include", "-Isrc"),
)
LINK_FLAGS = (
    *("--no-entry", "--strip-all", "--stack-first", "-z", "stack-size=65536"),
    f"--max-memory={2**31}",
)


HEAD = "/** The engine, made by `make wasm`: a WebAssembly module, packed by gzip, in base64. */"


def read_module() -> bytes:
    """Return the committed module."""
    _, text, _ = MODULE.read_text(encoding="utf-8").split('"')
    return gzip.decompress(base64.b64decode(text))


def write_module(module: bytes) -> int:
    """Write a module as JavaScript, and return how many bytes it takes packed."""
    packed = gzip.compress(module, 9, mtime=0)
    text = base64.b64encode(packed).decode()
    code = f'{HEAD}\n\n/** @type {{string}} */\nexport const MODULE =\n  "{text}";\n'
    MODULE.write_text(code, encoding="utf-8")
    return len(packed)


def read_record() -> dict[str, object]:
    """Return what the committed module was made of: `compiler`, `sources` and `module`."""
    record: dict[str, object] = json.loads(RECORD.read_text(encoding="utf-8"))
    return record


def source_digests() -> dict[str, str]:
    """Return the sha256 of everything that the module is compiled from, and of its flags."""
    paths = [NATIVE / name for name in SOURCES]
    paths += [*NATIVE.glob("src/*.h"), *NATIVE.glob("wasm/include/*.h")]
    digests = {path.relative_to(ROOT).as_posix(): _digest(path.read_bytes()) for path in paths}
    digests["flags"] = _digest(" ".join((*FLAGS, *LINK_FLAGS)).encode())
    return dict(sorted(digests.items()))


def find_compiler() -> tuple[str, str] | None:
    """Return the paths of clang and wasm-ld, or None where one of them is missing."""
    clang, linker = (
        shutil.which(os.environ.get(name, default))
        for name, default in (("WASM_CC", "clang"), ("WASM_LD", "wasm-ld"))
    )
    return None if clang is None or linker is None else (clang, linker)


def compiler_version(clang: str) -> str:
    """Return the first line that a compiler prints of itself."""
    printed = subprocess.run([clang, "--version"], capture_output=True, text=True, check=True)
    return printed.stdout.splitlines()[0]


def build(clang: str, linker: str) -> bytes:
    """Return the compiled module."""
    resources = subprocess.run(
        [clang, "-print-resource-dir"], capture_output=True, text=True, check=True
    ).stdout.strip()
    with tempfile.TemporaryDirectory() as folder:
        objects = []
        for name in SOURCES:
            target = Path(folder, name.replace("/", "_") + ".o")
            headers = ["-isystem", str(Path(resources, "include"))]
            command = [clang, *FLAGS, *headers, "-c", name, "-o", str(target)]
            subprocess.run(command, cwd=NATIVE, check=True)
            objects.append(str(target))
        module = Path(folder, "rnnedge.wasm")
        subprocess.run([linker, *LINK_FLAGS, *objects, "-o", str(module)], check=True)
        return module.read_bytes()


def main() -> int:
    """Build the module, or check that the committed one is that of the sources."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare the sources with the record")
    if parser.parse_args().check:
        stale = read_record()["sources"] != source_digests()
        if stale:
            print(f"{MODULE.relative_to(ROOT)} is not that of the sources: run make wasm")
        return int(stale)
    found = find_compiler()
    if found is None:
        print(
            "make wasm: expected clang and wasm-ld, found neither or one: apt-get install clang "
            "lld, or set WASM_CC and WASM_LD",
            file=sys.stderr,
        )
        return 1
    module = build(*found)
    packed = write_module(module)
    record = {
        "compiler": compiler_version(found[0]),
        "module": _digest(module),
        "sources": source_digests(),
    }
    RECORD.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    print(f"{MODULE.relative_to(ROOT)}: {packed} bytes packed, {len(module)} unpacked")
    return 0


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
