"""A SOURCE that is nearly one: the error names the SOURCE that was probably meant."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from rnnedge.errors import SourceError
from rnnedge.sources.load import load_source
from rnnedge_exporters.errors import ExportError
from rnnedge_exporters.exporter import export
from rnnedge_exporters.python_object import find_object, parse_object

CODE = """
from torch import nn


class Helper:
    pass


class Net(nn.Module):
    def __init__(self, size=3):
        super().__init__()
        self.conv = nn.Conv1d(size, 2, 1)
        self.gru = nn.GRU(2, 2, batch_first=True)

    def forward(self, eeg):
        return self.gru(self.conv(eeg.mT).mT)[0]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with `stager.py`, `inner/stager_too.py` and `best.pt`."""
    (tmp_path / "stager.py").write_text(CODE)
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "stager_too.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    torch.save(module(tmp_path).state_dict(), "best.pt")
    yield tmp_path
    for name in ("stager", "inner.stager_too"):
        sys.modules.pop(name, None)


def module(folder: Path) -> nn.Module:
    torch.manual_seed(0)
    space: dict[str, type[nn.Module]] = {}
    exec((folder / "stager.py").read_text(), space)
    return space["Net"]()


MEANT = {
    "a Python file": ("stager.py", "the SOURCE in it is written stager:Net"),
    "a class of a file": ("stager.py:Net", "the SOURCE in it is written stager:Net"),
    "a call in a file": ("stager.py:Net(3)", "the SOURCE in it is written stager:Net(3)"),
    "a file below": ("inner/stager_too.py", "is written inner.stager_too:Net"),
    "the name of a file": ("stager", "the SOURCE in it is written stager:Net"),
    "a dot for the colon": ("stager.Net", "write it with a colon, stager:Net"),
    "a missing file": ("stagr.py", "found no such file; there is stager.py"),
    "a backslash": (".\\stager.py", "found no such file; there is stager.py"),
    "another module": ("stagr:Net", "No module named 'stagr'; there is stager.py"),
    "a module elsewhere": ("qqq:Net", "it is looked for in the current folder and in PYTHONPATH"),
    "another class": ("stager:Nett", "stager has no Nett; there is stager:Net"),
    "another checkpoint": ("bst.pt", "found no such file; there is best.pt"),
    "a path": ("inner/best", "package.module:name; found no such file"),
    "a folder": ("inner", "inner: is a folder: name a file in it"),
}


@pytest.mark.parametrize(("source", "advice"), MEANT.values(), ids=MEANT)
def test_the_error_names_what_is_meant(source: str, advice: str, folder: Path) -> None:
    with pytest.raises(SourceError, match=re.escape(advice)) as error:
        load_source(source)
    assert len(str(error.value).splitlines()) == 1


def test_a_file_in_another_folder_says_where_to_go(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    with pytest.raises(SourceError, match=f"cd {folder} first; the SOURCE in it is .* stager:Net"):
        load_source(str(folder / "stager.py"))


def test_a_file_in_a_package_is_named_from_its_root(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "inner" / "__init__.py").touch()
    monkeypatch.chdir(folder / "inner")
    with pytest.raises(SourceError, match=rf"cd {folder} first; .* inner\.stager_too:Net$"):
        load_source("stager_too.py")


def test_what_does_not_import_for_another_reason_has_no_advice(folder: Path) -> None:
    (folder / "breaks.py").write_text("import not_there_at_all\n")
    with pytest.raises(SourceError, match=r"No module named 'not_there_at_all'$"):
        load_source("breaks:Net")


def with_prefix(folder: Path, *prefixes: str, **more: torch.Tensor) -> str:
    weights = module(folder).state_dict()
    named = {prefix + name: weight for prefix in prefixes for name, weight in weights.items()}
    torch.save({"state_dict": {**named, **more}, "epoch": 1}, folder / "lightning.ckpt")
    return "lightning.ckpt"


@pytest.mark.parametrize("prefix", ["model.", "module.", "net.backbone.", "module.model."])
def test_all_weights_below_a_prefix_are_loaded(prefix: str, folder: Path) -> None:
    found = load_source("stager:Net", weights=with_prefix(folder, prefix))
    expected = module(folder).state_dict()
    got = found.module.state_dict()
    assert all(torch.equal(got[name], weight) for name, weight in expected.items())
    inner = prefix.removeprefix("module.")
    assert any(f"are those named {inner}*" in note for note in found.notes) == bool(inner)


def test_weights_beside_the_prefix_are_left_out_only_when_asked(folder: Path) -> None:
    path = with_prefix(folder, "model.", **{"loss.weight": torch.ones(2)})
    advice = "--prefix model. takes the weights of that name, and leaves out loss.weight"
    with pytest.raises(SourceError, match=re.escape(advice)):
        load_source("stager:Net", weights=path)
    notes = load_source("stager:Net", weights=path, prefix="model").notes
    assert any("also holds loss.weight" in note for note in notes)


def test_two_sets_of_weights_are_a_question(folder: Path) -> None:
    path = with_prefix(folder, "model.", "ema.")
    with pytest.raises(SourceError, match=r"2 sets .* --prefix model\. or --prefix ema\.$"):
        load_source("stager:Net", weights=path)
    load_source("stager:Net", weights=path, prefix="ema.")


def test_a_prefix_that_is_not_there_names_those_that_are(folder: Path) -> None:
    path = with_prefix(folder, "model.", "ema.")
    with pytest.raises(SourceError, match=r"'nets\.'; their names begin with model, ema$"):
        load_source("stager:Net", weights=path, prefix="nets")


def test_a_folder_as_weights_names_its_files(folder: Path) -> None:
    (folder / "hf").mkdir()
    (folder / "best.pt").rename(folder / "hf" / "pytorch_model.bin")
    with pytest.raises(SourceError, match=r"got a folder: .* such as hf/pytorch_model\.bin$"):
        load_source("stager:Net", weights="hf")


@pytest.mark.parametrize("inputs", [None, {"x": torch.zeros(1, 5, 3)}])
def test_inputs_are_written_with_the_names_of_the_forward(
    inputs: dict[str, torch.Tensor] | None, folder: Path
) -> None:
    with pytest.raises(ExportError, match=re.escape("--input 'eeg=float32[batch,time,3]'")):
        export(module(folder), folder / "m.onnx", example_inputs=inputs)


def test_a_module_of_ids_has_ids_in_the_example(tmp_path: Path) -> None:
    class Words(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.gru = nn.Embedding(9, 3), nn.GRU(3, 2)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            output: torch.Tensor = self.gru(self.table(ids))[0]
            return output

    with pytest.raises(ExportError, match=re.escape("--input 'ids=int64[batch,time]'")):
        export(Words(), tmp_path / "m.onnx")


def test_a_function_in_a_file_is_written_as_python_imports_it(folder: Path) -> None:
    wanted = parse_object("calibration.py:make", error=SourceError)
    assert wanted is not None
    with pytest.raises(SourceError, match=r"as Python imports it, calibration:make$"):
        find_object(wanted, error=SourceError)
