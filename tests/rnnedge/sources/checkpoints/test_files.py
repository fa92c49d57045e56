"""Weights out of checkpoint files of every kind, by their content, whole and damaged."""

from __future__ import annotations

import gzip
import pickle
import re
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.package
from safetensors.torch import save_file
from torch import nn

from rnnedge import SourceError
from rnnedge.sources.checkpoints import SUFFIXES, read_checkpoint


def _layer() -> nn.LSTM:
    torch.manual_seed(2)
    return nn.LSTM(3, 4)


def _weights(path: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(path).weights


def _save_npz(weights: dict[str, torch.Tensor], path: Path) -> None:
    np.savez(path, **{name: weight.numpy() for name, weight in weights.items()})


def _save_legacy(weights: dict[str, torch.Tensor], path: Path) -> None:
    torch.save(weights, path, _use_new_zipfile_serialization=False)


def _save_pickle(weights: dict[str, torch.Tensor], path: Path) -> None:
    path.write_bytes(pickle.dumps(weights))


SAVERS: dict[str, tuple[str, Callable[[Any, Path], None]]] = {
    "safetensors": (".safetensors", save_file),
    "npz": (".npz", _save_npz),
    "pt": (".pt", torch.save),
    "pth": (".pth", torch.save),
    "ckpt": (".ckpt", torch.save),
    "bin": (".bin", torch.save),
    "legacy": (".pt", _save_legacy),
    "pickle": (".pt", _save_pickle),
}


@pytest.fixture(params=SAVERS)
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    suffix, save = SAVERS[request.param]
    save(_layer().state_dict(), tmp_path / f"weights{suffix}")
    return tmp_path / f"weights{suffix}"


def test_every_suffix_is_tested() -> None:
    assert {suffix for suffix, _ in SAVERS.values()} == set(SUFFIXES)


def test_weights_are_what_was_saved(saved: Path) -> None:
    weights = _weights(saved)
    for name, weight in _layer().state_dict().items():
        assert torch.equal(weights[name], weight)


@pytest.mark.parametrize("name", ["weights", "model.tar", "model.bin", "model.npz", "step.1000"])
def test_content_decides(name: str, saved: Path) -> None:
    renamed = saved.with_name(name)
    saved.rename(renamed)
    assert torch.equal(_weights(renamed)["weight_hh_l0"], _layer().weight_hh_l0)


def test_suffix_in_capitals(tmp_path: Path) -> None:
    save_file(_layer().state_dict(), tmp_path / "WEIGHTS.SAFETENSORS")
    assert len(_weights(tmp_path / "WEIGHTS.SAFETENSORS")) == 4


@pytest.mark.parametrize("kept", [0.5, 0.9, 0.02], ids=["half", "most", "head"])
def test_truncated_file(kept: float, saved: Path) -> None:
    content = saved.read_bytes()
    saved.write_bytes(content[: int(len(content) * kept)])
    kind = {".npz": "an npz archive", ".safetensors": "a safetensors file"}
    words = f"^{re.escape(str(saved))}: expected {kind.get(saved.suffix, 'a torch checkpoint')}: ."
    with pytest.raises(SourceError, match=words):
        _weights(saved)


@pytest.mark.parametrize("content", [b"", b"weights\n" * 20], ids=["empty", "text"])
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_file_that_is_no_checkpoint(suffix: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=f"^{re.escape(str(path))}: expected an? .*: .+$"):
        _weights(path)


def test_damaged_zip(tmp_path: Path) -> None:
    torch.save(_layer().state_dict(), tmp_path / "w.pt")
    content = bytearray((tmp_path / "w.pt").read_bytes())
    content[100:140] = b"x" * 40
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(
        SourceError, match=r"^.*w\.pt: (is|expected a torch checkpoint: it is) damaged"
    ):
        _weights(tmp_path / "w.pt")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no\.pt: expected a checkpoint, found no such file$"):
        _weights(tmp_path / "no.pt")


def test_folder_as_file(tmp_path: Path) -> None:
    (tmp_path / "w.pt").mkdir()
    with pytest.raises(SourceError, match=r"w\.pt: expected a checkpoint, got a folder$"):
        _weights(tmp_path / "w.pt")


def test_storage_that_is_shared(tmp_path: Path) -> None:
    flat = torch.arange(100.0)
    weights = {
        "weight_ih_l0": flat[4:64].view(20, 3).t(),
        "weight_hh_l0": flat[64:].view(9, 4),
        "bias_ih_l0": flat[::2],
    }
    torch.save(weights, tmp_path / "w.pt")
    read = _weights(tmp_path / "w.pt")
    assert all(torch.equal(read[name], weight) for name, weight in weights.items())


@pytest.mark.parametrize(
    "dtype",
    [torch.float16, torch.bfloat16, torch.float64, torch.float8_e4m3fn, torch.int8, torch.bool],
    ids=str,
)
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_other_types(legacy: bool, dtype: torch.dtype, tmp_path: Path) -> None:
    weights = _layer().state_dict() | {"scale": torch.arange(3.0).to(dtype)}
    torch.save(weights, tmp_path / "w.pt", _use_new_zipfile_serialization=not legacy)
    read = _weights(tmp_path / "w.pt")["scale"]
    assert read.dtype == dtype
    assert torch.equal(read.double(), weights["scale"].double())


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (1, 1, 1)], ids=str)
def test_unusual_shapes(shape: tuple[int, ...], tmp_path: Path) -> None:
    torch.save(_layer().state_dict() | {"scale": torch.ones(shape)}, tmp_path / "w.pt")
    assert _weights(tmp_path / "w.pt")["scale"].shape == shape


def test_parameters_and_tensors_with_attributes(tmp_path: Path) -> None:
    marked = torch.arange(3.0)
    marked.origin = "here"
    torch.save({**dict(_layer().named_parameters()), "scale": marked}, tmp_path / "w.pt")
    read = _weights(tmp_path / "w.pt")
    assert torch.equal(read["scale"], marked)
    assert torch.equal(read["weight_hh_l0"], _layer().weight_hh_l0)


def test_big_endian_archive(tmp_path: Path) -> None:
    torch.save(_layer().state_dict(), tmp_path / "w.pt")
    with (
        zipfile.ZipFile(tmp_path / "w.pt") as archive,
        zipfile.ZipFile(tmp_path / "big.pt", "w") as swapped,
    ):
        for name in archive.namelist():
            content = archive.read(name)
            if name.endswith("/byteorder"):
                content = b"big"
            elif "/data/" in name:
                content = np.frombuffer(content, "<f4").astype(">f4").tobytes()
            swapped.writestr(name, content)
    assert torch.equal(_weights(tmp_path / "big.pt")["weight_hh_l0"], _layer().weight_hh_l0)


def test_archive_that_was_packed_again(tmp_path: Path) -> None:
    torch.save(_layer().state_dict(), tmp_path / "w.pt")
    with (
        zipfile.ZipFile(tmp_path / "w.pt") as archive,
        zipfile.ZipFile(tmp_path / "small.pt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in archive.namelist():
            packed.writestr(name, archive.read(name))
    assert torch.equal(_weights(tmp_path / "small.pt")["weight_hh_l0"], _layer().weight_hh_l0)


def _torchscript(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit")  # TorchScript retires
        torch.jit.save(torch.jit.script(_layer()), path)


def _package(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # torch.package uses TypedStorage itself
        with torch.package.PackageExporter(path) as exporter:
            exporter.extern("**")
            exporter.save_pickle("model", "lstm.pkl", _layer())


def _program(path: Path) -> None:
    torch.export.save(torch.export.export(nn.Linear(3, 4), (torch.zeros(2, 3),)), path)


def _tar(path: Path) -> None:
    torch.save(_layer().state_dict(), path)
    with tarfile.open(path.with_suffix(".other"), "w") as archive:
        archive.add(path, "w.pt")
    path.with_suffix(".other").rename(path)


OTHERS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "torchscript": (
        _torchscript,
        r"is a TorchScript archive, which loading .*torch\.save\(torch\.jit\.load\(.*w'\)"
        r"\.state_dict\(\), 'weights\.pt'\)\"$",
    ),
    "package": (
        _package,
        r"is a torch\.package archive, .*load_pickle\('model', 'lstm\.pkl'\)\.state_dict\(\), 'w",
    ),
    "program": (
        _program,
        r"is a program of torch\.export, .*: export the nn\.Module it .*export\.load\(.*\"$",
    ),
    "tar": (_tar, r"is a tar archive: unpack it first$"),
    "gzip": (lambda path: path.write_bytes(gzip.compress(b"x")), "is compressed with gzip: unp"),
    "hdf5": (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n"), "is an HDF5 file, as Keras writ"),
    "lfs": (
        lambda path: path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n"),
        "is a pointer of Git LFS, not the file itself: git lfs pull$",
    ),
    "page": (lambda path: path.write_bytes(b"<!DOCTYPE html>"), "is a web page, not the file its"),
    "zip": (
        lambda path: zipfile.ZipFile(path, "w").writestr("notes.txt", "none"),
        r"expected a torch checkpoint: it is a zip archive of something else; it holds notes\.txt$",
    ),
}


@pytest.mark.parametrize(("save", "words"), OTHERS.values(), ids=OTHERS)
def test_file_of_another_kind_is_named(
    save: Callable[[Path], Any], words: str, tmp_path: Path
) -> None:
    save(tmp_path / "w")
    with pytest.raises(SourceError, match=rf"^{re.escape(str(tmp_path / 'w'))}: {words}"):
        read_checkpoint(tmp_path / "w")


def test_weights_of_a_torchscript_archive_by_the_command_that_the_error_shows(
    tmp_path: Path,
) -> None:
    _torchscript(tmp_path / "w.pt")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit")
        weights = torch.jit.load(tmp_path / "w.pt").state_dict()
    torch.save(weights, tmp_path / "weights.pt")
    assert torch.equal(_weights(tmp_path / "weights.pt")["weight_hh_l0"], _layer().weight_hh_l0)


def test_npz_with_pickled_objects(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", weight_ih_l0=np.array([{}], dtype=object))
    with pytest.raises(SourceError, match=r"holds pickled objects, which can run code and are not"):
        _weights(tmp_path / "w.npz")


def test_npz_with_text_beside_the_weights(tmp_path: Path) -> None:
    weights = {name: weight.numpy() for name, weight in _layer().state_dict().items()}
    np.savez(tmp_path / "w.npz", note=np.array("trained on Monday"), **weights)
    assert set(_weights(tmp_path / "w.npz")) == set(weights)


def test_npz_whose_header_claims_memory(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", weight_ih_l0=np.zeros((16, 3), np.float32))
    with zipfile.ZipFile(tmp_path / "w.npz") as archive:
        content = archive.read("weight_ih_l0.npy").replace(b"(16, 3), }      ", b"(16, 3000000), }")
    with zipfile.ZipFile(tmp_path / "w.npz", "w") as archive:
        archive.writestr("weight_ih_l0.npy", content)
    with pytest.raises(SourceError, match=r"weight_ih_l0\.npy is shorter than its header says"):
        _weights(tmp_path / "w.npz")


@pytest.mark.parametrize("order", ["C", "F"])
def test_npz_of_another_order(order: str, tmp_path: Path) -> None:
    weights = {n: np.asarray(w, ">f8", order=order) for n, w in _layer().state_dict().items()}
    np.savez_compressed(tmp_path / "w.npz", **weights)
    read = _weights(tmp_path / "w.npz")
    assert read["weight_hh_l0"].dtype == torch.float64
    assert torch.equal(read["weight_hh_l0"].float(), _layer().weight_hh_l0)
