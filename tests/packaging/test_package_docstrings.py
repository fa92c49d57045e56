"""A package whose docstring lists its modules lists those that are there."""

import ast
import re
from pathlib import Path

import pytest

LISTED = re.compile(r"^\s*(\w+) {2,}\S", re.MULTILINE)


def absent(package: Path) -> list[str]:
    """Return the names in the list of a package's docstring that are not modules of it."""
    text = ast.get_docstring(ast.parse((package / "__init__.py").read_text("utf-8"))) or ""
    return [
        name
        for name in LISTED.findall(text)
        if not ((package / name).is_dir() or (package / f"{name}.py").exists())
    ]


@pytest.mark.parametrize(
    "folder", ["rnnedge", "exporters/rnnedge_exporters", "runtime/rnnedge_runtime"]
)
def test_listed_modules_are_there(root: Path, folder: str) -> None:
    packages = [path.parent for path in (root / folder).rglob("__init__.py")]
    assert {str(each): absent(each) for each in packages if absent(each)} == {}


def test_a_module_that_moved_is_found(tmp_path: Path) -> None:
    (tmp_path / "__init__.py").write_text('"""A room.\n\nhere   a module\ngone   another\n"""\n')
    (tmp_path / "here.py").touch()
    assert absent(tmp_path) == ["gone"]
