"""`tools/build_native_wheels.py` packs what was compiled for a processor as a wheel."""

import base64
import csv
import hashlib
import importlib.util
import sys
import sysconfig
import zipfile
from email import message_from_string
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [
    pytest.mark.skipif(sys.version_info < (3, 11), reason="the program takes Python 3.11"),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the wheels are for Linux"),
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of a package that was not compiled."""
    path = ROOT / "tools" / "build_native_wheels.py"
    spec = importlib.util.spec_from_file_location("build_native_wheels", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    package = tmp_path_factory.mktemp("made") / "rnnedge_native"
    package.mkdir()
    for name in ("__init__.py", f"_engine{sysconfig.get_config_var('EXT_SUFFIX')}"):
        (package / name).write_text(f"{name}\n")
    return module.pack(package, "aarch64", tmp_path_factory.mktemp("dist"))


def test_name_tag_and_extension_are_those_of_the_processor(wheel):
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    tag = f"{python}-{python}-manylinux_2_28_aarch64"
    assert wheel.name == f"rnnedge_native-0.1.0-{tag}.whl"
    with zipfile.ZipFile(wheel) as archive:
        assert f"Tag: {tag}\n" in archive.read("rnnedge_native-0.1.0.dist-info/WHEEL").decode()
        (extension,) = (name for name in archive.namelist() if name.endswith(".so"))
    assert extension.endswith("-aarch64-linux-gnu.so")


def test_the_record_has_every_file(wheel):
    record = "rnnedge_native-0.1.0.dist-info/RECORD"
    with zipfile.ZipFile(wheel) as archive:
        rows = list(csv.reader(archive.read(record).decode().splitlines()))
        assert [name for name, _, _ in rows] == archive.namelist()
        for name, digest, size in rows[:-1]:
            content = archive.read(name)
            made = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=")
            assert (digest, int(size)) == (f"sha256={made.decode()}", len(content))
    assert rows[-1] == [record, "", ""]


def test_the_metadata_is_that_of_the_project(wheel):
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read("rnnedge_native-0.1.0.dist-info/METADATA").decode()
    metadata = message_from_string(text)
    assert metadata["Name"] == "rnnedge-native"
    assert "rnnedge-runtime==0.1.0" in metadata.get_all("Requires-Dist")
    assert metadata.get_payload().startswith("# rnnedge-native\n")
