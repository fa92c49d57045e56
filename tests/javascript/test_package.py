"""The JavaScript package: its own tests in Node, its types and lint, and what npm packs of it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import rnnedge
from rnnedge_runtime import PlanError, Session

Run = Callable[..., "subprocess.CompletedProcess[str]"]
PACKAGE = Path(__file__).resolve().parents[2] / "javascript"
FILES = sorted(path.name for path in (PACKAGE / "tests").glob("*.test.js"))
NEED_MODULES = {"onnxruntime.test.js"}
"""Files of tests that run models: the others need Node alone."""


@pytest.mark.parametrize("file", FILES)
def test_in_node(file: str, node: str, in_package: Run, request: pytest.FixtureRequest) -> None:
    if file in NEED_MODULES:
        request.getfixturevalue("modules")
    done = in_package(node, "--test", "--test-reporter=tap", f"tests/{file}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\n# fail 0\n" in done.stdout
    assert "\n# pass 0\n" not in done.stdout


def test_python_goes_on_from_a_state_of_javascript(
    node: str, in_package: Run, models: Path, tmp_path: Path
) -> None:
    target = tmp_path / "state.npz"
    code = """
        import { Tensor } from "./src/index.js";
        import { openWithZeros } from "./tests/helpers/models.js";
        const { session } = await openWithZeros("projected");
        const stream = session.stream();
        stream.state = [new Tensor("float32", Float32Array.of(1, 2, 3, 4), [2, 1, 2]),
                        new Tensor("float32", Float32Array.of(1, 2, 3, 4, 5, 6, 7, 8), [2, 1, 4])];
        await stream.save(process.argv[1]);
    """
    done = in_package(node, "--input-type=module", "-e", code, str(target))
    assert done.returncode == 0, done.stderr
    stream = Session(models / "projected" / "model.onnx").stream()
    stream.load(target)
    h, c = stream.state
    np.testing.assert_array_equal(h, np.arange(1, 5, dtype=np.float32).reshape(2, 1, 2))
    np.testing.assert_array_equal(c, np.arange(1, 9, dtype=np.float32).reshape(2, 1, 4))
    again = tmp_path / "again.npz"
    stream.save(again)
    assert again.read_bytes() == target.read_bytes()


@pytest.mark.parametrize("name", ["a node", ""])
def test_a_node_that_is_not_known_is_named_as_in_python(
    name: str, node: str, run_in: Run, models: Path, tmp_path: Path
) -> None:
    pytest.importorskip("rnnedge_native")
    model = onnx.load(models / "gru" / "model.onnx")
    model.graph.node[0].op_type, model.graph.node[0].name = "CumSum", name
    path = tmp_path / "unknown.onnx"
    onnx.save(model, path)
    with pytest.raises(PlanError) as refused:
        Session(path, engine="native")
    found = opened_alone(path, "wasm", node, run_in, tmp_path)
    assert found.rstrip() == f"PlanError: {refused.value}"


@pytest.mark.parametrize(
    ("engine", "model", "package"),
    [
        ("onnxruntime-node", "gru", "onnxruntime-node"),
        ("onnxruntime-web", "gru", "onnxruntime-web"),
        ("auto", "int8-all", "onnxruntime-node"),
    ],
)
def test_an_engine_that_is_not_installed_is_named_with_its_command(
    engine: str, model: str, package: str, node: str, run_in: Run, models: Path, tmp_path: Path
) -> None:
    found = opened_alone(models / model / "model.onnx", engine, node, run_in, tmp_path)
    assert found.startswith(
        f"MissingPackageError: engine: '{engine}' needs {package}, which is not installed: "
        f"npm install {package}, "
    ), found
    if engine == "auto":
        assert found.rstrip().endswith("ONNX Runtime runs the model")


def test_its_own_engine_needs_no_package(
    node: str, run_in: Run, models: Path, tmp_path: Path
) -> None:
    found = opened_alone(models / "gru" / "model.onnx", "auto", node, run_in, tmp_path)
    assert found == "wasm: onnxruntime-node is not installed\n"


def opened_alone(model: Path, engine: str, node: str, run_in: Run, folder: Path) -> str:
    """Open a model with the package where no other one is installed; return what is printed."""
    shutil.copytree(PACKAGE / "src", folder / "src")
    (folder / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    code = """
        import { Session } from "./src/index.js";
        const [model, name] = process.argv.slice(1);
        const { engine } = await Session.open(model, { engine: name }).catch(
          (error) => ({ engine: { name: error.name, reason: error.message } }),
        );
        console.log(`${engine.name}: ${engine.reason}`);
    """
    done = run_in(folder, node, "--input-type=module", "-e", code, str(model), engine)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("script", ["types", "lint", "format"])
def test_the_sources_are_clean(script: str, modules: Path, in_package: Run) -> None:
    done = in_package("npm", "run", "--silent", script)
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_npm_packs(modules: Path, in_package: Run) -> None:
    built = in_package("npm", "run", "--silent", "build")
    assert built.returncode == 0, built.stdout + built.stderr
    done = in_package("npm", "pack", "--dry-run", "--json", "--silent")
    assert done.returncode == 0, done.stderr
    packed = json.loads(done.stdout)
    (about,) = packed.values() if isinstance(packed, dict) else packed
    files = {file["path"] for file in about["files"]}
    sources = {path.relative_to(PACKAGE).as_posix() for path in (PACKAGE / "src").rglob("*.js")}
    public = {name for name in sources if not name.startswith(("src/plan/", "src/wasm/"))}
    types = {f"types/{name.removeprefix('src/').removesuffix('.js')}.d.ts" for name in public}
    wasm = {"src/wasm/index.d.ts"}
    assert files == sources | types | wasm | {"package.json", "README.md", "LICENSE"}


def test_its_types_need_no_other_package(
    modules: Path, in_package: Run, run_in: Run, tmp_path: Path
) -> None:
    built = in_package("npm", "run", "--silent", "build", "--", "--outDir", str(tmp_path / "types"))
    assert built.returncode == 0, built.stdout + built.stderr
    (tmp_path / "package.json").write_text('{"type": "module"}', encoding="utf-8")
    command = [str(modules / ".bin" / "tsc"), "--noEmit", "--strict", "--types", ""]
    command += ["--module", "nodenext", "--lib", "es2022,dom", "types/index.d.ts"]
    done = run_in(tmp_path, *command)
    assert done.returncode == 0, done.stdout


def test_a_bundle_of_its_modules_is_whole() -> None:
    for path in (PACKAGE / "src").rglob("*.js"):
        code = path.read_text(encoding="utf-8")
        assert "import.meta" not in code, f"{path}: bundlers leave the file behind that it names"


def test_its_version_is_that_of_the_toolkit() -> None:
    about = json.loads((PACKAGE / "package.json").read_text(encoding="utf-8"))
    assert about["version"] == rnnedge.__version__


def test_its_lock_file_names_no_registry() -> None:
    lock = json.loads((PACKAGE / "package-lock.json").read_text(encoding="utf-8"))
    assert lock["packages"][""]["name"] == "rnnedge"
    assert not [name for name, about in lock["packages"].items() if "resolved" in about]
