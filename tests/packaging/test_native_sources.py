"""The native wheel as its sources describe it: what it holds, its version, what it needs.

It is built with a C compiler, which these tests do without.
"""

import ast
import re
import sys
from pathlib import Path

import pytest

import rnnedge

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

NATIVE = Path(__file__).parents[2] / "native"
PACKAGE = NATIVE / "rnnedge_native"
MODULES = sorted(path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*.py"))
PROJECT = tomllib.loads((NATIVE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MAY_IMPORT = {"numpy", "rnnedge_native", "rnnedge_runtime", *sys.stdlib_module_names}


def text(name):
    return (NATIVE / name).read_text(encoding="utf-8")


def test_every_module_is_installed():
    listed = re.findall(r"^    '(.+)',$", text("rnnedge_native/meson.build"), re.MULTILINE)
    assert sorted(listed) == sorted([*MODULES, "_engine.pyi", "py.typed"])


def test_every_source_of_c_is_compiled():
    compiled = set(re.findall(r"src/(\w+\.c)", text("meson.build")))
    assert compiled == {path.name for path in (NATIVE / "src").glob("*.c")}


def test_one_version_everywhere():
    (in_meson,) = re.findall(r"^  version: '(.+)',$", text("meson.build"), re.MULTILINE)
    (in_python,) = re.findall(r'^__version__ = "(.+)"$', text("rnnedge_native/__init__.py"), re.M)
    assert {in_meson, in_python, PROJECT["version"]} == {rnnedge.__version__}


def test_it_needs_numpy_and_the_runtime_of_its_own_version():
    assert PROJECT["dependencies"] == ["numpy>=1.26", f"rnnedge-runtime=={rnnedge.__version__}"]


def test_the_license_is_the_same_text():
    assert text("LICENSE") == (NATIVE.parent / "LICENSE").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", MODULES)
def test_a_module_imports_what_a_device_has(name):
    tree = ast.parse((PACKAGE / name).read_text(encoding="utf-8"))
    found = {node.module or "." for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    found |= {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert {module.partition(".")[0] for module in found} <= MAY_IMPORT
