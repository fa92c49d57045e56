"""No file of a package reaches itself through its imports, wherever in a file they are written."""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

FOLDERS = ("rnnedge", "exporters/rnnedge_exporters", "runtime/rnnedge_runtime")
KINDS = ("module", "function", "type")
"""An import that runs with the module, in a call only, or for type checkers only."""


class Import(NamedTuple):
    """One import of one of our modules by another.

    Attributes:
        module: Which one is imported.
        kind: One of `KINDS`.
    """

    module: str
    kind: str


def read(root: Path) -> dict[str, str]:
    """Return the source of each module by its dotted name; a package is its `__init__`."""
    sources = {}
    for folder in FOLDERS:
        base = root / folder
        for path in base.rglob("*.py"):
            parts = (base.name, *path.relative_to(base).with_suffix("").parts)
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            sources[name] = path.read_text(encoding="utf-8")
    return sources


def imports(source: str, modules: Mapping[str, object]) -> set[Import]:
    """Return what `source` imports of `modules`.

    That Python runs the `__init__` of every package above an imported module is not counted: it has
    run before, when the package itself was imported.
    """
    return {Import(name, kind) for name, kind in _found(ast.parse(source), "module", modules)}


def _found(node: ast.AST, kind: str, modules: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    yield from ((name, kind) for name in _imported(node, modules))
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        for child in node.body:
            yield from _found(child, "type", modules)
        for child in node.orelse:
            yield from _found(child, kind, modules)
        return
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and kind == "module":
        kind = "function"
    for child in ast.iter_child_nodes(node):
        yield from _found(child, kind, modules)


def _imported(node: ast.AST, modules: Mapping[str, object]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in modules)
    elif isinstance(node, ast.ImportFrom):
        for alias in node.names:
            names = (f"{node.module}.{alias.name}", node.module)
            yield from [name for name in names if name in modules][:1]


def circles(graph: Mapping[str, set[str]]) -> list[tuple[str, ...]]:
    """Return the sets of nodes that reach each other, each sorted."""
    reached: dict[str, set[str]] = {}
    for start in graph:
        seen: set[str] = set()
        front = [start]
        while front:
            new = graph[front.pop()] - seen
            seen |= new
            front += new
        reached[start] = seen
    found = {
        tuple(sorted({b for b in reached[a] if a in reached[b]} | {a}))
        for a in graph
        if a in reached[a]
    }
    return sorted(found)


def all_imports(sources: Mapping[str, str]) -> dict[str, set[Import]]:
    return {name: imports(source, sources) for name, source in sources.items()}


def graph_of(found: Mapping[str, set[Import]], kinds: tuple[str, ...]) -> dict[str, set[str]]:
    return {
        name: {each.module for each in used if each.kind in kinds} for name, used in found.items()
    }


def described(circle: tuple[str, ...], found: Mapping[str, set[Import]]) -> str:
    """Say which import of a circle is where."""
    lines = [
        f"{name} imports {used.module} ({used.kind})"
        for name in circle
        for used in sorted(found[name])
        if used.module in circle
    ]
    return "\n".join(lines)


def by_folder(graph: Mapping[str, set[str]], package: str) -> dict[str, set[str]]:
    """Return the graph of a package whose folders are one node each."""
    rooms: dict[str, set[str]] = {}
    for name, used in graph.items():
        if name.partition(".")[0] == package:
            outside = {_room(other) for other in used} - {_room(name)}
            rooms.setdefault(_room(name), set()).update(outside)
    return {name: used & set(rooms) for name, used in rooms.items()}


def _room(module: str) -> str:
    return ".".join(module.split(".")[:2])


def private_names(source: str, modules: Mapping[str, object]) -> set[str]:
    """Return the private names that `source` takes from other modules of ours.

    Those are `from package.module import _name`, and `module._name` of an imported module.
    """
    tree = ast.parse(source)
    taken, aliases = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in modules:
            for alias in node.names:
                if f"{node.module}.{alias.name}" in modules:
                    aliases.add(alias.asname or alias.name)
                elif alias.name.startswith("_") and not alias.name.endswith("__"):
                    taken.add(f"{node.module}.{alias.name}")
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            private = node.attr.startswith("_") and not node.attr.endswith("__")
            if private and node.value.id in aliases:
                taken.add(f"{node.value.id}.{node.attr}")
    return taken


@pytest.fixture(scope="module")
def sources(root):
    return read(root)


@pytest.fixture(scope="module")
def found(sources):
    return all_imports(sources)


@pytest.mark.parametrize("kinds", [("module",), KINDS[:2], KINDS], ids=["module", "call", "type"])
@pytest.mark.parametrize("package", [Path(folder).name for folder in FOLDERS])
def test_no_file_reaches_itself(found, package, kinds):
    graph = {
        name: used
        for name, used in graph_of(found, kinds).items()
        if name.partition(".")[0] == package
    }
    inside = circles({name: used & set(graph) for name, used in graph.items()})
    assert not inside, "\n\n".join(described(circle, found) for circle in inside)


def test_arrows_between_packages_point_one_way(found):
    packages: dict[str, set[str]] = {}
    for name, used in graph_of(found, KINDS).items():
        package = name.partition(".")[0]
        others = {other.partition(".")[0] for other in used} - {package}
        packages.setdefault(package, set()).update(others)
    assert packages == {
        "rnnedge": {"rnnedge_exporters", "rnnedge_runtime"},
        "rnnedge_exporters": {"rnnedge_runtime"},
        "rnnedge_runtime": set(),
    }


ROOMS = {
    "rnnedge": {"rnnedge.doctor", "rnnedge.errors"},
    "rnnedge_exporters": {"rnnedge_exporters.onnx_model", "rnnedge_exporters.errors"},
    "rnnedge_runtime": {"rnnedge_runtime.streaming", "rnnedge_runtime.session"},
}
"""A folder of each package, and a file next to its folders."""


@pytest.mark.parametrize("package", ROOMS)
def test_folders_have_an_order(found, package):
    rooms = by_folder(graph_of(found, KINDS), package)
    assert ROOMS[package] <= set(rooms)
    assert circles(rooms) == []


def test_the_room_of_a_file_stands_on_what_options_take_alone(found):
    below = by_folder(graph_of(found, KINDS), "rnnedge_exporters")["rnnedge_exporters.onnx_model"]
    assert below == {"rnnedge_exporters.errors", "rnnedge_exporters.option_values"}


@pytest.mark.parametrize("package", [Path(folder).name for folder in FOLDERS])
def test_no_private_name_is_used_across_modules(sources, package):
    taken = {
        name: found
        for name, source in sources.items()
        if name.partition(".")[0] == package and (found := private_names(source, sources))
    }
    assert taken == {}


CIRCLE = {
    "module": "from p.b import B\n",
    "function": "class A:\n    def f(self):\n        if self:\n            from p import b\n",
    "type": "import typing\nif typing.TYPE_CHECKING:\n    import p.b\n",
}
"""Sources of `p.a` that import `p.b`, which imports `p.a`."""


@pytest.mark.parametrize(("kind", "source"), CIRCLE.items(), ids=CIRCLE)
def test_a_circle_is_found(kind, source):
    sources = {"p": "", "p.a": source, "p.b": "from p.c import C\n", "p.c": "import p.a\n"}
    made = all_imports(sources)
    kinds = KINDS[: KINDS.index(kind) + 1]
    (circle,) = circles(graph_of(made, kinds))
    assert circle == ("p.a", "p.b", "p.c")
    assert f"p.a imports p.b ({kind})" in described(circle, made)
    assert circles(graph_of(made, KINDS[: KINDS.index(kind)])) == []


def test_a_file_that_imports_itself_is_found():
    made = all_imports({"p.a": "def f():\n    import p.a\n"})
    assert circles(graph_of(made, KINDS)) == [("p.a",)]


def test_files_in_order_are_no_circle():
    made = {"p.a": "from p import b, c\n", "p.b": "from p.c import C\n", "p.c": "", "p": ""}
    assert circles(graph_of(all_imports(made), KINDS)) == []


def test_an_import_of_a_package_is_one_of_its_init():
    made = {"p": "from p.a import A\n", "p.a": "def f():\n    from p import A\n"}
    assert circles(graph_of(all_imports(made), KINDS)) == [("p", "p.a")]


def test_folders_that_use_each_other_are_found():
    made = {
        "p": "",
        "p.x": "",
        "p.x.a": "from p.y.b import B\n",
        "p.x.c": "",
        "p.y": "",
        "p.y.b": "from p.x.c import C\n",
    }
    graph = graph_of(all_imports(made), KINDS)
    assert circles(graph) == []
    assert circles(by_folder(graph, "p")) == [("p.x", "p.y")]


@pytest.mark.parametrize(
    ("line", "taken"),
    [
        ("from p.a import _hidden", {"p.a._hidden"}),
        ("from p import a\na._hidden()", {"a._hidden"}),
        ("from p import a\na.shown.__name__", set()),
        ("from other import _hidden", set()),
    ],
)
def test_a_private_name_is_found(line, taken):
    assert private_names(line, {"p": "", "p.a": ""}) == taken
