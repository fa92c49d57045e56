"""Every command that writes, with every kind of wrong target: one line, and nothing is lost."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from pairwise import pairwise
from torch import nn

import rnnedge
from rnnedge.cli import main
from rnnedge.doctor import fix
from rnnedge.golden_vectors import write_golden
from rnnedge.measuring.measuring import bench_shapes
from rnnedge.measuring.plot import write_plot
from rnnedge.measuring.shapes import Shape
from rnnedge.measuring.tuning import tune
from rnnedge.reports import write_report
from rnnedge_runtime import Session, WriteError


@dataclass(frozen=True)
class Writer:
    """A command, with `{}` for the file that it writes, and what it reads."""

    command: str
    suffix: str
    reads: tuple[str, ...] = ()


WRITERS = {
    "export": Writer("export w.pt -o {}", ".onnx", ("w.pt",)),
    "export a specification": Writer("export layer.toml -o {}", ".onnx", ("layer.toml",)),
    "export options": Writer("export --input-size 3 --hidden-size 4 -o {}", ".onnx"),
    "export by data": Writer(
        "export w.pt --quantize int8 --calibrate x.npz -o {}", ".onnx", ("w.pt", "x.npz")
    ),
    "export an ONNX file": Writer("export m.onnx --quantize int8 -o {}", ".onnx", ("m.onnx",)),
    "tune": Writer("tune w.pt -o {}", ".onnx", ("w.pt",)),
    "tune a model": Writer("tune m.onnx --against w.pt -o {}", ".onnx", ("m.onnx", "w.pt")),
    "doctor": Writer("doctor sick.onnx --fix {}", ".onnx", ("sick.onnx",)),
    "run": Writer(
        "run m.onnx --input x.npz --lengths lengths.npy --state state.npz -o {}",
        ".npz",
        ("m.onnx", "x.npz", "lengths.npy", "state.npz"),
    ),
    "run by name": Writer("run m.onnx --input input=x.npy -o {}", ".npz", ("x.npy",)),
    "report as a page": Writer(
        "validate m.onnx --against w.pt --report {}", ".html", ("m.onnx", "w.pt")
    ),
    "report as JSON": Writer(
        "validate m.onnx --against layer.toml --report {}", ".json", ("m.onnx", "layer.toml")
    ),
    "report as JUnit": Writer(
        "validate m.onnx --against w.pt --report {}", ".xml", ("m.onnx", "w.pt")
    ),
    "failing case": Writer(
        "validate m.onnx --against w.pt --calibrate rec --save-failing {}",
        ".npz",
        ("m.onnx", "w.pt", "rec/a.npz"),
    ),
    "plot": Writer(
        "bench m.onnx --beside peer.onnx --baseline old.json --plot {}",
        ".png",
        ("m.onnx", "peer.onnx", "old.json"),
    ),
}
FOLDERS = {
    "vectors": "validate m.onnx --against w.pt --golden {}",
    "vectors of an export": "export w.pt -o new.onnx --golden {}",
}


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the commands read."""
    folder = tmp_path_factory.mktemp("material")
    torch.manual_seed(0)
    layer = nn.GRU(3, 16)
    torch.save(layer.state_dict(), folder / "w.pt")
    rnnedge.export(layer, folder / "m.onnx", lengths=True)
    shutil.copy(folder / "m.onnx", folder / "peer.onnx")
    sick = onnx.load(folder / "m.onnx")
    del sick.metadata_props[:]
    sick.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 5
    onnx.save(sick, folder / "sick.onnx")
    (folder / "layer.toml").write_text("cell = 'gru'\ninput_size = 3\nhidden_size = 16")
    x = np.zeros((6, 2, 3), np.float32)
    np.save(folder / "x.npy", x)
    np.savez(folder / "x.npz", input=x)
    np.save(folder / "lengths.npy", np.array([6, 3]))
    np.savez(folder / "state.npz", h_0=np.zeros((1, 2, 16), np.float32))
    (folder / "rec").mkdir()
    np.savez(folder / "rec" / "a.npz", input=x)
    (folder / "old.json").write_text("{}")
    return folder


@pytest.fixture
def folder(material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(material, tmp_path / "work")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def _seen(folder: Path) -> dict[str, tuple[Any, ...]]:
    """Return all that is in a folder: what it is, which, and its bytes."""

    def look(path: Path) -> Iterator[Any]:
        found = path.lstat()
        yield from (found.st_mode, found.st_ino, found.st_nlink, found.st_mtime_ns)
        if stat.S_ISREG(found.st_mode):
            yield path.read_bytes()
        elif path.is_symlink():
            yield os.readlink(path)

    return {str(path): tuple(look(path)) for path in folder.rglob("*")}


# --- wrong targets: a name, and the words of the one line -----------------------------------------


def _mine(name: str, content: bytes = b"mine") -> str:
    Path(name).write_bytes(content)
    return name


def _second(writer: Writer, link: Callable[[str, str], None]) -> list[str]:
    """Give everything that is read a second name, with the suffix that is wanted."""
    names = []
    for number, path in enumerate(writer.reads):
        names.append(f"second{number}{writer.suffix}")
        link(str(Path(path).absolute()), names[-1])
    return names


def _made(make: Callable[[str], Any]) -> Callable[[Writer], list[str]]:
    def target(writer: Writer) -> list[str]:
        make(f"there{writer.suffix}")
        return [f"there{writer.suffix}"]

    return target


def _pointing_to(place: str) -> Callable[[str], None]:
    return lambda name: os.symlink(place, name)


FILE = "{}: expected the name of a file to write, found"
SAME = "{}: is the same file as "
OTHER = "{}: the file there does not hold what a "
ENDS = "{}: expected a name that ends in ."
WRONG: dict[str, tuple[Callable[[Writer], list[str]], str]] = {
    "what is read": (lambda writer: list(writer.reads), SAME),
    "hard link to it": (lambda writer: _second(writer, os.link), SAME),
    "link to it": (lambda writer: _second(writer, os.symlink), SAME),
    "text": (_made(_mine), OTHER),
    "checkpoint by content": (_made(lambda name: shutil.copy("w.pt", name)), OTHER),
    "link to a text": (_made(lambda name: os.symlink(_mine("text"), name)), OTHER),
    "checkpoint": (lambda writer: [_mine("other.pt")], ENDS),
    "program": (lambda writer: [_mine("train.py")], ENDS),
    "array": (lambda writer: [_mine("out.npy")], ENDS),
    "no suffix": (lambda writer: [_mine("there")], ENDS),
    "folder": (_made(os.mkdir), f"{FILE} a folder"),
    "link to a folder": (_made(_pointing_to("rec")), f"{FILE} a folder"),
    "pipe": (_made(os.mkfifo), f"{FILE} a named pipe"),
    "device": (lambda writer: ["/dev/null"], f"{FILE} a device"),
    "link to a device": (_made(_pointing_to("/dev/null")), f"{FILE} a device"),
    "link to itself": (
        _made(lambda name: os.symlink(name, name)),
        "{}: cannot be written: Too many levels of symbolic links",
    ),
    "long name": (lambda writer: ["a" * 300 + writer.suffix], "a" * 40 + "...: expected a name of"),
    "no folder": (
        lambda writer: [f"no/a{writer.suffix}"],
        "{}: expected an existing folder, found",
    ),
    "nothing": (lambda writer: [""], "'': expected the name of a file to write"),
}
CASES = [
    (writer, wrong, force)
    for writer in WRITERS
    for wrong, (_, words) in WRONG.items()
    for force in (False, True)
    if (WRITERS[writer].reads or words != SAME) and not (force and words == OTHER)
]


@pytest.fixture
def refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[str, str, str], None]:
    """A function that runs a command, and checks that it refuses its target and changes nothing."""

    def run(command: str, target: str, words: str) -> None:
        before = _seen(folder)
        with pytest.raises(SystemExit) as stopped:
            main([word.format(target) for word in command.split()])
        captured = capsys.readouterr()
        assert (stopped.value.code, captured.out) == (1, "")
        (line,) = captured.err.splitlines()
        assert line.startswith(f"rnnedge: {words.format(target)}")
        assert len(line) < 400
        assert _seen(folder) == before

    return run


@pytest.mark.parametrize(("writer", "wrong", "force"), pairwise(CASES))
def test_command(
    writer: str, wrong: str, force: bool, refused: Callable[[str, str, str], None]
) -> None:
    make, words = WRONG[wrong]
    for target in make(WRITERS[writer]):
        refused(WRITERS[writer].command + " --force" * force, target, words)


NAME = "{}: expected the name of a folder to write, found"
EMPTY = "{}: expected an empty folder or one with golden vectors only, found"
NO_FOLDERS: dict[str, tuple[Callable[[], Any], str, str]] = {
    "text": (
        lambda: _mine("there"),
        "there",
        f"{NAME} a file",
    ),
    "model": (lambda: None, "m.onnx", f"{NAME} a file"),
    "pipe": (lambda: os.mkfifo("there"), "there", f"{NAME} a named pipe"),
    "device": (
        lambda: None,
        "/dev/null",
        f"{NAME} a device",
    ),
    "recordings": (lambda: None, "rec", EMPTY),
    "everything": (lambda: None, ".", EMPTY),
    "link": (
        lambda: os.symlink("rec", "there"),
        "there",
        "{}: expected an empty folder or one wit",
    ),
    "long name": (lambda: None, "a" * 300, "a" * 40 + "...: expected a name of at most 255 bytes"),
    "no folder": (lambda: None, "no/there", "{}: expected an existing folder, found no folder no"),
    "nothing": (lambda: None, "", "'': expected the name of a folder to write"),
}


@pytest.mark.parametrize("force", [False, True], ids=["", "force"])
@pytest.mark.parametrize("command", FOLDERS.values(), ids=FOLDERS)
@pytest.mark.parametrize(("make", "target", "words"), NO_FOLDERS.values(), ids=NO_FOLDERS)
def test_command_that_writes_a_folder(
    make: Callable[[], Any],
    target: str,
    words: str,
    command: str,
    force: bool,
    refused: Callable[[str, str, str], None],
) -> None:
    make()
    refused(command + " --force" * force, target, words)


def test_two_reports_of_one_name(refused: Callable[[str, str, str], None]) -> None:
    command = "validate m.onnx --against w.pt --report r.json --report {}"
    refused(
        command, "rec/../r.json", "{}: is the same file as r.json, which is read or written here"
    )


FORCED = {
    "export": ("export w.pt --no-validate -o {}", "a.onnx"),
    "export an ONNX file": ("export m.onnx --quantize int8 --no-validate -o {}", "a.onnx"),
    "tune": ("tune w.pt --shape 1x1 --threads 1 --seconds 0.001 -o {}", "a.onnx"),
    "doctor": ("doctor sick.onnx --fix {}", "a.onnx"),
    "run": ("run m.onnx --input x.npz -o {}", "a.npz"),
    "report": ("validate m.onnx --against w.pt --quick --report {}", "a.json"),
    "plot": ("bench m.onnx --shape 1x1 --seconds 0.001 --plot {}", "a.png"),
}


@pytest.mark.parametrize(("command", "name"), FORCED.values(), ids=FORCED)
def test_force_replaces_a_file_of_another_kind(
    command: str, name: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / name).write_bytes(b"a text")
    before = {path.name for path in folder.iterdir()}
    for options in (["--force"], []):  # the second time it replaces what it wrote itself
        with pytest.raises(SystemExit) as stopped:
            main([*command.format(name).split(), *options])
        assert (stopped.value.code, capsys.readouterr().err) == (0, "")
        assert (folder / name).stat().st_size > 100
    assert {path.name for path in folder.iterdir()} == before


# --- the same in Python ---------------------------------------------------------------------------

Call = Callable[..., Any]


def _stream(**options: Any) -> None:
    Session("m.onnx").stream().save(**options)


PYTHON: Mapping[str, tuple[Call, str, tuple[str, ...]]] = {
    "export": (lambda path, **o: rnnedge.export(nn.GRU(3, 4), path, **o), ".onnx", ()),
    "quantize": (lambda path, **o: rnnedge.quantize("m.onnx", path, **o), ".onnx", ("m.onnx",)),
    "fix": (lambda path, **o: fix("sick.onnx", path, **o), ".onnx", ("sick.onnx",)),
    "tune": (
        lambda path, **o: tune(rnnedge.load_source("w.pt"), path, [Shape(1, 1)], **o),
        ".onnx",
        (),
    ),
    "validate": (
        lambda path, **o: rnnedge.validate("m.onnx", against="w.pt", failing=path, **o),
        ".npz",
        ("m.onnx", "w.pt"),
    ),
    "Stream.save": (_stream, ".npz", ("m.onnx",)),
}


@pytest.mark.parametrize(
    ("function", "wrong", "force"),
    [
        (function, wrong, force)
        for function, (_, _, reads) in PYTHON.items()
        for wrong, (_, words) in WRONG.items()
        for force in (False, True)
        if (reads or words != SAME) and not (force and words == OTHER)
    ],
)
def test_function(function: str, wrong: str, force: bool, folder: Path) -> None:
    call, suffix, reads = PYTHON[function]
    make, words = WRONG[wrong]
    for target in make(Writer("", suffix, reads)):
        before = _seen(folder)
        with pytest.raises(WriteError) as caught:
            call(path=target, force=force)
        assert str(caught.value).startswith(words.format(target))
        assert _seen(folder) == before


def test_export_does_not_replace_the_data_that_it_rounds_by(folder: Path) -> None:
    os.link("x.npz", "x.onnx")
    with pytest.raises(WriteError, match=r"^x\.onnx: is the same file as x\.npz, which is read"):
        rnnedge.export(nn.GRU(3, 4), "x.onnx", quantize="int8", calibrate="x.npz", force=True)


def test_reports_and_plots_do_not_replace_the_model(folder: Path) -> None:
    report = rnnedge.validate("m.onnx", against="w.pt", quick=True, isolated=False)
    plotted = bench_shapes("m.onnx", [Shape(1, 1)], count=1)
    for name in ("m.json", "m.png"):
        os.link("m.onnx", name)
    before = _seen(folder)
    with pytest.raises(WriteError, match=r"^m\.json: is the same file as m\.onnx"):
        write_report(report, "m.json", command="", force=True)
    with pytest.raises(WriteError, match=r"^m\.png: is the same file as m\.onnx"):
        write_plot(plotted, "m.png", force=True)
    with pytest.raises(WriteError, match=r"^rec: expected an empty folder or one with golden"):
        write_golden("rec", model="m.onnx", sets=[], reference="")
    assert _seen(folder) == before
