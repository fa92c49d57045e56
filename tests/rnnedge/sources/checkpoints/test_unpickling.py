"""Checkpoints with objects next to the weights: harmless ones, and such as would run code."""

from __future__ import annotations

import argparse
import collections
import copyreg
import enum
import functools
import io
import operator
import os
import pickle
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import torch
from torch import nn

from rnnedge import SourceError
from rnnedge.sources.checkpoints import read_checkpoint
from rnnedge.sources.checkpoints.unpickling import Stub, next_pickle, unpickle

COMMAND = f"{sys.executable} -c \"open('sprung', 'w')\""


def _layer() -> nn.LSTM:
    torch.manual_seed(2)
    return nn.LSTM(3, 4)


def _save_zip(content: Any, path: Path) -> None:
    torch.save(content, path)


def _save_legacy(content: Any, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def _save_protocol_4(content: Any, path: Path) -> None:
    torch.save(content, path, pickle_protocol=4)


def _save_pickle(content: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(content))


SAVERS = {
    "zip": _save_zip,
    "protocol_4": _save_protocol_4,
    "legacy": _save_legacy,
    "pickle": _save_pickle,
}


@pytest.fixture(params=SAVERS.values(), ids=SAVERS)
def save(request: pytest.FixtureRequest) -> Callable[[Any, Path], None]:
    return request.param


# --- harmless objects -----------------------------------------------------------------------------


class Config(dict):
    """As the configurations of training frameworks are: a dictionary with attributes."""


class Items(list):
    pass


class Stage(enum.Enum):
    FINE = "fine"


@dataclass
class Run:
    name: str = "first"
    stages: list[Stage] = field(default_factory=lambda: [Stage.FINE])


class Slots:
    __slots__ = ("size",)

    def __init__(self) -> None:
        self.size = 3


def _config() -> Config:
    config = Config(hidden_size=4)
    config.name = "small"
    return config


HARMLESS = {
    "namespace": lambda: argparse.Namespace(lr=0.1, out=Path("runs")),
    "path": lambda: [Path("runs"), PurePosixPath("/data")],
    "config": _config,
    "list": lambda: Items([1, 2]),
    "enum": lambda: Stage.FINE,
    "dataclass": Run,
    "slots": Slots,
    "partial": lambda: functools.partial(print, 3),
    "defaultdict": lambda: collections.defaultdict(list, {"a": [1]}),
    "counter": lambda: collections.Counter("abc"),
    "deque": lambda: collections.deque([1]),
    "set": lambda: {1, 2},
    "frozenset_key": lambda: {frozenset({1}): 2},
    "enum_key": lambda: {Stage.FINE: 2},
    "bytes": lambda: b"\x00\xff",
    "bytearray": lambda: bytearray(b"abc"),
    "numbers": lambda: [True, None, 2**70, -1, 1.5, 2j, "ä"],
    "device": lambda: [torch.device("cpu"), torch.float16, torch.Size([3])],
    "class": lambda: Config,
    "method": lambda: Stage.FINE.name.upper,
    "generator": lambda: torch.get_rng_state(),
    "scheduler": lambda: torch.optim.lr_scheduler.StepLR(
        torch.optim.SGD(_layer().parameters()), 3
    ).state_dict(),
}


@pytest.mark.parametrize("make", HARMLESS.values(), ids=HARMLESS)
def test_weights_beside_a_harmless_object(
    make: Callable[[], Any], save: Callable[[Any, Path], None], tmp_path: Path
) -> None:
    save({"model": _layer().state_dict(), "extra": make()}, tmp_path / "w")
    checkpoint = read_checkpoint(tmp_path / "w")
    assert torch.equal(checkpoint.weights["weight_hh_l0"], _layer().weight_hh_l0)
    assert checkpoint.beside == ()


def test_weights_in_an_object(tmp_path: Path) -> None:
    state = argparse.Namespace(step=3, model=_layer().state_dict())
    torch.save({"state": state}, tmp_path / "w.pt")
    checkpoint = read_checkpoint(tmp_path / "w.pt", key="state.model")
    assert torch.equal(checkpoint.weights["weight_hh_l0"], _layer().weight_hh_l0)


def test_weights_in_a_dictionary_of_another_class(tmp_path: Path) -> None:
    torch.save(Config(model=Config(_layer().state_dict())), tmp_path / "w.pt")
    assert len(read_checkpoint(tmp_path / "w.pt").weights) == 4


def test_class_that_is_not_installed(tmp_path: Path) -> None:
    content = b"\x80\x02cno_such_package.config\nDictConfig\n)\x81}X\x01\x00\x00\x00aK\x01sb."
    found = unpickle(next_pickle(io.BytesIO(content)))
    assert isinstance(found, Stub)
    assert (found.path, found.contents) == ("no_such_package.config.DictConfig", {"a": 1})


def test_no_module_is_imported(tmp_path: Path) -> None:
    (tmp_path / "module_of_a_pickle.py").write_text("open('sprung', 'w')", encoding="utf-8")
    unpickle(next_pickle(io.BytesIO(b"\x80\x02cmodule_of_a_pickle\nName\n.")))
    assert "module_of_a_pickle" not in sys.modules


# --- code -----------------------------------------------------------------------------------------


class Trap:
    """What runs code when it is unpickled as Python does it."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.made = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.made

    def __call__(self) -> None:
        """A pickle takes only what looks callable."""


def _nested(content: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


TRAPS = {
    "system": lambda: Trap(os.system, COMMAND),
    "popen": lambda: Trap(subprocess.call, [sys.executable, "-c", "open('sprung', 'w')"]),
    "eval": lambda: Trap(eval, "open('sprung', 'w').close()"),
    "exec": lambda: Trap(exec, "open('sprung', 'w')"),
    "open": lambda: Trap(open, "sprung", "w"),
    "import": lambda: Trap(__import__, "module_that_springs"),
    "path": lambda: Trap(Path.touch, Path("sprung")),
    "getattr": lambda: Trap(Trap(getattr, Path("sprung"), "touch")),
    "partial": lambda: Trap(Trap(functools.partial, os.system, COMMAND)),
    "methodcaller": lambda: Trap(operator.methodcaller("touch"), Path("sprung")),
    "map": lambda: Trap(list, Trap(map, os.system, [COMMAND])),
    "sorted": lambda: Trap(sorted, [COMMAND], state=Trap(os.system, COMMAND)),
    "defaultdict": lambda: Trap(collections.defaultdict, Trap(os.system, COMMAND)),
    "rebuild": lambda: Trap(
        torch._tensor._rebuild_from_type_v2, os.system, torch.Tensor, (COMMAND,), {}
    ),
    "parameter": lambda: Trap(torch._utils._rebuild_parameter, Trap(os.system, COMMAND), False, {}),
    "nested": lambda: Trap(torch.storage._load_from_bytes, _nested(Trap(os.system, COMMAND))),
    "load": lambda: Trap(torch.load, io.BytesIO(_nested(Trap(os.system, COMMAND)))),
    "encode": lambda: Trap(codecs_encode(), "x", "module_that_springs"),
    "reconstructor": lambda: Trap(copyreg._reconstructor, Path, object, None),
    "ordered": lambda: Trap(collections.OrderedDict, [], state={"items": Trap(eval, "1/0")}),
}


def codecs_encode() -> Any:
    import _codecs

    return _codecs.encode


@pytest.mark.parametrize("trap", TRAPS.values(), ids=TRAPS)
def test_code_does_not_run(
    trap: Callable[[], Trap],
    save: Callable[[Any, Path], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "module_that_springs.py").write_text("open('sprung', 'w')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    save({"model": _layer().state_dict(), "trap": trap()}, Path("w.pt"))
    try:
        weights = read_checkpoint("w.pt").weights
    except SourceError:
        weights = None
    assert not Path("sprung").exists()
    assert "module_that_springs" not in sys.modules
    assert weights is None or torch.equal(weights["weight_hh_l0"], _layer().weight_hh_l0)


@pytest.mark.parametrize("name", ["system", "eval", "path", "getattr", "partial", "map", "import"])
def test_these_traps_spring_in_a_plain_unpickler(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "module_that_springs.py").write_text(
        "open('sprung', 'w').close()", encoding="utf-8"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    content = pickle.dumps(TRAPS[name]())
    pickle.loads(content)
    sys.modules.pop("module_that_springs", None)
    assert Path("sprung").exists()


OPCODES = {
    "inst": b"(S'touch sprung'\nios\nsystem\n.",
    "obj": b"(cos\nsystem\nS'touch sprung'\no.",
    "global_reduce": b"cos\nsystem\n(S'touch sprung'\ntR.",
    "newobj": b"\x80\x02cos\nsystem\nX\x0c\x00\x00\x00touch sprung\x85\x81.",
    "newobj_ex": b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0ctouch sprung\x85}\x92.",
    "build": b"\x80\x02cos\nsystem\n)R}X\x04\x00\x00\x00codeX\x0c\x00\x00\x00touch sprungsb.",
    "dotted_name": b"\x80\x04\x8c\x05torch\x8c\x09os.system\x93\x8c\x0ctouch sprung\x85R.",
    "name_in_torch": b"\x80\x02ctorch\nos.system\nX\x0c\x00\x00\x00touch sprung\x85R.",
}


@pytest.mark.parametrize("content", OPCODES.values(), ids=OPCODES)
def test_calls_in_every_form_do_not_run(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert isinstance(unpickle(next_pickle(io.BytesIO(content))), Stub)
    assert not Path("sprung").exists()


@pytest.mark.parametrize(
    "name",
    [
        b"torch._utils\n_rebuild_tensor_v2",
        b"torch.storage\n_load_from_bytes",
        b"_codecs\nencode",
        b"torch\nFloatStorage",
        b"torch\nfloat32",
        b"collections\nOrderedDict",
        b"builtins\nset",
        b"os\nsystem",
    ],
    ids=lambda name: name.decode().replace("\n", "."),
)
@pytest.mark.parametrize("slots", [False, True], ids=["attributes", "slots"])
def test_what_a_pickle_may_call_cannot_be_changed(slots: bool, name: bytes) -> None:
    state = b"}X\x0c\x00\x00\x00__defaults__K\x01s"
    state = b"N" + state + b"\x86" if slots else state
    with pytest.raises(ValueError, match=r"\S"):
        unpickle(next_pickle(io.BytesIO(b"\x80\x02c" + name + b"\n" + state + b"b.")))


def test_a_tensor_cannot_be_changed(tmp_path: Path) -> None:
    class Changed:
        def __reduce__(self) -> tuple[Any, ...]:
            made, arguments = torch.zeros(3).__reduce_ex__(2)[:2]
            return made, arguments, {"shape": (1000,)}

    torch.save({"weight_ih_l0": Changed()}, tmp_path / "w.pt")
    with pytest.raises(SourceError, match=r"it sets the state of a StoredTensor"):
        read_checkpoint(tmp_path / "w.pt")


# --- memory ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02Nr\xff\xff\xff\x7f.",
        b"\x80\x02Np2000000000\n.",
        b"\x80\x04\x8e" + (2**40).to_bytes(8, "little") + b"abc.",
        b"\x80\x05\x96" + (2**33).to_bytes(8, "little") + b"abc.",
        b"\x80\x04\x8d" + (2**40).to_bytes(8, "little") + b"abc.",
        b"\x80\x02\x8b\xff\xff\xff\x7fabc.",
    ],
    ids=["binput", "put", "bytes", "bytearray", "text", "long"],
)
def test_pickle_that_claims_memory(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(SourceError, match=r"w\.pt: expected a torch checkpoint: it is cut"):
            read_checkpoint(tmp_path / "w.pt")
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


def _edited(path: Path, change: Callable[[bytes], bytes]) -> None:
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, part in content.items():
            archive.writestr(name, change(part) if name.endswith("data.pkl") else part)


def test_shape_that_is_larger_than_its_storage(tmp_path: Path) -> None:
    torch.save(
        {"weight_ih_l0": torch.zeros(16, 3), "weight_hh_l0": torch.zeros(16)}, tmp_path / "w"
    )
    _edited(tmp_path / "w", lambda content: content.replace(b"K\x10K\x03", b"M\xff\xffK\x03"))
    words = (
        r"w: weight_ih_l0 is damaged: its shape is \[65535, 3\], and its storage holds 48 numbers$"
    )
    with pytest.raises(SourceError, match=words):
        read_checkpoint(tmp_path / "w")


def test_storage_that_is_larger_than_the_file(tmp_path: Path) -> None:
    torch.save(
        {"weight_ih_l0": torch.zeros(16, 3), "weight_hh_l0": torch.zeros(16)}, tmp_path / "w"
    )
    _edited(tmp_path / "w", lambda content: content.replace(b"K0", b"J\xff\xff\xff\x7f"))
    tracemalloc.start()
    try:
        with pytest.raises(SourceError, match=r"weight_ih_l0 is damaged: .*/0 holds 192 of 8,589,"):
            read_checkpoint(tmp_path / "w")
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("stride", [0, 1], ids=["repeated", "overlapping"])
def test_view_that_repeats_its_numbers(stride: int, tmp_path: Path) -> None:
    view = torch.zeros(3).as_strided((3, 3), (stride, 0))
    torch.save({"weight_ih_l0": view, "weight_hh_l0": torch.zeros(16)}, tmp_path / "w.pt")
    with pytest.raises(SourceError, match=r"weight_ih_l0 is damaged: its shape is \[3, 3\], and"):
        read_checkpoint(tmp_path / "w.pt")


def test_legacy_storage_that_is_larger_than_the_file(tmp_path: Path) -> None:
    _save_legacy({"weight_ih_l0": torch.zeros(16, 3)}, tmp_path / "w.pt")
    content = (tmp_path / "w.pt").read_bytes()
    (tmp_path / "w.pt").write_bytes(content.replace(b"K0", b"J\xff\xff\xff\x7f"))
    with pytest.raises(SourceError, match=r"w\.pt: expected a torch checkpoint: it is cut short"):
        read_checkpoint(tmp_path / "w.pt")


def test_zip_that_claims_to_unpack_to_more_than_it_can(tmp_path: Path) -> None:
    torch.save(_layer().state_dict(), tmp_path / "w.pt")
    content = bytearray((tmp_path / "w.pt").read_bytes())
    position = content.find(b"PK\x01\x02")  # an entry of the list of files at the end
    while position >= 0:
        content[position + 24 : position + 28] = (2**32 - 2).to_bytes(4, "little")
        position = content.find(b"PK\x01\x02", position + 4)
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(SourceError, match=r"is damaged: \S+ cannot hold 4,294,967,294 bytes$"):
        read_checkpoint(tmp_path / "w.pt")


# --- tensors that are not read --------------------------------------------------------------------


UNREAD = {
    "sparse": (lambda: torch.eye(3).to_sparse(), "a sparse tensor"),
    "quantized": (
        lambda: torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8),
        "a quantized tensor",
    ),
    "meta": (lambda: torch.ones(3, device="meta"), "a tensor on the meta device, without numbers"),
    "conjugated": (
        lambda: torch.ones(3, dtype=torch.complex64).conj(),
        "a conjugated or negated v",
    ),
}


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
@pytest.mark.parametrize(("make", "words"), UNREAD.values(), ids=UNREAD)
def test_tensor_that_is_not_read_is_named(
    make: Callable[[], torch.Tensor], words: str, tmp_path: Path
) -> None:
    torch.save(_layer().state_dict() | {"scale": make()}, tmp_path / "w.pt")
    with pytest.raises(SourceError, match=rf"w\.pt: scale is {words}.*, expected a dense tensor$"):
        read_checkpoint(tmp_path / "w.pt")


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
@pytest.mark.parametrize("make", [make for make, _ in UNREAD.values()], ids=UNREAD)
def test_tensor_that_is_not_needed_is_no_error(
    make: Callable[[], torch.Tensor], tmp_path: Path
) -> None:
    torch.save({"model": _layer().state_dict(), "cache": {"scale": make()}}, tmp_path / "w.pt")
    assert len(read_checkpoint(tmp_path / "w.pt", key="model").weights) == 4


def test_numbers_that_are_not_needed_are_not_read(tmp_path: Path) -> None:
    large = {"state": {0: {"exp_avg": torch.zeros(3_000_000)}}, "param_groups": []}
    torch.save({"model": _layer().state_dict(), "optimizer": large}, tmp_path / "w.pt")
    tracemalloc.start()
    try:
        read_checkpoint(tmp_path / "w.pt")
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


# --- damage ---------------------------------------------------------------------------------------


def test_pickle_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(pickle.dumps({"epoch": 3}))
    with pytest.raises(SourceError, match=r"expected weights named like .* found epoch$"):
        read_checkpoint(tmp_path / "w.pt")


@pytest.mark.parametrize("seed", range(12))
def test_file_with_random_damage_is_read_or_refused(
    seed: int, save: Callable[[Any, Path], None], tmp_path: Path
) -> None:
    """Nothing but a `SourceError` comes of a damaged file."""
    save({"model": _layer().state_dict(), "args": argparse.Namespace(a=1)}, tmp_path / "w.pt")
    content = bytearray((tmp_path / "w.pt").read_bytes())
    generator = torch.Generator().manual_seed(seed)
    for position in torch.randint(len(content), (6,), generator=generator).tolist():
        content[position] = int(torch.randint(256, (1,), generator=generator))
    (tmp_path / "w.pt").write_bytes(content)
    with suppress(SourceError):
        read_checkpoint(tmp_path / "w.pt")
