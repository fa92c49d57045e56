"""A name of a class stands for one idea: no two classes of the packages share one."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("rnnedge", "exporters", "runtime", "native")


def shared_names(root, folders):
    """Return the modules of each name that several public classes have."""
    homes = defaultdict(list)
    for folder in folders:
        for path in (root / folder).rglob("*.py"):
            for part in ast.parse(path.read_text()).body:
                if isinstance(part, ast.ClassDef) and not part.name.startswith("_"):
                    homes[part.name].append(path.relative_to(root).as_posix())
    return {name: sorted(paths) for name, paths in homes.items() if len(paths) > 1}


def test_no_two_classes_share_a_name():
    assert shared_names(ROOT, FOLDERS) == {}


@pytest.mark.parametrize("second", ["Node", "Edge"])
def test_shared_names_are_found(tmp_path, second):
    for folder, name in (("a", "Node"), ("b", second)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "file.py").write_text(f"class {name}: ...\n")
    expected = {"Node": ["a/file.py", "b/file.py"]} if second == "Node" else {}
    assert shared_names(tmp_path, ("a", "b")) == expected
