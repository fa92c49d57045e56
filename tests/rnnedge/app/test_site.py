"""`rnnedge app`: what is written, what is refused, and that nothing of the user's is replaced."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import Done

import rnnedge
from rnnedge.app import site as site_module
from rnnedge.app import write_site
from rnnedge_runtime.errors import GoldenError, MissingPackageError, ModelError, WriteError
from rnnedge_runtime.golden import read_golden

Run = Callable[..., Done]
LIBRARY = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a layer, the same one in int8, and vectors of the first."""
    folder = tmp_path_factory.mktemp("models")
    layer = rnnedge.build(rnnedge.RNNSpec(cell="lstm", input_size=3, hidden_size=5), seed=0)
    rnnedge.export(layer, folder / "layer.onnx")
    rnnedge.export(layer, folder / "small.onnx", quantize="int8:all", validate=False)
    rnnedge.validate(folder / "layer.onnx", against=layer, golden=folder / "vectors")
    return folder


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A folder with the names of onnxruntime-web."""
    folder = tmp_path / "node_modules" / "onnxruntime-web"
    (folder / "dist").mkdir(parents=True)
    for name in LIBRARY:
        (folder / "dist" / name).write_text(name)
    return folder


def about_of(folder: Path) -> dict[str, object]:
    about: dict[str, object] = json.loads((folder / "about.json").read_text("utf-8"))
    return about


def test_everything_that_a_page_needs(made: Path, tmp_path: Path) -> None:
    site = write_site(made / "layer.onnx", tmp_path / "site")
    assert (site.engine, site.sets) == ("wasm", 3)
    assert " on the machine that made this page" in site.reference
    folder = tmp_path / "site"
    assert (folder / "model.onnx").read_bytes() == (made / "layer.onnx").read_bytes()
    assert about_of(folder)["title"] == "layer.onnx"
    assert len(read_golden(folder / "vectors").sets) == 3
    package = Path(__file__).parents[3] / "javascript" / "src"
    sources = {path.relative_to(package) for path in package.rglob("*.js")}
    copied = {path.relative_to(folder / "rnnedge") for path in (folder / "rnnedge").rglob("*.js")}
    assert copied == sources
    assert (folder / "rnnedge" / "wasm" / "module.js").is_file()
    assert not (folder / "onnxruntime-web").exists()
    assert site.bytes == sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_vectors_of_pytorch(made: Path, tmp_path: Path) -> None:
    site = write_site(made / "layer.onnx", tmp_path / "site", vectors=made / "vectors")
    assert site.reference.startswith("PyTorch ")
    given, copied = read_golden(made / "vectors"), read_golden(tmp_path / "site" / "vectors")
    assert [vectors.case for vectors in copied.sets] == [vectors.case for vectors in given.sets]


def test_vectors_of_another_file(made: Path, tmp_path: Path) -> None:
    with pytest.raises(GoldenError, match=r"were made with another file than .*small\.onnx"):
        write_site(made / "small.onnx", tmp_path / "site", vectors=made / "vectors")
    assert not (tmp_path / "site").exists()


def test_a_model_that_needs_onnxruntime_web(
    made: Path, tmp_path: Path, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = write_site(made / "small.onnx", tmp_path / "site", onnxruntime_web=library)
    assert (site.engine, site.why) == ("onnxruntime", "a recurrent layer is computed in int8")
    for name in LIBRARY:
        assert (tmp_path / "site" / "onnxruntime-web" / name).read_text() == name
    monkeypatch.chdir(tmp_path)  # where npm installed it
    assert write_site(made / "small.onnx", tmp_path / "site").engine == "onnxruntime"


def test_without_onnxruntime_web(made: Path, tmp_path: Path, rnn: Run) -> None:
    with pytest.raises(MissingPackageError, match="npm install onnxruntime-web, or give its"):
        write_site(made / "small.onnx", tmp_path / "site")
    done = rnn(
        *("app", str(made / "small.onnx"), "-o", "site", "--onnxruntime-web", str(made)),
    )
    assert done.code == 1
    assert "found none in" in done.err
    assert not (tmp_path / "site").exists()


def test_a_file_without_a_contract(made: Path, tmp_path: Path) -> None:
    import onnx

    model = onnx.load(made / "layer.onnx")
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "foreign.onnx")
    with pytest.raises(ModelError, match=r"has no contract, .*: rnnedge export .* -o NEW\.onnx"):
        write_site(tmp_path / "foreign.onnx", tmp_path / "site")


def test_a_page_is_replaced_by_another(made: Path, tmp_path: Path) -> None:
    for _ in range(2):
        write_site(made / "layer.onnx", tmp_path / "site")
    (tmp_path / "empty").mkdir()
    write_site(made / "layer.onnx", tmp_path / "empty")
    assert about_of(tmp_path / "empty") == about_of(tmp_path / "site")


@pytest.mark.parametrize("name", ["notes.txt", "index.html", "about.json"])
def test_what_is_of_the_user_stays(made: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / name).write_text("mine")
    with pytest.raises(WriteError, match=f"expected an empty folder or .*found {name} in it"):
        write_site(made / "layer.onnx", folder)
    assert (folder / name).read_text() == "mine"
    assert [path.name for path in folder.iterdir()] == [name]


def test_a_file_of_the_user_in_a_page(made: Path, tmp_path: Path) -> None:
    write_site(made / "layer.onnx", tmp_path / "site")
    (tmp_path / "site" / "notes.txt").write_text("mine")
    with pytest.raises(WriteError, match=r"found notes\.txt in it"):
        write_site(made / "layer.onnx", tmp_path / "site")
    assert (tmp_path / "site" / "notes.txt").read_text() == "mine"


def test_the_folder_that_the_model_is_in(made: Path) -> None:
    with pytest.raises(WriteError, match=r"holds .*layer\.onnx, which is read here"):
        write_site(made / "layer.onnx", made)
    with pytest.raises(WriteError, match="which is read here"):
        write_site(made / "layer.onnx", made / "vectors", vectors=made / "vectors")
    assert (made / "vectors" / "golden.json").is_file()


def test_whole_or_not_at_all(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    write_site(made / "layer.onnx", tmp_path / "site")
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    monkeypatch.setattr(site_module, "_copy_page", fail)
    with pytest.raises(WriteError, match="No space left on device"):
        write_site(made / "layer.onnx", tmp_path / "site")
    with pytest.raises(WriteError, match="No space left on device"):
        write_site(made / "layer.onnx", tmp_path / "other")
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before


def test_the_command(made: Path, rnn: Run) -> None:
    done = rnn("app", str(made / "layer.onnx"), "-o", "my site", "--golden", str(made / "vectors"))
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].startswith("engine: rnnedge's own, as WebAssembly: ")
    assert lines[-1].startswith("next: python -m http.server --directory 'my site', ")
    done = rnn("app", str(made / "layer.onnx"), "-o", "my site", "--json")
    assert done.json["engine"] == "wasm"
