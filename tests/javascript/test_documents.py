"""The JavaScript in the documents runs, in their order, on a model of the sizes that they name."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import rnnedge

Run = Callable[..., "subprocess.CompletedProcess[str]"]
ROOT = Path(__file__).resolve().parents[2]
PRELUDE = """
const [samples, frame] = [new Float32Array(100 * 10), new Float32Array(10).fill(0.5)];
const [frameA, frameB, frames] = [frame, frame, [frame, frame, frame]];
"""
"""What the documents leave to the reader: signals."""
NOT_IN_NODE = "onnxruntime-web/wasm"
"""A block for a page."""


def blocks(document: str) -> str:
    """Return the JavaScript of a document, without what is for a page."""
    text = (ROOT / document).read_text(encoding="utf-8")
    found = re.findall(r"```js\n(.*?)```", text, re.DOTALL)
    return "\n".join(block for block in found if NOT_IN_NODE not in block)


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory, package: Path, modules: Path) -> Path:
    """A folder in which `rnnedge` is installed, with a GRU 10 -> 32 and its vectors."""
    from javascript_decoders import write_speller

    folder = tmp_path_factory.mktemp("application")
    (folder / "node_modules").mkdir()
    (folder / "node_modules" / "rnnedge").symlink_to(package)
    model = rnnedge.build(rnnedge.RNNSpec(cell="gru", input_size=10, hidden_size=32), seed=0)
    rnnedge.export(model, folder / "model.onnx", validate=False)
    vectors = folder / "vectors"
    rnnedge.validate(
        folder / "model.onnx", against=model, quick=True, isolated=False, golden=vectors
    )
    write_speller(folder / "decoder.onnx")
    (folder / "gru.onnx").write_bytes((folder / "model.onnx").read_bytes())
    return folder


@pytest.mark.parametrize("document", ["javascript/README.md", "docs/javascript.md"])
def test_its_javascript_runs(document: str, node: str, application: Path, run_in: Run) -> None:
    script = application / f"{Path(document).stem}.mjs"
    script.write_text(PRELUDE + blocks(document), encoding="utf-8")
    done = run_in(application, node, str(script))
    assert done.returncode == 0, done.stderr
    assert (application / "state.npz").exists()
    assert "FAIL" not in done.stdout


def test_the_refusal_in_the_readme(node: str, application: Path, run_in: Run) -> None:
    script = application / "refused.mjs"
    script.write_text(
        """
        import { Session, Tensor } from "rnnedge";
        const session = await Session.open("gru.onnx");
        await session.run(Tensor.zeros("float32", [100, 10])).catch((error) => {
          console.log(`${error.name}: ${error.message}`);
        });
        """,
        encoding="utf-8",
    )
    done = run_in(application, node, str(script))
    assert f"```\n{done.stdout}```\n" in (ROOT / "javascript/README.md").read_text(encoding="utf-8")
